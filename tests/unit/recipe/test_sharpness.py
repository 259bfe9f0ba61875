"""The sharpness probe on losses whose rise and Hessian are known, and that it leaves no trace."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tr_grpo.recipe.sharpness import Ascent, ascent, local_dot, top_eigenvalue


class Quadratic:
    """L = 1/2 x^T H x + b^T x, with x in two parameters of different shapes."""

    def __init__(self, hessian: Tensor, linear: Tensor, at: Tensor) -> None:
        self.hessian, self.linear = hessian, linear
        self.parameters = [at[:2].clone().requires_grad_(), at[2:].clone().view(-1, 1).requires_grad_()]

    @property
    def x(self) -> Tensor:
        return torch.cat([parameter.flatten() for parameter in self.parameters])

    def value(self) -> Tensor:
        return 0.5 * self.x @ self.hessian @ self.x + self.linear @ self.x

    def loss(self) -> float:
        with torch.no_grad():
            return self.value().item()

    def gradient(self) -> list[Tensor]:
        with torch.enable_grad():
            return list(torch.autograd.grad(self.value(), self.parameters))

    def backward(self) -> None:
        self.value().backward()


def symmetric(eigenvalues: Sequence[float], seed: int = 0) -> Tensor:
    """A matrix with these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T


def quadratic(eigenvalues: Sequence[float] = (3.0, 1.0, 0.5, -0.2), seed: int = 0) -> Quadratic:
    generator = torch.Generator().manual_seed(seed + 1)
    b, x = torch.randn(2, len(eigenvalues), generator=generator, dtype=torch.float64)
    return Quadratic(symmetric(eigenvalues, seed), b, x)


def bits(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def unchanged(tensors: Sequence[Tensor], kept: Sequence[Tensor]) -> bool:
    return all(torch.equal(now, then) for now, then in zip(tensors, kept, strict=True))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(1e-3, 2.0), st.lists(st.floats(-3, 3), min_size=4, max_size=6))
def test_the_rise_of_a_quadratic_is_that_of_the_closed_form(seed: int, rho: float, eigenvalues: list[float]) -> None:
    problem = quadratic(eigenvalues, seed)
    problem.backward()
    g = problem.hessian @ problem.x.detach() + problem.linear
    slope = g.norm().item()
    found = ascent(problem.parameters, problem.loss, rho)
    assert found is not None
    assert found.slope == pytest.approx(slope, rel=1e-12)
    assert found.at == problem.loss()
    curvature = (g @ problem.hessian @ g).item() / slope**2
    assert found.rise == pytest.approx(rho * slope + 0.5 * rho**2 * curvature, rel=1e-9, abs=1e-9)
    assert found.rise == found.after - found.at


def test_a_linear_loss_rises_by_rho_times_the_slope() -> None:
    problem = quadratic((0.0, 0.0, 0.0))
    problem.backward()
    found = ascent(problem.parameters, problem.loss, 0.7)
    assert found is not None
    assert found.rise == pytest.approx(0.7 * found.slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters_and_gradients_are_the_same_bits_afterwards(dtype: torch.dtype) -> None:
    problem = quadratic()
    problem.hessian, problem.linear = problem.hessian.to(dtype), problem.linear.to(dtype)
    problem.parameters = [parameter.detach().to(dtype).requires_grad_() for parameter in problem.parameters]
    problem.backward()
    before, gradients = bits(problem.parameters), [parameter.grad for parameter in problem.parameters]
    kept = bits(gradients)
    seen = []
    ascent(problem.parameters, lambda: seen.append(problem.x.detach().clone()) or problem.loss(), 0.1)
    assert not torch.equal(*seen)  # it did move
    assert unchanged(problem.parameters, before)
    assert unchanged(gradients, kept)
    assert all(parameter.grad is gradient for parameter, gradient in zip(problem.parameters, gradients, strict=True))
    top_eigenvalue(problem.parameters, problem.gradient, gradients, 5, 1e-3)
    assert unchanged(problem.parameters, before)
    assert unchanged(gradients, kept)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_loss_that_raises_leaves_the_same_bits(failing: int) -> None:
    problem = quadratic()
    problem.backward()
    before, kept = bits(problem.parameters), bits([parameter.grad for parameter in problem.parameters])
    calls = 0

    def loss() -> float:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise RuntimeError("out of memory")
        return problem.loss()

    with pytest.raises(RuntimeError, match="out of memory"):
        ascent(problem.parameters, loss, 0.1)
    assert unchanged(problem.parameters, before)
    assert unchanged([parameter.grad for parameter in problem.parameters], kept)


@pytest.mark.parametrize("failing", [1, 2, 5])
def test_a_gradient_that_raises_leaves_the_same_bits(failing: int) -> None:
    problem = quadratic()
    before, start = bits(problem.parameters), problem.gradient()
    calls = 0

    def gradient() -> list[Tensor]:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise RuntimeError("out of memory")
        return problem.gradient()

    with pytest.raises(RuntimeError, match="out of memory"):
        top_eigenvalue(problem.parameters, gradient, start, 10, 1e-3)
    assert unchanged(problem.parameters, before)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -math.inf])
def test_a_gradient_without_a_direction_gives_none_and_never_asks_for_the_loss(value: float) -> None:
    problem = quadratic()
    problem.backward()
    for parameter in problem.parameters:
        parameter.grad.fill_(value)
    before = bits(problem.parameters)

    def loss() -> float:
        raise AssertionError("the loss is not needed")

    assert ascent(problem.parameters, loss, 0.1) is None
    assert unchanged(problem.parameters, before)


def test_a_parameter_without_a_gradient_is_not_moved() -> None:
    problem = quadratic()
    problem.backward()
    problem.parameters[0].grad = None
    seen = []
    found = ascent(problem.parameters, lambda: seen.append(problem.x.detach().clone()) or problem.loss(), 0.1)
    assert found is not None
    assert found.slope == pytest.approx(problem.parameters[1].grad.norm().item())
    assert torch.equal(seen[0][:2], seen[1][:2])
    assert (seen[1] - seen[0]).norm().item() == pytest.approx(0.1)
    assert ascent([problem.parameters[0]], problem.loss, 0.1) is None


def counted_halves(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """As if the other half of the shards were equal: sums over ranks are twice those of one."""
    return 2 * local_dot(left, right)


def test_the_scalar_product_is_the_callers() -> None:
    problem = quadratic()
    problem.backward()
    alone, sharded = (ascent(problem.parameters, problem.loss, 0.1, dot=dot) for dot in (local_dot, counted_halves))
    assert alone is not None
    assert sharded is not None
    assert sharded.slope == pytest.approx(alone.slope * 2**0.5)
    # With every direction half as long, squared, and two of them: the quotient of a quadratic stays.
    start = problem.gradient()
    values = [
        top_eigenvalue(problem.parameters, problem.gradient, start, 30, 1e-3, dot=dot)
        for dot in (local_dot, counted_halves)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_the_scalar_product_adds_up_in_float64() -> None:
    large, one = torch.tensor([2.0**13]), torch.ones(1)
    assert local_dot([large, one], [large, one]) == 2.0**26 + 1
    assert local_dot([torch.tensor([2.0**12, 1.0])], [torch.tensor([2.0**13, 1.0])]) == 2.0**25 + 1
    # A product that float32 cannot hold.
    assert local_dot([torch.tensor([1 + 2.0**-20])], [torch.tensor([1 + 2.0**-20])]) == (1 + 2.0**-20) ** 2
    assert local_dot([], []) == 0
    with pytest.raises(ValueError, match="zip"):
        local_dot([one], [])


@pytest.mark.parametrize(
    ("eigenvalues", "expected"),
    [
        ((5.0, 1.0, 0.5, 0.1), 5.0),
        ((-5.0, 1.0, 0.5, 0.1), -5.0),  # the largest magnitude is a negative curvature
        ((2.0, -4.0, 1.0), -4.0),
        ((4.0, -2.0, 1.0), 4.0),
        ((1e-3, 1e-4, 0.0), 1e-3),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_top_eigenvalue_is_the_one_of_largest_magnitude(
    eigenvalues: tuple[float, ...], expected: float, seed: int
) -> None:
    problem = quadratic(eigenvalues, seed)
    found = top_eigenvalue(problem.parameters, problem.gradient, problem.gradient(), 60, 1e-2)
    assert found == pytest.approx(expected, rel=1e-6)


def test_one_iteration_is_the_rayleigh_quotient_of_the_start() -> None:
    problem = quadratic()
    start = problem.gradient()
    direction = torch.cat([part.flatten() for part in start])
    expected = direction @ problem.hessian @ direction / (direction @ direction)
    assert top_eigenvalue(problem.parameters, problem.gradient, start, 1, 1e-2) == pytest.approx(expected.item())


def test_each_iteration_costs_two_gradients_at_the_step_on_either_side() -> None:
    problem = quadratic()
    start, centre, seen = problem.gradient(), problem.x.detach().clone(), []

    def gradient() -> list[Tensor]:
        seen.append(problem.x.detach().clone() - centre)
        return problem.gradient()

    top_eigenvalue(problem.parameters, gradient, start, 3, 0.25)
    assert len(seen) == 6
    for up, down in zip(seen[::2], seen[1::2], strict=True):
        assert up.norm().item() == pytest.approx(0.25)
        torch.testing.assert_close(up, -down)


def test_a_hessian_of_zero_has_the_eigenvalue_zero() -> None:
    parameter, constant = torch.zeros(3, requires_grad=True), [torch.ones(3)]
    for iterations in (1, 4):
        assert top_eigenvalue([parameter], lambda: constant, [torch.ones(3)], iterations, 0.1) == 0.0


def test_without_a_direction_or_an_iteration_there_is_no_eigenvalue() -> None:
    problem = quadratic()
    nothing = [torch.zeros_like(parameter) for parameter in problem.parameters]
    assert math.isnan(top_eigenvalue(problem.parameters, problem.gradient, nothing, 3, 0.1))
    assert math.isnan(top_eigenvalue(problem.parameters, problem.gradient, problem.gradient(), 0, 0.1))


def test_lists_that_do_not_fit_are_refused_and_leave_the_same_bits() -> None:
    problem = quadratic()
    before, start = bits(problem.parameters), problem.gradient()

    def unneeded() -> list[Tensor]:
        raise AssertionError("no gradient is needed to see it")

    with pytest.raises(ValueError, match="zip"):
        top_eigenvalue(problem.parameters, unneeded, start[:1], 2, 0.1)
    counts = iter([2, 1])
    with pytest.raises(ValueError, match="zip"):
        top_eigenvalue(problem.parameters, lambda: problem.gradient()[: next(counts)], start, 1, 0.1)
    assert unchanged(problem.parameters, before)


def perceptron(dtype: torch.dtype) -> tuple[nn.Module, Callable[[], Tensor]]:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).to(dtype)
    x, y = torch.randn(30, 3, dtype=dtype), torch.randint(4, (30,))
    return model, lambda: nn.functional.cross_entropy(model(x), y)


@pytest.mark.parametrize(("dtype", "step", "tolerance"), [(torch.float64, 1e-3, 1e-4), (torch.float32, 1e-2, 1e-2)])
def test_on_a_perceptron_it_is_that_of_the_dense_hessian(dtype: torch.dtype, step: float, tolerance: float) -> None:
    """float32 needs the longer step that the engine takes, and keeps two digits."""
    model, value = perceptron(dtype)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value(), parameters, create_graph=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in flat]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).double()
    eigenvalues = torch.linalg.eigvalsh((hessian + hessian.T) / 2)
    expected = eigenvalues[eigenvalues.abs().argmax()].item()

    def gradient() -> list[Tensor]:
        with torch.enable_grad():
            return list(torch.autograd.grad(value(), parameters))

    found = top_eigenvalue(parameters, gradient, gradient(), 60, step)
    assert found == pytest.approx(expected, rel=tolerance)


def test_on_a_perceptron_the_rise_is_slope_and_curvature_to_second_order() -> None:
    model, value = perceptron(torch.float64)
    value().backward()
    found = ascent(list(model.parameters()), lambda: value().item(), 1e-4)
    assert found is not None
    assert found.rise == pytest.approx(1e-4 * found.slope, rel=1e-2)


def test_an_ascent_is_its_numbers() -> None:
    assert Ascent(at=1.0, after=1.5, slope=3.0).rise == 0.5
