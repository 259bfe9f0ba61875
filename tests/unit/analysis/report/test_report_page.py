"""The page: its policy, what is escaped, its size, and that the same runs give the same bytes."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import Made, make_run

from tr_grpo.analysis.report.data import dumps, page_data
from tr_grpo.analysis.report.page import fill, render
from tr_grpo.analysis.report.reading import read_records

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--",
    "{{data}}${1}",
    "\u202eevil",
    "a\x00b",
    "\ud800",
    "\u2028",
    "'\"&",
]


def page_of(*folders: Path) -> str:
    records = read_records(folders)
    return render(page_data(records), [record.label for record in records]).decode()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("page") / "run", Made(algo="tr_grpo", steps=5))


def test_the_policy_names_exactly_the_style_and_the_script_of_the_page(small: Path) -> None:
    page = page_of(small)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])  # type: ignore[index]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]  # type: ignore[index]
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]  # type: ignore[index]
    for name, content in (("style-src", style), ("script-src", script)):
        assert parts[name] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert parts["default-src"] == parts["base-uri"] == parts["form-action"] == "'none'"
    assert "unsafe" not in policy


def test_the_markup_has_no_handler_no_style_attribute_and_no_address(small: Path) -> None:
    page = page_of(small)
    assert page.count("<script") == 2
    assert page.count("<style") == 1
    markup = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", markup)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, never loaded
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in page


@given(st.recursive(st.none() | st.text() | st.sampled_from(HOSTILE), lambda inner: st.lists(inner, max_size=4)))
def test_any_text_survives_the_script_element(value: object) -> None:
    text = dumps(value)
    assert json.loads(text) == value
    assert "<" not in text
    assert text.isascii()


def test_what_fills_a_slot_is_not_searched_for_slots() -> None:
    assert fill("{{a}}-{{b}}", {"a": "{{b}}", "b": "\\1{{a}}"}) == "{{b}}-\\1{{a}}"


def test_the_same_runs_give_the_same_bytes(small: Path) -> None:
    assert page_of(small) == page_of(small)


def test_a_runs_name_is_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "<script>alert(1)<" / "<img src=x onerror=alert(2)>", Made(steps=1))
    page = page_of(folder)
    assert "<img" not in page
    assert page.count("<script") == 2


def test_five_hundred_steps_with_long_responses_stay_within_five_megabytes(tmp_path: Path) -> None:
    made = Made(algo="tr_grpo", steps=500, updates=1, responses=8, record_every=10, tokens=600)
    page = page_of(make_run(tmp_path / "run", made))
    assert 1_000_000 < len(page) <= 5_000_000


def test_ten_runs_share_the_page(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / f"{algo}-{seed}", Made(algo=algo, seed=seed, steps=12, record_every=12))
        for algo in ("tr_grpo", "grpo")
        for seed in range(5)
    ]
    data = page_data(read_records(runs))
    assert [(method["label"], len(method["runs"])) for method in data["methods"]] == [("grpo", 5), ("tr_grpo", 5)]
    assert data["settings"]["said"] == "Only the method and the seeds differ."
    assert data["tokens"]["included"] == data["tokens"]["recorded"] == 10
    reward = next(chart for chart in data["charts"] if chart["key"] == "critic/score/mean")
    assert all("low" in line for line in reward["series"])
    assert data["ledger"]["columns"] == ["all runs"]
    assert len(data["findings"]) == 1
