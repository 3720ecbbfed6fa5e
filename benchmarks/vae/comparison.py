"""Held-out scores against factor analysis and a Gaussian mixture that was chosen by folds."""

import numpy as np
from sklearn.decomposition import FactorAnalysis
from sklearn.model_selection import GridSearchCV, train_test_split

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.timing import seconds
from benchmarks.vae.problem import (
    curved_surface,
    dequantised_digits,
    spread_diabetes,
    standardised,
)
from skvae import EMGaussianMixture, VariationalAutoencoder

# Latent dimensions to choose from.
LATENTS = {
    "digits": (2, 8, 16),
    "wine": (1, 2, 4),
    "breast_cancer": (2, 5, 10),
    "iris": (1, 2, 3),
    "diabetes": (2, 4, 6),
    "curved_surface": (2, 3, 5),
}
CASES = {name: name for name in LATENTS}
MIXTURES = {
    "n_components": (1, 2, 3, 5, 8, 12, 20),
    "covariance_type": ("full", "tied", "diag"),
}
_BELOW = -0.1  # nats below factor analysis that are allowed


def measure(name, settings):
    """Return the rows of a data set, one a seed: all scores and the better model."""
    seeds = range(settings.seed, settings.seed + (1 if settings.quick else 2))
    return [_measured(name, seed, settings) for seed in seeds]


def _measured(name, seed, settings):
    X = _rows(name, seed)[: 400 if settings.quick else None]
    X, test = train_test_split(X, test_size=0.25, random_state=seed)
    with quietly():
        mixture = _mixture(X, seed, settings)
        took, vae = seconds(lambda: chosen_autoencoder(X, LATENTS[name], seed, settings))
        factors = FactorAnalysis(vae.n_components, tol=1e-6, max_iter=5000).fit(X)
        vae.set_params(n_score_samples=100 if settings.quick else 1000)
        each = vae.score_samples(test)
        training = vae.score(X) - factors.score(X)
        effective = np.median(vae.effective_sample_size(test))
    above = each - mixture.score_samples(test)
    gain, error = above.mean(), above.std() / np.sqrt(len(above))
    held_out = each.mean() - factors.score(test)
    scale = vae.net_.module_.model.likelihood.scale
    chosen = f"{mixture.n_components} × {mixture.covariance_type}"
    return [
        *(name, str(seed), f"{len(X)}, {X.shape[1]}"),
        f"{each.mean():.3f} ({vae.n_components} latent, σ by {scale}, {took:.0f} s)",
        *(f"{held_out:+.3f}", f"{training:+.3f}"),
        report.verdict(min(held_out, training), settings.judged(_BELOW), sign="≥"),
        *(f"{mixture.score(test):.3f} ({chosen})", f"{gain:+.3f} ± {error:.3f}"),
        report.verdict(gain / error, settings.judged(-2.0), sign="≥"),
        f"{effective:.0f}",
    ]


def _rows(name, seed):
    if name == "digits":
        return dequantised_digits(seed)
    if name == "curved_surface":
        return curved_surface(2000, seed)
    return spread_diabetes(seed) if name == "diabetes" else standardised(name)


def _mixture(X, seed, settings):
    """Return the mixture that five folds chose, fitted to all rows."""
    grid = {"n_components": (1, 3)} if settings.quick else MIXTURES
    mixture = EMGaussianMixture(n_init=1 if settings.quick else 3, random_state=seed)
    return GridSearchCV(mixture, grid, cv=2 if settings.quick else 5).fit(X).best_estimator_


def chosen_autoencoder(X, sizes, seed, settings):
    """Return the autoencoder with the highest bound on its validation rows.

    The validation rows are the same for all, since they have the same seed.
    """
    models = []
    for n_components in sizes[:1] if settings.quick else sizes:
        vae = VariationalAutoencoder(n_components, random_state=seed)
        models.append(vae.set_params(max_epochs=20 if settings.quick else 500).fit(X))
    return max(models, key=lambda vae: vae.lower_bound_)


SECTION = Section(
    name="vae-comparison",
    title="Autoencoders: held-out score against factor analysis and a Gaussian mixture",
    method=(
        "A quarter of the rows held out, two seeds; scores in nats per row, difference ± its "
        "standard error over rows. VariationalAutoencoder: default parameters but for the number "
        "of latent dimensions, one of three, by the bound on the rows kept aside for early "
        "stopping; scored with 1,000 draws, of which the median effective number is given. "
        "FactorAnalysis: scikit-learn's, of as many dimensions. EMGaussianMixture: 1 to 20 "
        "components, full, tied or diagonal covariances, three starts, by five folds of "
        "cross-validation. Digits are dequantised, and so is the column of two values in the "
        "diabetes data; the surface is of two dimensions in twenty. Targets: at most 0.1 nats "
        "below factor analysis on training and on held-out rows, and at most two standard errors "
        "below the mixture."
    ),
    columns=[
        *("data", "seed", "rows, features", "autoencoder"),
        *("above factor analysis", "on training rows", "target"),
        *("mixture", "above the mixture", "in standard errors", "effective draws"),
    ],
    cases=CASES,
    measure=measure,
)
