"""Data sets on disk: proof, determinism, resume, refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves import (
    DatasetConfig,
    GenerationConfig,
    build_dataset,
    dataset,
    logical_form,
    separation,
    wording_form,
)
from tr_grpo.data_prep.knights_knaves.rows import schema, to_puzzle
from tr_grpo.data_prep.schema import read_rows, validate_parquet, write_rows


def small(out: Path, **changes: object) -> DatasetConfig:
    return replace(DatasetConfig(out, people=(4, 5), train=20, test=8, seed=7), **changes)


def contents(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in out.iterdir()}


def test_files_manifest_and_rows_agree(tmp_path: Path) -> None:
    manifest = build_dataset(small(tmp_path))
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert sorted(contents(tmp_path)) == ["manifest.json", "test.parquet", "train.parquet"]
    assert manifest["counts"] == {"4": {"train": 20, "test": 8}, "5": {"train": 20, "test": 8}}
    assert manifest["seed"] == 7
    for split, count in (("train", 40), ("test", 16)):
        file = tmp_path / f"{split}.parquet"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert manifest["files"][file.name] == {"rows": count, "sha256": digest}
        assert validate_parquet(file) == count
        rows = read_rows(file)
        assert [row["extra_info"]["index"] for row in rows] == list(range(count))
        assert {row["extra_info"]["split"] for row in rows} == {split}
    row = rows[0]
    assert row["data_source"] == "knights_knaves"
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    names, solution = row["extra_info"]["names"], row["extra_info"]["solution"]
    assert row["reward_model"]["ground_truth"] == "\n".join(
        f"({i + 1}) {name} is a {'knight' if knight else 'knave'}"
        for i, (name, knight) in enumerate(zip(names, solution, strict=True))
    )


@pytest.mark.parametrize(("level", "key"), [("form", logical_form), ("wording", wording_form)])
def test_separation_recomputed_from_the_files(tmp_path: Path, level: str, key: object) -> None:
    manifest = build_dataset(small(tmp_path, people=(3,), train=150, test=60, separation=level))
    forms = {
        split: [key(to_puzzle(row)) for row in read_rows(tmp_path / f"{split}.parquet")]  # type: ignore[operator]
        for split in ("train", "test")
    }
    assert not set(forms["train"]) & set(forms["test"])
    assert len(set(forms["test"])) == 60
    assert manifest["separation"] == {
        "level": level,
        "train_forms": len(set(forms["train"])),
        "test_forms": 60,
        "shared": 0,
        "test_rows_shared": 0,
        "proved": True,
    }
    assert manifest["questions"] == {"distinct": {"train": 150, "test": 60}, "shared": 0}


def test_the_weaker_level_says_what_forms_are_shared(tmp_path: Path) -> None:
    config = small(tmp_path, people=(2,), train=100, test=40, separation="wording")
    forms = build_dataset(config)["logical_forms"]
    assert not forms["proved"]
    assert forms["shared"] > 0


def test_a_leak_is_found(tmp_path: Path) -> None:
    """``measure`` is not a constant: one test row put among the training rows is reported."""
    build_dataset(small(tmp_path))
    train, test = (read_rows(tmp_path / f"{split}.parquet") for split in ("train", "test"))
    found = separation.measure([*train, test[0]], test, "form")
    assert (found["shared"], found["test_rows_shared"], found["proved"]) == (1, 1, False)


def test_a_wrong_ground_truth_is_found(tmp_path: Path) -> None:
    build_dataset(small(tmp_path))
    rows = read_rows(tmp_path / "test.parquet")
    assert separation.prove_solutions(rows, "f") == 16
    rows[3]["reward_model"]["ground_truth"] += " or not"
    with pytest.raises(InputError, match="f: row 3: the ground truth is not its solution"):
        separation.prove_solutions(rows, "f")
    rows[2]["extra_info"]["solution"][0] ^= True
    with pytest.raises(InputError, match=r"f: row 2: .*given solution"):
        separation.prove_solutions(rows, "f")


def test_same_config_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        build_dataset(small(tmp_path / name, seed=seed))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["test.parquet"] != contents(tmp_path / "c")["test.parquet"]


def test_a_second_call_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = build_dataset(small(tmp_path))
    monkeypatch.setattr(dataset, "generate", None)  # making a puzzle would fail
    assert build_dataset(small(tmp_path)) == manifest


class Interrupted(Exception):
    """Stands for a kill between two shards."""


def test_an_interrupted_run_goes_on_from_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = build_dataset(small(tmp_path / "whole"))
    made: list[str] = []
    real = dataset.write_rows_atomic

    def write_then_die(path: Path, rows: list) -> None:
        real(path, rows)
        made.append(path.name)
        if len(made) == 1:
            raise Interrupted

    monkeypatch.setattr(dataset, "write_rows_atomic", write_then_die)
    with pytest.raises(Interrupted):
        build_dataset(small(tmp_path / "cut"))
    assert made == ["4-test.parquet"]
    assert sorted(contents_names(tmp_path / "cut")) == [".partial"]
    assert build_dataset(small(tmp_path / "cut")) == expected
    assert made == [
        "4-test.parquet",
        "4-train.parquet",
        "5-test.parquet",
        "5-train.parquet",
        "train.parquet",
        "test.parquet",
    ]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def contents_names(out: Path) -> list[str]:
    return [entry.name for entry in out.iterdir()]


def test_a_failed_write_leaves_neither_file_nor_rest(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"x.parquet: cannot write .No space left on device."):
        dataset.write_atomic(tmp_path / "x.parquet", fail)
    assert not list(tmp_path.iterdir())


def test_other_contents_are_refused_and_overwritten_on_request(tmp_path: Path) -> None:
    build_dataset(small(tmp_path))
    with pytest.raises(InputError, match="holds data of other settings; pass --overwrite"):
        build_dataset(small(tmp_path, seed=8))
    (tmp_path / "notes.txt").write_text("mine")
    assert build_dataset(small(tmp_path, seed=8, overwrite=True))["seed"] == 8
    assert (tmp_path / "notes.txt").read_text() == "mine"

    (tmp_path / "test.parquet").write_bytes(b"changed")
    with pytest.raises(InputError, match="changed after they were written"):
        build_dataset(small(tmp_path, seed=8))
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InputError, match="without a manifest"):
        build_dataset(small(tmp_path, seed=8))
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="not a manifest of this package"):
        build_dataset(small(tmp_path, seed=8))


def test_an_unfinished_run_of_other_settings_is_refused(tmp_path: Path) -> None:
    shards = small(tmp_path).folder.shards
    shards.mkdir(parents=True)
    with pytest.raises(InputError, match="unfinished run of other settings"):
        build_dataset(small(tmp_path, seed=8))
    write_rows(shards / "4-test.parquet", [], schema())
    with pytest.raises(InputError, match=r"4-test.parquet: 0 rows instead of 8; delete"):
        build_dataset(small(tmp_path))


def test_a_full_disk_and_a_file_as_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot write there"):
        build_dataset(small(tmp_path / "file"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(InputError, match="0 MB are free"):
        build_dataset(small(tmp_path / "full"))


def test_too_few_forms_says_how_many_there_are(tmp_path: Path) -> None:
    """38 forms of 2 people; the count is confirmed by drawing until nothing new comes."""
    with pytest.raises(InputError, match=r"2 people .* there are 38 logical forms, but --test 50 .*wording"):
        build_dataset(small(tmp_path, people=(2,), test=50))
    # All 38 in the test leave none for train.
    with pytest.raises(InputError, match=r"there are 38 logical forms, but --test 38 .* train needs others"):
        build_dataset(small(tmp_path, people=(2,), test=38))
    assert build_dataset(small(tmp_path, people=(2,), test=37, train=2))["separation"]["test_forms"] == 37


@pytest.mark.parametrize(("kinds", "depth"), [(("and", "not"), 2), (("and",), 3), (("is", "iff"), 1)])
def test_the_exact_count_is_what_the_generator_reaches(kinds: tuple, depth: int) -> None:
    size = GenerationConfig(people=2, kinds=kinds, depth=depth)
    stream = dataset.generate(size, 0)
    assert len({logical_form(next(stream)) for _ in range(600)}) == separation.count_forms(size)


def test_saturation_where_forms_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separation, "PATIENCE", 300)
    size = GenerationConfig(people=2)
    with pytest.raises(InputError, match=r"(\d+) were found, then no new one in 300 draws"):
        list(separation.distinct(dataset.generate(size, 0), size, 1, 60, "form"))


def test_too_few_different_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separation, "PATIENCE", 300)
    puzzles = GenerationConfig(people=2, kinds=("iff",), names=("Mia", "Noah"), phrasing="plain")
    with pytest.raises(InputError, match=r"only \d+ different questions were found for --train 5000"):
        build_dataset(small(tmp_path, people=(2,), puzzles=puzzles, test=1, train=5000))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"people": ()}, "must name each size once"),
        ({"people": (3, 3)}, "must name each size once"),
        ({"people": (3, 9)}, "people: 9 is outside"),
        ({"train": -1}, "train -1"),
        ({"train": 0, "test": 0}, "not both 0"),
        ({"seed": 2**63}, "seed"),
        ({"separation": "none"}, "'none' is not one of form, wording"),
    ],
)
def test_bad_configs_are_refused(tmp_path: Path, wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(tmp_path, **wrong)


def test_one_side_alone(tmp_path: Path) -> None:
    manifest = build_dataset(small(tmp_path, test=0))
    assert list(manifest["files"]) == ["train.parquet"]
    assert not manifest["separation"]["proved"]  # nothing was compared
