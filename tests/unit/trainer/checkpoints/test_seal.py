"""A sealed checkpoint is whole; whatever is changed in it afterwards is found."""

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tr_grpo.trainer.checkpoints import seal as module
from tr_grpo.trainer.checkpoints.seal import SEAL, fault, missing_ranks, seal, write_whole

FILES = {"actor/model_world_size_2_rank_0.pt": b"weights 0", "actor/model_world_size_2_rank_1.pt": b"weights 1",
         "actor/huggingface/config.json": b"{}", "data.pt": b"position"}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "global_step_7"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_sealed_checkpoint_is_whole_and_an_unsealed_one_is_not(checkpoint: Path) -> None:
    assert fault(checkpoint) == "it has no seal, so its writing was cut short"
    seal(checkpoint)
    assert fault(checkpoint) is None
    assert fault(checkpoint.with_name("global_step_8")) == "the folder is not there"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_changed_byte_and_any_cut_is_found(checkpoint: Path, name: str, data: st.DataObject) -> None:
    path = checkpoint / name
    seal(checkpoint)
    content = bytearray(FILES[name])
    if data.draw(st.booleans()):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    found = fault(checkpoint)
    assert found is not None
    assert name in found
    path.write_bytes(FILES[name])


def test_a_missing_file_is_found_and_a_later_one_is_not_minded(checkpoint: Path) -> None:
    seal(checkpoint)
    (checkpoint / "merged").mkdir()
    (checkpoint / "merged/model.safetensors").write_bytes(b"later")
    assert fault(checkpoint) is None
    (checkpoint / "data.pt").unlink()
    assert fault(checkpoint) == "data.pt is missing"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_a_broken_seal_is_a_fault_and_no_exception(checkpoint: Path, content: bytes) -> None:
    (checkpoint / SEAL).write_bytes(content)
    found = fault(checkpoint)
    assert found is not None
    assert SEAL in found


def test_a_seal_of_a_newer_layout_is_not_taken_for_granted(checkpoint: Path) -> None:
    seal(checkpoint)
    content = json.loads((checkpoint / SEAL).read_text())
    (checkpoint / SEAL).write_text(json.dumps(content | {"layout": 2}))
    assert "layout 2" in str(fault(checkpoint))


def test_sealing_again_forgets_the_old_seal_first(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run started afresh in the same folder writes over old files; the old seal must not vouch for them."""
    seal(checkpoint)

    def full(path: Path, flush: bool) -> module.SealedFile:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "_digest", full)
    with pytest.raises(OSError, match="Input/output error"):
        seal(checkpoint)
    assert "no seal" in str(fault(checkpoint))


def test_what_is_written_whole_keeps_the_old_content_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tracker"
    write_whole(path, "3")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "5")
    assert path.read_text() == "3"


def test_shards_of_nodes_that_are_not_seen_are_named(checkpoint: Path) -> None:
    assert missing_ranks(checkpoint) == []
    (checkpoint / "actor/model_world_size_2_rank_0.pt").unlink()
    assert missing_ranks(checkpoint) == [0]
