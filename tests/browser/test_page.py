"""The report's page in a real browser: it loads, can be read by keyboard and screen reader, and fits narrow screens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import Made, Metrics, make_run

from tr_grpo.analysis.report.formats import write

Show = Callable[..., Any]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods with two seeds each; one response in five has an observation."""
    root = tmp_path_factory.mktemp("runs")
    runs = [
        make_run(root / f"{algo}-{seed}", Made(algo=algo, seed=seed, steps=12, responses=5, record_every=3))
        for algo in ("grpo", "tr_grpo")
        for seed in (0, 1)
    ]
    write(runs, root / "report.html", "html")
    return root / "report.html"


@pytest.fixture(scope="module")
def bare_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of the older layout, one step, hardly a metric."""

    def few(step: int, metrics: Metrics) -> Metrics:
        return {key: value for key, value in metrics.items() if key == "critic/score/mean"}

    root = tmp_path_factory.mktemp("bare")
    write([make_run(root / "old", Made(layout=0, steps=1, change=few))], root / "report.html", "html")
    return root / "report.html"


def serious(page: Any) -> list[str]:
    """axe-core's findings that are serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_the_page_loads_from_disk_and_draws_every_chart(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    assert page.locator("#charts figure").count() >= 10
    assert page.locator("#charts figure:has(path.curve)").count() == page.locator("#charts figure:has(.plot)").count()
    assert page.locator("path.band").count() > 0
    assert "grpo (2 seeds)" in page.locator("#headline").inner_text()
    assert page.evaluate("performance.getEntriesByName('report-ready').length") == 1


def test_the_policy_is_in_force(show: Show, page_file: Path) -> None:
    opened = show(page_file)
    opened.page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'window.owned = 1';
          const image = new Image();
          image.src = 'file:///nothing.png';
          document.body.append(script, image);
        }"""
    )
    opened.page.wait_for_timeout(100)
    assert opened.page.evaluate("window.owned") is None
    assert len(opened.complaints) == 2
    assert all("Content Security Policy" in line for line in opened.complaints)
    opened.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("mode", ["share", "pi", "w", "a"])
def test_axe_finds_nothing_serious(show: Show, page_file: Path, scheme: str, mode: str) -> None:
    page = show(page_file, color_scheme=scheme).page
    page.locator(f"input[value={mode}]").check()
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.wait_for_timeout(100)
    assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_bare_run(show: Show, bare_file: Path, scheme: str) -> None:
    page = show(bare_file, color_scheme=scheme).page
    assert serious(page) == []
    text = page.locator("main").inner_text()
    assert "Not drawn: no run has actor/entropy" in text
    assert "No responses were recorded" in text
    assert "an older layout" in text


@pytest.mark.parametrize("width", [320, 360, 768])
@pytest.mark.parametrize("mode", ["share", "a"])
def test_narrow_screens_do_not_scroll_sideways(show: Show, page_file: Path, width: int, mode: str) -> None:
    page = show(page_file, viewport={"width": width, "height": 700}).page
    page.locator(f"input[value={mode}]").check()
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_can_be_chosen(show: Show, page_file: Path) -> None:
    page = show(page_file, color_scheme="light").page
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(ground) != light
    assert page.get_by_role("button", name="Theme: dark").is_visible()


def test_arrow_keys_move_one_crosshair_through_all_charts(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    plots = page.get_by_role("slider")
    first, other = (
        page.get_by_role("slider", name="Reward, by step"),
        page.get_by_role("slider", name="Entropy, by step"),
    )
    first.focus()
    page.keyboard.press("Home")
    assert first.get_attribute("aria-valuenow") == other.get_attribute("aria-valuenow") == "1"
    page.keyboard.press("ArrowRight")
    assert other.get_attribute("aria-valuenow") == "2"
    assert "step 2: grpo" in (first.get_attribute("aria-valuetext") or "")
    page.keyboard.press("End")
    assert {plots.nth(i).get_attribute("aria-valuenow") for i in range(3)} == {"12"}
    page.keyboard.press("ArrowRight")
    assert first.get_attribute("aria-valuenow") == "12"


def test_enter_on_a_step_opens_its_tokens(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    page.get_by_role("slider", name="Reward, by step").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "tokens"
    assert page.get_by_label("Step", exact=True).input_value() == "1"


def test_a_click_on_a_chart_opens_the_nearest_recorded_step(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    box = page.get_by_role("slider", name="Reward, by step").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 46 + (box["width"] - 56) * 5 / 12, box["y"] + 80)  # step 5 of 0 to 12
    assert page.get_by_label("Step", exact=True).input_value() == "4"  # of 1, 4, 7, 10


def test_a_charts_numbers_are_a_table_too(show: Show, page_file: Path) -> None:
    page = show(page_file).page
    figure = page.locator("figure", has=page.get_by_role("slider", name="Reward, by step"))
    figure.get_by_text("Data table").click()
    # The table is filled once it is opened, a moment after the click.
    figure.locator("tbody tr").first.wait_for(state="attached")
    assert figure.locator("tbody tr").count() == 12
    assert figure.locator("thead th").all_inner_texts() == ["step", "grpo", "tr_grpo"]


def test_printing_and_zooming_text_lose_nothing(show: Show, page_file: Path) -> None:
    page = show(page_file, viewport={"width": 640, "height": 700}).page
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 640
