"""How the composition table answers: a row, or one line that names the keys. No loss is computed here."""

import pytest

from tr_grpo.recipe.composition import LOSSES, Composition, Verdict, require


def refusal(base_loss: str, placement: str) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        require(base_loss, placement)
    return str(caught.value)


def test_the_verdicts_are_words_that_a_message_can_print() -> None:
    assert [str(verdict) for verdict in Verdict] == ["works", "works but means something else", "refused"]


def test_each_loss_has_its_row_at_the_advantage_with_a_reason() -> None:
    names = "vanilla cispo gpg sapo dppo_tv dppo_kl bypass_mode gspo geo_mean clip_cov kl_cov dro"
    assert " ".join(LOSSES) == names
    for name, row in LOSSES.items():
        assert require(name, "advantage") is row
        assert len(row.why) > 10


def test_only_the_clipped_objective_of_vanilla_has_eq_9() -> None:
    assert [name for name, row in LOSSES.items() if row.ratio] == ["vanilla"]
    assert require("vanilla", "ratio") is LOSSES["vanilla"]
    for name in LOSSES.keys() - {"vanilla"}:
        assert refusal(name, "ratio") == (
            f"placement=ratio and base_loss={name} do not compose: Eq. 9 is the clipped objective of vanilla; "
            "use placement=advantage"
        )


def test_more_than_one_loss_with_eq_9_would_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "later", Composition(Verdict.WORKS, "", ratio=True))
    assert "objective of vanilla, later; use" in refusal("gpg", "ratio")


def test_a_loss_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    assert refusal("later", "advantage") == (
        "base_loss='later' is not a policy loss of verl that the weight is known to compose with; "
        f"choose one of: {', '.join(sorted(LOSSES))}"
    )


def test_a_refused_loss_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "later", Composition(Verdict.REFUSED, "it has no advantage", ratio=True))
    for placement in ("advantage", "ratio"):
        assert refusal("later", placement) == "base_loss=later is refused: it has no advantage"


def test_the_losses_that_fix_their_own_aggregation_and_those_that_change_meaning() -> None:
    assert [name for name, row in LOSSES.items() if row.aggregates is False] == ["sapo", "geo_mean"]
    differ = [name for name, row in LOSSES.items() if row.verdict is Verdict.DIFFERS]
    assert differ == ["gspo", "geo_mean", "clip_cov", "kl_cov", "dro"]
    assert all(row.verdict is Verdict.WORKS for name, row in LOSSES.items() if name not in differ)
    assert Composition(Verdict.WORKS, "").aggregates is True
    assert Composition(Verdict.WORKS, "").ratio is False
