"""Shares of the gradient, against the recipe's own weight and against the run's own sums."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import Made, make_run, response

from tr_grpo.analysis.report.tokens import default_weight, is_unweighted, share_names, shares
from tr_grpo.analysis.run_folder import Response, open_run
from tr_grpo.recipe.weights import TokenWeight


def recorded(made: Made | None = None, **changes: object) -> Response:
    return Response(**(response(made or Made(algo="tr_grpo"), 1, 0, 0) | changes))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_the_default_weight_is_the_recipes(probabilities: list[float]) -> None:
    expected = TokenWeight()(torch.tensor(probabilities, dtype=torch.float64)).numpy()
    assert default_weight(np.array(probabilities)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.floats(-12, -1e-6), st.floats(-1, 1), st.booleans()), min_size=1, max_size=40))
def test_shares_are_the_formulas_and_add_up_to_one(tokens: list[tuple[float, float, bool]]) -> None:
    log_prob, gradient, mask = (list(values) for values in zip(*tokens, strict=True))
    pi = np.exp(log_prob)
    weight = default_weight(pi)
    mass = np.where(mask, np.abs(gradient) * (1 - pi), 0)
    one = recorded(log_prob=log_prob, gradient=gradient, mask=mask, weight=weight.tolist())
    weighted, plain = shares(one, unweighted=False), shares(one, unweighted=True)
    if not mass.sum() > 0:
        assert np.isnan([weighted.before, weighted.after, plain.before, plain.after]).all()
        return
    expected = {"divided": mass / weight, "as it is": mass, "multiplied": mass * weight}
    expected = {name: np.where(mask, values / values.sum(), np.nan) for name, values in expected.items()}
    assert weighted.before == pytest.approx(expected["divided"], nan_ok=True)
    assert weighted.after == pytest.approx(expected["as it is"], nan_ok=True)
    assert plain.before == pytest.approx(expected["as it is"], nan_ok=True)
    assert plain.after == pytest.approx(expected["multiplied"], nan_ok=True)
    for values in (weighted.before, weighted.after, plain.before, plain.after):
        assert np.nansum(values) == pytest.approx(1)


def test_grpos_run_weighted_afterwards_has_the_shares_of_tr_grpos_run_at_the_same_policy() -> None:
    weighted = recorded()
    gradient = (np.array(weighted.gradient) / weighted.weight).tolist()
    plain = recorded(gradient=gradient, weight=[1.0] * len(gradient))
    first, second = shares(weighted, unweighted=False), shares(plain, unweighted=True)
    assert first.before == pytest.approx(second.before)
    assert first.after == pytest.approx(second.after)


def test_the_responses_of_an_update_have_the_updates_mass() -> None:
    made = Made(algo="tr_grpo")
    rows = [Response(**response(made, 1, 0, number)) for number in range(5)]
    mass = [np.abs(np.array(row.gradient)) * (1 - np.exp(row.log_prob)) for row in rows]
    before = [own / row.weight for own, row in zip(mass, rows, strict=True)]
    whole = {"update_mass": float(sum(map(np.sum, mass))), "update_mass_before": float(sum(map(np.sum, before)))}
    parts = [shares(Response(**(vars(row) | whole)), unweighted=False) for row in rows]
    assert sum(part.update_before or 0 for part in parts) == pytest.approx(1)
    assert sum(part.update_after or 0 for part in parts) == pytest.approx(1)


def test_an_observation_has_no_share_and_the_others_share_the_whole() -> None:
    row = Response(**response(Made(algo="tr_grpo"), 1, 0, 4))
    masked = ~np.array(row.mask)
    part = shares(row, unweighted=False)
    assert masked.any()
    assert np.isnan(part.after[masked]).all()
    assert np.nansum(part.after) == pytest.approx(1)


def test_what_is_not_finite_or_has_no_gradient_has_no_shares() -> None:
    count = len(recorded().tokens)
    for changes in (
        {"gradient": [float("nan")] * count},
        {"gradient": [0.0] * count},
        {"log_prob": [float("nan")] * count},
    ):
        assert np.isnan(shares(recorded(**changes), unweighted=False).before).all()
    assert shares(recorded(update_mass=0.0), unweighted=False).update_after is None
    empty = {name: [] for name in ("ids", "tokens", "mask", "log_prob", "advantage", "weight", "gradient")}
    assert shares(recorded(**empty), unweighted=False).before.size == 0


def test_the_config_says_whether_a_run_is_weighted_and_without_one_the_weights_do(tmp_path: Path) -> None:
    for algo, unweighted in (("grpo", True), ("tr_grpo", False)):
        run = open_run(make_run(tmp_path / algo, Made(algo=algo, steps=1)))
        assert is_unweighted(run, run.responses(1, 0)) is unweighted
        (tmp_path / algo / "config.yaml").unlink()
        assert is_unweighted(open_run(tmp_path / algo), run.responses(1, 0)) is unweighted
    part = shares(run.responses(1, 0)[0], unweighted=True)
    assert part.update_after is None  # the update's mass with the default weight was not measured


@pytest.mark.parametrize(
    ("algo", "settings", "names"),
    [
        ("grpo", {}, ("GRPO", "TR-GRPO")),
        ("tr_grpo", {}, ("GRPO", "TR-GRPO")),
        ("tr_cispo", {"base_loss": "cispo"}, ("cispo", "tr_cispo")),
        ("cispo", {"base_loss": None, "shape": None, "loss_mode": "cispo"}, ("cispo", "TR-GRPO")),
        ("ar_grpo", {"shape": "linear"}, ("GRPO", "ar_grpo")),
    ],
)
def test_the_shares_have_the_names_of_their_methods(
    tmp_path: Path, algo: str, settings: dict[str, str | None], names: tuple[str, str]
) -> None:
    changed = {f"actor_rollout_ref.actor.policy_loss.{key}": value for key, value in settings.items()}
    assert share_names(open_run(make_run(tmp_path / "run", Made(algo=algo, steps=1, settings=changed)))) == names
