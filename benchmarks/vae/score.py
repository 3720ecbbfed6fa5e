"""Log-likelihoods by importance sampling with many draws, against pythae's ``get_nll``."""

import copy

import numpy as np
import torch

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds
from benchmarks.vae.contenders import HAS_PYTHAE, pythae_model
from benchmarks.vae.problem import binary_images, images_in
from skvae import VariationalAutoencoder

SIZES = 784, 400, 20
CASES = {"1000-rows-1000-draws": (1000, 1000)}


def measure(case, settings):
    """Return the row: seconds for all rows, and that the answers agree."""
    n_rows, n_draws = (20, 200) if settings.quick else case
    X, data = _images(n_rows, settings)
    vae = VariationalAutoencoder(
        SIZES[2],
        hidden_layer_sizes=SIZES[1:2],
        likelihood="bernoulli",
        n_score_samples=n_draws,
        max_epochs=20,
        early_stopping=False,
        random_state=settings.seed,
        device="cpu",
    )
    found = {}

    def ours():
        took, found["skvae"] = seconds(lambda: vae.score(X))
        return took

    measures = {"skvae": ours}
    with quietly():
        vae.fit(X)
        if HAS_PYTHAE:
            peer = _as_pythae(vae.net_.module_.model)
            x = torch.as_tensor(X, dtype=torch.float32)
            measures["pythae"] = lambda: _theirs(peer, x, n_draws, found)
        times = interleave(measures, min(settings.rounds, 3))
    row = [data, f"{n_rows:,}", f"{n_draws:,}", report.duration(times["skvae"])]
    if not HAS_PYTHAE:
        return [[*row, *[report.NOT_APPLICABLE] * 4]]
    ratio = times["pythae"].over(times["skvae"])
    verdict = report.verdict(ratio.median, settings.judged(4), sign="≥", unit="×")
    row += [report.duration(times["pythae"]), report.ratio(ratio), verdict]
    return [[*row, f"{found['skvae']:.3f}, {found['pythae']:.3f}"]]


def _images(n_rows, settings):
    """Return rows of zeros and ones, and the name of the images."""
    if settings.data is None:
        return binary_images(n_rows, settings.seed), "discs"
    grey = images_in(settings.data, "test")[:n_rows] / 255.0
    chance = np.random.default_rng(settings.seed).uniform(size=grey.shape)
    return (chance < grey).astype(np.float64), "Fashion-MNIST"


def _theirs(peer, x, n_draws, found):
    with torch.no_grad():
        took, value = seconds(lambda: peer.get_nll(x, n_samples=n_draws))
    found["pythae"] = float(value)  # the mean of log p, despite its name
    return took


def _as_pythae(model):
    """Return pythae's VAE with a fitted model's weights.

    The estimator's encoder reads x less its mean, and its decoder's outputs are added to the data's
    log-odds: both go into biases.
    """
    encoder, decoder = copy.deepcopy(model.encoder), copy.deepcopy(model.decoder)
    with torch.no_grad():
        first, last = encoder[0], decoder[-1]
        first.bias -= first.weight @ model.likelihood.center.to(first.weight)
        last.bias += model.likelihood.log_odds.to(last.bias)
    return pythae_model(SIZES, "bernoulli", (encoder, decoder)).eval()


SECTION = Section(
    name="vae-score",
    title="Autoencoders: log-likelihoods by importance sampling",
    method=(
        "A net of 784-400-20 with a Bernoulli likelihood, the same weights in both. Seconds of "
        "`score` (float32 where that keeps five digits, noise of its own for every row, modes of "
        "each posterior) and of pythae's `get_nll` (float32, row "
        "by row in batches of 100 draws). Last column: mean log-likelihoods, nats per row."
    ),
    columns=["images", "rows", "draws", "skvae", "pythae", "pythae / skvae", "target", "answers"],
    cases=CASES,
    measure=measure,
)
