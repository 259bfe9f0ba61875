"""``tr-grpo watch``: a run in the terminal, live or once."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

ENDED = ("done", "failed", "interrupted", "killed")


def watch(
    run: Annotated[Path, typer.Argument(help="The run's folder (trainer.default_local_dir).")],
    once: Annotated[
        bool, typer.Option("--once", help="Print once and exit; so it is where the output is piped.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there is any warning.")] = False,
) -> None:
    """Watch a run: progress, curves, verdicts, warnings and the last response, from its files alone."""
    from rich.console import Console, RenderableType
    from rich.live import Live

    from tr_grpo.analysis.follow import Follower, state
    from tr_grpo.analysis.health import Finding, check
    from tr_grpo.analysis.watch import last_sample, view

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not in UTF-8 still shows the words
    console = Console(highlight=False, markup=False, emoji=False)
    follower = Follower(run)
    findings: list[Finding] = []

    def look() -> tuple[RenderableType, bool]:
        now = follower.look()
        findings[:] = check(now)
        shown = view(now, findings, last_sample(now), max(console.width, 60))
        return shown, state(now) in ENDED

    shown, ended = look()
    if once or ended or not console.is_terminal:
        console.print(shown)
    else:
        with Live(shown, console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            try:
                while not ended:
                    time.sleep(every)
                    shown, ended = look()
                    live.update(shown, refresh=True)
            except KeyboardInterrupt:
                pass  # how a view is left; the run goes on
    if strict and findings:
        raise typer.Exit(1)
