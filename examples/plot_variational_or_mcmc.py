"""
Variational inference or MCMC?
==============================

Three ways to say how uncertain the parameters of a mixture are: mean-field variational inference,
the same corrected by linear response, and Gibbs sampling from the exact posterior. All three have
the same model and the same prior, so the draws show the errors of the other two.
"""

# %%
# One data set, three answers
# ---------------------------
# Two round clusters of equal size, 2.5 standard deviations apart: a third of the rows belong to
# neither of them with a probability above 0.9.

# sphinx_gallery_thumbnail_number = 2
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

from skvae import BayesianMixtureSVI

CENTERS = np.array([[0.0, 0.0], [2.5, 0.0]])


def draw(n_rows, seed, centers=CENTERS):
    """Return rows of clusters of equal size."""
    rng = np.random.default_rng(seed)
    return centers[rng.integers(len(centers), size=n_rows)] + rng.normal(size=(n_rows, 2))


def fitted(X):
    """Return a Bayesian mixture of two components, in the order of their first means."""
    return BayesianMixtureSVI(
        2,
        covariance_type="diag",
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1.0,
        moves=(),
        tol=1e-6,
        max_iter=1000,
        random_state=0,
    ).fit(X)


def from_draws(mixture, X, **parameters):
    """Return draws, and the intervals of 95 % between their quantiles."""
    draws = mixture.sample_posterior(X, random_state=0, **parameters)
    ends = [np.quantile(part, [0.025, 0.975], axis=0) for part in draws[:3]]
    return draws, ends


X = draw(1000, seed=2)
mixture = fitted(X)
mixture.credible_interval(0.95, X), from_draws(mixture, X, n_draws=10)  # load and compile
clock = [perf_counter()]
intervals = {"mean field": mixture.credible_interval(0.95)}
clock.append(perf_counter())
intervals["linear response"] = mixture.credible_interval(0.95, X)
clock.append(perf_counter())
draws, intervals["Gibbs"] = from_draws(mixture, X, n_draws=10_000, n_burn_in=1000)
clock.append(perf_counter())
first = np.argmin(mixture.means_[:, 0])
for (name, (weights, means, variances)), seconds in zip(
    intervals.items(), np.diff(clock), strict=True
):
    text = [
        f"{what} {lower[first]:.2f} to {upper[first]:.2f}"
        for what, (lower, upper) in {
            "weight": weights,
            "mean": (means[0][:, 0], means[1][:, 0]),
            "variance": (variances[0][:, 0], variances[1][:, 0]),
        }.items()
    ]
    print(f"{name:15s} {1e3 * seconds:7.1f} ms: " + ", ".join(text))

# %%
# Mean field gives the weight a quarter of its uncertainty. It treats the assignments of rows as if
# they did not depend on the parameters, as if most rows had labels. Linear response restores the
# dependence: it computes by how much the whole fit moves, assignments included, if the posterior is
# tilted towards larger values of a parameter. It is close to the draws, in about a hundredth of
# their time.

truths = {"weight": 0.5, "mean": 0.0, "variance": 1.0}
fig, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained", sharey=True)
for ax, (what, truth), which in zip(axes, truths.items(), range(3), strict=True):
    for row, interval in enumerate(intervals.values()):
        lower, upper = (np.reshape(end[first], -1)[0] for end in interval[which])
        ax.plot([lower, upper], [row, row], linewidth=4, color=f"C{row}")
    ax.axvline(truth, color="0.4", linestyle=":")
    ax.set_title(f"{what} of the left cluster")
axes[0].set_yticks(range(3), list(intervals))
axes[0].invert_yaxis()

# %%
# How often do they hold the truth?
# ---------------------------------
# An interval of 95 % should hold it in 95 of 100 data sets. Here are 60, and
# ``benchmarks/RESULTS.md`` has 400 of each of eleven kinds.

hits = {"mean field": [], "linear response": []}
for seed in range(60):
    rows = draw(1000, seed=100 + seed)
    fit = fitted(rows)
    for name, interval in zip(
        hits, (fit.credible_interval(0.95), fit.credible_interval(0.95, rows)), strict=True
    ):
        lower, upper = interval.weights
        hits[name].append((lower[0] < 0.5) & (upper[0] > 0.5))
for name, found in hits.items():
    print(f"{name}: {np.sum(found)} of {len(found)} intervals of the weight hold the truth")

# %%
# The error of linear response
# ----------------------------
# It describes the surroundings of one optimum. With fewer rows and more overlap, the posterior is
# skew or has several modes. The curves are Gaussian on the scale of the interval, the log odds.

rows = draw(150, seed=3, centers=CENTERS * 0.8)
fit = fitted(rows)
draws, _ = from_draws(fit, rows, n_draws=20_000, n_burn_in=1000)
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(draws.weights[:, 0], bins=60, density=True, color="0.8", label="Gibbs")
grid = np.linspace(0.005, 0.995, 500)
for color, (name, interval) in enumerate(
    {
        "mean field": fit.credible_interval(0.6827),
        "linear response": fit.credible_interval(0.6827, rows),
    }.items()
):
    lower, upper = (np.log(end[0] / (1 - end[0])) for end in interval.weights)
    center, deviation = (lower + upper) / 2, (upper - lower) / 2
    z = (np.log(grid / (1 - grid)) - center) / deviation
    density = np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * deviation * grid * (1 - grid))
    ax.plot(grid, density, color=f"C{color}", label=name)
ax.set(xlabel="weight of the first component", ylabel="density", ylim=(0, 8))
ax.legend()
sizes = draws.effective_sample_size.weights
print(f"20,000 draws of the weight are worth {sizes.min():.0f} independent ones")

# %%
# The error of Gibbs sampling
# ---------------------------
# Its draws have the right distribution, but they depend on each other: the more the clusters
# overlap, the fewer independent draws they are worth, and a chain that has not visited a mode does
# not show that it exists. A sweep reads all rows, and thousands of sweeps are needed. Components
# exchange their labels, so draws are matched to the fit before they are summarised; where the
# match is ambiguous, intervals of single components mean little.
#
# A rule of choice
# ----------------
# - The density, the clusters, the number of components: the variational fit alone.
# - Intervals, where hardly any row could belong to two clusters: mean field,
#   ``credible_interval(0.95)``.
# - Intervals, where two clusters overlap: linear response, ``credible_interval(0.95, X)``. It needs
#   the rows, and a few passes over them.
# - If it warns, if several clusters overlap, or if there are few rows for so much overlap: Gibbs
#   sampling, ``sample_posterior(X)``. Look at ``effective_sample_size``, and compare chains from
#   different fits.
# - The shape of the posterior, or functions of several parameters: Gibbs sampling.
