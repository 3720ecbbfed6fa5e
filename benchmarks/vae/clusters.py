"""A mixture prior on clusters: the agreement with the truth, and the gain in density."""

from sklearn.metrics import adjusted_rand_score

from benchmarks import report
from benchmarks.bayesian.problem import apart, quietly
from benchmarks.suite import Section
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
