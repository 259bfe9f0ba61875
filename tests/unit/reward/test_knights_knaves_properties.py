"""Properties of the Knights & Knaves scorer over random people, renderings and texts."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tr_grpo.reward.knights_knaves import RULES, TAGS, judge, parse_solution, score
from tr_grpo.reward.verdict import Verdict

NAMES = ("Mia", "Noah", "Zoé", "Anna", "Ann", "Łukasz", "Søren", "Jean-Luc", "Mary Ann", "Dr. No", "Isa", "So-Ra")
TOTALS = {"logic_rl": {3.0, -0.5, -1.0, -3.0}, "tiny": {1.1, 0.1, 0.0}}

solutions = st.dictionaries(st.sampled_from(NAMES), st.booleans(), min_size=1, max_size=6)
fragments = st.lists(
    st.sampled_from((*TAGS, *NAMES, " is a ", "knight", "knave", " not ", " or ", ":", ",", "\n", "(1)", "and"))
    | st.text(max_size=5),
    max_size=40,
).map("".join)


@st.composite
def renderings(draw: st.DrawFn, solution: dict[str, bool]) -> str:
    """An answer in one of the accepted forms, its people in any order, perhaps repeated."""
    link = draw(st.sampled_from((" is a ", " is the ", " is ", ": ", ":", " - ", " = ", "=", "：", " is: a ", " → ")))
    item = draw(st.sampled_from(("({}) ", "{}. ", "{}) ", "- ", "• ", "* ", "")))
    joint = draw(st.sampled_from(("\n", "\r\n", ", ", "; ", " and ", ", and ", ".\n", "\u2028", " ")))
    bold = draw(st.sampled_from(("{}", "**{}**", "__{}__", "`{}`", "\u200b{}")))
    changes: tuple[Callable[[str], str], ...] = (str, str.upper, str.lower, str.title)
    change = draw(st.sampled_from(changes))
    people = draw(st.permutations(list(solution))) + draw(st.lists(st.sampled_from(list(solution)), max_size=2))
    lines = [
        item.format(i + 1) + change(bold.format(name) + link + ("knight" if solution[name] else "knave"))
        for i, name in enumerate(people)
    ]
    return joint.join(lines)


def respond(answer: str) -> str:
    return f"<think> … </think>\n<answer>{answer}</answer>"


@settings(deadline=None)
@given(st.data(), solutions)
def test_every_rendering_of_the_solution_is_right(data: st.DataObject, solution: dict[str, bool]) -> None:
    judgement = judge(respond(data.draw(renderings(solution))), solution)
    assert judgement.verdict is Verdict.RIGHT, judgement


@settings(deadline=None)
@given(st.data(), solutions)
def test_a_flipped_role_is_wrong_and_a_missing_person_unparsable(
    data: st.DataObject, solution: dict[str, bool]
) -> None:
    victim = data.draw(st.sampled_from(list(solution)))
    flipped = solution | {victim: not solution[victim]}
    assert judge(respond(data.draw(renderings(flipped))), solution).verdict is Verdict.WRONG
    missing = {name: role for name, role in solution.items() if name != victim}
    if missing:
        assert judge(respond(data.draw(renderings(missing))), solution).verdict is Verdict.UNPARSABLE
        assert judge(respond(data.draw(renderings(solution))), missing).verdict is Verdict.UNPARSABLE


@settings(deadline=None)
@given(st.data(), solutions)
def test_a_contradiction_anywhere_never_wins(data: st.DataObject, solution: dict[str, bool]) -> None:
    victim = data.draw(st.sampled_from(list(solution)))
    opposite = data.draw(renderings({victim: not solution[victim]}))
    right = data.draw(renderings(solution))
    for answer in (f"{opposite}\n{right}", f"{right}\n{opposite}"):
        assert judge(respond(answer), solution).verdict is Verdict.UNPARSABLE


@settings(deadline=None)
@given(fragments | st.text(), solutions, st.booleans(), st.booleans())
def test_any_text_gets_a_verdict_and_one_of_the_known_totals(
    text: str, solution: dict[str, bool], truncated: bool, prefilled: bool
) -> None:
    for response in (text, respond(text)):
        judgement = judge(response, solution, truncated=truncated, thinking_prefilled=prefilled)
        assert (judgement.answer is None) == (judgement.verdict not in (Verdict.RIGHT, Verdict.WRONG))
        assert (judgement.reason == "") == (judgement.verdict is Verdict.RIGHT)
        assert judgement.verdict is not Verdict.TRUNCATED or truncated
        for name, rule in RULES.items():
            assert score(judgement, rule) in TOTALS[name]


@settings(deadline=None)
@given(solutions)
def test_a_solution_written_as_ground_truth_is_read_back(solution: dict[str, bool]) -> None:
    lines = (f"({i}) {n} is a {'knight' if k else 'knave'}" for i, (n, k) in enumerate(solution.items(), 1))
    assert parse_solution("\n".join(lines)) == solution
