"""docs/security.md: what our code may not do, what every preset keeps to, and that the named tests exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tr_grpo.trainer.compose import CONFIG_FOLDER, compose, options
from tr_grpo.trainer.preflight.security import loopback, trusting
from tr_grpo.trainer.redaction import redacted, secret_keys

ROOT = Path(__file__).parents[2]
CODE = ("recipe", "trainer", "reward", "data_prep", "search", "analysis", "benchmarks", "scripts", "setup.py")
RULES = {
    "S102": "exec('1')",
    "S301": "import pickle\npickle.loads(b'')",
    "S302": "import marshal\nmarshal.loads(b'')",
    "S306": "import tempfile\ntempfile.mktemp()",
    "S307": "eval('1')",
    "S323": "import ssl\nssl._create_unverified_context()",
    "S401": "import telnetlib",
    "S403": "import shelve",
    "S501": "import requests\nrequests.get('https://x', verify=False, timeout=1)",
    "S506": "import yaml\nyaml.load('', yaml.Loader)",
    "S602": "import subprocess\nsubprocess.run('ls ' + x, shell=True)",
    "S604": "f(shell=True)",
    "S605": "import os\nos.system('ls ' + x)",
}
"""Rules of ruff's flake8-bandit that hold for all of our code, each with a line that breaks it."""
ALLOWED = {
    ("analysis/run_folder.py", "S506"): "the loader is the C form of SafeLoader, or SafeLoader",
    ("benchmarks/math_verifier.py", "S301"): "a file that the benchmark wrote a moment before, in its own folder",
    ("benchmarks/math_verifier.py", "S403"): "the same",
    (
        "reward/pool.py",
        "S403",
    ): "dumps alone: a sample for a process of its own, through a pipe that no one else can open",
    ("reward/pool_server.py", "S403"): "the name of an exception",
    ("trainer/cpu/gloo_engine.py", "S301"): "between the ranks of a run on the CPU, as torch.distributed does it",
    ("trainer/cpu/gloo_engine.py", "S403"): "the same",
}
SHAPES = re.compile(
    r"(trust_remote_code|allow_pickle)\s*=\s*True|weights_only\s*=\s*False|read_pickle\(|(joblib|dill)\.load"
)
"""What no rule of ruff finds: a model's own code switched on in the source, and other ways to unpickle."""
BAD = (
    "np.load(path, allow_pickle=True)|torch.load(path, weights_only=False)|joblib.load(path)|f(trust_remote_code=True)"
)


def broken(folder: Path, *paths: str) -> set[tuple[str, str]]:
    """The files below ``folder`` that break a rule, with the rule; comments that silence ruff have no say."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--ignore-noqa", "--preview"]
    options = ["--select", ",".join(RULES), "--output-format", "json", "--exit-zero"]
    done = subprocess.run([*command, *options, *paths], cwd=folder, capture_output=True, text=True, check=True)
    found = [(Path(one["filename"]).resolve(), one["code"]) for one in json.loads(done.stdout)]
    return {(str(path.relative_to(folder.resolve())), rule) for path, rule in found}


def test_our_code_runs_no_text_and_unpickles_nothing_but_what_is_listed_with_its_reason() -> None:
    assert broken(ROOT, *CODE) == ALLOWED.keys()


def test_each_rule_finds_what_it_is_for(tmp_path: Path) -> None:
    for rule, line in RULES.items():
        (tmp_path / f"{rule}.py").write_text(line + "\n")
    assert {(f"{rule}.py", rule) for rule in RULES} <= broken(tmp_path, ".")


def sources() -> list[Path]:
    return [path for part in CODE for path in (sorted((ROOT / part).rglob("*.py")) or [ROOT / part])]


def test_our_code_switches_on_no_code_of_models() -> None:
    assert len(sources()) > 100
    assert [path for path in sources() if SHAPES.search(path.read_text("utf-8"))] == []
    assert all(SHAPES.search(text) for text in BAD.split("|"))


def test_no_config_file_has_a_secret_or_trusts_a_models_code() -> None:
    files = sorted(CONFIG_FOLDER.rglob("*.yaml"))
    assert len(files) > 50
    for path in files:
        config = OmegaConf.to_container(OmegaConf.load(path))
        assert list(secret_keys(config)) == trusting(config) == [], path


@pytest.mark.parametrize("group", ["task", "llm", "cluster", "track"])
def test_every_preset_keeps_the_dashboard_to_this_machine_and_is_written_as_it_is(group: str) -> None:
    for option in options(group):
        config = compose([f"{group}={option}"])
        assert loopback(config.ray_kwargs.ray_init.dashboard_host)
        plain = OmegaConf.to_container(config, resolve=True)
        assert trusting(plain) == []
        assert list(secret_keys(plain)) == []
        assert redacted(plain) == plain


def test_the_documents_tests_and_files_exist() -> None:
    text = (ROOT / "docs/security.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) >= 10
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in named if f"def {name}(" not in tests] == []
    assert [path for path in re.findall(r"`((?:\w+/)+\w+\.(?:py|sh|md))`", text) if not (ROOT / path).is_file()] == []
