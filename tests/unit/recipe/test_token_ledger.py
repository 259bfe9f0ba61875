"""The shares of an update: an example by hand, edges of the buckets, and sums that add up however they are split."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tr_grpo.recipe.token_ledger import BUCKETS, EDGES, QUARTILES, TokenLedger, WeightRange, describe

RANGE = WeightRange(lower=1.0, upper=1.4, lowest=1.0, highest=1.4)


def add(ledger: TokenLedger, columns: dict[str, Sequence[float]], mask: Sequence[int] | None = None) -> TokenLedger:
    """One row of tokens: pi, w, a, g, and their mask (all count)."""
    tensors = {name: torch.tensor([values], dtype=torch.float32) for name, values in columns.items()}
    counted = torch.ones_like(tensors["pi"]) if mask is None else torch.tensor([mask])
    ledger.add(tensors["pi"], tensors.get("w"), tensors["a"], counted, tensors["g"])
    return ledger


def described(columns: dict[str, Sequence[float]], weight_range: WeightRange = RANGE) -> dict[str, float]:
    return describe(add(TokenLedger(weight_range), columns).totals().tolist())


EXAMPLE = {
    # Dyadic numbers, so that every sum below is exact in float32.
    "pi": [0.0, 0.25, 0.25, 0.5, 0.75, 1.0, 0.5, 0.125],
    "w": [1.0, 1.25, 1.25, 1.4, 1.4, 1.4, 1.4, 1.0],
    "a": [1.0, -1.0, 2.0, 0.0, -1.0, 1.0, 1.0, 1.0],
    "g": [-1.0, 1.25, -2.5, 0.0, 1.4, -1.4, 0.0, -2.0],
}
"""In order: rare; two on the ramp, of both signs; no advantage; confident, pushed down; certain, so without a pull
whatever its g; clipped (an advantage but no gradient); a fifth bucket of the first quartile."""


def test_an_example_by_hand() -> None:
    found = described(EXAMPLE)
    mass = [1.0, 1.25 * 0.75, 2.5 * 0.75, 0.0, 1.4 * 0.25, 0.0, 0.0, 2.0 * 0.875]
    before = [1.0, 0.75, 1.5, 0.0, 0.25, 0.0, 0.0, 1.75]
    total, total_before = sum(mass), sum(before)
    expected = {
        "tr/weight_mean": 10.1 / 8,
        "tr/share_at_lower": 2 / 8,
        "tr/share_in_ramp": 2 / 8,
        "tr/share_at_upper": 4 / 8,
        "tr/informative": 1.0,
        # The token at pi = 1 has no gradient either, but no update could give it one: not counted. Of 7 with A != 0.
        "tr/share_without_gradient": 1 / 7,
        "tr/share_p_0_25": 2 / 8,
        "tr/share_p_25_50": 2 / 8,
        "tr/share_p_50_75": 2 / 8,
        "tr/share_p_75_100": 2 / 8,
        "tr/mass_p_0_25": (mass[0] + mass[7]) / total,
        "tr/mass_p_25_50": (mass[1] + mass[2]) / total,
        "tr/mass_p_50_75": 0.0,
        "tr/mass_p_75_100": mass[4] / total,
        "tr/mass_before_p_0_25": 2.75 / total_before,
        "tr/mass_before_p_25_50": 2.25 / total_before,
        "tr/mass_before_p_50_75": 0.0,
        "tr/mass_before_p_75_100": 0.25 / total_before,
        "tr/effective_tokens": total**2 / sum(m * m for m in mass),
        "tr/effective_tokens_before": total_before**2 / sum(m * m for m in before),
    }
    buckets = {
        # tokens, mean weight, mass, mass before, negative, positive
        "0-0.001": (1, 1.0, mass[0], 1.0, 0.0, mass[0]),
        "0.001-0.01": (0, None, 0.0, 0.0, 0.0, 0.0),
        "0.01-0.05": (0, None, 0.0, 0.0, 0.0, 0.0),
        "0.05-0.1": (0, None, 0.0, 0.0, 0.0, 0.0),
        "0.1-0.25": (1, 1.0, mass[7], 1.75, 0.0, mass[7]),
        "0.25-0.5": (2, 1.25, mass[1] + mass[2], 2.25, mass[1], mass[2]),
        "0.5-0.75": (2, 1.4, 0.0, 0.0, 0.0, 0.0),
        "0.75-1": (2, 1.4, mass[4], 0.25, mass[4], 0.0),
    }
    for name, (tokens, weight, m, m_before, negative, positive) in buckets.items():
        expected[f"tr_tokens/{name}"] = tokens / 8
        if weight is not None:
            expected[f"tr_weight/{name}"] = weight
        expected[f"tr_mass/{name}"] = m / total
        expected[f"tr_mass_before/{name}"] = m_before / total_before
        expected[f"tr_mass_negative/{name}"] = negative / total
        expected[f"tr_mass_positive/{name}"] = positive / total
    assert found == pytest.approx({f"actor/{key}": value for key, value in expected.items()}, rel=1e-6)


def test_without_a_weight_before_and_after_are_the_same() -> None:
    columns = {name: values for name, values in EXAMPLE.items() if name != "w"}
    found = described(columns, WeightRange())
    assert found["actor/tr/weight_mean"] == 1.0
    for key, value in found.items():
        if "mass_before" in key:
            assert value == found[key.replace("mass_before", "mass")]
    assert found["actor/tr/effective_tokens"] == found["actor/tr/effective_tokens_before"]


@pytest.mark.parametrize("place", range(len(BUCKETS)))
def test_a_probability_exactly_at_an_edge_belongs_to_the_bucket_above(place: int) -> None:
    below = [0.0, *EDGES][place]
    found = described({"pi": [below], "w": [1.0], "a": [1.0], "g": [1.0]})
    assert found[f"actor/tr_tokens/{BUCKETS[place]}"] == 1
    if place:
        under = torch.nextafter(torch.tensor(below), torch.tensor(0.0)).item()
        found = described({"pi": [under], "w": [1.0], "a": [1.0], "g": [1.0]})
        assert found[f"actor/tr_tokens/{BUCKETS[place - 1]}"] == 1


def test_the_buckets_are_named_by_their_edges_and_the_quartiles_cover_them() -> None:
    ends = ["0", *(f"{edge:g}" for edge in EDGES), "1"]
    assert [f"{low}-{high}" for low, high in itertools.pairwise(ends)] == list(BUCKETS)
    covered = [name for part in QUARTILES.values() for name in BUCKETS[part]]
    assert covered == list(BUCKETS)
    for name, part in QUARTILES.items():
        low, high = (int(number) / 100 for number in name.split("_"))
        assert float(BUCKETS[part][0].split("-")[0]) == low
        assert float(BUCKETS[part][-1].split("-")[1]) == high


def test_pi_1_is_in_the_last_bucket() -> None:
    assert described({"pi": [1.0], "w": [1.0], "a": [1.0], "g": [1.0]})["actor/tr_tokens/0.75-1"] == 1


def test_masked_tokens_have_no_influence() -> None:
    extended = {name: [*values, 0.6, float("nan")] for name, values in EXAMPLE.items()}
    masked = add(TokenLedger(RANGE), extended, mask=[1] * 8 + [0, 0])
    assert torch.equal(masked.totals(), add(TokenLedger(RANGE), EXAMPLE).totals())


def test_the_callers_tensors_are_not_changed() -> None:
    columns = {name: torch.tensor([values]) for name, values in EXAMPLE.items()}
    mask = torch.ones(1, 8, dtype=torch.bool)
    kept = {name: tensor.clone() for name, tensor in columns.items()}
    for mode in (torch.float32, torch.float64):
        TokenLedger(RANGE).add(*(columns[name].to(mode) for name in ("pi", "w", "a")), mask, columns["g"])
    for name, tensor in columns.items():
        assert torch.equal(tensor, kept[name]), name


@st.composite
def tokens(draw: st.DrawFn) -> dict[str, Tensor]:
    count = draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    pi = torch.rand(count, 1, generator=generator) ** draw(st.sampled_from([0.3, 1.0, 4.0]))
    return {
        "pi": pi,
        "w": torch.rand(count, 1, generator=generator) + 0.5,
        "a": torch.randint(-1, 2, (count, 1), generator=generator).float(),
        "mask": torch.rand(count, 1, generator=generator) < 0.8,
        "g": torch.randn(count, 1, generator=generator) * (torch.rand(count, 1, generator=generator) < 0.7),
    }


@settings(max_examples=40)
@given(tokens(), st.lists(st.integers(0, 7), min_size=40, max_size=40))
def test_any_split_over_micro_batches_and_ranks_adds_up_to_the_whole(
    data: dict[str, Tensor], places: list[int]
) -> None:
    """Two ranks of up to four micro-batches each, some of them empty."""
    whole = TokenLedger(RANGE)
    whole.add(*data.values())
    place = torch.tensor(places[: len(data["pi"])])
    ranks = [TokenLedger(RANGE), TokenLedger(RANGE)]
    for number in range(8):
        ranks[number % 2].add(*(column[place == number] for column in data.values()))
    total = ranks[0].totals() + ranks[1].totals()
    torch.testing.assert_close(total, whole.totals())
    assert describe(total.tolist()) == pytest.approx(describe(whole.totals().tolist()), rel=1e-9, abs=1e-12)


@settings(max_examples=40)
@given(tokens())
def test_shares_are_shares(data: dict[str, Tensor]) -> None:
    ledger = TokenLedger(RANGE)
    ledger.add(*data.values())
    found = {key.removeprefix("actor/"): value for key, value in describe(ledger.totals().tolist()).items()}
    for word in ("min", "max", "sum", "total"):
        assert not [key for key in found if word in key]
    if not found:
        assert not data["mask"].any()
        return
    assert sum(value for key, value in found.items() if key.startswith("tr_tokens/")) == pytest.approx(1)
    assert sum(found[f"tr/share_p_{name}"] for name in QUARTILES) == pytest.approx(1)
    assert sum(found[f"tr/share_{part}"] for part in ("at_lower", "in_ramp", "at_upper")) == pytest.approx(1)
    if "tr/effective_tokens" in found:
        for kind in ("tr_mass/", "tr_mass_before/"):
            assert sum(value for key, value in found.items() if key.startswith(kind)) == pytest.approx(1)
        for kind in ("tr/mass_p_", "tr/mass_before_p_"):
            assert sum(found[kind + name] for name in QUARTILES) == pytest.approx(1)
        for name in BUCKETS:
            signs = found[f"tr_mass_negative/{name}"] + found[f"tr_mass_positive/{name}"]
            assert signs == pytest.approx(found[f"tr_mass/{name}"])
        assert 1 - 1e-6 <= found["tr/effective_tokens"] <= data["mask"].sum() + 1e-6
    assert all(value >= 0 for value in found.values())


def test_an_empty_update_has_no_metrics() -> None:
    assert describe(TokenLedger(RANGE).totals().tolist()) == {}
    assert describe(add(TokenLedger(RANGE), EXAMPLE, mask=[0] * 8).totals().tolist()) == {}


def test_a_gradient_of_zero_leaves_out_the_shares_of_it() -> None:
    found = described(EXAMPLE | {"g": [0.0] * 8})
    assert not [key for key in found if "mass" in key or "effective" in key]
    assert found["actor/tr/share_without_gradient"] == pytest.approx(6 / 7)
    assert found["actor/tr/weight_mean"] == pytest.approx(10.1 / 8)


def test_without_an_advantage_no_share_of_them_lacks_a_gradient() -> None:
    found = described(EXAMPLE | {"a": [0.0] * 8, "g": [0.0] * 8})
    assert "actor/tr/share_without_gradient" not in found
    assert "actor/tr/share_p_0_25" in found


def test_a_token_without_an_advantage_that_a_penalty_moves_is_not_counted_as_pushed_up() -> None:
    """The KL loss and the entropy bonus have a gradient at A = 0 too."""
    found = described({"pi": [0.3, 0.3], "w": [1.0, 1.0], "a": [0.0, 1.0], "g": [1.0, 3.0]})
    assert found["actor/tr_mass_positive/0.25-0.5"] == pytest.approx(0.75)
    assert found["actor/tr_mass_negative/0.25-0.5"] == pytest.approx(0.25)


def test_all_of_one_mass_are_as_many_effective_tokens_and_one_alone_is_one() -> None:
    same = {"pi": [0.5] * 10, "w": [1.0] * 10, "a": [1.0] * 10, "g": [2.0] * 10}
    assert described(same)["actor/tr/effective_tokens"] == pytest.approx(10)
    alone = described(same | {"g": [2.0] + [0.0] * 9})
    assert alone["actor/tr/effective_tokens"] == pytest.approx(1)
    assert alone["actor/tr/effective_tokens_before"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("low", "high", "informative"), [(1, 99, 1.0), (99, 1, 1.0), (0, 100, 0.0), (100, 0, 0.0), (2, 2, 1.0)]
)
def test_it_is_informative_where_a_hundredth_of_the_tokens_is_at_each_end(
    low: int, high: int, informative: float
) -> None:
    middle = 100 - low - high
    # 1.04 and 1.36 are the last values within a tenth of the range from its ends.
    w = [1.0399] * low + [1.2] * middle + [1.3601] * high
    columns = {"pi": [0.5] * 100, "w": w, "a": [1.0] * 100, "g": [1.0] * 100}
    assert described(columns)["actor/tr/informative"] == informative
    assert described(columns)["actor/tr/share_in_ramp"] == 1.0
    inside = columns | {"w": [1.0401] * low + [1.2] * middle + [1.3599] * high}
    assert described(inside)["actor/tr/informative"] == 0.0


def test_the_ends_are_those_of_the_reachable_weights_not_of_the_clip() -> None:
    """A sigmoid that never comes near its upper clip: at the clips nothing, at the ends of its own range both."""
    reachable = replace(RANGE, lower=0.5, upper=2.0, lowest=0.8, highest=1.2)
    columns = {"pi": [0.1, 0.9], "w": [0.8, 1.2], "a": [1.0, 1.0], "g": [1.0, 1.0]}
    found = described(columns, reachable)
    assert found["actor/tr/informative"] == 1.0
    assert found["actor/tr/share_in_ramp"] == 1.0


def test_sums_are_kept_in_float64() -> None:
    """2^24 + 1 tokens of weight 1 are one token more, which float32 would lose."""
    ledger = TokenLedger(RANGE)
    assert ledger.totals().dtype == torch.float64
    ledger._table += 2.0**24
    ledger._extras += 2.0**24
    before = ledger.totals()
    add(ledger, {"pi": [0.5], "w": [1.0], "a": [1.0], "g": [0.0]})
    # A token, its weight, its advantage without a gradient, at the lower clip and the lower end.
    assert (ledger.totals() - before).sum() == 6


def test_the_sums_live_on_the_given_device_and_need_no_transfer() -> None:
    """``meta`` stands for any device that is not the CPU; a transfer from it would raise."""
    ledger = TokenLedger(RANGE, "meta")
    assert {ledger._table.device.type, ledger._extras.device.type, ledger.totals().device.type} == {"meta"}
    assert TokenLedger(RANGE).totals().device.type == "cpu"


def test_a_weight_that_is_one_is_at_its_only_value_and_tells_nothing() -> None:
    assert WeightRange() == WeightRange(1.0, 1.0, 1.0, 1.0)
    columns = {name: values for name, values in EXAMPLE.items() if name != "w"}
    found = described(columns, WeightRange())
    shares = {part: found[f"actor/tr/share_{part}"] for part in ("at_lower", "in_ramp", "at_upper")}
    assert shares == {"at_lower": 1.0, "in_ramp": 0.0, "at_upper": 0.0}
    assert found["actor/tr/informative"] == 0.0


def test_less_than_a_hundredth_of_many_tokens_is_not_an_end() -> None:
    columns = {"pi": [0.5] * 400, "w": [1.0] * 3 + [1.4] * 397, "a": [1.0] * 400, "g": [1.0] * 400}
    assert described(columns)["actor/tr/informative"] == 0.0
    assert described(columns | {"w": [1.0] * 4 + [1.4] * 396})["actor/tr/informative"] == 1.0


def test_shares_are_computed_in_float64() -> None:
    totals = TokenLedger(RANGE).totals()
    totals[0], totals[2] = 2.0**24 + 1, 2.0**24
    found = describe(totals.tolist())
    assert found[f"actor/tr_tokens/{BUCKETS[0]}"] == pytest.approx((2**24 + 1) / (2**25 + 1), rel=1e-12)


def test_sums_of_another_length_are_refused() -> None:
    totals = add(TokenLedger(RANGE), EXAMPLE).totals().tolist()
    for wrong in (totals[:-1], [*totals, 0.0]):
        with pytest.raises(ValueError, match="zip"):
            describe(wrong)
