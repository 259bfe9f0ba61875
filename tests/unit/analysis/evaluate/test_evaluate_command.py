"""The command without a model: bad input is one clear line before anything starts, and tables print again."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_samples import made, record
from omegaconf import OmegaConf
from typer.testing import CliRunner

from tr_grpo.analysis.evaluate import workers
from tr_grpo.analysis.evaluate.problems import Problem
from tr_grpo.analysis.evaluate.samples import write_part
from tr_grpo.analysis.evaluate.settings import Sampling, seed_of
from tr_grpo.analysis.evaluate.worker import jobs
from tr_grpo.analysis.quickstart import PUZZLES
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves import DatasetConfig, build_dataset
from tr_grpo.data_prep.tiny_model.files import copy_shipped
from tr_grpo.trainer.cli import app

GROUPS = ["task=knights_knaves", "llm=tiny", "cluster=cpu"]


@pytest.fixture(autouse=True)
def sigterm_as_before() -> Iterator[None]:
    """The command takes SIGTERM for Ctrl-C; the tests' own process does not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run(*words: str) -> Any:
    """The command's result; what it raises is in ``exception``."""
    return CliRunner().invoke(app, ["evaluate", *words])


def error(*words: str) -> str:
    """The one line of bad input."""
    result = run(*words)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    build_dataset(DatasetConfig(folder / "data", (3,), 8, 4, 0, PUZZLES))
    copy_shipped(folder / "model")
    return folder


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """An evaluation whose samples are all there."""
    out = tmp_path / "out"
    (out / "samples").mkdir(parents=True)
    (out / "evaluation.json").write_text(json.dumps(record()))
    samples = [made(problem, number, number == 0) for problem in "ab" for number in range(4)]
    write_part(out / "samples" / "part-0001-000-000000.parquet", samples)
    return out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name a MODEL and a folder --out"),
        (["model"], "name a MODEL and a folder --out"),
        (["model", "--out", "o", "--table", "fancy"], "--table fancy: has to be standard or paper"),
        (["model", "--out", "o", "--format", "pdf"], "--format pdf: has to be one of text, md, json, csv"),
        (["model", "--out", "o", "--format", "csv", "--table", "paper"], "is text or md"),
        (["model", "--out", "o", "--k", "1,x"], "--k 1,x: has to be numbers"),
        (["model", "--out", "o", "--k", "0"], "--k 0: has to be numbers"),
        (["model", "more", "--out", "o"], "more: neither an option nor a Hydra override"),
        (["model", "--out", "o"], "model: no such folder"),
        (["model", "--from", "o"], "leave MODEL and --out out"),
        (["--from", "gone"], "gone: no evaluation there"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    line = error(*words)
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--samples", "4", "--k", "8"], "--k 8: there are 4 samples a problem"),
        (["--samples", "4", "--temperature", "0"], "use --greedy instead"),
        (["--samples", "0"], "nothing to do"),
        (["--devices", "0"], "--devices 0: has to be at least 1"),
        (["reward.reward_kwargs.rule=gone"], "TR302"),
        (["data.max_response_lenght=4"], "did you mean data.max_response_length"),
        (["--max-tokens", "100000"], "TR605"),
        (["actor_rollout_ref.rollout.agent.default_agent_loop=gone"], "gone"),
        (["--step", "3"], "leave --step out"),
    ],
)
def test_what_does_not_fit_is_found_before_a_process_starts(
    files: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    out = tmp_path / "out"
    line = error(f"{files}/model", *GROUPS, "--data", f"{files}/data", "--out", str(out), *words)
    assert told in line
    assert not (out / "evaluation.json").exists()


def test_a_table_is_printed_again_from_the_samples_alone(finished: Path) -> None:
    result = run("--from", str(finished), "--format", "csv", "--k", "1,3")
    assert result.exit_code == 0
    assert "sums,,pass@3,0.75," in result.stdout
    assert run("--from", str(finished), "--format", "csv", "--k", "1,3").stdout == result.stdout
    assert "avg@4" in run("--from", str(finished)).stdout


def test_unscored_samples_are_said_and_are_exit_status_1(finished: Path) -> None:
    bad = [made("a", 1, verdict="error", score=None)]
    write_part(finished / "samples" / "part-0002-000-000000.parquet", bad)
    result = run("--from", str(finished))
    assert result.exit_code == 1
    assert "error: 1 of 8 samples could not be scored" in result.stderr
    assert "avg@4" in result.stdout  # the table is printed all the same


def test_no_samples_yet_is_said(finished: Path) -> None:
    (finished / "samples" / "part-0001-000-000000.parquet").unlink()
    assert "no samples yet" in error("--from", str(finished))


def test_two_evaluations_never_write_into_one_folder(tmp_path: Path) -> None:
    with workers.locked(tmp_path / "out"):
        assert "another evaluation is writing there" in error("model", "--out", str(tmp_path / "out"))
    with workers.locked(tmp_path / "out"):
        pass  # free again


def test_every_device_group_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = OmegaConf.create({"trainer": {"device": "cpu"}})
    assert workers.place(config, None).groups == ("",)
    assert workers.place(config, 3).groups == ("", "", "")
    monkeypatch.setattr(workers, "_visible_gpus", lambda: ["4", "5", "6", "7"])
    rollout = {"rollout": {"tensor_model_parallel_size": 2}}
    config = OmegaConf.create({"trainer": {"device": "cuda"}, "actor_rollout_ref": rollout})
    assert workers.place(config, None).groups == ("4,5", "6,7")
    assert workers.place(config, 2).groups == ("4,5",)
    for devices in (3, 6):
        with pytest.raises(InputError, match="tensor_model_parallel_size=2 has to divide it"):
            workers.place(config, devices)
    monkeypatch.setattr(workers, "_visible_gpus", list)
    with pytest.raises(InputError, match="no GPU is visible"):
        workers.place(config, None)


def test_only_what_is_missing_is_made_and_no_sample_twice() -> None:
    problems = [Problem(name, "sums", "", None, {}) for name in "abcde"]
    sampling = Sampling(2, True, 1.0, 1.0, -1, 8, 0)
    everything = [(p.id, n, g) for p, n, g in jobs(problems, sampling, set())]
    assert len(everything) == len(set(everything)) == 15
    done = set(everything[::2])
    rest = [(p.id, n, g) for p, n, g in jobs(problems, sampling, done)]
    assert set(rest) == set(everything) - done
    shares = [[(p.id, n, g) for p, n, g in jobs(problems[rank::2], sampling, done)] for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == sorted(rest)


def test_the_seed_of_a_request_depends_on_everything_that_tells_samples_apart() -> None:
    seeds = {seed_of(seed, name, number) for seed in range(3) for name in "ab" for number in range(50)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, "a", 2) == seed_of(1, "a", 2)


def test_the_training_scorer_judges_and_tells_what_it_read(files: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

    from tr_grpo.analysis.evaluate.judge import Judge
    from tr_grpo.analysis.evaluate.problems import read_problems
    from tr_grpo.reward.knights_knaves import examples, parse_solution
    from tr_grpo.trainer.compose import compose

    config = compose([*GROUPS, f"reward.reward_kwargs.error_folder={tmp_path}"])
    tokenizer = AutoTokenizer.from_pretrained(files / "model")
    (problem, *_) = read_problems([files / "data" / "test.parquet"])
    right, wrong = examples(parse_solution(problem.ground_truth))

    async def judged(text: str, problem: Problem) -> Any:
        ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        output = AgentLoopOutput(
            prompt_ids=[1, 2], response_ids=ids, response_mask=[1] * len(ids), num_turns=2, metrics=AgentLoopMetrics()
        )
        return await Judge(config, tokenizer).sample(problem, 3, False, output, 0.25)

    good, bad = (asyncio.run(judged(text, problem)) for text in (right, wrong))
    assert (good.verdict, good.score, good.right, good.key) == ("right", 1.1, True, (problem.id, 3, False))
    assert good.answer is not None
    assert bad.answer != good.answer
    assert (bad.verdict, bad.score) == ("wrong", 0.1)
    spoilt = Problem(problem.id, "knights_knaves", "", None, problem.row | {"reward_model": {"ground_truth": "nobody"}})
    failed = asyncio.run(judged(right, spoilt))
    assert (failed.verdict, failed.score, failed.scored) == ("error", None, False)
    assert len(list(tmp_path.glob("scoring_errors-*.jsonl"))) == 1
