"""Values missing at random, filled in: the protocol of Mattei & Frellsen (2019), MIWAE."""

import numpy as np
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.timing import seconds
from benchmarks.vae.problem import standardised
from skvae import VariationalAutoencoder

PUBLISHED = 0.287  # MIWAE on this data set, table 3 of the paper
N_MASKS = 5
CASES = {"breast_cancer": "breast_cancer"}


def autoencoder(n_epochs, n_draws, seed):
    """Return the model of the paper: Student-t, all its parameters from the decoder."""
    return VariationalAutoencoder(
        10,
        hidden_layer_sizes=(128, 128),
        likelihood="student_t",
        likelihood_params={"scale": "decoder", "dof": "decoder"},
        n_importance_samples=20,
        n_score_samples=n_draws,
        max_epochs=n_epochs,
        batch_size=64,
        lr=1e-3,
        kl_warmup=0,
        early_stopping=False,
        random_state=seed,
    )


def measure(name, settings):
    """Return a row for each way to fill in."""
    X = standardised(name)
    n_masks = 1 if settings.quick else N_MASKS
    vae = autoencoder(*((10, 100) if settings.quick else (500, 2000)), settings.seed)
    chained = IterativeImputer(max_iter=3 if settings.quick else 100, random_state=settings.seed)
    ways = {"skvae": vae, "IterativeImputer": chained, "mean": SimpleImputer()}
    errors, times = {name: [] for name in ways}, {name: [] for name in ways}
    for mask in range(n_masks):
        missing = np.random.default_rng(1000 * settings.seed + mask).uniform(size=X.shape) < 0.5
        given = np.where(missing, np.nan, X)
        for way, model in ways.items():
            with quietly():
                took, filled = seconds(lambda m=model, g=given: _filled(m, g))
            errors[way].append(float(np.square(filled - X)[missing].mean()))
            times[way].append(took)
    rows = []
    for way, values in errors.items():
        mean, spread = np.mean(values), np.std(values)
        row = [way, f"{mean:.3f} ± {spread:.3f}", f"{np.mean(times[way]):.1f} s"]
        targets = [PUBLISHED, np.mean(errors["IterativeImputer"])] if way == "skvae" else [None] * 2
        row += [
            report.verdict(mean, t if t is None else settings.judged(round(t, 3)), sign="≤")
            for t in targets
        ]
        rows.append(row)
    return rows


def _filled(model, X):
    return model.fit(X).impute(X) if hasattr(model, "impute") else model.fit_transform(X)


SECTION = Section(
    name="vae-imputation",
    title="Autoencoders: missing values filled in",
    method=(
        f"breast_cancer, standardised, half of the entries missing at random, {N_MASKS} masks: "
        "mean squared error of the imputed values, mean ± standard deviation over masks, and "
        "seconds of a fit with imputation. skvae: Student-t of the decoder, two layers of 128, 10 "
        "latent dimensions, importance-weighted bound of 20 draws, 500 epochs in batches of 64, "
        "expectations with 2,000 draws. IterativeImputer with up to 100 rounds. Targets: the "
        f"published {PUBLISHED} and IterativeImputer's."
    ),
    columns=["by", "squared error", "seconds", "target, published", "target, IterativeImputer"],
    cases=CASES,
    measure=measure,
)
