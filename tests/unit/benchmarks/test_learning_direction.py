"""Signal and noise of gradients, on gradients whose signal is known."""

import pytest
import torch

from benchmarks.learning.direction import _summary


def test_the_shared_part_is_the_signal_and_the_rest_is_noise() -> None:
    gradients = torch.cat([torch.full((4, 1), 2.0), torch.eye(4)], 1)  # 2 shared, 1 of each batch's own
    found = _summary(gradients, gradients)
    assert found["signal_share"] == pytest.approx(4 / 5)
    assert found["norm"] == pytest.approx(5**0.5)
    assert (found["cosine_to_grpo"], found["signal_cosine"]) == (pytest.approx(1), pytest.approx(1))


def test_a_factor_turns_nothing_and_pure_noise_has_no_signal() -> None:
    noise = torch.eye(3)
    found = _summary(5 * noise, noise)
    assert found["signal_share"] == pytest.approx(0)
    assert found["cosine_to_grpo"] == pytest.approx(1)
    assert found["norm"] == pytest.approx(5)
