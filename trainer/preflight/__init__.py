"""Finds, before Ray starts, the mistakes that otherwise cost a run; prints the batch ledger."""

import sys
from collections.abc import Callable, Iterator

from omegaconf import DictConfig
from rich.console import Console

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.preflight import batch, data, loss, machine, model, reward, search, versions
from tr_grpo.trainer.preflight.finding import Finding, Severity
from tr_grpo.trainer.preflight.ledger import BatchLedger

# In this order, the cheap and the fundamental first; an error ends the series, since the rest depends on it.
CHECKS: tuple[Callable[[DictConfig], Iterator[Finding]], ...] = (
    versions.check,
    batch.check,
    machine.check,
    loss.check,
    model.check,
    data.check,
    reward.check,
    search.check,
)


def run_checks(config: DictConfig) -> list[Finding]:
    """All findings up to and including the first check that has an error."""
    findings: list[Finding] = []
    for check in CHECKS:
        findings += check(config)
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
    return findings
