"""Knights and knaves: puzzles with exactly one solution, separated into train and test by proof."""

from tr_grpo.data_prep.knights_knaves.canonical import logical_form, wording_form
from tr_grpo.data_prep.knights_knaves.config import KINDS, NAMES, GenerationConfig
from tr_grpo.data_prep.knights_knaves.dataset import DatasetConfig, build_dataset
from tr_grpo.data_prep.knights_knaves.generate import generate
from tr_grpo.data_prep.knights_knaves.importers import ImportConfig, import_dataset
from tr_grpo.data_prep.knights_knaves.logic import Puzzle, Statement, claim_holds, parse_claims, solutions
from tr_grpo.data_prep.knights_knaves.wording import claim_text, render_prompt, render_solution

__all__ = [
    "KINDS",
    "NAMES",
    "DatasetConfig",
    "GenerationConfig",
    "ImportConfig",
    "Puzzle",
    "Statement",
    "build_dataset",
    "claim_holds",
    "claim_text",
    "generate",
    "import_dataset",
    "logical_form",
    "parse_claims",
    "render_prompt",
    "render_solution",
    "solutions",
    "wording_form",
]
