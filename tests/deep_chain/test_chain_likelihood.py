"""The chain as one differentiable function: equal to the recursion that torch differentiates."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from skvae.deep_chain.chain_likelihood import chain_log_likelihood

OFFSETS = np.array([0, 1, 8, 30, 31, 60])
WEIGHT = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0], dtype=torch.float64)


def _problem(n_states, *, varying=False, seed=0, spread=2.0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows = (OFFSETS[-1],) if varying else ()
    log_start = torch.log_softmax(normal(n_states), 0)
    log_transmat = torch.log_softmax(spread * normal(*rows, n_states, n_states), -1)
    parts = log_start, log_transmat, 5.0 * normal(OFFSETS[-1], n_states)
    return [part.requires_grad_() for part in parts]


def by_torch(log_start, log_transmat, log_density, offsets):
    """The recursion in log space, which torch differentiates."""
    found = []
    for begin, end in pairwise(offsets):
        alpha = log_start + log_density[begin]
        for t in range(begin + 1, end):
            logs = log_transmat if log_transmat.ndim == 2 else log_transmat[t]
            alpha = torch.logsumexp(alpha[:, None] + logs, 0) + log_density[t]
        found.append(torch.logsumexp(alpha, 0))
    return torch.stack(found)


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("n_states", [1, 2, 3, 4, 7, 8, 13])
def test_values_and_gradients_are_those_of_the_recursion(n_states, varying):
    parts = _problem(n_states, varying=varying, seed=n_states)
    found = chain_log_likelihood(*parts, OFFSETS)
    expected = by_torch(*parts, OFFSETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for one, other in zip(
        torch.autograd.grad(found @ WEIGHT, parts),
        torch.autograd.grad(expected @ WEIGHT, parts),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("varying", [False, True])
def test_finite_differences(varying):
    log_start, log_transmat, log_density = _problem(3, varying=varying)
    rows = slice(0, 8)
    matrices = log_transmat[rows] if varying else log_transmat
    inputs = [part.detach().clone().requires_grad_() for part in (matrices, log_density[rows])]
    assert torch.autograd.gradcheck(
        lambda *parts: chain_log_likelihood(*parts, OFFSETS[:3]),
        (log_start.detach().clone().requires_grad_(), *inputs),
    )


@pytest.mark.parametrize("n_states", [1, 3])
@pytest.mark.parametrize("varying", [False, True])
def test_messages_need_not_be_probabilities(varying, n_states):
    parts = _problem(n_states, varying=varying)
    shifts = 0.3, -0.2, 0.7
    shifted = [(part + by).detach() for part, by in zip(parts, shifts, strict=True)]
    lengths = torch.from_numpy(np.diff(OFFSETS)).double()
    by = 0.3 - 0.2 * (lengths - 1) + 0.7 * lengths
    torch.testing.assert_close(
        chain_log_likelihood(*shifted, OFFSETS), chain_log_likelihood(*parts, OFFSETS) + by
    )


@pytest.mark.parametrize("varying", [False, True])
def test_impossible_rows_have_minus_infinity_and_no_nan(varying):
    log_start, log_transmat, log_density = _problem(3, varying=varying)
    with torch.no_grad():
        log_density[4] = -np.inf
        log_density[20, 1] = -np.inf
    found = chain_log_likelihood(log_start, log_transmat, log_density, OFFSETS)
    assert found.isinf().tolist() == [False, True, False, False, False]
    gradients = torch.autograd.grad(found[found > -np.inf].sum(), (log_transmat, log_density))
    assert all(g.isfinite().all() for g in gradients)
    found = chain_log_likelihood(log_start, log_transmat, log_density, OFFSETS)
    gradients = torch.autograd.grad(found.sum(), (log_start, log_transmat, log_density))
    assert all(g.isfinite().all() for g in gradients)
    assert (gradients[2][4] == 0).all()
    assert gradients[2][20, 1] == 0


@pytest.mark.parametrize("varying", [False, True])
def test_structural_zeros(varying):
    log_start, log_transmat, log_density = _problem(4, varying=varying)
    upper = torch.ones(4, 4, dtype=torch.bool).triu()
    with torch.no_grad():
        log_transmat[...] = torch.where(upper, log_transmat, -np.inf)
        log_start[:] = torch.tensor([0.0, -np.inf, -np.inf, -np.inf])
    found = chain_log_likelihood(log_start, log_transmat, log_density, OFFSETS)
    torch.testing.assert_close(
        found, by_torch(log_start, log_transmat, log_density, OFFSETS), rtol=0, atol=1e-10
    )
    starts, pairs, _ = torch.autograd.grad(found @ WEIGHT, (log_start, log_transmat, log_density))
    assert (pairs[..., ~upper] == 0).all()
    assert (starts[1:] == 0).all()
    # By finite differences of the entries that are not zero.
    free = log_transmat.detach().clone()
    plain = torch.autograd.grad(
        by_torch(log_start, free.clamp(min=-800.0).requires_grad_(), log_density, OFFSETS) @ WEIGHT,
        log_density,
    )[0]
    found = chain_log_likelihood(log_start, log_transmat, log_density, OFFSETS) @ WEIGHT
    torch.testing.assert_close(
        torch.autograd.grad(found, log_density)[0], plain, rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("varying", [False, True])
def test_rows_that_only_logs_can_add(varying):
    parts = _problem(3, varying=varying, spread=300.0)
    with torch.no_grad():
        parts[2] *= 100.0
    found, expected = chain_log_likelihood(*parts, OFFSETS), by_torch(*parts, OFFSETS)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-10)
    for one, other in zip(
        torch.autograd.grad(found @ WEIGHT, parts),
        torch.autograd.grad(expected @ WEIGHT, parts),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("varying", [False, True])
def test_nan_is_not_hidden(varying):
    parts = _problem(3, varying=varying)
    with torch.no_grad():
        parts[2][4, 1] = np.nan
    assert chain_log_likelihood(*parts, OFFSETS)[1].isnan()


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_dtype_is_that_of_the_log_density(varying, dtype):
    parts = [part.detach().to(dtype).requires_grad_() for part in _problem(4, varying=varying)]
    found = chain_log_likelihood(*parts, OFFSETS)
    found.sum().backward()
    double = [part.detach().double().requires_grad_() for part in parts]
    expected = chain_log_likelihood(*double, OFFSETS)
    expected.sum().backward()
    torch.testing.assert_close(found, expected.to(dtype), rtol=0, atol=0)
    for one, other in zip(parts, double, strict=True):
        # Single posteriors of first rows are summed.
        torch.testing.assert_close(one.grad, other.grad.to(dtype), rtol=2e-7, atol=0)


@pytest.mark.parametrize("n_states", [4, 17])
def test_many_sequences_of_few_rows(n_states):
    offsets = np.cumsum([0, *[3, 1, 4, 5, 2] * 4])
    generator = torch.Generator().manual_seed(0)
    start, transmat, density = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((n_states,), (n_states, n_states), (offsets[-1], n_states))
    )
    parts = torch.log_softmax(start, 0), torch.log_softmax(transmat, 1), density
    parts = [part.requires_grad_() for part in parts]
    found, expected = chain_log_likelihood(*parts, offsets), by_torch(*parts, offsets)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    weight = torch.randn(20, generator=generator, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found @ weight, parts),
        torch.autograd.grad(expected @ weight, parts),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_the_gradient_can_be_computed_again():
    parts = _problem(4)
    found = chain_log_likelihood(*parts, OFFSETS)
    first = torch.autograd.grad(found @ WEIGHT, parts, retain_graph=True)
    again = torch.autograd.grad(found @ WEIGHT, parts)
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(found @ WEIGHT, parts)
