"""The smallest changes that make a plan fit, as overrides to paste.

Knobs are tried in a fixed order, cheapest first: what costs nothing but a smaller piece at a time, then what costs
time, then more parallelism, then more nodes. LoRA is never suggested: it changes what is trained, not only how.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tr_grpo.trainer.plan.memory import FSDP, MODEL
from tr_grpo.trainer.plan.planning import CACHE, Plan, make, with_nodes
from tr_grpo.trainer.plan.setting import ACTOR, ROLLOUT, Setting

MOST_NODES = 128
Change = tuple[Mapping[str, str], Setting]
"""Overrides, and the run with them."""
STEPS = 60
"""Far more than all knobs have notches; the search ends before."""


@dataclass(frozen=True)
class Suggestion:
    """Overrides by key; ``plan`` is the run with them, which fits unless ``left`` says what does not."""

    overrides: Mapping[str, str]
    plan: Plan
    left: tuple[str, ...] = ()


def suggest(plan: Plan) -> Suggestion:
    """Change one knob by one notch at a time until the plan fits, then take back what turns out not to be needed."""
    current, overrides = plan, dict[str, str]()
    for _ in range(STEPS):
        if current.fits:
            return _pruned(plan, overrides)
        better = next(_improvements(current), None)
        if better is None:
            return Suggestion(overrides, current, tuple(problem.text for problem in current.problems))
        keys, run = better
        overrides |= keys
        current = make(plan.shape, run, plan.card, plan.assumed)
    raise AssertionError(f"no end after {STEPS} changes: {overrides}")


def _improvements(plan: Plan) -> Iterator[Change]:
    """Changes that lessen the first problem and start no other, in order."""
    first = plan.problems[0]
    before = {problem.where: problem.excess for problem in plan.problems}
    for knob in KNOBS:
        change = knob(plan, first.where)
        if change is None:
            continue
        after = {p.where: p.excess for p in make(plan.shape, change[1], plan.card, plan.assumed).problems}
        worse = [where for where in after if where != first.where and after[where] > before.get(where, 0.0)]
        if after.get(first.where, 0.0) < first.excess and not worse:
            yield change


def _pruned(plan: Plan, overrides: Mapping[str, str]) -> Suggestion:
    """Without the changes that are not needed once the later ones are there; the latest are kept first."""
    for key in overrides:
        fewer = {other: value for other, value in overrides.items() if other != key}
        run = apply(plan.run, fewer)
        if _holds_a_sequence(run) and make(plan.shape, run, plan.card, plan.assumed).fits:
            return _pruned(plan, fewer)
    return Suggestion(overrides, make(plan.shape, apply(plan.run, overrides), plan.card, plan.assumed))


def _holds_a_sequence(run: Setting) -> bool:
    """verl refuses micro-batches that the longest sequence does not fit into (only where they are cut by tokens)."""
    return not run.dynamic or min(run.update_tokens, run.logprob_tokens) * run.sequence_parallel >= run.longest


def roomier(plan: Plan) -> float | None:
    """The largest share for vLLM with which the plan still fits, where its cache is what limits the rollout."""
    if not plan.fits or plan.time.rollout.limited_by != CACHE:
        return None
    shares = [n / 20 for n in range(18, 1, -1) if n / 20 > plan.run.gpu_memory_utilization + 0.01]
    return next((share for share in shares if _with_share(plan, share).fits), None)


def _with_share(plan: Plan, share: float) -> Plan:
    return make(plan.shape, replace(plan.run, gpu_memory_utilization=share), plan.card, plan.assumed)


def apply(run: Setting, overrides: Mapping[str, str]) -> Setting:
    """``run`` with suggested overrides, as composing them would give it (a test compares the two)."""
    if TOKENS in overrides and run.logprob_follows:
        run = replace(run, logprob_tokens=int(overrides[TOKENS]))
    for key, value in overrides.items():
        name, convert = FIELDS[key]
        run = with_nodes(run, int(value)) if name == "nodes" else replace(run, **{name: convert(value)})
    return run


def _flag(text: str) -> bool:
    return text == "true"


TOKENS = f"{ACTOR}.ppo_max_token_len_per_gpu"
LOGPROB_TOKENS = f"{ROLLOUT}.log_prob_max_token_len_per_gpu"
PARALLEL = f"{ACTOR}.ulysses_sequence_parallel_size"
SHARE = f"{ROLLOUT}.gpu_memory_utilization"
GROUP = f"{ROLLOUT}.tensor_model_parallel_size"
FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    f"{MODEL}.enable_gradient_checkpointing": ("checkpointing", _flag),
    TOKENS: ("update_tokens", int),
    LOGPROB_TOKENS: ("logprob_tokens", int),
    SHARE: ("gpu_memory_utilization", float),
    f"{FSDP}.optimizer_offload": ("optimizer_offload", _flag),
    f"{FSDP}.param_offload": ("param_offload", _flag),
    PARALLEL: ("sequence_parallel", int),
    GROUP: ("tensor_parallel", int),
    f"{FSDP}.offload_policy": ("offload_policy", _flag),
    "trainer.nnodes": ("nodes", int),
}


def _switch(key: str, *phases: str) -> Callable[[Plan, str], Change | None]:
    """A knob that is off and can be switched on, where one of ``phases`` is what does not fit."""

    def knob(plan: Plan, where: str) -> Change | None:
        if getattr(plan.run, FIELDS[key][0]) or not where.startswith(phases):
            return None
        return {key: "true"}, apply(plan.run, {key: "true"})

    return knob


def _fewer_tokens(key: str, phase: str) -> Callable[[Plan, str], Change | None]:
    """Smaller micro-batches, halved, as far as one sequence still fits into one."""

    def knob(plan: Plan, where: str) -> Change | None:
        tokens = getattr(plan.run, FIELDS[key][0])
        least = -(-plan.run.longest // plan.run.sequence_parallel)
        fewer = max(least, tokens // 2)
        if not plan.run.dynamic or not where.startswith(phase) or fewer >= tokens:
            return None
        return {key: str(fewer)}, apply(plan.run, {key: str(fewer)})

    return knob


def _share(plan: Plan, where: str) -> Change | None:
    """vLLM's share, down where the rollout does not fit and up where the cache is too small, by 0.05."""
    if not where.startswith(("rollout", CACHE, "weight sync")):
        return None
    step = 0.05 if where == CACHE else -0.05
    share = max(0.1, round(plan.run.gpu_memory_utilization + step, 2))
    if share > 0.9:
        return None
    return {SHARE: f"{share:g}"}, apply(plan.run, {SHARE: f"{share:g}"})


def _sequence_parallel(plan: Plan, where: str) -> Change | None:
    """Ulysses: a sequence over more GPUs, within a node, as far as the heads can be divided."""
    run, wider = plan.run, 2 * plan.run.sequence_parallel
    if not where.startswith(("update: backward", "log-prob", "reference")) or not (run.dynamic and run.packed):
        return None
    if wider > run.gpus_per_node or run.gpus_per_node % wider or plan.shape.heads % wider:
        return None
    least = -(-run.longest // wider)
    keys = {PARALLEL: str(wider), TOKENS: str(max(least, run.update_tokens // 2))}
    keys[LOGPROB_TOKENS] = str(max(least, run.logprob_tokens // 2))
    return keys, apply(run, keys)


def _tensor_parallel(plan: Plan, where: str) -> Change | None:
    """vLLM's weights over more GPUs, within a node, as far as the heads can be divided."""
    run, wider = plan.run, 2 * plan.run.tensor_parallel
    if not where.startswith(("rollout", CACHE, "weight sync")):
        return None
    if wider > run.gpus_per_node or run.gpus_per_node % wider or plan.shape.heads % wider:
        return None
    return {GROUP: str(wider)}, apply(run, {GROUP: str(wider)})


def _more_nodes(plan: Plan, where: str) -> Change | None:
    """Twice the nodes, so that each GPU has half of the weights and states."""
    nodes = 2 * plan.run.nodes
    if nodes > MOST_NODES:
        return None
    return {"trainer.nnodes": str(nodes)}, apply(plan.run, {"trainer.nnodes": str(nodes)})


KNOBS: tuple[Callable[[Plan, str], Change | None], ...] = (
    _switch(f"{MODEL}.enable_gradient_checkpointing", "update: backward"),
    _fewer_tokens(TOKENS, "update: backward"),
    _fewer_tokens(LOGPROB_TOKENS, "log-prob"),
    _fewer_tokens(LOGPROB_TOKENS, "reference"),
    _share,
    _switch(f"{FSDP}.optimizer_offload", "rollout", "weight sync", "log-prob", "reference", CACHE),
    _switch(f"{FSDP}.param_offload", "rollout", "weight sync", "reference", CACHE),
    _tensor_parallel,
    _sequence_parallel,
    _switch(f"{FSDP}.offload_policy", "update", "log-prob"),
    _more_nodes,
)
"""In the order in which they are tried."""
