"""The ``tr-grpo`` command: what prepares a run (``prep``, ``index``), ``train``, and what reads a run."""

import sys

import typer

from tr_grpo.analysis.compare_command import compare
from tr_grpo.analysis.evaluate.command import HELP as EVALUATE
from tr_grpo.analysis.evaluate.command import evaluate
from tr_grpo.analysis.report.command import report
from tr_grpo.analysis.watch_command import watch
from tr_grpo.data_prep.cli import app as prep
from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.answerability import answerable
from tr_grpo.search.index_command import app as index
from tr_grpo.search.serve_command import serve_search
from tr_grpo.trainer.doctor import doctor
from tr_grpo.trainer.launch.command import app as launch
from tr_grpo.trainer.plan.command import plan

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(prep, name="prep", help="Prepare data and models.")
index.command("answerability")(answerable)
app.add_typer(index, name="index", help="Make, search and check retrieval indexes.")
app.command("serve-search")(serve_search)
app.add_typer(launch, name="launch", help="Train on a cluster: Slurm, Ray, Kubernetes, SkyPilot, ssh.")
app.command("doctor")(doctor)
app.command("plan")(plan)
app.command("evaluate", help=EVALUATE)(evaluate)
app.command("compare")(compare)
app.command("report")(report)
app.command("watch")(watch)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Train with verl, e.g. tr-grpo train algo=tr_grpo task=knights_knaves llm=tiny cluster=cpu",
)
def train(context: typer.Context) -> None:
    """Hand everything after ``train`` to :mod:`tr_grpo.trainer.main`."""
    from tr_grpo.trainer.main import main as train_main

    raise typer.Exit(train_main(context.args))


def main() -> None:
    """Console entry point: bad input is one line and exit status 2, unless ``--debug`` asks for more."""
    debug = "--debug" in sys.argv
    if debug and sys.argv[1:2] != ["train"]:
        sys.argv.remove("--debug")
    try:
        app()
    except InputError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
