"""Linear autoencoders against the optimum, which factor analysis and PCA have in closed form."""

import numpy as np
from sklearn.decomposition import FactorAnalysis
from skorch.callbacks import LRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.timing import seconds
from benchmarks.vae.problem import standardised
from skvae import VariationalAutoencoder

SLACK = 0.01  # nats per row
SLACK_OF_DEFAULTS = 0.05
N_COMPONENTS, N_DRAWS = 2, 1000
# Of the thirty features of breast_cancer some are nearly sums of others, σ a fiftieth: with steps
# twice as large, or half as many, it is farther from the optimum.
N_EPOCHS, LEARNING_RATE = 3000, 0.01
DATA = ("wine", "breast_cancer", "iris")
CASES = {
    f"{name}-{scale}": (name, scale) for scale in ("feature", "shared", "default") for name in DATA
}


def optimum(X, scale):
    """Return the highest log-likelihood of a linear model with two factors, nats per row.

    With one σ it is Tipping and Bishop's (1999, eq. 8); scikit-learn's PCA divides by n − 1 and is
    slightly below. With one for each feature it is scikit-learn's factor analysis at convergence.
    """
    if scale in ("feature", "default"):
        model = FactorAnalysis(N_COMPONENTS, tol=1e-10, max_iter=100_000, svd_method="lapack")
        return float(model.fit(X).score(X))
    spectrum = np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1]
    n = len(spectrum)
    spectrum[N_COMPONENTS:] = spectrum[N_COMPONENTS:].mean()
    return float(-0.5 * (n * np.log(2 * np.pi) + np.log(spectrum).sum() + n))


def autoencoder(scale, n_epochs, seed):
    """Return a linear autoencoder: the default, or one with a rate that falls slowly to zero."""
    if scale == "default":
        return VariationalAutoencoder(
            N_COMPONENTS, hidden_layer_sizes=(), n_score_samples=N_DRAWS, random_state=seed
        )
    return VariationalAutoencoder(
        N_COMPONENTS,
        hidden_layer_sizes=(),
        likelihood_params={"scale": scale},
        kl_warmup=0,
        n_score_samples=N_DRAWS,
        n_importance_samples=10,
        max_epochs=n_epochs,
        batch_size=128,
        lr=LEARNING_RATE,
        early_stopping=False,
        callbacks=[LRScheduler(CosineAnnealingLR, T_max=n_epochs)],
        random_state=seed,
    )


def measure(case, settings):
    """Return the row of a data set and a form of σ."""
    name, scale = case
    X = standardised(name)
    best = optimum(X, scale)
    vae = autoencoder(scale, 100 if settings.quick else N_EPOCHS, settings.seed)
    with quietly():
        took, _ = seconds(lambda: vae.fit(X))
    gap = best - vae.score(X)
    kind = "probabilistic PCA" if scale == "shared" else "factor analysis"
    slack = SLACK_OF_DEFAULTS if scale == "default" else SLACK
    verdict = report.verdict(gap, settings.judged(slack), sign="≤", unit=" nats")
    return [
        [
            name,
            scale,
            kind,
            f"{best:.4f}",
            f"{best - gap:.4f}",
            f"{gap:.4f}",
            verdict,
            f"{took:.0f} s",
        ]
    ]


SECTION = Section(
    name="vae-linear",
    title="Linear autoencoders: distance to the closed-form optimum",
    method=(
        f"Standardised data, two latent dimensions, no hidden layers, {N_EPOCHS:,} epochs of Adam "
        f"with a learning rate that falls from {LEARNING_RATE} to 0, bound of 10 draws, which has "
        "the same optimum and less noise. "
        f"Score of the training rows with {N_DRAWS:,} draws, nats per row, below "
        "the highest likelihood that a linear model has. 'default': default parameters instead, "
        "σ per feature."
    ),
    columns=["data", "σ", "is", "optimum", "skvae", "below it", "target", "fit"],
    cases=CASES,
    measure=measure,
)
