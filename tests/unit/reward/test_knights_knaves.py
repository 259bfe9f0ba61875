"""Golden and adversarial tables of the Knights & Knaves scorer, its rules, and its speed on hostile text."""

import subprocess
import sys
import time

import pytest

from tr_grpo.reward.knights_knaves import RULES, judge, parse_solution, score
from tr_grpo.reward.verdict import Verdict

TRUTH = "(1) Mia is a knight\n(2) Noah is a knave"
SOLUTION = {"Mia": True, "Noah": False}


def respond(answer: str, thinking: str = "if Noah lies …") -> str:
    """A well-formed response around an answer."""
    return f"<think>{thinking}</think><answer>{answer}</answer>"


def verdict(answer: str, solution: dict[str, bool] = SOLUTION) -> Verdict:
    """The verdict on an answer in a well-formed response."""
    return judge(respond(answer), solution).verdict


@pytest.mark.parametrize("truth", [TRUTH, {"solution_text_format": TRUTH}, "Mia is a knight\r\n Noah is a knave \n\n"])
def test_ground_truth_of_both_data_sets_is_read(truth: str | dict[str, str]) -> None:
    assert parse_solution(truth) == SOLUTION
    assert list(parse_solution(truth)) == ["Mia", "Noah"]


@pytest.mark.parametrize(
    ("truth", "fault"),
    [
        ("", "names nobody"),
        ("\n \n", "names nobody"),
        ({}, "solution_text_format"),
        ({"solution_text_format": None}, "solution_text_format"),
        ({"solution_text_format": {}}, "solution_text_format"),
        ("(1) Mia is a knight\n(2) Mia is a knight", "twice"),
        ("(1) Mia is a knight\n(2) MIA is a knave", "twice"),
        ("(1) Mia is a pawn", "Mia is a pawn"),
        ("Mia: knight", "Mia: knight"),
        ("(1) Mia is a knight, Noah is a knave", "cannot be told"),
        ("(1) so is a knight", "cannot be told"),
        ("(1) Mia is not a knight", "Mia is not a knight"),
    ],
)
def test_bad_ground_truth_is_refused_with_its_line(truth: str | dict[str, str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        parse_solution(truth)
    assert "\n" not in str(caught.value)


def test_an_empty_solution_is_refused() -> None:
    with pytest.raises(ValueError, match="names nobody"):
        judge(respond(TRUTH), {})


@pytest.mark.parametrize(
    "answer",
    [
        TRUTH,
        "(1) Mia is a knight (2) Noah is a knave",
        "Mia: knight\nNoah: knave",
        "Mia - knight; Noah – knave",
        "Mia=knight,Noah = knave",
        "MIA IS THE KNIGHT AND noah is knave.",
        "**Mia** is a knight, and **Noah** is a knave.",
        "* Mia: **Knight**\r\n* Noah: **Knave**\r\n",
        "1. Mia is a knight\n2. Noah is a knave",
        "1) Mia is a knight 2) Noah is a knave",
        "- Mia is a knight\n- Noah is a knave",
        "• Mia → knight\n• Noah -> knave",
        "Noah is a knave. Mia is a knight.",
        "Therefore, Mia is a knight and Noah is a knave",
        "The answer is: Mia is a knight, Noah is a knave",
        "Mia is a knight. Noah is a knave. So Mia is a knight.",
        "Mia：knight，Noah：knave",
        "Mia\u00a0is\u00a0a\u00a0knight\u2028Noah is a knave",
        "Mi\u200ba is a knight\ufeff, No\u00adah is a knave",
        '"Mia" is a knight, "Noah" is a knave\0',
    ],
)
def test_accepted_forms_of_the_right_answer(answer: str) -> None:
    judgement = judge(respond(answer), SOLUTION)
    assert judgement.verdict is Verdict.RIGHT, judgement
    assert (judgement.format_ok, judgement.reason) == (True, "")
    assert judgement.answer in ("Mia: knight, Noah: knave", "Noah: knave, Mia: knight")


@pytest.mark.parametrize(
    ("answer", "expected", "reason"),
    [
        ("Mia is a knave, Noah is a knave", Verdict.WRONG, "the role of Mia"),
        ("Mia is a knight, Noah is a knight", Verdict.WRONG, "the role of Noah"),
        ("", Verdict.UNPARSABLE, "empty"),
        (" \n., ", Verdict.UNPARSABLE, "empty"),
        ("Mia is a knight", Verdict.UNPARSABLE, "Noah is not given a role"),
        ("knight knave", Verdict.UNPARSABLE, "not a claim"),
        ("Mia is a knight, Mia is a knight", Verdict.UNPARSABLE, "Noah is not given a role"),
        ("Mia is a knight, Noah is a knave, Mia is a knave", Verdict.UNPARSABLE, "Mia is given both roles"),
        ("Mia is a knave, Noah is a knave, Mia is a knight", Verdict.UNPARSABLE, "Mia is given both roles"),
        ("Mia is a knight, Noah is a knave, Zoey is a knight", Verdict.UNPARSABLE, "not a person"),
        ("Mia is a knight, Noah is not a knight", Verdict.UNPARSABLE, "not a claim"),
        ("Mia is a knight, Noah is not a knave", Verdict.UNPARSABLE, "not a claim"),
        ("Mia is not: a knight, Noah is a knave", Verdict.UNPARSABLE, "not a person"),
        ("Mia is a knight or a knave, Noah is a knave", Verdict.UNPARSABLE, "not a"),
        ("Mia is a knight and a knave, Noah is a knave", Verdict.UNPARSABLE, "not a"),
        ("Either Mia is a knight or Noah is a knave", Verdict.UNPARSABLE, "either mia"),
        ("Mia is a knight, Noah is a knave, or vice versa", Verdict.UNPARSABLE, "vice versa"),
        ("Mia is a knight or Noah is a knave", Verdict.UNPARSABLE, "or noah"),
        ("If Mia is a knight then Noah is a knave", Verdict.UNPARSABLE, "if mia"),
        ("It is false that Mia is a knight. Noah is a knave", Verdict.UNPARSABLE, "it is false"),
        ("Mia is a knight. Noah is a knave. Not!", Verdict.UNPARSABLE, "not"),
        ("Mia is a knight? Noah is a knave?", Verdict.UNPARSABLE, "not a"),
        ("Mia and Noah are knights", Verdict.UNPARSABLE, "not a claim"),
        ("Mia is a knights, Noah is a knave", Verdict.UNPARSABLE, "not a"),
        ("Miami is a knight, Noah is a knave", Verdict.UNPARSABLE, "not a person"),
        ("Mia Mia is a knight, Noah is a knave", Verdict.UNPARSABLE, "not a person"),
        ("Μia is a knight, Noah is a knave", Verdict.UNPARSABLE, "not a person"),  # a Greek capital Mu
        ("(1) Mia is a knight\n(2) ...", Verdict.UNPARSABLE, "Noah is not given a role"),
    ],
)
def test_other_answers_never_win(answer: str, expected: Verdict, reason: str) -> None:
    judgement = judge(respond(answer), SOLUTION)
    assert judgement.verdict is expected
    assert reason in judgement.reason
    assert "\n" not in judgement.reason
    assert (judgement.answer is None) == (expected is Verdict.UNPARSABLE)


def test_names_with_accents_match_in_any_normal_form() -> None:
    solution = parse_solution("(1) Zoé is a knight\n(2) Jean-Luc is a knave\n(3) Mary Ann is a knight")
    assert verdict("Zoe\u0301 is a knight, Jean-Luc - knave, mary  ann: knight", solution) is Verdict.RIGHT
    assert verdict("Zoe is a knight, Jean-Luc - knave, mary ann: knight", solution) is Verdict.UNPARSABLE


def test_a_name_inside_another_name_is_told_apart() -> None:
    solution = {"Ann": True, "Anna": False, "Joann": True}
    assert verdict("Anna: knave, Joann: knight, Ann: knight", solution) is Verdict.RIGHT
    assert verdict("Anna: knight, Joann: knight, Ann: knave", solution) is Verdict.WRONG


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "<think> is missing"),
        (TRUTH, "<think> is missing"),
        (f"<answer>{TRUTH}</answer>", "<think> is missing"),
        (f"<think>…<answer>{TRUTH}</answer>", "</think> is missing"),
        (f"<think>…</think>{TRUTH}</answer>", "<answer> is missing"),
        (f"<think>…</think><answer>{TRUTH}", "</answer> is missing"),
        (f"<think>…</think><answer>{TRUTH}</answer>" * 2, "<think> stands 2 times"),
        (f"<think>…</think><answer>x</answer><answer>{TRUTH}</answer>", "<answer> stands 2 times"),
        (f"<think>…</think><answer><answer>{TRUTH}</answer></answer>", "<answer> stands 2 times"),
        (f"</think>…<think><answer>{TRUTH}</answer>", "</think> stands before <think>"),
        (f"<answer>{TRUTH}</answer><think>…</think>", "<answer> stands before </think>"),
        (f"<think>…<answer>{TRUTH}</answer></think>", "<answer> stands before </think>"),
        (f"<think>…</think></answer>{TRUTH}<answer>", "</answer> stands before <answer>"),
        (f"<THINK>…</THINK><ANSWER>{TRUTH}</ANSWER>", "<think> is missing"),
        (f"<think>…</think><ans\u200bwer>{TRUTH}</answer>", "<answer> is missing"),
    ],
)
def test_malformed_responses_score_the_least_whatever_they_answer(response: str, reason: str) -> None:
    judgement = judge(response, SOLUTION)
    assert (judgement.verdict, judgement.format_ok, judgement.answer) == (Verdict.MALFORMED, False, None)
    assert judgement.reason == reason
    assert score(judgement, RULES["logic_rl"]) == -3.0
    assert score(judgement, RULES["tiny"]) == 0.0


def test_no_assistant_header_is_needed_and_surroundings_are_not_read() -> None:
    assert verdict(TRUTH) is Verdict.RIGHT
    wrong = "Mia is a knave, Noah is a knight"
    for response in (
        f"<|im_start|>assistant\n{respond(TRUTH)}<|im_end|>\n",
        f"{wrong}{respond(TRUTH, thinking=wrong)}{wrong}",
    ):
        assert judge(response, SOLUTION).verdict is Verdict.RIGHT
    for response in (respond(wrong, thinking=TRUTH), f"{TRUTH}{respond(wrong)}{TRUTH}"):
        assert judge(response, SOLUTION).verdict is Verdict.WRONG


def test_a_prefilled_opening_tag_may_be_absent_but_not_doubled() -> None:
    response = respond(TRUTH)
    assert judge(response, SOLUTION, thinking_prefilled=True).verdict is Verdict.RIGHT
    bare = response.removeprefix("<think>")
    assert judge(bare, SOLUTION, thinking_prefilled=True).verdict is Verdict.RIGHT
    assert judge(bare, SOLUTION).verdict is Verdict.MALFORMED
    assert judge("<think>" + response, SOLUTION, thinking_prefilled=True).verdict is Verdict.MALFORMED
    assert judge(bare + "<think>", SOLUTION, thinking_prefilled=True).verdict is Verdict.MALFORMED


def test_truncation_is_a_verdict_only_before_the_answer_is_closed() -> None:
    cut = judge(f"<think>…</think><answer>{TRUTH}", SOLUTION, truncated=True)
    assert (cut.verdict, cut.format_ok, cut.reason) == (Verdict.TRUNCATED, False, "</answer> is missing")
    assert score(cut, RULES["logic_rl"]) == -3.0
    assert score(cut, RULES["tiny"]) == 0.0
    assert judge(respond(TRUTH) + " and on", SOLUTION, truncated=True).verdict is Verdict.RIGHT
    assert judge(respond("Mia"), SOLUTION, truncated=True).verdict is Verdict.UNPARSABLE


@pytest.mark.parametrize(
    ("answer", "logic_rl", "tiny"),
    [(TRUTH, 3.0, 1.1), ("Mia: knave, Noah: knave", -0.5, 0.1), ("no idea", -1.0, 0.1)],
)
def test_totals_of_the_rules(answer: str, logic_rl: float, tiny: float) -> None:
    judgement = judge(respond(answer), SOLUTION)
    assert score(judgement, RULES["logic_rl"]) == logic_rl
    assert score(judgement, RULES["tiny"]) == tiny


JUNK = "- so Mia is a \u0301\u0327" * 50_000


@pytest.mark.parametrize(
    "response",
    [
        "x" * 1_000_000,
        "<" * 1_000_000,
        "<think></think>" * 100_000,
        "<answer>" * 100_000 + "</answer>" * 100_000,
        respond("Mia is a knight, " * 60_000),
        respond(JUNK),
        respond(TRUTH, thinking=JUNK),
        respond("-" * 4_000),
        respond("- " * 2_000),
        respond("1 " * 2_000),
        respond("Mia is a " * 450),
        respond("Mia -" * 800),
        respond("so the answer is " * 240),
        respond("and" * 1_300),
        respond("a\u0301\u0327" * 1_365),
        respond("\u0301\u0327" * 2_048),
        respond("\0" * 4_096),
    ],
    ids=range(17),
)
def test_hostile_text_is_judged_fast_and_never_wins_by_size(response: str) -> None:
    began = time.perf_counter()
    judgement = judge(response, SOLUTION)
    assert time.perf_counter() - began < 0.1
    assert (judgement.verdict is Verdict.RIGHT) == response.endswith(f"<answer>{TRUTH}</answer>")


def test_importing_the_scorer_loads_nothing_heavy() -> None:
    code = (
        "import sys, tr_grpo.reward.knights_knaves;"
        "print([m for m in ('torch', 'numpy', 'verl', 'ray', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
