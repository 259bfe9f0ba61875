"""What runs of ``task=facts`` learned: exact match and searching on held-out questions, before and after.

``python -m tr_grpo.analysis.search_lesson RUN_FOLDER...``; made for ``examples/search_qa.sh``.
"""

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from tr_grpo.analysis.run_metrics import Metrics, read_metrics
from tr_grpo.data_prep.errors import InputError

VALIDATED = "val-{}/search_qa/facts/{}/mean@1"
EXACT_MATCH = VALIDATED.format("core", "acc")
SEARCHED = VALIDATED.format("aux", "searched")
SEARCHES = VALIDATED.format("aux", "searches")


def validations(folder: Path) -> dict[int, Metrics]:
    """The validated steps of a run, first to last; InputError if there are not two to compare."""
    found = {step: metrics for step, metrics in read_metrics(folder).items() if EXACT_MATCH in metrics}
    if len(found) < 2:
        raise InputError(f"{folder}: {len(found)} validations of task=facts, two are needed; train it further")
    return found


def table(folders: list[Path]) -> Table:
    """One row a run."""
    result = Table("", "steps", "exact match", "", "responses that search", "", "searches a response", "")
    for folder in folders:
        steps = validations(folder)
        ends = (min(steps), max(steps))
        shares = [f"{steps[step][key]:.1%}" for key in (EXACT_MATCH, SEARCHED) for step in ends]
        counts = [f"{steps[step][SEARCHES]:.2f}" for step in ends]
        result.add_row(folder.name, str(ends[1]), *shares, *counts)
    return result


def main(folders: list[Path]) -> None:
    """Print the table of ``folders``."""
    console = Console(highlight=False)
    try:
        console.print(table(folders))
    except InputError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    console.print("Greedy, on held-out questions, before and after; one seed: no comparison of the algorithms.")


if __name__ == "__main__":
    typer.run(main)
