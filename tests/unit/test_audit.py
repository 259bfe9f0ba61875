"""Every lock line names one version, and the bill of materials holds each of them once."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_of_dependencies", ROOT / "scripts/audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lock", ["cpu", "cuda", "test"])
def test_every_line_of_a_lock_names_one_version(audit: ModuleType, lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    pinned, loose = audit.read_lock(text)
    assert loose == []
    assert len(pinned) == len(text.split("\n")) - 1 > 50
    assert lock in audit.LOCKS


@pytest.mark.parametrize(
    "line",
    [
        "torch",
        "torch>=2",
        "torch==2.*",
        "torch==2,<3",
        "-e .",
        "git+https://host/torch",
        "torch @ file:///x",
        "torch=2",
    ],
)
def test_a_line_that_could_be_another_version_tomorrow_is_found(audit: ModuleType, line: str) -> None:
    assert audit.read_lock(f"# a comment\n\nray==2.60.0\n{line}\n") == ({"ray": "2.60.0"}, [line])


def test_the_bill_has_each_package_once_with_its_url_and_licence(audit: ModuleType) -> None:
    made = audit.bill({"Ruff": "1.0", "typing_extensions": "4.0+local", "no-such-package": "1"})
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert [part["purl"] for part in made["components"]] == [
        "pkg:pypi/ruff@1.0", "pkg:pypi/no-such-package@1", "pkg:pypi/typing-extensions@4.0+local",
    ]  # fmt: skip
    ruff, unknown, _ = made["components"]
    assert "MIT" in ruff["licenses"][0]["license"]["name"]
    assert "licenses" not in unknown


def test_the_command_writes_a_bill_for_each_lock_and_the_same_one_twice(audit: ModuleType, tmp_path: Path) -> None:
    assert audit.main(tmp_path / "a") == audit.main(tmp_path / "b") == 0
    for lock in audit.LOCKS:
        first, second = ((tmp_path / folder / f"sbom-{lock}.json").read_text() for folder in "ab")
        assert first == second
