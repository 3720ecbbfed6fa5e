"""Held-out scores against a Gaussian mixture that was chosen by cross-validation."""

import numpy as np
from sklearn.model_selection import GridSearchCV, train_test_split

from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.timing import seconds
from benchmarks.vae.problem import curved_surface, dequantised_digits, standardised
from skvae import EMGaussianMixture, VariationalAutoencoder

# Latent dimensions to choose from.
LATENTS = {
    "digits": (2, 8, 16),
    "wine": (1, 2, 4),
    "breast_cancer": (2, 5, 10),
    "curved_surface": (2, 3, 5),
}
CASES = {name: name for name in LATENTS}
MIXTURES = {
    "n_components": (1, 2, 3, 5, 8, 12, 20),
    "covariance_type": ("full", "tied", "diag"),
}


def measure(name, settings):
    """Return the row of a data set: both scores and the better model."""
    X = _rows(name, settings)
    X, test = train_test_split(X, test_size=0.25, random_state=settings.seed)
    with quietly():
        took, mixture = seconds(lambda: _mixture(X, settings))
        ours_took, vae = seconds(lambda: _autoencoder(X, LATENTS[name], settings))
        vae.set_params(n_score_samples=100 if settings.quick else 1000)
        each = vae.score_samples(test) - mixture.score_samples(test)
        ours, theirs = vae.score(test), mixture.score(test)
    chosen = f"{mixture.n_components} × {mixture.covariance_type}, {took:.0f} s"
    ours_chosen = f"{vae.n_components} latent, {vae.likelihood}, {ours_took:.0f} s"
    gain, error = each.mean(), each.std() / np.sqrt(len(each))
    row = [name, f"{len(X)}, {X.shape[1]}", f"{ours:.3f} ({ours_chosen})"]
    row += [f"{theirs:.3f} ({chosen})", f"{gain:+.3f} ± {error:.3f}"]
    return [[*row, "win" if gain > 0 else "loss"]]


def _rows(name, settings):
    if name == "digits":
        X = dequantised_digits(settings.seed)
    elif name == "curved_surface":
        X = curved_surface(2000, settings.seed)
    else:
        X = standardised(name)
    return X[:400] if settings.quick else X


def _mixture(X, settings):
    """Return the mixture that five folds chose, fitted to all rows."""
    grid = {"n_components": (1, 3)} if settings.quick else MIXTURES
    mixture = EMGaussianMixture(n_init=1 if settings.quick else 3, random_state=settings.seed)
    return GridSearchCV(mixture, grid, cv=2 if settings.quick else 5).fit(X).best_estimator_


def _autoencoder(X, sizes, settings):
    """Return the autoencoder with the highest bound on its validation rows.

    The validation rows are the same for all, since they have the same seed.
    """
    models = []
    for n_components in sizes[:1] if settings.quick else sizes:
        vae = VariationalAutoencoder(n_components, random_state=settings.seed)
        models.append(vae.set_params(max_epochs=20 if settings.quick else 500).fit(X))
    return max(models, key=lambda vae: vae.lower_bound_)


SECTION = Section(
    name="vae-comparison",
    title="Autoencoders: held-out score against a Gaussian mixture",
    method=(
        "A quarter of the rows held out; scores in nats per row, difference ± its standard error "
        "over rows. EMGaussianMixture: 1 to 20 components, full, tied or diagonal covariances, "
        "three starts, by five folds of cross-validation. VariationalAutoencoder: default "
        "parameters but for the number of latent dimensions, one of three, by the bound on the "
        "rows kept aside for early stopping; scored with 1,000 draws. Digits are dequantised; the "
        "surface is of two dimensions in twenty."
    ),
    columns=["data", "rows, features", "autoencoder", "mixture", "difference", "autoencoder's"],
    cases=CASES,
    measure=measure,
)
