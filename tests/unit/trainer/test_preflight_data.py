"""Preflight of prompts and of the scorer's self-test: repetitions, roles, silence, functions that nobody calls."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from findings import Run, codes

from tr_grpo.trainer.preflight import data, reward
from tr_grpo.trainer.preflight.finding import Finding

Rows = list[dict]


def rewrite(source: Path, target: Path, change: Callable[[Rows], Rows]) -> Path:
    table = pq.read_table(source)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), target)
    return target


@pytest.fixture
def found(run: Run, files: Path, tmp_path: Path) -> Callable[..., list[Finding]]:
    def check(change: Callable[[Rows], Rows], *overrides: str) -> list[Finding]:
        path = rewrite(files / "data/train.parquet", tmp_path / "changed.parquet", change)
        return list(data.check(run(f"data.train_files={path}", *overrides)))

    return check


def test_the_healthy_data_have_no_finding(found: Callable[..., list[Finding]]) -> None:
    assert codes(found(lambda rows: rows)) == []


def test_a_file_that_is_not_there_ends_the_check(run: Run, tmp_path: Path) -> None:
    assert codes(list(data.check(run(f"data.train_files={tmp_path}/gone.parquet")))) == ["TR201"]


def test_repeated_prompts_are_counted(found: Callable[..., list[Finding]]) -> None:
    (finding,) = found(lambda rows: rows + rows[:10])
    assert finding.code == "TR206"
    assert "10 of 50 prompts" in finding.message


def test_few_repetitions_are_an_accident(found: Callable[..., list[Finding]]) -> None:
    def many(rows: Rows) -> Rows:
        texts = [row | {"prompt": [{"role": "user", "content": f"{i}?"}]} for i in range(10) for row in rows[:1]]
        unique = [row | {"prompt": [{"role": "user", "content": f"{i} + {j}?"}]} for i in range(40) for j in range(5) for row in rows[:1]]  # fmt: skip # noqa: E501
        return unique + texts[:1] + unique[:2]

    assert codes(found(many)) == []


def test_a_validation_prompt_that_is_trained_on_is_found(
    found: Callable[..., list[Finding]], run: Run, files: Path, tmp_path: Path
) -> None:
    test = pq.read_table(files / "data/test.parquet").to_pylist()
    (finding,) = found(lambda rows: rows + test[:3])
    assert finding.code == "TR207"
    assert "test.parquet: 3 prompts" in finding.message


def roles(*names: str) -> Callable[[Rows], Rows]:
    """Each prompt's first message under these roles in turn."""
    return lambda rows: [
        row | {"prompt": [{"role": name, "content": row["prompt"][0]["content"]} for name in names]} for row in rows
    ]


def test_a_prompt_is_to_end_with_the_user(found: Callable[..., list[Finding]]) -> None:
    room = "data.max_prompt_length=400"
    assert "ends with a message of assistant" in found(roles("user", "assistant"), room)[0].message
    assert "has the role 'human'" in found(roles("human"), room)[0].message
    assert {finding.code for finding in found(roles("human"), room)} == {"TR208"}
    assert codes(found(roles("system", "user"), room)) == []


def test_a_template_that_refuses_a_prompt_is_one_line(found: Callable[..., list[Finding]]) -> None:
    template = "actor_rollout_ref.model.custom_chat_template=\"{{ raise_exception('no\\nroles') }}\""
    finding = found(lambda rows: rows, template)[0]
    assert finding.code == "TR208"
    assert finding.message.endswith("row 0: the chat template refuses the prompt: no roles")


def test_a_limit_on_the_rows_is_a_limit_on_the_batches(found: Callable[..., list[Finding]]) -> None:
    assert codes(found(lambda rows: rows, "data.train_max_samples=7")) == ["TR202"]
    assert codes(found(lambda rows: rows, "data.train_max_samples=8")) == []


def test_a_scorer_that_pays_for_silence_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import tr_grpo.reward.knights_knaves as scorer

    judge = scorer.judge

    def lenient(response: str, solution: object, **rest: object) -> object:
        right, _ = scorer.examples(solution)
        return judge(response or right, solution, **rest)

    monkeypatch.setattr(scorer, "judge", lenient)
    (finding,) = reward.check(run())
    assert finding.code == "TR311"
    assert "row 0" in finding.message


def test_the_self_test_looks_beyond_the_first_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import tr_grpo.reward.knights_knaves as scorer

    seen = []
    examples = scorer.examples

    def once(solution: object) -> tuple[str, str]:
        seen.append(solution)
        return examples(solution) if len(seen) == 1 else ("nonsense", "nonsense")

    monkeypatch.setattr(scorer, "examples", once)
    (finding,) = reward.check(run())
    assert finding.code == "TR304"
    assert "row 5" in finding.message  # 40 rows, eight of them tried


def test_a_rule_that_pays_nothing_for_right_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import tr_grpo.reward.knights_knaves as scorer

    monkeypatch.setattr(scorer, "score", lambda judgement, rule: 1.0)
    assert codes(list(reward.check(run()))) == ["TR305"]


def test_a_reward_function_beside_our_manager_is_called_by_nobody(run: Run) -> None:
    assert codes(list(reward.check(run("reward.custom_reward_function.path=mine.py")))) == ["TR310"]


def test_an_own_reward_manager_is_loaded_before_ray(run: Run, tmp_path: Path) -> None:
    def found(name: str, path: Path) -> list[Finding]:
        own = [f"reward.reward_manager.name={name}", f"reward.reward_manager.module.path={path}"]
        return list(reward.check(run(*own)))

    module = tmp_path / "mine.py"
    module.write_text("class Mine:\n    pass\n")
    assert found("Mine", module) == []
    (finding,) = found("Yours", module)
    assert finding.code == "TR312"
    assert "\n" not in finding.message
    assert codes(found("Mine", tmp_path / "gone.py")) == ["TR312"]
    (tmp_path / "broken.py").write_text("import no_such_module_here\n")
    assert codes(found("Mine", tmp_path / "broken.py")) == ["TR312"]
    assert list(reward.check(run("reward.reward_manager.source=register", "reward.reward_manager.name=naive"))) == []
    assert codes(list(reward.check(run("reward.reward_manager.source=register", "reward.reward_manager.name=x")))) == [
        "TR312"
    ]
