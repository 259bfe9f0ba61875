"""``tr-grpo doctor``: all checks of the preflight at once, for a person or a scheduler. Starts nothing, writes nothing.

With ``--cluster`` it joins the Ray that the run would join, or starts one for as long as it takes, and asks every node.

Exit status: 0 without an error (with ``--strict``: without a warning either), 1 warnings with ``--strict``, 2 errors or
bad input.
"""

import contextlib
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.table import Table

    from tr_grpo.trainer.preflight import Examination

LAYOUT = 1
"""Version of the JSON object's layout."""
ERRORS = 2
WARNINGS = 1


def doctor(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="As for train, e.g. algo=tr_grpo task=knights_knaves llm=tiny cluster=cpu"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there is any warning.")] = False,
    every_node: Annotated[bool, typer.Option("--cluster", help="Ask every node of the run's Ray, too.")] = False,
) -> None:
    """Check a run before it starts: versions, machine, model, data, reward, batch and loss. Starts nothing."""
    from tr_grpo.trainer.loopback import keep_on_loopback
    from tr_grpo.trainer.preflight import examine

    # Libraries print while they are imported; standard output is the report's alone.
    with contextlib.redirect_stdout(sys.stderr):
        config = resolved(overrides or [])
        keep_on_loopback(config)
        examination = examine(config)
        if every_node:
            examination = with_cluster(config, examination)
    if as_json:
        print(json.dumps(as_object(config, examination)))
    else:
        show(config, examination)
    raise typer.Exit(exit_status(examination, strict))


def resolved(overrides: list[str]) -> "DictConfig":
    """The config as ``tr-grpo train`` would run it, with its environment variables set in this process.

    Raises:
        InputError: an unknown group, option or key.
    """
    from omegaconf import OmegaConf

    from tr_grpo.trainer.compose import compose, environment
    from tr_grpo.trainer.main import use_absolute_paths

    config = compose(overrides)
    os.environ.update(environment(config))
    use_absolute_paths(config)
    OmegaConf.resolve(config)
    return config


def with_cluster(config: "DictConfig", examination: "Examination") -> "Examination":
    """What every node says on top; not asked where an error leaves no loss or no device to ask about."""
    from tr_grpo.trainer.preflight import NO_SIZES, NO_VERL, Examination, cluster

    if {error.code for error in examination.errors} & {*NO_VERL, *NO_SIZES, "TR411", "TR412"}:
        return Examination(examination.findings, (*examination.skipped, "every node"))
    return Examination((*examination.findings, *cluster.check(config)), examination.skipped)


def exit_status(examination: "Examination", strict: bool) -> int:
    """See the head of this file."""
    if examination.errors:
        return ERRORS
    return WARNINGS if strict and examination.findings else 0


def as_object(config: "DictConfig", examination: "Examination") -> dict[str, Any]:
    """For schedulers; ``ledger`` is null where a batch size is not positive."""
    from tr_grpo.trainer.run_log import machine, versions

    return {
        "layout": LAYOUT,
        "group": dict(config.group),
        "findings": [
            {**asdict(finding), "title": finding.title, "docs": finding.docs} for finding in examination.findings
        ],
        "skipped": list(examination.skipped),
        "errors": len(examination.errors),
        "warnings": len(examination.findings) - len(examination.errors),
        "ledger": _ledger(config, examination),
        "versions": versions(),
        "machine": machine(config.trainer.device),
    }


def _ledger(config: "DictConfig", examination: "Examination") -> dict[str, Any] | None:
    from tr_grpo.trainer.preflight.ledger import BatchLedger

    if _unusable(examination):
        return None
    ledger = BatchLedger.from_config(config)
    return asdict(ledger) | {"responses": ledger.responses, "updates": ledger.updates, "tokens": ledger.tokens}


def _unusable(examination: "Examination") -> bool:
    return any(finding.code == "TR403" for finding in examination.findings)


def show(config: "DictConfig", examination: "Examination") -> None:
    """Errors first, then warnings, the ledger, and what it comes to."""
    from rich.console import Console

    from tr_grpo.trainer.preflight import CHECKS
    from tr_grpo.trainer.preflight.ledger import BatchLedger

    console = Console(highlight=False, markup=False, emoji=False)
    if examination.findings:
        console.print(_table(examination))
    if not _unusable(examination):
        console.print(BatchLedger.from_config(config).table())
    if examination.skipped:
        console.print(f"not checked because of the errors: {', '.join(examination.skipped)}")
    errors, all_found = len(examination.errors), len(examination.findings)
    done = sum(check.name not in examination.skipped for check in CHECKS)
    console.print(f"errors: {errors}, warnings: {all_found - errors}, checks made: {done} of {len(CHECKS)}")


def _table(examination: "Examination") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from tr_grpo.trainer.preflight.finding import Severity

    table = Table(show_lines=True)
    for name, wraps in (("code", False), ("", True), ("what to do", True)):
        table.add_column(name, no_wrap=not wraps, overflow="fold")
    for finding in sorted(examination.findings, key=lambda one: (one.severity is not Severity.ERROR, one.code)):
        style = "red" if finding.severity is Severity.ERROR else "yellow"
        fix = Text(f"{finding.fix}\n{finding.docs}")
        table.add_row(
            Text(f"{finding.code}\n{finding.severity}", style=style), Text(f"{finding.title}\n{finding.message}"), fix
        )
    return table
