"""The table of sources: FlashRAG's copies of the usual sets, Search-R1's own file, and a file of your own.

Splits are Search-R1's (``scripts/data_process/qa_search_test_merge.py``): the test split where there is one, else dev.
NQ's and TriviaQA's dev splits stay unused. Counts are FlashRAG's (arXiv 2405.13576).
"""

from __future__ import annotations

from tr_grpo.data_prep.math.sources import NOT_STATED, Source, Split

FLASHRAG = "RUC-NLPIR/FlashRAG_datasets"
_LICENCE = "CC-BY-SA-4.0 (FlashRAG's card; each set has its own)"


def _flashrag(name: str, **splits: tuple[str, int]) -> Source:
    """One of FlashRAG's sets; ``splits``: what a split becomes = (its name there, its rows)."""
    parts = tuple(Split(there, to, rows) for to, (there, rows) in splits.items())
    return Source(name, FLASHRAG, name, parts, "question", "golden_answers", _LICENCE, source_id="id")


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        _flashrag("nq", train=("train", 79_168), test=("test", 3_610)),
        _flashrag("triviaqa", train=("train", 78_785), test=("test", 11_313)),
        _flashrag("popqa", test=("test", 14_267)),
        _flashrag("hotpotqa", train=("train", 90_447), test=("dev", 7_405)),
        _flashrag("2wikimultihopqa", train=("train", 15_000), test=("dev", 12_576)),
        _flashrag("musique", train=("train", 19_938), test=("dev", 2_417)),
        _flashrag("bamboogle", test=("test", 125)),
        # NQ and HotpotQA train in one file, and the seven test sets above in another.
        Source(
            "nq_hotpotqa_train",
            "PeterJinGo/nq_hotpotqa_train",
            None,
            (Split("train", "train", 169_615), Split("test", "test", 51_713)),
            "question",
            "golden_answers",
            NOT_STATED,
            source_id="id",
        ),
        Source("jsonl", "", None, (Split("train", "train", None),), "question", "", "of your own file"),
    )
}
