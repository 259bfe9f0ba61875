"""The codes: the source, the registry, the documentation and the tests know the same ones."""

import ast
import re
from pathlib import Path

import pytest

from tr_grpo.trainer.preflight import finding
from tr_grpo.trainer.preflight.codes import DOCUMENT, TITLES, anchor

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "trainer/preflight").rglob("*.py"))
TEXT = (ROOT / DOCUMENT).read_text("utf-8")
SECTION = re.compile(r'^### <a id="(tr\d{3})"></a>(TR\d{3}): (.+)$', re.MULTILINE)


def raised() -> set[str]:
    """The first argument of each call in the preflight that is a code."""
    calls = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    first = (node.args[0] for node in calls if isinstance(node, ast.Call) and node.args)
    texts = (node.value for node in first if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {text for text in texts if re.fullmatch(r"TR\d{3}", text)}


def test_every_code_of_the_source_has_a_title_and_the_other_way_round() -> None:
    assert raised() == TITLES.keys()
    assert len(TITLES) >= 100


def test_the_document_explains_every_code_under_its_title() -> None:
    found = {code: title for _, code, title in SECTION.findall(TEXT)}
    assert found == TITLES
    assert all(name == code.lower() for name, code, _ in SECTION.findall(TEXT))


@pytest.mark.parametrize("code", TITLES)
def test_every_section_says_what_to_do(code: str) -> None:
    body = TEXT.partition(f'<a id="{code.lower()}"></a>')[2].partition("\n#")[0]
    assert "*Fix:* " in body


@pytest.mark.parametrize("code", TITLES)
def test_every_code_is_provoked_by_a_test(code: str) -> None:
    tests = "".join(
        path.read_text("utf-8") for path in Path(__file__).parent.glob("test_preflight*.py") if path != Path(__file__)
    )
    assert f'"{code}"' in tests


def test_titles_are_told_apart() -> None:
    assert len(set(TITLES.values())) == len(TITLES)


def test_every_link_of_the_document_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        name, _, place = target.partition("#")
        file = ROOT / "docs" / name if name else ROOT / DOCUMENT
        assert file.is_file(), target
        if place:
            text = file.read_text("utf-8")
            headings = {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in text.splitlines()}
            assert f'id="{place}"' in text or place in headings, target


def test_a_finding_is_one_line_and_knows_its_section() -> None:
    found = finding.error("TR403", "one\ntwo", "set it")
    assert str(found) == "TR403 error: one two -> set it"
    assert found.docs == anchor("TR403") == "docs/troubleshooting.md#tr403"
    assert found.title == "a size that is not positive"
