"""docs/method.md says what the code does: tables of the weight and of the losses, thresholds, constants, metrics."""

import math
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import tr_grpo.recipe
from tr_grpo.recipe.composition import LOSSES
from tr_grpo.recipe.gradient_norms import WINDOW, GradientNorms
from tr_grpo.recipe.token_ledger import BUCKETS, END, POPULATED, QUARTILES, TokenLedger, WeightRange, describe
from tr_grpo.recipe.weights import SHAPES, TokenWeight

RECIPE = Path(tr_grpo.recipe.__file__).parent
ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
WIDE = {"lower": 1e-9, "upper": 1e9}
"""A clip that nothing reaches, so that the raw value shows."""


def table(first: str) -> list[dict[str, str]]:
    """The rows of the one table of the document whose first column has this header."""
    lines = DOC.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith(f"| {first} |")]
    assert len(heads) == 1, (first, heads)

    def cells(line: str) -> list[str]:
        return [cell.strip() for cell in line.strip("|").split("|")]

    header, rows = cells(lines[heads[0]]), []
    for line in lines[heads[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(header, cells(line), strict=True)))
    return rows


def raw_and_weight(shape: str, probability: float) -> tuple[float, float]:
    if shape in ("linear", "uniform"):
        return (TokenWeight(shape).at(probability),) * 2
    raw = TokenWeight(shape, **WIDE).at(probability)
    return raw, min(max(raw, TokenWeight.lower), TokenWeight.upper)


def test_every_shape_has_its_row_and_its_column() -> None:
    assert [row["shape"].strip("`") for row in table("shape")] == [*SHAPES[:3], "reverse", "linear", "uniform"]
    assert set(table("π")[0]) == {"π", *SHAPES}


@pytest.mark.parametrize("row", table("π"), ids=lambda row: row["π"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_table_of_readings_is_what_the_weight_gives(row: dict[str, str], shape: str) -> None:
    raw, w = raw_and_weight(shape, float(row["π"]))
    assert row[shape] == (f"{raw:.3f}" if math.isclose(raw, w, rel_tol=1e-12) else f"{raw:.3f} → {w:.1f}")
    if shape != "literal":
        assert TokenWeight(shape).at(float(row["π"])) == pytest.approx(w)


def test_the_probabilities_of_the_table_are_the_promised_ones() -> None:
    assert [row["π"] for row in table("π")] == ["0", "0.1", "0.2", "0.25", "0.3", "0.5", "1"]


def test_the_literal_reading_is_refused_and_the_named_tau_is_not() -> None:
    with pytest.raises(ValueError, match="the weight is 1 for every probability"):
        TokenWeight("literal")
    (tau,) = re.findall(r"`tau=([\d.]+)`", DOC)
    assert TokenWeight("literal", tau=float(tau)).lowest < TokenWeight("literal", tau=float(tau)).highest


def test_the_default_values_and_the_upper_clips_place() -> None:
    found = dict(re.findall(r"(\\alpha|\\tau|\\mu|L|U) = ([\d.]+)", DOC.split("```")[1]))
    names = {"\\alpha": "alpha", "\\tau": "tau", "\\mu": "mu", "L": "lower", "U": "upper"}
    assert {names[symbol]: float(value) for symbol, value in found.items()} == {
        name: getattr(TokenWeight(), name) for name in names.values()
    }
    (place,) = re.findall(r"\\approx (0\.\d+)\$ on", DOC)
    assert TokenWeight().at(float(place)) < 1.4 == TokenWeight().at(float(place) + 0.001)


def test_from_where_eq_9_takes_the_gradient_of_confident_tokens() -> None:
    rows = table("$\\epsilon_{high}$")
    assert {"0.24", "0.28"} <= {row["$\\epsilon_{high}$"] for row in rows}
    for row in rows:
        bound, place = 1 + float(row["$\\epsilon_{high}$"]), float(row["of $\\pi$ above"])
        assert TokenWeight().at(place - 0.0005) < bound < TokenWeight().at(place + 0.0005)


def test_the_composition_table_is_the_code() -> None:
    answer = {True: "yes", False: "no"}
    expected = [
        {
            "base_loss": f"`{name}`",
            "verdict": str(row.verdict),
            "why": row.why,
            "heeds loss_agg_mode": answer[row.aggregates],
            "placement=ratio": answer[row.ratio],
        }
        for name, row in LOSSES.items()
    ]
    assert table("base_loss") == expected


def full_ledger() -> dict[str, float]:
    """One token in each bucket, so that nothing is undefined."""
    pi = torch.tensor([[0.0005, 0.005, 0.03, 0.07, 0.2, 0.4, 0.6, 0.9]])
    ledger = TokenLedger(WeightRange(1.0, 1.4, 1.0, 1.4))
    ledger.add(pi, TokenWeight()(pi), torch.ones_like(pi), torch.ones_like(pi), -torch.ones_like(pi))
    return describe(ledger.totals().tolist())


def emitted() -> set[str]:
    """Every key, with its bucket or quartile as the document writes it."""
    probe = re.findall(r'"(actor/sharpness/\w+)"', (RECIPE / "engine.py").read_text(encoding="utf-8"))
    assert len(probe) >= 3
    keys = set()
    for key in (*full_ledger(), *GradientNorms().add(1.0), *probe):
        group, _, last = key.rpartition("/")
        if last in BUCKETS:
            key = f"{group}/<bucket>"
        for name in QUARTILES:
            key = re.sub(rf"_p_{name}$", "_p_<quartile>", key)
        keys.add(key)
    return keys


def test_every_metric_is_explained_and_no_other() -> None:
    documented = {
        key for line in DOC.splitlines() if line.startswith("| `actor/") for key in re.findall(r"`(actor/[^`]+)`", line)
    }
    rows = {line.split("`")[1] for line in DOC.splitlines() if line.startswith("| `actor/")}
    assert rows == emitted()
    assert documented - rows == {"actor/grad_norm"}


def test_buckets_quartiles_and_constants_are_the_codes() -> None:
    (buckets,) = re.findall(r"Buckets of .*?included: (.*?)\. Quartiles", DOC)
    assert re.findall(r"`([^`]+)`", buckets) == list(BUCKETS)
    (quartiles,) = re.findall(r"\(`<quartile>`\): (.*?), in percent", DOC)
    assert re.findall(r"`([^`]+)`", quartiles) == list(QUARTILES)
    assert f"at least {POPULATED:.0%} of the tokens".replace("%", " %") in DOC
    assert END == 0.1
    assert "the lowest tenth" in DOC
    assert f"last {WINDOW} updates" in DOC
    (step,) = re.findall(r"^HESSIAN_STEP = (\S+)", (RECIPE / "engine.py").read_text(encoding="utf-8"), re.MULTILINE)
    (written,) = re.findall(r"`HESSIAN_STEP` = ([\d.e-]*\d)", DOC)
    assert float(written) == float(step)


def test_the_environment_of_every_worker_names_the_engine() -> None:
    config = OmegaConf.load(RECIPE / "config" / "train.yaml")
    vendor = config.ray_kwargs.ray_init.runtime_env.env_vars.VERL_ENGINE_VENDOR
    assert f"`VERL_ENGINE_VENDOR={vendor}`" in DOC


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", DOC):
        assert target.startswith("http") or (ROOT / "docs" / target).exists(), target
    for path in re.findall(r"`((?:tests|recipe|analysis)/[\w/.]+\.(?:py|yaml))`", DOC):
        assert (ROOT / path).is_file(), path
