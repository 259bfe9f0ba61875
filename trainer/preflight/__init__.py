"""Finds, before Ray starts, the mistakes that otherwise cost a run; prints the batch ledger."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from omegaconf import DictConfig
from rich.console import Console

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.preflight import (
    batch,
    compositions,
    data,
    disk,
    extensions,
    gpu,
    loss,
    machine,
    model,
    network,
    ray_start,
    resume,
    reward,
    sampling,
    schedule,
    search,
    security,
    settings,
    tracker,
    versions,
)
from tr_grpo.trainer.preflight.codes import DOCUMENT
from tr_grpo.trainer.preflight.finding import Finding, Severity
from tr_grpo.trainer.preflight.ledger import BatchLedger


@dataclass(frozen=True)
class Check:
    """One part of the preflight.

    Attributes:
        name: for ``tr-grpo doctor``.
        run: yields what it finds.
        not_after: codes whose errors leave nothing that this check could look at.
    """

    name: str
    run: Callable[[DictConfig], Iterator[Finding]]
    not_after: tuple[str, ...] = ()


NO_VERL = ("TR101", "TR102")
NO_SIZES = ("TR403",)
NO_DATA = ("TR201",)
NO_MODEL = ("TR601", "TR602", "TR606")

# In this order, the cheap and the fundamental first.
CHECKS = (
    Check("versions", versions.check),
    Check("security", security.check),
    Check("batch", batch.check),
    Check("sampling", sampling.check, NO_SIZES),
    Check("compositions", compositions.check, NO_SIZES),
    Check("machine", machine.check),
    Check("ray", ray_start.check),
    Check("network", network.check),
    Check("tracker", tracker.check),
    Check("loss", loss.check, (*NO_VERL, *NO_SIZES, "TR451")),
    Check("verl's own", settings.check, (*NO_VERL, *NO_SIZES, "TR411", "TR412", "TR451")),
    Check("extensions", extensions.check, NO_VERL),
    Check("model", model.check, NO_VERL),
    Check("data", data.check, ("TR602",)),
    Check("schedule", schedule.check, NO_SIZES + NO_DATA),
    Check("resume", resume.check, (*NO_SIZES, *NO_DATA, "TR202")),
    Check("disk", disk.check, NO_SIZES + NO_DATA + NO_MODEL),
    Check("gpu", gpu.check, NO_SIZES + NO_MODEL),
    Check("reward", reward.check, NO_DATA),
    Check("search", search.check, NO_DATA),
)


@dataclass(frozen=True)
class Examination:
    """What all checks found, and the names of those that an earlier error made impossible."""

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a run."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)


def examine(config: DictConfig) -> Examination:
    """All checks, for ``tr-grpo doctor``."""
    findings: list[Finding] = []
    skipped = []
    for check in CHECKS:
        failed = {finding.code for finding in findings if finding.severity is Severity.ERROR}
        if failed.isdisjoint(check.not_after):
            findings += check.run(config)
        else:
            skipped.append(check.name)
    return Examination(tuple(findings), tuple(skipped))


def run_checks(config: DictConfig) -> list[Finding]:
    """All findings up to and including the first check that has an error."""
    findings: list[Finding] = []
    for check in CHECKS:
        findings += check.run(config)
        if any(finding.severity is Severity.ERROR for finding in findings):
            break
    return findings


def check_or_raise(config: DictConfig, show: bool = True) -> list[Finding]:
    """Run all checks and print what they found, with the batch ledger.

    Args:
        config: a composed run.
        show: print warnings and the ledger to standard error.

    Returns:
        The findings, none of them an error.

    Raises:
        InputError: the errors, one line each.
    """
    findings = run_checks(config)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise InputError("\n       ".join(f"{e.code} {e.message} -> {e.fix}" for e in errors))
    if show:
        console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        console.print(BatchLedger.from_config(config).table())
        for finding in findings:
            console.print(str(finding), style="yellow", markup=False)
        if findings:
            console.print(f"Each code is explained in {DOCUMENT}.", style="yellow", markup=False)
    return findings
