"""
What do drawn expectations change in variational Bayes?
=======================================================

Coordinate ascent of variational Bayes needs expectations under the other factors. Where they have
no closed form, it is tempting to replace them by means over draws. Here they do have one, so it is
visible what the draws change: the error does not go away with more iterations, but it does with
averaging.
"""

# %%
# The model and its closed form
# -----------------------------
# :math:`x_n \sim N(\mu, 1/\tau)` with independent priors :math:`\mu \sim N(0, 10^2)` and
# :math:`\tau \sim \mathrm{Gamma}(1, 1)`. The factors of :math:`q(\mu)\, q(\tau)` are a normal and a
# gamma distribution (Bishop 2006, section 10.1.3),
#
# .. math:: q(\mu) = N(m, v), \quad v^{-1} = 10^{-2} + N\, E[\tau], \quad
#           m = v\, E[\tau] \textstyle\sum x_n, \qquad
#           q(\tau) = \mathrm{Gamma}\left(1 + \tfrac N2,\;
#           1 + \tfrac12 \textstyle\sum_n E[(x_n - \mu)^2]\right).
#
# Two expectations are needed, :math:`E[\tau]` and :math:`\sum_n E[(x_n - \mu)^2]`.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import gamma, norm

rng = np.random.default_rng(0)
x = rng.normal(3.0, 2.0, size=12)
N = len(x)


def normal_factor(tau):
    """Return (m, v) of q(μ), given an expectation of τ."""
    v = 1.0 / (0.01 + N * tau)
    return v * tau * x.sum(), v


def gamma_factor(squares):
    """Return (shape, rate) of q(τ), given an expectation of the sum of squares."""
    return 1.0 + N / 2, 1.0 + squares / 2


def exact(n_iterations=100):
    """Return m, v, shape, rate at the optimum."""
    tau = 1.0
    for _ in range(n_iterations):
        m, v = normal_factor(tau)
        shape, rate = gamma_factor(((x - m) ** 2).sum() + N * v)
        tau = shape / rate
    return m, v, shape, rate


m, v, shape, rate = exact()
print(f"optimum: E[mu] = {m:.4f}, sd {np.sqrt(v):.4f}; E[tau] = {shape / rate:.5f}")

# %%
# Four ways to take the expectations
# ----------------------------------
# *Fresh draws*: 20 new ones in each iteration. *Fixed draws*: the same 20 uniform numbers in each
# iteration. *Averaged*: fresh draws, and the mean of the expectations of all iterations so far
# (Robbins & Monro 1951: a rate of 1/t). *Closed form*: the referee.

n_draws, n_iterations = 20, 300


def run(way, seed):
    """Return E[τ] after each iteration."""
    rng = np.random.default_rng(seed)
    fixed = rng.uniform(size=(2, n_draws))
    tau, squares, trace = 1.0, None, []
    for t in range(1, n_iterations + 1):
        uniform = fixed if way == "fixed draws" else rng.uniform(size=(2, n_draws))
        m, v = normal_factor(tau)
        mu = norm.ppf(uniform[0], m, np.sqrt(v))
        found = ((x[:, None] - mu) ** 2).sum(axis=0).mean()
        squares = found if squares is None or way != "averaged" else squares + (found - squares) / t
        shape, rate = gamma_factor(squares)
        drawn = gamma.ppf(uniform[1], shape, scale=1 / rate).mean()
        tau = tau + (drawn - tau) / t if way == "averaged" else drawn
        trace.append(tau)
    return np.array(trace)


ways = ("fresh draws", "fixed draws", "averaged")
traces = {way: np.array([run(way, seed) for seed in range(20)]) for way in ways}
truth = shape / rate

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for way in ways:
    ax.plot(traces[way][0], label=way, linewidth=1)
ax.axhline(truth, color="k", linestyle=":", label="closed form")
ax.set(xlabel="iteration", ylabel="E[τ]", title="One run")
ax.legend()

# %%
# The root mean square of the error over 20 runs:

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for way in ways:
    error = np.sqrt(np.mean((traces[way] - truth) ** 2, axis=0))
    ax.loglog(np.arange(1, n_iterations + 1), error / truth, label=way)
ax.set(xlabel="iteration", ylabel="relative error", title="Errors of 20 runs")
ax.legend()
plt.show()

# %%
# Errors at the end
# -----------------

for way in ways:
    last = traces[way][:, -1]
    print(
        f"{way:12s} bias {100 * (last.mean() / truth - 1):+5.1f} %, "
        f"deviation {100 * last.std() / truth:4.1f} % of E[tau]"
    )

# %%
# Fresh draws never settle: the iterates are a Markov chain around the optimum, whose width depends
# on the number of draws alone. Fixed draws settle, and at a wrong point, a different one for each
# seed; but their objective is an ordinary function, which any optimiser can maximise: that is the
# way of :func:`skvae.inference.gaussian_vi`. Averages go on to the optimum, with an error that
# falls like one over the root of the number of all draws. Where there is a closed form, use it, as
# :class:`skvae.BayesianMixtureSVI` does.
