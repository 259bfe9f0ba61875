"""``tr-grpo doctor``: all that is wrong at once, an exit status that a scheduler can read, and nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from findings import Run, codes
from rich.console import Console

from tr_grpo.trainer import doctor, preflight
from tr_grpo.trainer.preflight import Check, Examination
from tr_grpo.trainer.preflight.finding import Finding, error, warning

WARNING = warning("TR402", "the clip never acts", "a smaller mini-batch")
ERROR = error("TR404", "rollout.n=1", "rollout.n=2")


@pytest.mark.parametrize(
    ("findings", "strict", "status"),
    [
        ((), False, 0),
        ((), True, 0),
        ((WARNING,), False, 0),
        ((WARNING,), True, 1),
        ((ERROR,), False, 2),
        ((WARNING, ERROR), True, 2),
    ],
)
def test_the_exit_status_tells_errors_from_warnings(findings: tuple[Finding, ...], strict: bool, status: int) -> None:
    assert doctor.exit_status(Examination(findings, ()), strict) == status


def test_every_check_is_made_whatever_an_earlier_one_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where train stops at the first part with an error."""
    spoiled = ["actor_rollout_ref.rollout.n=1", "trainer.logger=[nothing]", "reward.reward_kwargs.rule=none"]
    monkeypatch.setattr(preflight.extensions, "VLLM", "pass")
    found = preflight.examine(run(*spoiled))
    assert found.skipped == ()
    assert {"TR404", "TR521", "TR302"} <= set(codes(list(found.findings)))
    assert {finding.code for finding in preflight.run_checks(run(*spoiled))} == {"TR404"}


def test_what_an_error_makes_impossible_is_named_and_not_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no size and no model: each check that is left neither raises nor is said to have passed."""
    monkeypatch.setattr(preflight.extensions, "VLLM", "pass")
    gone = ["data.train_files=/gone.parquet", "data.train_batch_size=0", "actor_rollout_ref.model.path=/gone"]
    found = preflight.examine(run(*gone))
    assert {"TR201", "TR403", "TR601"} <= {finding.code for finding in found.errors}
    assert {"sampling", "loss", "schedule", "resume", "disk", "reward", "search"} <= set(found.skipped)


def test_what_a_check_waits_for_is_a_code_of_an_earlier_one() -> None:
    known = set(preflight.codes.TITLES)
    assert all(set(check.not_after) <= known for check in preflight.CHECKS)
    assert len({check.name for check in preflight.CHECKS}) == len(preflight.CHECKS)


def test_an_unexpected_fault_is_not_swallowed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: object) -> list[Finding]:
        raise ZeroDivisionError

    monkeypatch.setattr(preflight, "CHECKS", (Check("broken", broken),))
    with pytest.raises(ZeroDivisionError):
        preflight.examine(run())


def test_the_table_has_errors_first_with_the_place_that_explains_them(
    run: Run, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    doctor.show(run(), Examination((WARNING, ERROR), ("disk",)))
    printed = capsys.readouterr().out
    assert printed.index("TR404") < printed.index("TR402")
    for words in ("one response a prompt", "docs/troubleshooting.md#tr404", "rollout.n=2", "64 (8 a prompt)"):
        assert words in printed
    assert "not checked because of the errors: disk" in printed
    assert printed.splitlines()[-1].startswith("errors: 1, warnings: 1, checks made: ")


def test_a_strangers_words_are_no_markup() -> None:
    """A path may have brackets, which rich would take for a style."""
    table = doctor._table(Examination((error("TR601", "[bold]/models/[red]x", "[/] correct it"),), ()))
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    assert "[bold]/models/[red]x" in capture.get()


def test_the_object_for_schedulers_has_what_the_table_has(run: Run) -> None:
    whole = doctor.as_object(run(), Examination((WARNING, ERROR), ("disk",)))
    assert json.loads(json.dumps(whole)) == whole
    assert whole["layout"] == doctor.LAYOUT
    assert (whole["errors"], whole["warnings"], whole["skipped"]) == (1, 1, ["disk"])
    assert whole["findings"][1] == {
        "code": "TR404", "severity": "error", "message": "rollout.n=1", "fix": "rollout.n=2",
        "title": "one response a prompt", "docs": "docs/troubleshooting.md#tr404",
    }  # fmt: skip
    assert whole["ledger"]["responses"] == 64
    assert whole["versions"]["verl"] == "0.9.1"
    assert whole["machine"]["cores"] >= 1


def test_without_sizes_there_is_no_ledger(run: Run, capsys: pytest.CaptureFixture) -> None:
    config = run("data.train_batch_size=0")
    unusable = Examination((error("TR403", "data.train_batch_size=0", "set it"),), ())
    assert doctor.as_object(config, unusable)["ledger"] is None
    doctor.show(config, unusable)
    assert "batch ledger" not in capsys.readouterr().out


COMMAND = "import typer; from tr_grpo.trainer.doctor import doctor; typer.run(doctor)"


def test_standard_output_is_one_object_and_the_folder_is_left_as_it_was(files: Path, tmp_path: Path) -> None:
    """The command as a scheduler runs it, with an error and libraries that print."""
    overrides = [
        "--json", f"data.train_files={files}/data/train.parquet", f"data.val_files={files}/data/test.parquet",
        f"actor_rollout_ref.model.path={files}/model", "actor_rollout_ref.rollout.n=1", "+trainer.mine=1",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *overrides],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert [one["code"] for one in found["findings"] if one["severity"] == "error"] == ["TR404"]
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
