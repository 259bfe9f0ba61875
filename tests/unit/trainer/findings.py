"""What the tests of the preflight share."""

from collections.abc import Callable

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding

Run = Callable[..., DictConfig]
"""The fixture ``run``: composes a healthy run with further overrides."""


def codes(findings: list[Finding]) -> list[str]:
    """The findings' codes, in order."""
    return [finding.code for finding in findings]
