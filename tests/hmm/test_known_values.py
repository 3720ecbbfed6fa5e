"""Numbers that others computed: depmixS4 on its speed data, hmmlearn 0.3.3 on rows in a file.

`data/hmmlearn.json` has a note on how it was made. Neither package is needed to run this.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMHiddenMarkov
from skvae.hmm import (
    CategoricalEmission,
    ColumnEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
)
from tests.hmm.problems import groups_of
from tests.problems import run

DATA = Path(__file__).parent / "data"
HMMLEARN = json.loads((DATA / "hmmlearn.json").read_text(encoding="utf-8"))
GAUSSIANS = ("full", "tied", "diag", "spherical")


def speed():
    """(reaction time and correctness of 439 trials, the series of each)."""
    with (DATA / "speed.csv").open(encoding="utf-8") as lines:
        rows = [(int(r["series"]), float(r["rt"]), float(r["corr"])) for r in csv.DictReader(lines)]
    table = np.array(rows)
    return table[:, 1:], table[:, 0].astype(int)


def test_depmix_s_log_likelihood_at_its_own_parameters():
    """Visser & Speekenbrink, J. Stat. Softw. 36 (2010): the test of their package."""
    X, groups = speed()
    assert_array_equal(np.bincount(groups), [168, 134, 137])
    rt = GaussianEmission.from_parameters([[5.52], [6.39]], [[0.202**2], [0.24**2]], "diag")
    corr = CategoricalEmission.from_parameters([[[0.472, 0.528]], [[0.098, 0.902]]])
    model = EMHiddenMarkov.from_parameters(
        [0.0, 1.0],
        [[0.899, 0.101], [0.084, 0.916]],
        ColumnEmission.from_parameters([("rt", rt, [0]), ("corr", corr, [1])]),
    )
    assert_allclose(model.score_samples(X, groups=groups).sum(), -296.115107102, rtol=1e-11)
    assert_allclose(439 * model.score(X, groups=groups), -296.115107102, rtol=1e-11)


def test_the_maximum_on_the_speed_data():
    """Theirs are rounded to three digits: the maximum is close by, and above."""
    X, groups = speed()
    parts = [("rt", GaussianEmission(), [0]), ("corr", CategoricalEmission(2), [1])]
    model = EMHiddenMarkov(
        2, emission=ColumnEmission(parts), n_init=5, tol=1e-11, max_iter=2000, random_state=0
    ).fit(X, groups=groups)
    assert -296.1151 < 439 * model.lower_bound_ < -296.1
    rt, corr = model.emission_.named_emissions_.rt, model.emission_.named_emissions_.corr
    order = np.argsort(rt.means_[:, 0])
    assert_allclose(rt.means_[order, 0], [5.52, 6.39], atol=0.01)
    assert_allclose(np.sqrt(np.ravel(rt.covariances_)[order]), [0.202, 0.24], atol=0.01)
    assert_allclose(corr.probabilities_[order, 0, 1], [0.528, 0.902], atol=0.01)
    assert_allclose(model.transmat_[order][:, order], [[0.899, 0.101], [0.084, 0.916]], atol=0.01)
    assert_allclose(model.startprob_[order], [0.0, 1.0], atol=1e-3)


def known(family):
    """(the model with the parameters given to hmmlearn, X, groups, the results of hmmlearn)."""
    record = HMMLEARN["families"][family]
    emission = {name: np.array(value) for name, value in record["emission"].items()}
    if family in GAUSSIANS:
        emission = GaussianEmission.from_parameters(*emission.values(), family)
    else:
        emission = {
            "gaussian_mixture": GaussianMixtureEmission,
            "categorical": CategoricalEmission,
            "poisson": PoissonEmission,
        }[family].from_parameters(**emission)
    model = EMHiddenMarkov.from_parameters(record["startprob"], record["transmat"], emission)
    return model, np.array(record["X"]), groups_of(HMMLEARN["lengths"]), record


@pytest.mark.parametrize("family", HMMLEARN["families"])
def test_hmmlearn_s_log_likelihood_path_and_posterior(family):
    model, X, groups, record = known(family)
    total = model.score_samples(X, groups=groups).sum()
    assert_allclose(total, record["log_likelihood"], rtol=1e-10)
    assert_allclose(len(X) * model.score(X, groups=groups), record["log_likelihood"], rtol=1e-10)
    log_prob, path = model.decode(X, groups=groups)
    assert_allclose(log_prob, record["decode"], rtol=1e-10)
    assert_array_equal(path, record["path"])
    assert_allclose(model.predict_proba(X, groups=groups), record["posterior"], atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    "family", [name for name, record in HMMLEARN["families"].items() if "fitted" in record]
)
def test_hmmlearn_s_parameters_after_five_iterations(family):
    model, X, groups, record = known(family)
    if family in GAUSSIANS:
        model.set_params(emission__reg_covar=0.0)
    run(model.set_params(warm_start=True), X, 5, groups=groups)
    fitted = dict(record["fitted"])
    total = fitted.pop("log_likelihood")
    assert_allclose(len(X) * model.lower_bound_, total, rtol=1e-8)
    for name, value in fitted.items():
        owner = model if name in ("startprob", "transmat") else model.emission_
        actual = getattr(owner, f"{name}_")
        assert_allclose(actual, value, rtol=1e-6, atol=1e-9, err_msg=name)
