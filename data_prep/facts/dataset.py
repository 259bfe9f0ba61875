"""From a config to ``train.parquet``, ``test.parquet``, ``corpus.jsonl`` and ``manifest.json``."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts.proof import known_facts, prove_apart, read_questions
from tr_grpo.data_prep.facts.questions import KINDS, Question, path
from tr_grpo.data_prep.facts.world import PEOPLE_TEST_ONE_IN, TOWNS_TEST_ONE_IN, World, draw_world, person_side
from tr_grpo.data_prep.schema import Row, arrow_schema, validate_parquet, write_rows
from tr_grpo.data_prep.storage import SPLITS, Manifest, OutputFolder, digest_of, sha256, write_atomic
from tr_grpo.search.passage import Passage

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1  # raise it when the same config gives other files
DATA_SOURCE = "search_qa/facts"
AGENT = "search_r1"
"""The agent loop that verl runs for each row."""
CORPUS = "corpus.jsonl"
BYTES_PER_ROW = 400  # upper bound, questions and passages alike


@dataclass(frozen=True)
class FactsConfig:
    """A world of ``people``, and ``train`` and ``test`` questions in all, as many of each number of ``hops``."""

    out: Path
    people: int = 480
    train: int = 2000
    test: int = 200
    hops: tuple[int, ...] = (1, 2)
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.hops or len(set(self.hops)) != len(self.hops) or not set(self.hops) <= {1, 2}:
            raise InputError(f"hops: {list(self.hops)} must be 1, 2 or both, each once")
        if self.train < 1 or self.test < 1:
            raise InputError(f"train {self.train}, test {self.test}: both counts must be 1 or more")
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed: {self.seed} does not fit into 64 bits")

    @property
    def folder(self) -> OutputFolder:
        """The output folder for exactly this config."""
        return OutputFolder(Path(self.out), digest_of({"format": FORMAT, **self.settings()}), (CORPUS,))

    def settings(self) -> dict[str, Any]:
        """What decides the files' contents, as JSON values."""
        counts = {"people": self.people, "train": self.train, "test": self.test}
        return {**counts, "hops": list(self.hops), "seed": self.seed}


def build_facts(config: FactsConfig) -> Manifest:
    """Write the data set and return its manifest; with the same config a second call returns at once.

    The same config gives the same bytes. Raises ``InputError`` where the world has too few questions, the folder
    holds something else, or it cannot be written.
    """
    folder = config.folder
    done = folder.finished()
    if done is not None:
        return done
    world = draw_world(config.seed, config.people)
    rows = {split: list(_rows(split, getattr(config, split), world, config)) for split in SPLITS}
    corpus = world.corpus
    folder.open(config.overwrite, (config.train + config.test + len(corpus)) * BYTES_PER_ROW)
    write_atomic(folder.path / CORPUS, lambda temporary: _write_corpus(temporary, corpus))
    for split in SPLITS:
        _write(folder.file(split), rows[split])
    manifest = _manifest(config)
    folder.finish(manifest)
    return manifest


def schema() -> pa.Schema:
    """verl's schema with this task's ``extra_info``, the list of right answers, and the agent loop's name."""
    import pyarrow as pa

    text = pa.string()
    extra_info = [
        ("hops", pa.int64()),
        ("kind", text),
        ("entity", text),
        ("support", pa.list_(text)),
        ("seed", pa.int64()),
    ]
    truth = pa.struct([("target", pa.list_(text))])
    return arrow_schema(extra_info, truth, [("agent_name", text)])


def to_row(question: Question, world: World, split: str, index: int, seed: int) -> Row:
    """One row of verl's schema; ``support`` holds the titles of the passages that lead to the answer."""
    *support, answer = path(question, world)
    return {
        "data_source": DATA_SOURCE,
        "prompt": messages(question),
        "ability": "search",
        "reward_model": {"style": "rule", "ground_truth": {"target": [answer]}},
        "extra_info": {
            "index": index,
            "split": split,
            "hops": question.kind.hops,
            "kind": question.kind.name,
            "entity": question.person,
            "support": support,
            "seed": seed,
        },
        "agent_name": AGENT,
    }


def messages(question: Question) -> list[dict[str, str]]:
    """The question as chat messages."""
    return [{"role": "user", "content": question.text}]


def read_corpus(path: Path) -> list[Passage]:
    """The passages of a corpus file in Search-R1's layout; InputError names the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror}); give a folder of `prep facts`") from error
    passages = []
    for number, line in enumerate(lines, start=1):
        try:
            passages.append(Passage.of_wire(json.loads(line)))
        except ValueError as error:
            raise InputError(f"{path}: line {number} is no passage ({error}); prepare it again") from error
    return passages


def _rows(split: str, count: int, world: World, config: FactsConfig) -> Iterator[Row]:
    """``count`` different questions about the people of one side, the numbers of hops in turn."""
    rng = Random(f"facts/questions/{config.seed}/{split}")
    people = [name for name in world.people if person_side(name) == split]
    pools: dict[int, list[Question]] = {}
    for hops in config.hops:
        pools[hops] = [Question(name, kind) for name in people for kind in KINDS if kind.hops == hops]
        rng.shuffle(pools[hops])
    for index in range(count):
        hops = config.hops[index % len(config.hops)]
        if not pools[hops]:
            raise InputError(
                f"--{split} {count}: {len(people)} people have no more questions of {hops} hops after {index}; "
                f"lower --{split} or raise --people"
            )
        drawn = pools[hops].pop()
        question = Question(drawn.person, drawn.kind, rng.randrange(len(drawn.kind.wordings)))
        yield to_row(question, world, split, index, config.seed)


def _write(path: Path, rows: Sequence[Row]) -> None:
    write_atomic(path, lambda temporary: write_rows(temporary, rows, schema()))


def _write_corpus(path: Path, corpus: Sequence[Passage]) -> None:
    path.write_text("".join(json.dumps(passage.wire()) + "\n" for passage in corpus), encoding="utf-8")


def _manifest(config: FactsConfig) -> Manifest:
    """The manifest, from what was read back from the files."""
    folder = config.folder
    corpus = read_corpus(folder.path / CORPUS)
    known = known_facts(corpus)
    files: dict[str, dict[str, Any]] = {CORPUS: {"rows": len(corpus), "sha256": sha256(folder.path / CORPUS)}}
    read = {}
    for split in SPLITS:
        file = folder.file(split)
        files[file.name] = {"rows": validate_parquet(file), "sha256": sha256(file)}
        read[split] = read_questions(file, known)
    sides = {
        "people_test_side": f"1 in {PEOPLE_TEST_ONE_IN}, by hash",
        "towns_test_side": f"1 in {TOWNS_TEST_ONE_IN}, by hash",
    }
    return {
        "format": FORMAT,
        "source": "generated",
        "seed": config.seed,
        "config": config.settings(),
        "config_sha256": folder.digest,
        "counts": {split: dict(sorted(Counter(q.kind.name for q in read[split]).items())) for split in SPLITS},
        "files": files,
        "answers": {"rows": sum(map(len, read.values())), "in_corpus": True, "exactly_one": True, "proved": True},
        "separation": prove_apart(read["train"], read["test"], known) | sides,
        "versions": {name: version(name) for name in ("tr-grpo", "pyarrow")} | {"python": platform.python_version()},
    }
