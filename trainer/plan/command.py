"""``tr-grpo plan``: what a run would need and take, before any GPU is held."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tr_grpo.data_prep.errors import InputError


class Format(StrEnum):
    """How the plan is printed."""

    TEXT = "text"
    MD = "md"
    JSON = "json"


def plan(
    overrides: Annotated[list[str] | None, typer.Argument(help="The words of tr-grpo train.")] = None,
    card: Annotated[
        str | None, typer.Option(help="RTX4090, A6000, L40S, A100, H100 (assumed if not given), H200.")
    ] = None,
    shape: Annotated[str | None, typer.Option(help="Sizes of an unknown model: layers=…,hidden=…,….")] = None,
    assume: Annotated[list[str] | None, typer.Option(help="An assumed number: train_mfu=0.4; repeatable.")] = None,
    scale: Annotated[bool, typer.Option("--scale", help="From 8 to 1,000 GPUs: where the time goes.")] = False,
    draw: Annotated[Path | None, typer.Option(help="With --scale: the picture, an .svg or .png file.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
) -> None:
    """Memory, time and settings that fit, on paper, of the run that tr-grpo train would start with the same words."""
    # Composing needs hydra, and scipy is slow to load: not for `tr-grpo --help`.
    from tr_grpo.trainer.compose import compose
    from tr_grpo.trainer.plan import devices, scale_text, text
    from tr_grpo.trainer.plan.assumptions import Assumptions
    from tr_grpo.trainer.plan.planning import make
    from tr_grpo.trainer.plan.setting import read
    from tr_grpo.trainer.plan.shapes import resolve

    config = compose(overrides or [])
    made = make(
        resolve(config.actor_rollout_ref.model.path, shape),
        read(config),
        devices.card(card or devices.DEFAULT),
        Assumptions.parse(assume or ()),
    )
    if draw is not None:
        if not scale:
            raise InputError("--draw: only with --scale")
        from tr_grpo.trainer.plan.picture import draw as draw_picture

        draw_picture(made, draw)
    content = scale_text if scale else text
    if output is Format.JSON:
        typer.echo(json.dumps(content.as_json(made), indent=2, ensure_ascii=False))
    elif output is Format.MD:
        typer.echo(text.as_markdown(list(content.blocks(made))))
    else:
        typer.echo(text.as_terminal(list(content.blocks(made))))
