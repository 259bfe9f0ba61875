"""Signal and noise of gradients, on gradients whose signal is known."""

import pytest
import repository_root  # noqa: F401
import torch

from benchmarks.learning.direction import _summary, jackknife


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
    assert found["signal_share_difference"] == pytest.approx(0)


def test_the_jackknife_sees_the_batches_differ() -> None:
    gradients = torch.randn(12, 50, generator=torch.Generator().manual_seed(0)) + 0.5
    other = gradients * torch.linspace(0.5, 1.5, 50)
    products = [(g @ g.T).double().numpy() for g in (gradients, other)]
    assert jackknife(products[0], products[0]) == 0
    assert 0 < jackknife(*products) < 0.1
