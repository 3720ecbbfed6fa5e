"""The plot of the terms of the bound, and of the gap over iterations."""

import copy

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from skvae.inspection import ElboDecompositionDisplay, elbo_decomposition
from tests.hmm.problems import LENGTHS, groups_of, known_model, rows_of
from tests.problems import blobs, on_the_floor, run
from tests.vae.estimator_problems import autoencoder, rows


def edges(bars):
    """(bottom, top) of each bar."""
    return np.array([(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars])


def em_fits(model, X, n_iter, **params):
    """Copies of a model after 0, 1, ... iterations of EM."""
    model.set_params(max_iter=0, warm_start=True).fit(X, **params)
    fits = [copy.deepcopy(model)]
    return fits + [copy.deepcopy(run(model, X, 1, **params)) for _ in range(n_iter)]


def test_the_terms_lead_from_the_expected_joint_to_the_evidence():
    X = rows()
    models = {
        "mixture": EMGaussianMixture(2, random_state=0).fit(X),
        "Bayesian": BayesianMixtureSVI(2, random_state=0).fit(X),
        "autoencoder": autoencoder(max_epochs=5).fit(X),
    }
    display = ElboDecompositionDisplay.from_estimators(models, X)
    terms = [elbo_decomposition(model, X) for model in models.values()]
    joint, elbo, evidence = (
        np.array([getattr(each, name).mean() for each in terms])
        for name in ("expected_joint", "elbo", "log_evidence")
    )
    assert_allclose(edges(display.bars_["entropy"]), np.stack([joint, elbo], axis=1))
    assert_allclose(edges(display.bars_["gap"]), np.stack([elbo, evidence], axis=1))
    shared = models["Bayesian"].elbo_ / len(X)
    assert_allclose(edges(display.bars_["global_kl"])[1], [shared, elbo[1]])
    assert_allclose(edges(display.bars_["global_kl"])[[0, 2], 0], elbo[[0, 2]])
    for name, values in (("expected_joint", joint), ("log_evidence", evidence)):
        levels = [segment[0, 1] for segment in display.lines_[name].get_segments()]
        assert_allclose(levels, values)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == list(models)
    hatches = {bars[0].get_hatch() for bars in display.bars_.values()}
    assert len(hatches) == 3  # different without colour
    assert display.ax_.get_ylabel() == "nats per row"
    assert display.ax_.figure is display.figure_
    display.figure_.canvas.draw()


def test_one_estimator_and_its_axes():
    model = known_model()
    X = rows_of(model)
    _, ax = plt.subplots()
    display = ElboDecompositionDisplay.from_estimator(model, X, groups=groups_of(LENGTHS), ax=ax)
    assert display.ax_ is ax
    assert_allclose(display.log_evidence, model.score(X, groups=groups_of(LENGTHS)))
    assert_allclose(display.elbo, display.log_evidence)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["EMHiddenMarkov"]
    assert list(display.bars_) == ["entropy", "gap"]
    listed = np.split(X, np.cumsum(LENGTHS)[:-1])
    again = ElboDecompositionDisplay.from_estimator(model, listed, name="chain")
    assert_allclose(again.expected_joint, display.expected_joint)
    assert [label.get_text() for label in again.ax_.get_xticklabels()] == ["chain"]


@pytest.mark.parametrize("kind", ["mixture", "chain"])
@on_the_floor
def test_the_gap_opens_in_the_m_step_and_closes_in_the_e_step(kind):
    X = blobs(100, separation=1.0)
    first = {"init_params": "random_from_data", "random_state": 0}
    model = EMGaussianMixture(3, **first) if kind == "mixture" else EMHiddenMarkov(3, **first)
    fits = em_fits(model, X, 3)
    display = ElboDecompositionDisplay.from_iterations(fits, X)
    assert_allclose(display.iterations, [0, 0.5, 1, 1.5, 2, 2.5, 3])
    gap = display.log_evidence - display.elbo
    assert_allclose(gap[::2], 0, atol=1e-9)
    assert (gap[1::2] > 1e-4).all()
    assert (np.diff(display.elbo) > 0).all()
    assert_allclose(display.log_evidence[::2], [fit.lower_bound_ for fit in fits])
    assert_array_equal(display.lines_["elbo"].get_xydata()[:, 1], display.elbo)
    assert_array_equal(display.lines_["log_evidence"].get_xydata()[:, 1], display.log_evidence)
    assert display.lines_["elbo"].get_linestyle() != display.lines_["log_evidence"].get_linestyle()
    corners = {tuple(c) for c in display.gap_area_.get_paths()[0].vertices.round(9)}
    assert (0.5, round(float(display.elbo[1]), 9)) in corners
    assert display.bars_ == {}
    assert display.ax_.get_xlabel() == "iteration"
    display.figure_.canvas.draw()


def test_autoencoders_are_judged_by_their_own_encoders():
    X = rows()
    fits = [autoencoder(max_epochs=n, early_stopping=False).fit(X) for n in (1, 3)]
    display = ElboDecompositionDisplay.from_iterations(fits, X, iterations=[1, 3])
    assert_array_equal(display.iterations, [1, 3])
    assert_allclose(display.elbo, [fit.elbo(X).elbo.mean() for fit in fits])
    assert_allclose(display.log_evidence, [fit.score(X) for fit in fits])


def test_what_cannot_be_drawn():
    with pytest.raises(NotFittedError):
        ElboDecompositionDisplay.from_estimator(EMGaussianMixture(), blobs(10))
    fits = [EMGaussianMixture(k, random_state=0).fit(blobs(40)) for k in (1, 2)]
    with pytest.raises(ValueError, match="must have as many components"):
        ElboDecompositionDisplay.from_iterations(fits, blobs(40))
    assert plt.get_fignums() == []
