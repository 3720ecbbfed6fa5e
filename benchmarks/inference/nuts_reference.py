"""Makes ``nuts_reference.json``: posterior moments by a long run of the No-U-Turn sampler.

It was run once, with numpyro 0.22 and jax 0.10: ``python nuts_reference.py``. The targets are those
of ``posteriors.py``. Each has 8 chains of 1,000 + 10,000 draws.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

EFFECTS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
ERRORS = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]


def logistic_regression():
    """Return (log density, number of parameters): breast_cancer, N(0, 1) on all coefficients."""
    import jax
    import jax.numpy as jnp

    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    X, y = jnp.array(np.column_stack([np.ones(len(X)), X])), jnp.array(data.target)

    def log_density(theta):
        logit = X @ theta
        return (y * logit - jax.nn.softplus(logit)).sum() - theta @ theta / 2

    return log_density, X.shape[1]


def eight_schools():
    """Return the same of the eight schools, non-centred: (mu, ln tau, eight standard effects).

    mu ~ N(0, 5), tau ~ half-Cauchy(5), as in posteriordb.
    """
    import jax.numpy as jnp

    def log_density(theta):
        mu, tau, z = theta[0], jnp.exp(theta[1]), theta[2:]
        residual = (jnp.array(EFFECTS) - mu - tau * z) / jnp.array(ERRORS)
        prior = -(mu**2) / 50 - jnp.log1p((tau / 5) ** 2) + theta[1] - z @ z / 2
        return prior - residual @ residual / 2

    return log_density, 10


def main():
    import jax
    import numpyro
    from numpyro.diagnostics import effective_sample_size, gelman_rubin
    from numpyro.infer import MCMC, NUTS

    jax.config.update("jax_enable_x64", True)
    numpyro.set_host_device_count(2)
    found = {}
    for make in (logistic_regression, eight_schools):
        log_density, n = make()
        mcmc = MCMC(
            NUTS(potential_fn=lambda theta, f=log_density: -f(theta), target_accept_prob=0.95),
            num_warmup=1000,
            num_samples=10_000,
            num_chains=8,
            chain_method="vectorized",
            progress_bar=False,
        )
        starts = jax.random.normal(jax.random.PRNGKey(1), (8, n)) * 0.1
        mcmc.run(jax.random.PRNGKey(0), init_params=starts)
        draws = np.asarray(mcmc.get_samples(group_by_chain=True))
        pooled = draws.reshape(-1, n)
        found[make.__name__] = {
            "mean": pooled.mean(axis=0).tolist(),
            "standard_deviation": pooled.std(axis=0, ddof=1).tolist(),
            "effective_sample_size": float(np.min(effective_sample_size(draws))),
            "r_hat": float(np.max(gelman_rubin(draws))),
        }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
