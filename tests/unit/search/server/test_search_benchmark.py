"""The benchmark's corpus, clients and peer are what its results say they are."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import uvloop
from search_serving import OverlapRetriever, serving

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from benchmarks import search_corpus
from benchmarks.search_load import Load, run
from benchmarks.search_soak import growth


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    search_corpus.write(path, 300)
    return path


def test_the_same_seed_gives_the_same_corpus_whatever_its_size(corpus: Path, tmp_path: Path) -> None:
    search_corpus.write(tmp_path / "again.jsonl", 300)
    assert (tmp_path / "again.jsonl").read_bytes() == corpus.read_bytes()
    assert search_corpus.questions(corpus, 50) == search_corpus.questions(corpus, 50)


def test_words_follow_zipf_mandelbrot_and_passages_have_about_a_hundred(corpus: Path) -> None:
    texts = [json.loads(line)["contents"].split("\n")[1].split() for line in corpus.open()]
    assert 95 < np.mean([len(text) for text in texts]) < 105
    shares = np.array([count for _, count in Counter(word for text in texts for word in text).most_common(30)], float)
    ranks = np.arange(1, 31) + search_corpus.SHIFT
    slope = np.polyfit(np.log(ranks), np.log(shares), 1)[0]
    assert slope == pytest.approx(-search_corpus.EXPONENT, abs=0.15)
    assert len({search_corpus.word(rank) for rank in range(20_000)}) == 20_000


def test_questions_are_distinct_and_of_words_of_one_passage(corpus: Path) -> None:
    texts = [set(json.loads(line)["contents"].split("\n")[1].split()) for line in corpus.open()]
    found = search_corpus.questions(corpus, 200)
    assert len(set(found)) == 200
    assert all(any(set(question.split()) <= text for text in texts) for question in found)


def test_clients_ask_each_question_once_and_count_every_answer(tmp_path: Path) -> None:
    questions = [f"town {number}" for number in range(1_000_000 // 100)]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(questions))
    with serving(OverlapRetriever()) as server:
        load = Load("127.0.0.1", int(server.url.rpartition(":")[2]), 4, 0.3, str(file), queries=2)
        result = uvloop.run(run(load))
        asked = [query for batch in server.retriever.batches for query in batch]
        assert len(asked) == server.metric("queries_total") == 2 * server.metric("requests_total")
    assert set(asked[:1000]) <= set(questions)
    assert len(set(asked)) == min(len(asked), len(questions))
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]
    assert result["rate"] > 0


def test_growth_is_the_slope_of_each_worker() -> None:
    lines = [
        {"at": at, "pid": pid, "uss_mb": 100 + pid * at / 60, "fds": 9} for at in range(0, 120, 5) for pid in (0, 3)
    ]
    found = growth(lines, 60)
    assert found["0"]["mb_a_minute"] == pytest.approx(0, abs=1e-9)
    assert found["3"]["mb_a_minute"] == pytest.approx(3)
    assert found["3"]["first_mb"] == 103
