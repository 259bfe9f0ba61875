"""What a turn asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.search.turns import Answer, Invalid, Search, read_turn


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<think> who </think><search> Ada Lovelace </search>", Search("Ada Lovelace")),
        ("<search>\nwhere was Ada\nborn\n</search>", Search("where was Ada\nborn")),
        ("<answer> London </answer>", Answer()),
        ("<answer></answer>", Answer()),  # an empty answer is an answer; the scorer says what it is worth
        # The first of both counts, as in Search-R1.
        ("<search> a </search><answer> b </answer>", Search("a")),
        ("<answer> b </answer><search> a </search>", Answer()),
        ("<search>  </search>", Invalid()),
        ("<search> never closed", Invalid()),
        ("<search> closed otherwise </answer>", Invalid()),
        ("never opened </search>", Invalid()),
        ("<Search> case </Search>", Invalid()),
        ("", Invalid()),
        ("I think it is London.", Invalid()),
        # What an environment would write, written by the policy, is no action.
        ("<information> Doc 1 </information>", Invalid()),
        ("<search> <search> a </search>", Search("<search> a")),
        ("<think> <search> in thought </search>", Search("in thought")),
    ],
)
def test_golden(text: str, action: object) -> None:
    assert read_turn(text) == action


@given(st.text(alphabet=st.characters(exclude_characters="<>"), min_size=1))
def test_a_query_arrives_as_it_was_written(query: str) -> None:
    expected = Search(query.strip()) if query.strip() else Invalid()
    assert read_turn(f"<search>{query}</search>") == expected


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert read_turn(text) is not None
