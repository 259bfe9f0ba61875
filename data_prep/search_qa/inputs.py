"""Which records become train and which test: a source's table entry and ``--from`` resolved to streams."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.math import files, hub
from tr_grpo.data_prep.math.inputs import Input
from tr_grpo.data_prep.math.sources import Source, Split
from tr_grpo.data_prep.storage import SPLITS, sha256

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
"""Of a split's file in a folder of the hub's layout."""


def inputs_of(source: Source, given: tuple[str, ...], split: str) -> list[Input]:
    """The source's streams, test first. Raises ``InputError`` where something is missing or ambiguous."""
    if split and split not in SPLITS:
        raise InputError(f"--split {split}: has to be train or test")
    wanted = [part for part in source.splits if split in ("", part.to)]
    if source.own and split == "test":
        wanted = [Split("test", "test", None)]
    if not wanted:
        raise InputError(f"--source {source.name} has no {split} split; leave --split out")
    if not given and source.own:
        raise InputError(f"--source {source.name} is your own file: pass it with --from FILE")
    found = [part for name in given or (source.hub,) for part in _resolve(source, name, wanted)]
    return sorted(found, key=lambda part: part.to != "test")


def _resolve(source: Source, name: str, wanted: list[Split]) -> list[Input]:
    path = Path(name)
    if path.is_file():
        return [_file(path, wanted[0] if len(wanted) == 1 else _by_name(path, wanted))]
    if source.own:
        raise InputError(f"{name}: {'a folder' if path.is_dir() else 'no such file'}; --from has to name a file")
    if path.is_dir():
        return [_file(_in_folder(path, source, part), part) for part in wanted]
    if not hub.is_hub_name(name) or name.endswith(ENDINGS):
        raise InputError(f"{name}: no such file or folder, and no hub name (owner/name)")
    revision = hub.revision_of(name)
    return [
        Input(
            name,
            part.to,
            {"hub": name, "revision": revision, "config": source.config, "split": part.name},
            partial(hub.records, name, source.config, part.name, revision),
            part.rows,
            0,
        )
        for part in wanted
    ]


def _file(path: Path, part: Split) -> Input:
    files.format_of(path)  # says what is wrong with it
    described = {"file": path.name, "sha256": sha256(path), "split": part.to}
    return Input(str(path), part.to, described, partial(files.records, path), part.rows, path.stat().st_size)


def _by_name(path: Path, wanted: list[Split]) -> Split:
    named = [part for part in wanted if path.name.split(".")[0] == part.name]
    if len(named) != 1:
        names = " nor ".join(part.name for part in wanted)
        raise InputError(f"{path}: neither {names} by its name; pass --split, and each split on its own")
    return named[0]


def _in_folder(folder: Path, source: Source, part: Split) -> Path:
    """``nq/test.jsonl`` in a copy of FlashRAG's repository, ``test.jsonl`` in the set's own folder."""
    places = [folder / source.config, folder] if source.config else [folder]
    found = [path for place in places for ending in ENDINGS if (path := place / f"{part.name}{ending}").is_file()]
    if not found:
        raise InputError(f"{places[0]}: no {part.name}.jsonl and no {part.name}.parquet; pass --from with the files")
    return found[0]
