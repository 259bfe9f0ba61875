"""The token view in a real browser: shares, filters, colours, keyboard, and a model that writes hostile text."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE, SURROGATES
from synthetic import Made, make_run, response, write_responses

from tr_grpo.analysis.report import sampling
from tr_grpo.analysis.report.formats import write
from tr_grpo.analysis.report.tokens import shares
from tr_grpo.analysis.run_folder import Response, open_run

Show = Callable[..., Any]
MADE = Made(algo="tr_grpo", steps=2, responses=5, tokens=60)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", MADE)


@pytest.fixture(scope="module")
def page_file(run: Path) -> Path:
    write([run], run / "report.html", "html")
    return run / "report.html"


def hostile_run(folder: Path) -> Path:
    made = Made(algo="tr_grpo", steps=1, updates=1, responses=0)
    run = make_run(folder / "<img src=x onerror=alert(9)>", made)
    row = response(made, 1, 0, 0, tokens=HOSTILE)
    texts = dict.fromkeys(("prompt", "ground_truth", "verdict", "uid", "data_source"), "".join(HOSTILE))
    write_responses(run, 1, 0, [row | texts])
    return run


def tokens_of(page: Any, panel: str = "before") -> list[str]:
    return page.locator(f"[data-panel={panel}] [role=option]").all_text_contents()


def details(page: Any) -> dict[str, str]:
    terms, values = page.locator(".details dt").all_inner_texts(), page.locator(".details dd").all_inner_texts()
    return dict(zip(terms, values, strict=True))


def test_both_shares_are_those_of_the_formulas(show: Show, page_file: Path, run: Path) -> None:
    page = show(page_file).page
    row = open_run(run).responses(2, 0)[0]
    part = shares(row, unweighted=False)
    for place in range(0, 60, 7):
        page.locator("[data-panel=after] [role=option]").nth(place).click()
        shown = details(page)
        for name, share in (("GRPO’s share", part.before), ("TR-GRPO’s share", part.after)):
            assert float(shown[name].split(" ")[0]) == pytest.approx(100 * share[place], rel=0.006, abs=2e-4)
        assert float(shown["w"]) == pytest.approx(row.weight[place], rel=1e-3)
        assert shown["token"] == row.tokens[place].replace(" ", "·")
        assert shown["id"] == str(row.ids[place])


def test_the_top_tokens_are_the_largest_shares(show: Show, page_file: Path, run: Path) -> None:
    page = show(page_file).page
    row = open_run(run).responses(2, 0)[0]
    part = shares(row, unweighted=False)
    for panel, values in (("before", part.before), ("after", part.after)):
        expected = [row.tokens[i].replace(" ", "·") for i in np.argsort(-values, kind="stable")[:10]]
        assert page.locator(f"[data-panel={panel}] .top button").all_text_contents() == expected
    page.locator("[data-panel=after] .top button").first.click()
    assert details(page)["token"] == expected[0]


def test_tab_reaches_the_tokens_and_arrows_move_among_them(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "option":
            break
    place = "Number(document.activeElement.dataset.i)"
    assert page.evaluate(place) == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(place) == 2
    assert "place 3 of 60" in page.locator(".quiet[aria-live]").text_content()
    assert page.locator("[role=listbox] [tabindex='0']").count() == 2  # one in each panel
    page.keyboard.press("ArrowDown")
    below = page.evaluate(place)
    assert below > 2
    page.keyboard.press("ArrowUp")
    assert page.evaluate(place) == 2
    page.keyboard.press("End")
    assert page.evaluate(place) == 59
    page.keyboard.press("ArrowRight")
    assert page.evaluate(place) == 59
    page.keyboard.press("Home")
    assert page.evaluate(place) == 0


def test_the_bucket_filter_dims_the_others_and_the_arrows_skip_them(show: Show, page_file: Path, run: Path) -> None:
    page = show(page_file).page
    row = open_run(run).responses(2, 0)[0]
    inside = np.flatnonzero(np.exp(row.log_prob) >= 0.75)
    page.get_by_label("Tokens with π in").select_option("7")
    bright = page.locator("[data-panel=before] [role=option]:not(.off)")
    assert [
        int(place) for place in bright.evaluate_all("(all) => all.map((node) => node.dataset.i)")
    ] == inside.tolist()
    part = shares(row, unweighted=False)
    said = page.get_by_role("status").inner_text()
    assert f"{len(inside)} of 60 tokens lie in 0.75–1" in said
    assert f"{100 * part.after[inside].sum():.1f}"[:3] in said
    assert np.diff(inside).max() > 1  # there is something to skip
    bright.first.focus()
    for place in inside[1:]:
        page.keyboard.press("ArrowRight")
        assert page.evaluate("Number(document.activeElement.dataset.i)") == place


def test_the_verdict_filter_leaves_the_responses_of_that_verdict(show: Show, page_file: Path, run: Path) -> None:
    page = show(page_file).page
    rows = [row for update in (0, 1) for row in open_run(run).responses(2, update)]
    verdict = page.get_by_label("Verdict", exact=True)
    choice = page.get_by_label("Response", exact=True)
    assert choice.locator("option").count() == len(rows) == 10
    for name in {row.verdict for row in rows}:
        verdict.select_option(name)
        texts = choice.locator("option").all_text_contents()
        assert len(texts) == sum(row.verdict == name for row in rows)
        assert all(f": {name}, reward" in text for text in texts)


def test_the_buttons_go_to_the_next_response_and_step(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    page.get_by_role("button", name="Previous step").click()
    assert page.get_by_label("Step", exact=True).input_value() == "1"
    page.get_by_label("Response", exact=True).select_option("0")
    page.get_by_role("button", name="Next response").click()
    assert page.get_by_label("Response", exact=True).input_value() == "1"


def test_observations_are_hatched_and_have_neither_colour_nor_share(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    page.get_by_label("Response", exact=True).select_option("4")  # the fifth has one
    for mode in ("share", "pi", "w", "a"):
        page.locator(f"input[value={mode}]").check()
        classes = (
            page.locator("[role=listbox]")
            .first.locator("[role=option]")
            .evaluate_all("(all) => all.map((n) => n.className)")
        )
        assert [place for place, name in enumerate(classes) if "masked" in name] == list(range(20, 40))
        assert not any(
            level in classes[25].split() for level in ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "p1", "n1")
        )
    assert "repeating-linear-gradient" in page.locator(".text .masked").first.evaluate(
        "(n) => getComputedStyle(n).backgroundImage"
    )
    page.locator("[role=option]").nth(25).click()
    assert "no share" in details(page)["in the loss"]
    assert "π" not in details(page)


def test_each_colouring_has_its_scale_and_colour_is_never_alone(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    for mode in ("share", "pi", "w", "a"):
        page.locator(f"input[value={mode}]").check()
        used = set(page.locator("[role=option]").evaluate_all("(all) => all.map((n) => n.className.split(' ')[1])"))
        scale = page.locator(".scale .tok").evaluate_all(
            "(all) => all.map((n) => [n.className.split(' ')[1], getComputedStyle(n).boxShadow])"
        )
        assert used <= {level for level, _ in scale}
        bars = [shadow for level, shadow in scale if level not in ("s0", "masked")]
        assert "none" not in bars
        heights = {(shadow.split("rgb")[1].split(")")[1].strip()) for shadow in bars}
        assert len(heights) == len(bars)  # every level has a bar of its own height


def test_a_run_without_a_weight_shows_what_tr_grpo_would_make_of_it(show: Show, tmp_path: Path) -> None:
    run = make_run(tmp_path / "plain", replace(MADE, algo="grpo"))
    write([run], run / "report.html", "html")
    page = show(run / "report.html").page
    assert "GRPO’s share: as trained" in page.locator("[data-panel=before] h3").inner_text()
    assert "times the default weight" in page.locator("[data-panel=after] h3").inner_text()
    part = shares(open_run(run).responses(2, 0)[0], unweighted=True)
    page.locator("[data-panel=after] [role=option]").nth(3).click()
    shown = details(page)
    assert float(shown["TR-GRPO’s share"].split(" ")[0]) == pytest.approx(100 * part.after[3], rel=0.006)
    assert "update" in shown["GRPO’s share"]
    assert "update" not in shown["TR-GRPO’s share"]


def test_hostile_text_is_text(show: Show, tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    write([run], tmp_path / "report.html", "html")
    page = show(tmp_path / "report.html").page
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.wait_for_timeout(300)
    assert page.title() == run.name
    assert page.locator("script").count() == 2
    assert page.locator("style").count() == 1
    assert page.locator("img, iframe, object, embed, main link, base, form").count() == 0
    shown = tokens_of(page)
    assert len(shown) == len(HOSTILE)
    for text, seen in zip(HOSTILE[:11], shown[:11], strict=True):
        assert seen == text.replace(" ", "·")
    for character in ("\x00", "\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\x1b", "\U000e0041", "\ufffe"):
        assert character not in page.locator("body").evaluate("(n) => n.innerText")
    assert "nul␀here" in shown
    assert "⟨U+202E⟩right·to·left⟨U+202C⟩⟨U+2066⟩isolate" in shown
    assert "line⟨U+2028⟩separator⟨U+2029⟩" in shown
    assert "⟨U+E0041⟩tag" in shown
    assert "non⟨U+FFFE⟩⟨U+FFFF⟩" in shown
    assert "e\u0301\u0302⟨U+0303⟩⟨U+0304⟩⟨U+0305⟩⟨U+0306⟩" in shown
    assert "◌\u0301first" in shown
    assert "··two·spaces↵\n⇥and·a·tab␍↵\n" in shown
    assert shown[-1] == "▯"
    isolated = page.locator("[role=option]").evaluate_all("(all) => all.map((n) => getComputedStyle(n).unicodeBidi)")
    assert set(isolated) == {"isolate"}


def test_lone_surrogates_reach_the_page_and_are_named(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", Made(algo="tr_grpo", steps=1, updates=1))
    row = Response(**(response(MADE, 1, 0, 0, tokens=SURROGATES) | {"prompt": "\ud83d cut", "verdict": "\udcff"}))
    monkeypatch.setattr(sampling.Run, "responses", lambda *_: [row])
    write([run], run / "report.html", "html")
    page = show(run / "report.html").page
    assert tokens_of(page) == ["⟨U+D800⟩", "a⟨U+DFFF⟩b", "⟨U+DC00⟩⟨U+D800⟩"]
    page.get_by_text("Prompt", exact=True).click()
    assert "⟨U+D83D⟩ cut" in page.locator(".prompt").inner_text()
    assert "⟨U+DCFF⟩" in page.locator(".sample").inner_text()


def test_a_response_without_tokens_does_not_break_the_view(show: Show, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Made(steps=1, updates=1, responses=0))
    row = response(Made(), 1, 0, 0)
    write_responses(run, 1, 0, [row | {name: [] for name, value in row.items() if isinstance(value, list)}])
    write([run], run / "report.html", "html")
    page = show(run / "report.html").page
    assert "0 tokens" in page.locator(".sample").inner_text()


CONTRAST = """(node) => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb(colour).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = [];
  const style = getComputedStyle(node);
  for (let at = node; ; at = at.parentElement) {
    const own = getComputedStyle(at).backgroundColor;
    if (rgb(own)[3] !== 0) { grounds.push(own); break; }
  }
  if (style.backgroundImage !== 'none') grounds.push(style.backgroundImage.match(/rgba?\\([^)]*\\)/)[0]);
  const ink = light(style.color);
  return Math.min(...grounds.map(light).map((g) => (Math.max(g, ink) + 0.05) / (Math.min(g, ink) + 0.05)));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_every_colour_hatching_included(show: Show, page_file: Path, scheme: str) -> None:
    page = show(page_file, color_scheme=scheme).page
    for mode in ("share", "pi", "w", "a"):
        page.locator(f"input[value={mode}]").check()
        page.get_by_label("Tokens with π in").select_option("7")
        for node in [*page.locator(".scale .tok").all(), page.locator(".text .off").first]:
            assert node.evaluate(CONTRAST) >= 4.5, (mode, node.get_attribute("class"))


def test_a_response_of_thousands_of_tokens_is_shown_and_walked_through(show: Show, tmp_path: Path) -> None:
    run = make_run(tmp_path / "long", Made(algo="tr_grpo", steps=1, updates=1, responses=1, tokens=7000))
    write([run], run / "report.html", "html")
    page = show(run / "report.html").page
    assert "7,000 tokens" in page.locator(".sample").inner_text()
    assert "The first 6,000 are on this page" in page.locator(".sample").inner_text()
    assert page.locator("[data-panel=after] [role=option]").count() == 6000
    page.locator("[data-panel=after] [role=option]").first.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    assert 5000 < page.evaluate("Number(document.activeElement.dataset.i)") < 5999
