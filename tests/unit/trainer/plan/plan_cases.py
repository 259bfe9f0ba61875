"""Runs and models that the tests of the plan share."""

import functools

from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.plan.assumptions import Assumptions
from tr_grpo.trainer.plan.devices import card
from tr_grpo.trainer.plan.planning import Plan, make
from tr_grpo.trainer.plan.setting import Setting, read
from tr_grpo.trainer.plan.shapes import KNOWN, ModelShape

QWEN_3B = KNOWN["Qwen/Qwen2.5-3B-Instruct"]
QWEN_7B = KNOWN["Qwen/Qwen2.5-7B"]


@functools.cache
def run(*overrides: str) -> Setting:
    """A preset's run; composing takes half a second, so each is read once."""
    return read(compose(overrides))


def node() -> Setting:
    """Knights & Knaves on four 80 GB cards: the paper's setting."""
    return run("llm=qwen2_5_3b_instruct", "cluster=node_4x80gb")


def plan(setting: Setting, shape: ModelShape = QWEN_3B, on: str = "H100", assumed: Assumptions | None = None) -> Plan:
    """A plan with the usual assumptions."""
    return make(shape, setting, card(on), assumed or Assumptions())
