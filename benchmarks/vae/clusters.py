"""A mixture prior on clusters: the agreement with the truth, and the gain in density."""

from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from benchmarks import report
from benchmarks.bayesian.problem import apart, quietly
from benchmarks.suite import Section
from benchmarks.vae.comparison import LATENTS, chosen_autoencoder
from benchmarks.vae.problem import dequantised_digits
from skvae import VariationalAutoencoder

N_SAMPLES, N_FEATURES = 1000, 6
CASES = {f"{n}-clusters": n for n in (4, 8)}


def measure(n_clusters, settings):
    """Return the rows of some data sets: agreement with the truth, and both scores."""
    rows = []
    for seed in range(settings.seed, settings.seed + (1 if settings.quick else 3)):
        X, labels = apart(2 * N_SAMPLES, N_FEATURES, n_clusters, seed, least=8.0)
        X, test, truth = X[:N_SAMPLES], X[N_SAMPLES:], labels[N_SAMPLES:]
        scores = {}
        for prior in ("normal", "mixture"):
            vae = VariationalAutoencoder(
                prior=prior, n_prior_components=n_clusters, random_state=seed
            )
            if settings.quick:
                vae.set_params(max_epochs=40)
            with quietly():
                scores[prior] = vae.fit(X).score(test)
                if prior == "mixture":
                    agreement = adjusted_rand_score(truth, vae.predict(test))
        gain = scores["mixture"] - scores["normal"]
        row = [str(n_clusters), str(seed), f"{agreement:.3f}"]
        row.append(report.verdict(agreement, settings.judged(0.95), sign="≥"))
        row += [f"{scores['mixture']:.3f}", f"{scores['normal']:.3f}"]
        verdict = report.verdict(gain, settings.judged(0), sign="≥")
        rows.append([*row, f"{gain:+.3f}", verdict])
    return rows


SECTION = Section(
    name="vae-clusters",
    title="Autoencoders: a mixture prior finds clusters",
    method=(
        f"{N_SAMPLES:,} × {N_FEATURES} in spherical unit clusters, centres at least 8 apart, "
        f"{N_SAMPLES:,} more rows held out. Default estimator, two latent dimensions, as many "
        "components in the prior as there are clusters. Adjusted Rand index and scores of the "
        "held-out rows, nats per row."
    ),
    columns=[
        "clusters",
        "seed",
        "agreement",
        "target",
        "mixture prior",
        "normal prior",
        "gain",
        "target",
    ],
    cases=CASES,
    measure=measure,
)


def measure_digits(seed, settings):
    """Return the row of a seed: the agreement with the digits, and the size chosen."""
    X, truth = dequantised_digits(seed), load_digits().target
    if settings.quick:
        X, truth = X[:400], truth[:400]
    with quietly():
        vae = chosen_autoencoder(X, LATENTS["digits"], seed, settings)
    agreement = adjusted_rand_score(truth, vae.predict(X))
    verdict = report.verdict(agreement, settings.judged(0.65), sign="≥")
    return [[str(seed), str(vae.n_components), f"{agreement:.3f}", verdict]]


DIGITS = Section(
    name="vae-digit-clusters",
    title="Autoencoders: the clusters of digits",
    method=(
        "The 1,797 digits of 8 × 8, dequantised. Default estimator, whose prior is a mixture of "
        "ten components; of 2, 8 and 16 latent dimensions those with the highest bound on the rows "
        "kept aside for early stopping. Adjusted Rand index of the clusters and the ten digits."
    ),
    columns=["seed", "latent dimensions", "agreement", "target"],
    cases={f"seed-{seed}": seed for seed in range(5)},
    measure=measure_digits,
)
