"""Two evaluations compared problem by problem: what one model is better by, on these problems.

That says something of two models and nothing of two methods, which need several runs each (``comparison.py``).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tr_grpo.analysis import paired
from tr_grpo.analysis.comparison import refusal
from tr_grpo.analysis.config_difference import Differences, differences, under
from tr_grpo.data_prep.errors import InputError

RECORD = "evaluation.json"
# What is compared, where it ran, and how many problems there were, of which the data's digests say more.
FREE = ("model", "versions", "engine.device", "problems", "sampling.samples", "sampling.greedy", "sampling.seed")


@dataclass(frozen=True)
class EvaluationComparison:
    """One model's accuracy less another's.

    Attributes:
        folders: of the evaluations; the first is the baseline.
        measure: ``avg`` over a problem's samples, or ``greedy``.
        accuracies: of both, mean over the problems.
        problems: that both answered.
        difference: second minus first, with its interval and test over problems.
        needed: problems to see such a difference (``paired.pairs_needed``).
        allowed: settings that differ and were let pass.
        notes: what a reader has to know.
    """

    folders: tuple[str, str]
    measure: str
    accuracies: tuple[float, float]
    problems: int
    difference: paired.Difference
    needed: int | None
    allowed: Differences
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What may be said, with its numbers."""
        found, (first, second) = self.difference, self.folders
        more = "better" if found.mean > 0 else "worse"
        said = f"{second} is {100 * abs(found.mean):.1f} points {more} than {first}" if found.mean else "Both are equal"
        said += (
            f" over {self.problems} problems ({self.measure}; 95 % interval over problems {100 * found.low:+.1f} to "
            f"{100 * found.high:+.1f}, sign-flip p = {found.p:.2g})."
        )
        if found.low <= 0 <= found.high:
            said += " The interval holds 0: these problems do not show a difference."
        if self.needed is not None:
            said += (
                f" A difference of this size is seen with a power of {paired.POWER:.0%} from {self.needed} problems on."
            )
        return f"{said} That is about these two models: of a method, only several runs of each say something."

    def text(self, markdown: bool = False) -> str:
        """The accuracies, the sentence and the notes."""
        measured = zip(self.folders, self.accuracies, strict=True)
        lines = [f"{self.measure} of {name}: {100 * value:.1f}" for name, value in measured]
        if self.allowed:
            lines.append(f"differs beside the model, allowed: {', '.join(self.allowed)}")
        lines = ["- " + line for line in lines] if markdown else lines
        bullet = "- " if markdown else "note: "
        return "\n".join([*lines, "", self.sentence, *([""] if self.notes else []), *(bullet + x for x in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """Everything as numbers, with the sentence."""
        return asdict(self) | {"sentence": self.sentence}


def is_evaluation(folder: Path) -> bool:
    """Whether the folder is the ``--out`` of ``tr-grpo evaluate``."""
    return (folder / RECORD).is_file()


def compare_evaluations(folders: Sequence[Path], allow: Sequence[str] = ()) -> EvaluationComparison:
    """Compare the evaluations of two models, problem by problem.

    Args:
        folders: two of ``tr-grpo evaluate``.
        allow: keys, or prefixes, of ``evaluation.json`` that may differ beside the model.

    Raises:
        InputError: not two evaluations, other settings or problems, or fewer than two problems in common.
    """
    from tr_grpo.analysis.evaluate.samples import Sample, SampleFolder
    from tr_grpo.analysis.evaluate.settings import SAMPLES, read_record

    if len(folders) != 2 or not all(map(is_evaluation, folders)):
        raise InputError(f"{', '.join(map(str, folders))}: name two evaluations, or run folders only")
    first, second = map(str, folders)
    if folders[0].resolve() == folders[1].resolve():
        raise InputError(f"{first}: the same evaluation twice; name another")
    records = {str(folder): read_record(folder) for folder in folders}
    plans = [record["sampling"] for record in records.values()]
    measure = "avg" if all(plan["samples"] for plan in plans) else "greedy"
    if measure == "greedy" and not all(plan["greedy"] for plan in plans):
        raise InputError(f"{first} and {second}: one has samples only, the other greedy responses only; evaluate again")
    # The same files may lie elsewhere; their digests tell.
    plain = {name: record | {"data": sorted(record["data"].values())} for name, record in records.items()}
    found = {key: values for key, values in differences(plain).items() if not under(key, FREE)}
    refused = {key: values for key, values in found.items() if not under(key, allow)}
    if refused:
        raise InputError(refusal(refused, "the evaluations differ in more than the model"))

    def rates(folder: Path) -> dict[tuple[str, str], float]:
        right: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
        for sample in SampleFolder(folder / SAMPLES).read():
            if _counts(sample):
                right[sample.data_source, sample.problem].append(sample.right)
        return {problem: sum(own) / len(own) for problem, own in right.items()}

    def _counts(sample: Sample) -> bool:
        return sample.scored and sample.greedy == (measure == "greedy")

    one, other = map(rates, folders)
    common = sorted(one.keys() & other.keys())
    if len(common) < 2:
        raise InputError(f"{first} and {second}: {len(common)} scored problems in common; finish both evaluations")
    pairs = [(one[problem], other[problem]) for problem in common]
    notes = [
        f"{name}: {len(own) - len(common)} problems left out, the other evaluation has no scored answer to them"
        for name, own in zip(records, (one, other), strict=True)
        if len(own) > len(common)
    ]
    difference = paired.compare([b for _, b in pairs], [a for a, _ in pairs])
    return EvaluationComparison(
        folders=(first, second),
        measure=measure,
        accuracies=(sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)),
        problems=len(pairs),
        difference=difference,
        needed=paired.pairs_needed([b - a for a, b in pairs]),
        allowed=found,
        notes=tuple(notes),
    )
