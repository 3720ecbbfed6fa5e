"""Standard deviations of many parameters, against exact Hessians and long runs of NUTS."""

import numpy as np

from benchmarks import report, timing
from benchmarks.inference import posteriors
from benchmarks.inference.tomography import Tomography
from benchmarks.suite import Section
from skvae.inference import gaussian_vi, laplace

MESH = {"exact": {}, "rank 150": {"rank": 150}, "rank 300": {"rank": 300}}
TARGETS = {
    "logistic-regression": posteriors.logistic_regression,
    "eight-schools": posteriors.eight_schools,
}


def measure_mesh(given, settings):
    """Return the row of one Hessian of the inverse problem."""
    problem = Tomography(60 if settings.quick else 650, seed=settings.seed)
    n = len(problem.truth)
    prior = problem.prior_precision
    if given:
        given = {"hessian": "low_rank", "rank": min(given["rank"], n)}
    seconds, found = timing.seconds(
        lambda: laplace(problem, np.zeros(n), prior_precision=prior, random_state=0, **given)
    )
    exact = np.sqrt(np.diag(np.linalg.inv(-problem.hessian(found.mean))))
    ratio = found.standard_deviation / exact
    inside = np.abs(found.mean - problem.truth) < 1.96 * found.standard_deviation
    error = max(1 - ratio.min(), ratio.max() - 1)
    return [
        [
            f"{n}",
            f"{seconds:.1f} s",
            report.verdict(seconds, settings.judged(30), sign="≤", unit=" s"),
            f"{ratio.min():.4f}–{ratio.max():.4f}",
            report.verdict(100 * error, settings.judged(5), sign="≤", unit=" %"),
            f"{100 * found.standard_deviation_error:.2f} %",
            f"{100 * inside.mean():.1f} %",
            f"{found.n_calls:,}",
        ]
    ]


def measure_nuts(make, settings):
    """Return the rows of one posterior that NUTS was run on."""
    log_density, n = make()
    reference = posteriors.nuts_reference()[make.__name__]
    mean, deviation = np.array(reference["mean"]), np.array(reference["standard_deviation"])
    rows = []
    ways = {
        "laplace": lambda: laplace(log_density, np.zeros(n), random_state=0),
        "gaussian_vi": lambda: gaussian_vi(log_density, np.zeros(n), random_state=0),
        "gaussian_vi, 200 draws": lambda: gaussian_vi(
            log_density, np.zeros(n), n_draws=200, random_state=0
        ),
        "gaussian_vi, without linear response": lambda: gaussian_vi(
            log_density, np.zeros(n), linear_response=False, random_state=0
        ),
    }
    for name, run in list(ways.items())[: 2 if settings.quick else None]:
        seconds, found = timing.seconds(run)
        ratio = found.standard_deviation / deviation
        shift = np.abs((found.mean - mean) / deviation)
        rows.append(
            [
                make.__name__.replace("_", " "),
                name,
                f"{ratio.min():.2f}–{ratio.max():.2f}",
                f"{shift.max():.2f}",
                f"{found.khat:.2f}",
                f"{found.log_evidence.value:.2f} ± {found.log_evidence.standard_error:.2f}",
                f"{seconds:.2f} s",
            ]
        )
    return rows


MESH_SECTION = Section(
    name="inference-mesh",
    title="Laplace's approximation: three fields on a mesh, 1,950 parameters",
    method=(
        "Fields of 650 vertices under a random-field prior, seen by four cameras of 60 lines each "
        "through a rate that is not linear. Standard deviations against the Hessian by formula at "
        "the same point; the share of true values inside the 95 % intervals."
    ),
    columns=[
        *("parameters", "time", "target", "deviation / exact", "target", "stated error"),
        *("inside", "gradients"),
    ],
    cases=MESH,
    measure=measure_mesh,
)
NUTS_SECTION = Section(
    name="inference-nuts",
    title="Gaussian approximations against NUTS",
    method=(
        "Logistic regression (breast_cancer, 31 parameters) and eight schools, non-centred (10 "
        "parameters). The referee is a run of NUTS with 80,000 draws, stored with its script. "
        "Deviations as ratios, and the largest difference of a mean in deviations."
    ),
    columns=["posterior", "way", "deviation / NUTS", "mean", "khat", "log evidence", "time"],
    cases=TARGETS,
    measure=measure_nuts,
)
