"""The way to 1,000 GPUs as sentences, tables and JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tr_grpo.trainer.plan.planning import Plan
from tr_grpo.trainer.plan.scale import BATCH, BATCHES, Asynchrony, Regime, Row, asynchrony, scale
from tr_grpo.trainer.plan.text import NOTE, Block, Table

ASYNC_NOTE = (
    f"Simulated ({BATCH} responses a batch, {BATCHES} batches, seed 0; log-normal lengths cut at the limit): responses "
    "a second beside taking turns on the same GPUs. One step off and asynchronous split the GPUs between rollouts and "
    "updates as is best for each; asynchronous responses may be two batches old. A token takes the same time however "
    "many are in flight."
)


def blocks(plan: Plan) -> Iterator[Block]:
    """A table for each regime, and the simulation."""
    yield NOTE
    yield (
        f"{plan.shape.name} on {plan.card.name}, nodes of {plan.run.gpus_per_node} GPUs; "
        f"{plan.run.responses:,} responses a step on {plan.run.gpus} GPUs."
    )
    if not plan.fits:
        yield "This run does not fit its cards (tr-grpo plan without --scale says why): the times are hypothetical."
    for regime in Regime:
        yield f"{regime.value[0].upper()}{regime.value[1:]}; seconds:"
        yield _table(scale(plan, regime))
    yield ASYNC_NOTE
    yield _simulated(asynchrony(plan))
    yield Table(("assumed", "value", "what it is"), [(n, f"{v:g}", why) for n, v, why in plan.assumed.rows()])


def _table(rows: list[Row]) -> Table:
    parts = list(rows[0].time.parts())
    return Table(
        ("GPUs", "responses", *parts, "step", "tokens/GPU/s", "largest part"),
        [
            (
                f"{row.gpus:,}",
                f"{row.responses:,}",
                *(f"{seconds:.1f}" for seconds in row.time.parts().values()),
                f"{row.time.seconds:.0f}",
                f"{row.rate:,.0f}",
                row.bottleneck if row.fits else f"{row.bottleneck} (does not fit)",
            )
            for row in rows
        ],
    )


def _simulated(found: list[Asynchrony]) -> Table:
    return Table(
        (
            "σ of the lengths",
            "slots busy, in turns",
            "one step off",
            "asynchronous",
            "GPUs for its rollouts",
            "its age",
        ),
        [
            (
                f"{each.sigma:g}",
                f"{each.busy:.0%}",
                f"×{each.one_step_off:.2f}",
                f"×{each.asynchronous:.2f}",
                f"{each.rollout_share:.0%}",
                f"{each.age:.1f} updates",
            )
            for each in found
        ],
    )


def as_json(plan: Plan) -> dict[str, Any]:
    """The same as numbers."""
    return {
        "note": NOTE,
        "regimes": {
            regime.value: [
                {
                    "gpus": row.gpus,
                    "responses": row.responses,
                    "seconds": row.time.parts() | {"step": row.time.seconds},
                    "tokens_a_gpu_and_second": row.rate,
                    "largest_part": row.bottleneck,
                    "fits": row.fits,
                }
                for row in scale(plan, regime)
            ]
            for regime in Regime
        },
        "simulation": {"note": ASYNC_NOTE, "rows": [asdict(each) for each in asynchrony(plan)]},
        "assumed": {name: value for name, value, _ in plan.assumed.rows()},
    }
