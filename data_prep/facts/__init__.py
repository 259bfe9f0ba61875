"""Facts: a made-up world of people and towns, its corpus, and questions of one and two hops, split by entity."""

from tr_grpo.data_prep.facts.dataset import FactsConfig, build_facts
from tr_grpo.data_prep.facts.questions import KINDS, Kind, Question
from tr_grpo.data_prep.facts.world import Person, Town, World, draw_world, side

__all__ = [
    "KINDS",
    "FactsConfig",
    "Kind",
    "Person",
    "Question",
    "Town",
    "World",
    "build_facts",
    "draw_world",
    "side",
]
