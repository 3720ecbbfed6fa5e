"""Training takes any module that computes a bound: here regressions with a closed-form optimum."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skvae.neural.posteriors import LOG_2PI
from skvae.neural.training.net import make_net, train
from tests.combinations import slow


class LinearRegression(nn.Module):
    """p(y | x) = N(y; w x + b, s²) of rows (x, y).

    A row may be a single one, (D + 1,), or a sequence of them, (T, D + 1), padded with NaN.
    """

    term_names = ("bound",)
    fast_parts = ()
    processes = None
    seed = 0

    def __init__(self, n_features):
        super().__init__()
        self.mean = nn.Linear(n_features, 1, dtype=torch.float64)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        self.log_std = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.numbers_per_row = n_features + 1
        self.epochs = []

    def begin_epoch(self, epoch):
        self.epochs.append(epoch)

    def forward(self, x, observed=None):
        residual = self.mean(torch.nan_to_num(x[..., :-1]))[..., 0] - x[..., -1].nan_to_num()
        density = -0.5 * ((residual / self.log_std.exp()) ** 2 + LOG_2PI) - self.log_std
        if observed is not None:
            density = torch.where(observed[..., -1], density, 0.0)
        while density.ndim > 1:
            density = density.sum(-1)
        return density, density


def problem(n_samples, n_features, seed):
    """Rows (x, y), and the least-squares coefficients and standard deviation of y."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    y = X @ rng.normal(size=n_features) + 0.7 + 0.5 * rng.normal(size=n_samples)
    design = np.column_stack([X, np.ones(n_samples)])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    return np.column_stack([X, y]), coefficients, (y - design @ coefficients).std()


@pytest.mark.parametrize("seed", [0, *slow(1, 2)])
def test_a_regression_reaches_least_squares(seed):
    rows, coefficients, std = problem(200, 3, seed)
    bound = LinearRegression(3)
    net = make_net(bound, lr=0.1, batch_size=200, max_epochs=150, device="cpu")
    train(net, rows)
    net.lr = 0.01
    record = train(net, rows)
    assert net.module_ is bound
    assert_allclose(bound.mean.weight.detach()[0], coefficients[:-1], atol=1e-4)
    assert_allclose(bound.mean.bias.detach()[0], coefficients[-1], atol=1e-4)
    assert_allclose(bound.log_std.detach().exp(), std, rtol=1e-4)
    optimum = -0.5 * (np.log(2 * np.pi) + 1.0) - np.log(std)
    assert_allclose(record.terms["bound"][-1], optimum, atol=1e-6)
    assert list(record.terms) == ["bound"]
    assert bound.epochs == list(range(1, 301))


def test_sequences_padded_with_nan_reach_least_squares():
    rows, coefficients, std = problem(201, 2, seed=0)
    sequences = np.full((41, 9, 3), np.nan)
    lengths = np.tile([1, 9, 5, 3, 7], 9)[:41]
    ends = np.cumsum(lengths)
    assert ends[-1] == len(rows)
    for sequence, part in zip(sequences, np.split(rows, ends[:-1]), strict=True):
        sequence[: len(part)] = part
    bound = LinearRegression(2)
    train(make_net(bound, lr=0.05, batch_size=41, max_epochs=300, device="cpu"), sequences)
    assert_allclose(bound.mean.weight.detach()[0], coefficients[:-1], atol=1e-3)
    assert_allclose(bound.log_std.detach().exp(), std, rtol=1e-3)


def test_validation_keeps_the_best_weights():
    rows, *_ = problem(100, 2, seed=0)
    bound = LinearRegression(2)
    net = make_net(
        bound,
        lr=0.3,
        batch_size=10,
        max_epochs=200,
        early_stopping=True,
        n_iter_no_change=5,
        device="cpu",
    )
    record = train(net, rows[:60], rows[60:])
    assert record.stopped_early
    assert record.valid_bounds[record.best_epoch - 1] == record.valid_bounds.max()
    with torch.no_grad():
        kept = bound(torch.from_numpy(rows[60:]))[1].mean()
    assert_allclose(kept, record.valid_bounds.max(), rtol=1e-12)
