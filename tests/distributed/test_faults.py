"""On a cluster of two processes: the same answers, also when one dies; an error when all do."""

import contextlib
import io
import os
import pickle
import signal
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from tests.distributed.test_mixtures import assert_same_fit, rows
from tests.problems import assert_same_state, state_of

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")


pytestmark = pytest.mark.slow


@contextlib.contextmanager
def two_processes():
    quick = {"distributed.comm.timeouts.connect": "1s", "distributed.logging.distributed": "error"}
    with (
        dask.config.set(quick),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs="ERROR",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with two_processes() as client:
        yield client


class When(io.StringIO):
    """A standard output that does something when a fit says how far it is, once."""

    def __init__(self, line, do):
        super().__init__()
        self._line, self._do, self.done = line, do, False

    def write(self, text):
        if self._line in text and not self.done:
            self.done = True
            self._do()
        return len(text)


def fit(model, X, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **given)


def em(**changes):
    return EMGaussianMixture(3, random_state=0, tol=0, max_iter=6, **changes)


def test_the_same_on_a_cluster(client):
    """Parameters and statistics travel; BLAS of the workers is left as it was."""
    X = rows(missing=0.05)
    weight = np.random.default_rng(0).integers(0, 3, size=len(X))
    lazy = da.from_array(X, chunks=700).persist()
    for model in (em(), BayesianMixtureSVI(3, random_state=0, max_iter=3)):
        expected = fit(model, X, sample_weight=weight)
        proba = expected.predict_proba(X)
        found = fit(pickle.loads(pickle.dumps(model)), lazy, sample_weight=weight)
        assert_same_fit(found, expected)
        assert_allclose(found.predict_proba(lazy).compute(), proba, atol=1e-10)


@pytest.mark.parametrize("persisted", [False, True])
def test_a_worker_that_is_killed_in_mid_fit_changes_nothing(client, persisted):
    X = rows()
    lazy = da.from_array(X, chunks=700)
    lazy = lazy.persist() if persisted else lazy

    def kill():
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    undisturbed = fit(em(), lazy)
    out = When("iteration 3", kill)
    with contextlib.redirect_stdout(out):
        found = fit(em(verbose=2), lazy)
    assert out.done
    np.testing.assert_array_equal(found.means_, undisturbed.means_)  # to the last bit
    assert_same_fit(found, fit(em(), X))


def test_sequences_on_a_cluster(client):
    X = rows()
    groups = np.repeat(np.arange(50), 100)
    lazy = da.from_array(X, chunks=750)
    model = {"random_state": 0, "max_iter": 3}
    expected = fit(EMHiddenMarkov(3, **model), X, groups=groups)
    found = fit(EMHiddenMarkov(3, **model), lazy, groups=groups)
    assert_allclose(found.means_, expected.means_, rtol=1e-10)
    assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-10)


def test_a_lost_scheduler_is_named_and_what_was_fitted_stays(client):
    """The last test of this cluster: it ends with it."""
    X = rows()
    lazy = da.from_array(X, chunks=700).persist()
    model = fit(em(), lazy)
    before = state_of(model.set_params(verbose=2))
    out = When("iteration 3", client.cluster.close)
    lost = pytest.raises(ConnectionError, match=r"its scheduler is gone.* persist X again")
    with contextlib.redirect_stdout(out), lost:
        fit(model, lazy)
    assert out.done
    assert_same_state(model, before)
    with lost:  # and again: the rows were on it
        model.fit(lazy)
    assert_same_state(model, before)
