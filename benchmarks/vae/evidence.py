"""Scores by importance sampling, checked by quadrature or annealing, which use no encoder."""

from time import process_time

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.vae.annealed import annealed_log_likelihood
from benchmarks.vae.problem import curved_surface, dequantised_digits, spread_diabetes, standardised
from benchmarks.vae.quadrature import log_likelihood_on_grid
from skvae import VariationalAutoencoder
from skvae.neural.importance import in_double, log_likelihood
from skvae.neural.importance_weights import WeightSums, weighted_groups

N_ROWS, N_DRAWS, N_CHAINS = 20, 1000, 16
N_TIMED = 64  # rows, whose modes are found together: those of fewer take as long
LATENTS = {
    "iris": 2,
    "wine": 2,
    "diabetes": 2,
    "breast_cancer": 5,
    "curved_surface": 3,
    "digits": 8,
}
CASES = {
    f"{name}-{share:g}": (name, n_components, share)
    for name, n_components in LATENTS.items()
    for share in (0.0, 0.5)
}


def measure(case, settings):
    """Return the row of a data set: how far both estimates are from the reference, and the cost."""
    name, n_components, share = case
    X, test = train_test_split(_rows(name, settings), test_size=0.25, random_state=settings.seed)
    vae = VariationalAutoencoder(n_components, random_state=settings.seed)
    rng = np.random.default_rng(settings.seed)
    test = test[: 10 if settings.quick else N_ROWS]
    test = np.where(rng.random(test.shape) < share, np.nan, test)
    with quietly():
        vae.set_params(max_epochs=50 if settings.quick else 500).fit(X)
    model = in_double(vae.net_.module_.model)
    x = model.likelihood.prepare(test)
    truth, way = _truth(model, x, settings)
    found, times = {}, {}
    for each, function in {"encoder": _by_encoder, "score": _by_both}.items():
        for _ in range(3):
            start = process_time()
            function(model, np.resize(x, (N_TIMED, x.shape[1])))
            times.setdefault(each, []).append(process_time() - start)
        found[each] = function(model, x)
    row = [name, str(n_components), f"{share:.0%}", way]
    for log_p, sizes in found.values():
        off = log_p - truth
        row += [f"{off.mean():+.3f}, {off.min():+.2f}", f"{np.median(sizes):.0f}"]
    off = abs((found["score"][0] - truth).mean())
    verdict = report.verdict(off, settings.judged(0.2), sign="≤", unit=" nats")
    return [[*row, f"{min(times['score']) / min(times['encoder']):.2f}", verdict]]


def _rows(name, settings):
    """Return the rows of a data set."""
    if name == "digits":
        return dequantised_digits(settings.seed)
    if name == "curved_surface":
        return curved_surface(2000, settings.seed)
    return spread_diabetes(settings.seed) if name == "diabetes" else standardised(name)


def _truth(model, x, settings):
    """Return ln p(x) of each prepared row, and the name of the method."""
    if model.n_components <= 2:
        return log_likelihood_on_grid(model, x), "quadrature"
    annealed = annealed_log_likelihood(
        model,
        x,
        n_temperatures=50 if settings.quick else 1000,
        n_chains=N_CHAINS,
        n_leapfrog=5,
        generator=torch.Generator().manual_seed(settings.seed),
    )
    sizes = annealed.effective_size
    way = f"annealing, {np.median(sizes):.0f} (least {sizes.min():.0f}) of {N_CHAINS}"
    return annealed.log_likelihood, way


@torch.no_grad()
def _by_encoder(model, x):
    """Return log-likelihoods of prepared rows by the encoder's draws alone, and their sizes."""
    log_p, sizes = np.empty((2, len(x)))
    for rows, group in weighted_groups(model, x, N_DRAWS, 0, by_encoder=True):
        weights = WeightSums()
        for draws in group:
            weights.add(draws.log_weight)
        log_p[rows] = weights.log_mean()[: len(rows)]
        sizes[rows] = weights.effective_size()[: len(rows)]
    return log_p, sizes


def _by_both(model, x):
    """Return log-likelihoods of prepared rows as ``score_samples`` has them, and their sizes."""
    found = log_likelihood(model, x, N_DRAWS, seed=0)
    return found.log_likelihood - model.likelihood.log_volume(x), found.effective_size


SECTION = Section(
    name="vae-evidence",
    title="Autoencoders: scores checked by quadrature and annealing",
    method=(
        f"Default estimator but for the number of latent dimensions, {N_ROWS} rows held out, "
        f"complete or with half of the values missing, {N_DRAWS:,} draws a row. Reference: the "
        "trapezoid rule for two latent dimensions, else annealed importance sampling from the "
        f"prior with {N_CHAINS} chains, 1,000 temperatures and Hamiltonian transitions of 5 "
        "steps, which does not use the encoder; its effective size is that of the chains. Errors "
        "are score less reference in nats per row: the mean, and the lowest. Effective size: the "
        "median of the rows. Time: a score over one by draws from the encoder alone, as in earlier "
        f"versions, least of three, of the rows repeated up to {N_TIMED}, of "
        "which the modes are found together. Target: the absolute mean error of the score."
    ),
    columns=[
        *("data", "latent", "missing", "reference", "error of encoder alone", "effective size"),
        *("error of score", "effective size", "time", "target"),
    ],
    cases=CASES,
    measure=measure,
)
