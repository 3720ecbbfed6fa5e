"""Importance sampling with the encoder, checked by annealing, which does not use the encoder."""

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.vae.annealed import annealed_log_likelihood
from benchmarks.vae.problem import standardised
from skvae import VariationalAutoencoder
from skvae.neural.importance import in_double

N_ROWS, N_DRAWS, N_CHAINS = 40, 5000, 16
CASES = {name: name for name in ("iris", "wine")}


def measure(name, settings):
    """Return the row of a data set: both estimates, and how far apart they are."""
    X, test = train_test_split(standardised(name), test_size=N_ROWS, random_state=settings.seed)
    vae = VariationalAutoencoder(2, n_score_samples=N_DRAWS, random_state=settings.seed)
    if settings.quick:
        vae.set_params(max_epochs=50, n_score_samples=500)
        test = test[:10]
    generator = torch.Generator().manual_seed(settings.seed)
    with quietly():
        vae.fit(X)
        sampled, error = vae.score_samples(test), vae.standard_error(test)
        bound = vae.elbo(test).elbo.mean()
    model = vae.net_.module_.model
    x = model.likelihood.prepare(test)
    annealed = annealed_log_likelihood(
        in_double(model),
        x,
        n_temperatures=50 if settings.quick else 1000,
        n_chains=N_CHAINS,
        n_leapfrog=5,
        generator=generator,
    )
    log_p = annealed.log_likelihood + model.likelihood.log_volume(x)
    spread = 1 / annealed.effective_size - 1 / N_CHAINS  # variance of each log-likelihood, about
    together = np.sqrt((error**2 + spread).sum()) / len(test)
    gap = log_p.mean() - sampled.mean()
    row = [name, f"{bound:.4f}", f"{sampled.mean():.4f}", f"{log_p.mean():.4f}", f"{gap:+.4f}"]
    row += [f"{together:.4f}", f"{annealed.effective_size.mean():.1f} of {N_CHAINS}"]
    verdict = report.verdict(abs(gap) / together, settings.judged(3), sign="≤", unit=" errors")
    return [[*row, verdict]]


SECTION = Section(
    name="vae-evidence",
    title="Autoencoders: importance sampling checked by annealing",
    method=(
        f"Default estimator, standardised data, {N_ROWS} rows held out, nats per row. Importance "
        f"sampling with {N_DRAWS:,} draws of the encoder; annealed importance sampling from the "
        f"prior with {N_CHAINS} chains, 1,000 temperatures and Hamiltonian transitions of 5 steps. "
        "Both are unbiased for p(x). The effective size is that of the chains."
    ),
    columns=[
        *("data", "ELBO", "importance sampling", "annealing", "difference", "its error"),
        *("effective size", "target"),
    ],
    cases=CASES,
    measure=measure,
)
