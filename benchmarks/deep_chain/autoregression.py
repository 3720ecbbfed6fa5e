"""EGHiddenMarkov on held-out rows against the linear autoregression, with and without regimes."""

import numpy as np

from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from skvae import EGHiddenMarkov

FULL = {"likelihood_params": {"covariance": "full"}}
SLOPES = np.array([[0.7, 0.2], [-0.3, 0.6]])
N_TEST, N_SEEDS = 30, 10


def linear(rng, n_sequences, n_steps=30, noise=None, holes=0.0):
    """Return sequences of a linear autoregression, (n_sequences, n_steps, 2), without regimes."""
    shape = n_sequences, n_steps, 2
    X = rng.normal(size=shape) if noise is None else rng.standard_t(noise, size=shape)
    for t in range(1, n_steps):
        X[:, t] += X[:, t - 1] @ SLOPES
    X[rng.random(shape) < holes] = np.nan
    return list(X)


def curved(rng, n_sequences, n_steps=30):
    """Return sequences of two autoregressions that are not linear, as regimes."""
    found = []
    for _ in range(n_sequences):
        regimes = np.cumsum(rng.random(n_steps) < 0.05) % 2
        x = np.zeros((n_steps, 2))
        for t in range(1, n_steps):
            p = x[t - 1]
            mean = np.sin(2 * p) + 0.5 * p[::-1] if regimes[t] else 0.8 * p * np.cos(p[::-1])
            x[t] = mean + 0.3 * rng.normal(size=2)
        found.append(x)
    return found


def symbols(rng, n_sequences, n_steps=30):
    """Return sequences of four symbols, each drawn given the one before."""
    transmat = np.random.default_rng(5).dirichlet(np.ones(4), size=4)
    found = []
    for _ in range(n_sequences):
        x = [rng.integers(4)]
        for _ in range(n_steps - 1):
            x.append(rng.choice(4, p=transmat[x[-1]]))
        found.append(np.array(x, dtype=float)[:, None])
    return found


# How the sequences are drawn, the number to learn, parameters of the models.
CASES = {
    "tiny": (lambda rng, n: linear(rng, n, 15), 6, FULL),
    "heavy-tails": (lambda rng, n: linear(rng, n, noise=1.5), 20, FULL),
    "not-linear": (curved, 20, FULL),
    "symbols": (symbols, 20, {"likelihood": "categorical"}),
    "missing": (lambda rng, n: linear(rng, n, holes=0.2), 20, FULL),
}


def measure(case, settings):
    """Return the row of a case: gains in nats per row over seeds."""
    make, n_sequences, given = case
    name = next(name for name, other in CASES.items() if other is case)
    gains = []
    for seed in range(settings.seed, settings.seed + (1 if settings.quick else N_SEEDS)):
        X = make(np.random.default_rng(100 + seed), n_sequences)
        test = make(np.random.default_rng(1000 + seed), N_TEST)
        given = {"history": 1, "max_epochs": 60, "random_state": seed, **given}
        with quietly():
            one = EGHiddenMarkov(1, **given).fit(X).score(test)
            deep = EGHiddenMarkov(3, hidden_layer_sizes=(16,), **given).fit(X).score(test)
        gains.append(deep - one)
    least, middle, most = np.min(gains), np.median(gains), np.max(gains)
    verdict = settings.judged(f"≥ 0: {'reached' if least > -1e-9 else 'missed'}") or "–"
    return [(name, f"{least:.3f}", f"{middle:.3f}", f"{most:.3f}", verdict)]


SECTION = Section(
    "against-autoregression",
    "EGHiddenMarkov against the linear autoregression on held-out rows",
    "Three states, one earlier row, 16 hidden units, at most 60 epochs, less the linear "
    "autoregression, on 30 other sequences of each of ten draws, in nats per row. Tiny: six "
    "sequences of 15 rows; the others have twenty of 30. Tiny, heavy tails (Student-t of 1.5 "
    "degrees of freedom), missing (a fifth of the values) and symbols have no regimes.",
    ("data", "least gain", "median", "largest", "target"),
    CASES,
    measure,
)
