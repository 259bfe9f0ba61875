"""Which tokens drive an update: by probability, and by what they are for."""

from collections import Counter

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tr_grpo.data_prep.tiny_model.talkative import SYNONYMS
from tr_grpo.recipe.weights import TokenWeight

BANDS = ("lower", "ramp", "upper")
"""Where TR-GRPO's default weight is for a token: at its lower clip, between, at its upper clip."""
KINDS = ("choice", "wording", "role", "logic", "answer")
"""What a token is for. choice: the first word, which decides between thinking and guessing. wording: later openings,
connectives and remarks, which the puzzle does not decide. role: knight, knave and their synonyms in the thought.
logic: names, verdicts and marks of the thought. answer: everything from ``</think>`` on."""
DEFAULT = TokenWeight()


def bands(probability: Tensor) -> Tensor:
    """Index into ``BANDS`` of each token's probability, any shape."""
    weight = DEFAULT(probability)
    return (weight > DEFAULT.lower).long() + (weight >= DEFAULT.upper).long()


def probability_histogram(probability: Tensor, parts: int = 20) -> dict[str, list[float]]:
    """Shares of tokens (N,) in ``parts`` equal parts of [0, 1], and in ``BANDS``."""
    equal = torch.histc(probability, parts, 0.0, 1.0) / len(probability)
    by_band = torch.bincount(bands(probability), minlength=len(BANDS)) / len(probability)
    return {"parts": equal.tolist(), "bands": by_band.tolist()}


class Kinds:
    """Tells what each token of a response is for, by the tokenizer's ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        def ids(*meanings: str) -> Tensor:
            return torch.tensor([tokenizer(f" {word}").input_ids[0] for m in meanings for word in SYNONYMS[m]])

        self._wording, self._role = ids("if", "then", "remark"), ids("knight", "knave")
        self._end_of_thought = tokenizer.convert_tokens_to_ids("</think>")

    def __call__(self, responses: Tensor) -> Tensor:
        """Index into ``KINDS`` of each token; ``responses`` (R, T) from the first token on."""
        kinds = torch.full_like(responses, KINDS.index("logic"))
        kinds[torch.isin(responses, self._wording)] = KINDS.index("wording")
        kinds[torch.isin(responses, self._role)] = KINDS.index("role")
        kinds[:, 1:2] = KINDS.index("choice")
        kinds[(responses == self._end_of_thought).cumsum(1) > 0] = KINDS.index("answer")
        return kinds


class Mass:
    """The mass |dL/dlog pi| * (1 - pi) of an update (recipe/token_ledger.py), added up by band and by kind."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()

    def add(self, probability: Tensor, gradient: Tensor, kinds: Tensor) -> None:
        """Add tokens, all (N,): pi, dL/dlog pi, index into ``KINDS``."""
        mass = (gradient.abs() * (1 - probability)).double()
        band = bands(probability)
        for names, index in ((BANDS, band), (KINDS, kinds)):
            sums = torch.zeros(len(names), dtype=torch.float64).index_add_(0, index, mass)
            self.total.update(dict(zip(names, sums.tolist(), strict=True)))

    def shares(self) -> dict[str, float]:
        """``mass_<band>`` and ``mass_<kind>``: shares of the whole; 0 where there is no gradient."""
        whole = sum(self.total[name] for name in BANDS) or 1.0
        return {f"mass_{name}": self.total[name] / whole for name in (*BANDS, *KINDS)}
