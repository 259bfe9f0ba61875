"""What an agent loop tells survives the way to the scorer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.reward.trajectory import End, Trajectory

counts = st.integers(0, 10_000)
texts = st.lists(st.text(), max_size=4).map(tuple)
trajectories = st.builds(
    Trajectory, texts, texts, counts, counts, counts, counts, st.sampled_from(list(End)), st.text(max_size=20)
)


@given(trajectories)
def test_plain_values_and_back(trajectory: Trajectory) -> None:
    assert Trajectory.of_plain(json.loads(json.dumps(trajectory.plain()))) == trajectory


@pytest.mark.parametrize("missing", ["turns", "searches", "end", "fault"])
def test_what_is_not_one_is_an_error(missing: str) -> None:
    plain = Trajectory(("a",), (), 0, 0, 0, 0, End.STOPPED).plain()
    del plain[missing]
    with pytest.raises(KeyError, match=missing):
        Trajectory.of_plain(plain)
