"""Importers of public data; Logic-RL's own files are used where they are present."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.knights_knaves import ImportConfig, import_dataset
from tr_grpo.data_prep.knights_knaves.wording import SYSTEM
from tr_grpo.data_prep.schema import read_rows, validate_parquet

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("TR_GRPO_SHARED_DATA", ROOT.parent / "shared" / "data")) / "knights_knaves"

QUIZ = "A very special island ... You meet 2 inhabitants: Mia and Noah. ... So who is a knight and who is a knave?"
BOTH_KNAVES = "(('and', ('lying', 0), ('lying', 1)), ('lying', 0))"
TEMPLATED = (
    f"<|im_start|>system\nBe good.<|im_end|>\n<|im_start|>user\n{QUIZ}<|im_end|>\n<|im_start|>assistant\n<think>"
)


def public(split: str, **changes: Any) -> dict[str, Any]:
    """A row with the columns of both public sources."""
    return {
        "quiz": QUIZ,
        "names": ["Mia", "Noah"],
        "knight_knave": {"knight": "knight", "knave": "knave"},
        "solution": [False, True],
        "solution_text": "Mia is a knave, and Noah is a knight.",
        "solution_text_format": "(1) Mia is a knave\n(2) Noah is a knight",
        "cot_head": "Let's think.",
        "statements": BOTH_KNAVES,
        "index": 7,
        "prompt": [{"content": TEMPLATED, "role": "user"}],
        "extra_info": {"index": 7, "split": split},
    } | changes


OTHER = {
    "statements": "(('or', ('lying', 0), ('telling-truth', 1)), ('telling-truth', 0))",
    "solution": [True, True],
}


def logic_rl(folder: Path, rows: list[dict[str, Any]], name: str = "2-train.parquet") -> str:
    pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return str(folder / name)


def hub(folder: Path, sides: dict[str, list[dict[str, Any]]]) -> str:
    """A folder laid out like the hub's data set: a card with configs, one JSON-lines file a size and side."""
    card = "---\nconfigs:\n"
    for split, rows in sides.items():
        file = folder / split / f"people2_num{len(rows)}.jsonl"
        file.parent.mkdir(parents=True)
        drop = ("prompt", "extra_info")
        file.write_text("".join(json.dumps({k: v for k, v in row.items() if k not in drop}) + "\n" for row in rows))
        card += f"- config_name: {split}\n  data_files:\n  - split: 2ppl\n    path: {split}/{file.name}\n"
    (folder / "README.md").write_text(card + "---\n")
    return str(folder)


@pytest.fixture
def datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_logic_rl_prompts_are_rebuilt_from_the_quiz(tmp_path: Path) -> None:
    file = logic_rl(tmp_path, [public("train"), public("test", **OTHER)])
    manifest = import_dataset(ImportConfig(tmp_path / "out", "logic-rl", (file,)))
    (row,) = read_rows(tmp_path / "out" / "train.parquet")
    assert row["prompt"] == [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUIZ}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": "(1) Mia is a knave\n(2) Noah is a knight"}
    assert row["extra_info"]["statements"] == BOTH_KNAVES
    assert row["extra_info"]["seed"] is None
    assert manifest["source"] == "logic-rl"
    assert manifest["inputs"] == {"2-train.parquet": 2}
    assert manifest["separation"]["proved"]


def test_no_separation_is_claimed_where_there_is_none(tmp_path: Path) -> None:
    """The test row is the train row with the people swapped."""
    twin = {"statements": "(('lying', 1), ('and', ('lying', 1), ('lying', 0)))", "solution": [True, False]}
    file = logic_rl(tmp_path, [public("train"), public("test", **twin), public("test", **OTHER)])
    found = import_dataset(ImportConfig(tmp_path / "out", "logic-rl", (file,)))["separation"]
    assert (found["train_forms"], found["test_forms"], found["shared"], found["proved"]) == (1, 2, 1, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"solution": [True, True]}, "row 1: .*given solution"),
        ({"statements": "(('lying', 0), ('lying', 1))"}, "row 1: .*has 0 solutions"),
        ({"statements": "(('telling-truth', 1), ('telling-truth', 0))"}, "row 1: .*has 2 solutions"),
        ({"statements": "exit()"}, "row 1: statements are not a Python literal"),
        ({"names": ["Mia"]}, "row 1: 1 names, 2 claims and 2 solution values"),
        ({"quiz": None}, "row 1: no quiz"),
        ({"knight_knave": {"knight": "saint", "knave": "sinner"}}, "row 1: people are 'saint' and 'sinner'"),
        ({"extra_info": {"index": 0, "split": "dev"}}, "row 1: extra_info.split is dev"),
    ],
)
def test_a_bad_row_is_named_by_file_and_number(tmp_path: Path, wrong: dict, message: str) -> None:
    file = logic_rl(tmp_path, [public("train"), public("train") | wrong])
    with pytest.raises(InputError, match=f"2-train.parquet: {message}"):
        import_dataset(ImportConfig(tmp_path / "out", "logic-rl", (file,)))
    assert not (tmp_path / "out").exists()


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'kk' is not one of logic-rl, k-and-k"):
        ImportConfig(tmp_path, "kk", ("a",))
    with pytest.raises(InputError, match="name what to import"):
        ImportConfig(tmp_path, "logic-rl", ())
    with pytest.raises(InputError, match=r"none.parquet: no such file"):
        import_dataset(ImportConfig(tmp_path, "logic-rl", (str(tmp_path / "none.parquet"),)))


def test_a_second_import_changes_nothing_and_other_contents_are_refused(tmp_path: Path) -> None:
    file = logic_rl(tmp_path, [public("train")])
    config = ImportConfig(tmp_path / "out", "logic-rl", (file,))
    assert import_dataset(config) == import_dataset(config)
    logic_rl(tmp_path, [public("train"), public("test")])
    with pytest.raises(InputError, match="other settings"):
        import_dataset(config)


@pytest.mark.usefixtures("datasets_cache")
def test_a_folder_in_the_hub_s_layout(tmp_path: Path) -> None:
    name = hub(tmp_path / "kk", {"train": [public("train")] * 3, "test": [public("test", **OTHER)]})
    manifest = import_dataset(ImportConfig(tmp_path / "out", "k-and-k", (name,)))
    assert manifest["counts"] == {"2": {"train": 3, "test": 1}}
    assert manifest["separation"]["proved"]
    assert read_rows(tmp_path / "out" / "train.parquet")[0]["prompt"][1]["content"] == QUIZ


@pytest.mark.usefixtures("datasets_cache")
def test_a_bad_row_of_the_hub_s_layout_is_named(tmp_path: Path) -> None:
    rows = [public("test"), public("test", solution=[True, True])]
    name = hub(tmp_path / "kk", {"train": [public("train")], "test": rows})
    with pytest.raises(InputError, match=r"kk \(test, 2ppl\): row 1: .*given solution"):
        import_dataset(ImportConfig(tmp_path / "out", "k-and-k", (name,)))


@pytest.mark.usefixtures("datasets_cache")
def test_a_folder_without_the_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load config 'train'"):
        import_dataset(ImportConfig(tmp_path / "out", "k-and-k", (str(tmp_path / "none"),)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="Logic-RL's files are not here: set TR_GRPO_SHARED_DATA")
@pytest.mark.parametrize(("people", "test_rows_shared"), [(3, 58), (5, 0)])
def test_logic_rl_s_public_files(tmp_path: Path, people: int, test_rows_shared: int) -> None:
    files = tuple(str(SHARED / f"{people}-{split}.parquet") for split in ("train", "test"))
    manifest = import_dataset(ImportConfig(tmp_path, "logic-rl", files))
    assert manifest["counts"] == {str(people): {"train": 900, "test": 100}}
    assert manifest["separation"]["test_rows_shared"] == test_rows_shared
    assert validate_parquet(tmp_path / "test.parquet") == 100
    given = read_rows(Path(files[1]))
    for row, original in zip(read_rows(tmp_path / "test.parquet"), given, strict=True):
        assert row["reward_model"]["ground_truth"] == original["solution_text_format"]
