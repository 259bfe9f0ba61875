"""The pictures of docs/method.md from a run folder written by hand."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tr_grpo.analysis import method_pictures
from tr_grpo.analysis.method_pictures import CURVES, MASS, SERIES, STYLES, bucket_means, caption, draw_curves, main
from tr_grpo.data_prep.errors import InputError
from tr_grpo.recipe.token_ledger import BUCKETS
from tr_grpo.recipe.weights import SHAPES

LIMIT = 60_000
"""Bytes that a picture of the documentation may have."""


def shares(values: dict[str, float], series: str) -> dict[str, float]:
    return {f"actor/{series}/{bucket}": values.get(bucket, 0.0) for bucket in BUCKETS}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Step 1 has all keys; step 2 had no gradient, so that its masses are undefined."""
    folder = tmp_path / "run"
    folder.mkdir()
    tokens = {"0-0.001": 0.25, "0.75-1": 0.75}
    first = shares(tokens, "tr_tokens") | shares({"0-0.001": 1.0}, "tr_mass")
    first |= {f"actor/tr_mass_before/{BUCKETS[0]}": 0.75}
    second = shares({"0-0.001": 0.75, "0.75-1": 0.25}, "tr_tokens")
    lines = [json.dumps({"step": step, "data": data}) for step, data in ((0, {"val": 1.0}), (1, first), (2, second))]
    (folder / "metrics-000.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text("group: {algo: tr_grpo, task: t, llm: tiny, cluster: cpu, track: console}\n")
    return folder


def size_and_texts(path: Path) -> tuple[int, str]:
    return path.stat().st_size, " ".join(ElementTree.parse(path).getroot().itertext())


def test_a_bucket_is_averaged_over_the_steps_that_have_it(run: Path) -> None:
    means = bucket_means(method_pictures.read_metrics(run))
    assert list(means) == list(SERIES)
    assert (means["tr_tokens"][0], means["tr_tokens"][-1]) == (0.5, 0.5)
    assert means["tr_mass"] == [1.0, *[0.0] * 7]
    assert means["tr_mass_before"] == [0.75, *[None] * 7]


def test_the_pictures_are_small_svg_on_white_and_name_the_run(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "images"
    main(out=out, run=run)
    for name in (CURVES, MASS):
        size, _ = size_and_texts(out / name)
        assert size < LIMIT
        assert "fill: #ffffff" in (out / name).read_text()
    _, texts = size_and_texts(out / MASS)
    assert "algo=tr_grpo task=t llm=tiny cluster=cpu, mean over steps 1 to 2" in texts
    for bucket in BUCKETS:
        assert bucket.replace("-", "–") in texts


def test_a_bucket_without_a_value_has_no_bar(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: dict[str, list[float]] = {}

    def count(figure: object, path: Path) -> None:
        (axis,) = figure.axes  # type: ignore[attr-defined]
        for container in axis.containers:
            bars[container.get_label()] = [bar.get_height() for bar in container]

    monkeypatch.setattr(method_pictures, "_save", count)
    steps = method_pictures.read_metrics(run)
    method_pictures.draw_mass(steps, caption(run, steps), tmp_path / MASS)
    assert {label: len(heights) for label, heights in bars.items()} == {
        SERIES["tr_tokens"][0]: 8,
        SERIES["tr_mass"][0]: 8,
        SERIES["tr_mass_before"][0]: 1,
    }


def test_every_shape_that_runs_with_its_default_values_has_a_curve(tmp_path: Path) -> None:
    assert set(STYLES) == set(SHAPES) - {"literal"}  # refused: it is 1 for every probability
    draw_curves(tmp_path / CURVES)
    _, texts = size_and_texts(tmp_path / CURVES)
    for word in (*STYLES, "literal"):
        assert word in texts
    styles = list(STYLES.values())
    assert len({colour for colour, _ in styles}) == len({str(line) for _, line in styles}) == len(styles)


def test_drawing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    draw_curves(tmp_path / "a.svg")
    draw_curves(tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_folder_without_a_config_or_without_measurements_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(out=tmp_path, run=tmp_path / "nothing")
    assert caught.value.code == 2
    assert "config.yaml: no such file" in capsys.readouterr().err
    (run / "metrics-000.jsonl").write_text('{"step": 1, "data": {"actor/grad_norm": 1.0}}\n')
    with pytest.raises(InputError, match="diagnostics=true"):
        caption(run, method_pictures.read_metrics(run))


def test_the_committed_pictures_are_small() -> None:
    folder = Path(__file__).parents[3] / "docs" / "images"
    pictures = list(folder.glob("*.svg"))
    assert {CURVES, MASS} <= {path.name for path in pictures}
    for path in pictures:
        assert size_and_texts(path)[0] < LIMIT, path
