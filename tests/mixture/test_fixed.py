"""Parameters that keep their initial values: maxima by derivatives, and closed forms."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skvae import EMGaussianMixture
from skvae.gaussian.covariance import STRUCTURES
from tests.combinations import slow

KINDS = ("full", "tied", "diag", "spherical")
CASES = (
    ("means",),
    ("covariances",),
    ("weights",),
    ("weights", "means"),
    ("means", "covariances"),
    {"means": [0, 2]},
    {"means": [1], "weights": [0]},
    {"weights": [2], "covariances": [1]},
    {"means": [0], "covariances": [0], "weights": [0]},
)


def rows(missing=False, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=250)
    X = rng.normal(size=(250, 2)) * [1.0, 0.7] + 2.5 * np.eye(3, 2)[labels]
    if missing:
        X[rng.random(X.shape) < 0.2] = np.nan
    return X


def first_values(kind):
    full = np.array(
        [[[1.0, 0.3], [0.3, 0.8]], [[1.5, 0.0], [0.0, 0.5]], [[0.7, -0.2], [-0.2, 1.0]]]
    )
    covariances = {
        "full": full,
        "tied": full.mean(axis=0),
        "diag": np.diagonal(full, axis1=1, axis2=2),
        "spherical": np.array([1.0, 0.8, 0.6]),
    }[kind]
    return {
        "weights_init": np.array([0.5, 0.3, 0.2]),
        "means_init": np.array([[2.0, 0.2], [-0.1, 2.3], [0.1, -0.3]]),
        "precisions_init": STRUCTURES[kind].inverse(covariances),
    }, covariances


def masks_of(fixed):
    given = dict.fromkeys(fixed, range(3)) if isinstance(fixed, tuple) else fixed
    return {name: np.isin(np.arange(3), list(states)) for name, states in given.items()}


def fit(fixed, kind="full", X=None, **settings):
    given, _ = first_values(kind)
    settings = {"tol": 1e-12, "max_iter": 5000} | given | settings
    model = EMGaussianMixture(3, covariance_type=kind, fixed=fixed, **settings)
    return model.fit(rows() if X is None else X)


def usable(fixed, kind):
    return not (kind == "tied" and isinstance(fixed, dict) and "covariances" in fixed)


def score_of(model, X, weights, means, covariances):
    args = weights, means, covariances, model.covariance_type
    return EMGaussianMixture.from_parameters(*args).score(X)


@pytest.mark.parametrize("fixed", CASES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [False, *slow(True)])
def test_the_maximum_is_that_of_the_free_parameters(kind, fixed, missing):
    """Fixed values are kept to the bit; the derivatives in all others are zero."""
    if not usable(fixed, kind):
        return
    X, masks = rows(missing), masks_of(fixed)
    model = fit(fixed, kind, X)
    given, covariances = first_values(kind)
    started = {"weights": given["weights_init"], "means": given["means_init"]}
    for name, mask in masks.items():
        if name == "covariances":
            continue
        assert_array_equal(getattr(model, f"{name}_")[mask], started[name][mask])
    if "covariances" in masks:
        mask = masks["covariances"] if kind != "tied" else slice(None)
        assert_allclose(model.covariances_[mask], covariances[mask], rtol=1e-12)
    assert_allclose(model.weights_.sum(), 1.0, rtol=1e-12)
    none = np.zeros(3, dtype=bool)

    def moved(step):
        step = iter(np.asarray(step))
        weights, means, spread = (
            model.weights_.copy(),
            model.means_.copy(),
            model.covariances_.copy(),
        )
        free = np.flatnonzero(~masks.get("weights", none))
        for k in free[1:]:  # the first one has the rest
            change = next(step)
            weights[k] += change
            weights[free[0]] -= change
        for k in np.flatnonzero(~masks.get("means", none)):
            means[k] += [next(step), next(step)]
        held = masks.get("covariances", none)
        if kind == "tied":
            if not held.any():
                a, b, c = next(step), next(step), next(step)
                spread += [[a, b], [b, c]]
        else:
            for k in np.flatnonzero(~held):
                if kind == "full":
                    a, b, c = next(step), next(step), next(step)
                    spread[k] += [[a, b], [b, c]]
                elif kind == "diag":
                    spread[k] += [next(step), next(step)]
                else:
                    spread[k] += next(step)
        return score_of(model, X, weights, means, spread)

    slope = approx_fprime(np.zeros(30), moved, 1e-6)
    assert np.abs(slope).max() < 1e-4  # of a difference quotient


@pytest.mark.parametrize("fixed", CASES, ids=str)
@pytest.mark.parametrize("acceleration", [None, "anderson"])
def test_the_bound_never_falls(fixed, acceleration):
    model = fit(fixed, acceleration=acceleration, tol=1e-9)
    assert np.diff(model.lower_bounds_).min() > -1e-12
    plain = fit(fixed, tol=1e-12)
    assert_allclose(model.lower_bound_, plain.lower_bound_, rtol=1e-6)
    for name, mask in masks_of(fixed).items():
        assert_allclose(
            getattr(model, f"{name}_")[mask], getattr(plain, f"{name}_")[mask], rtol=1e-12
        )


@pytest.mark.parametrize("kind", KINDS)
def test_one_component_about_a_fixed_mean(kind):
    """Σ is the second moment about it, a closed form."""
    X, mean = rows(), np.array([[1.0, -1.0]])
    model = EMGaussianMixture(
        1, covariance_type=kind, fixed=("means",), means_init=mean, reg_covar=0
    ).fit(X)
    moment = (X - mean).T @ (X - mean) / len(X)
    expected = {
        "full": moment[None],
        "tied": moment,
        "diag": np.diag(moment)[None],
        "spherical": [np.diag(moment).mean()],
    }[kind]
    assert_array_equal(model.means_, mean)
    assert_allclose(model.covariances_, expected, rtol=1e-10)


def test_more_features_than_rows():
    """The step in the span of the rows has no fixed parameters: the usual one is taken."""
    X = np.random.default_rng(0).normal(size=(40, 60))
    means = X[:2].copy()
    model = EMGaussianMixture(
        2, fixed=("means",), means_init=means, reg_covar=0.1, max_iter=5, tol=0.0
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X)
    assert_array_equal(model.means_, means)
    assert np.diff(model.lower_bounds_).min() > -1e-9


def test_float32_rows():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(20_000, 2)) + 4.0 * rng.integers(2, size=(20_000, 1))).astype(np.float32)
    means = np.array([[0.1, 0.1], [4.2, 3.9]])
    model = EMGaussianMixture(2, fixed={"means": [1]}, means_init=means).fit(X)
    assert_array_equal(model.means_[1], means[1])
    assert_allclose(model.means_[0], 0.0, atol=0.1)


def test_criteria_do_not_count_fixed_parameters():
    X = rows()
    for fixed, n_fixed in (
        (("means",), 6),
        (("weights",), 2),
        (("covariances",), 9),
        ({"weights": [0]}, 1),
        ({"weights": [0, 1]}, 2),
        ({"means": [0, 2], "covariances": [1]}, 7),
    ):
        model = fit(fixed)
        free = 17 - n_fixed
        assert_allclose(model.aic(X), -2 * model.score(X) * len(X) + 2 * free)
        assert_allclose(model.bic(X), -2 * model.score(X) * len(X) + free * np.log(len(X)))
        again = pickle.loads(pickle.dumps(model))
        assert again.bic(X) == model.bic(X)
    marginal = fit(("means",)).marginal([0])
    free = 3 + 2
    assert_allclose(marginal.aic(X[:, :1]), -2 * marginal.score(X[:, :1]) * len(X) + 2 * free)


def test_a_fit_that_continues_fixes_what_it_has_learned():
    X = rows()
    model = EMGaussianMixture(3, random_state=0).fit(X)
    means, covariances = model.means_.copy(), model.covariances_.copy()
    model.set_params(fixed=("means",), warm_start=True)
    other = rows(seed=1)
    model.fit(other)
    assert_array_equal(model.means_, means)
    assert not np.allclose(model.covariances_, covariances)
    model.partial_fit(X)
    assert_array_equal(model.means_, means)


def test_batches():
    X = rows()
    given, _ = first_values("diag")
    model = EMGaussianMixture(3, covariance_type="diag", fixed={"means": [1]}, **given)
    for _ in range(5):
        model.partial_fit(X)
        assert_array_equal(model.means_[1], given["means_init"][1])
    assert not np.allclose(model.means_[0], given["means_init"][0])


def test_all_fixed_is_one_evaluation():
    model = fit(("weights", "means", "covariances"))
    given, covariances = first_values("full")
    expected = EMGaussianMixture.from_parameters(
        given["weights_init"], given["means_init"], covariances
    )
    assert_allclose(model.lower_bound_, expected.score(rows()), rtol=1e-12)
    assert model.converged_
    X = rows()
    assert_allclose(model.aic(X), -2 * model.score(X) * len(X))


def test_an_empty_tuple_changes_nothing():
    one, other = (EMGaussianMixture(3, random_state=0, fixed=f).fit(rows()) for f in ((), []))
    assert one.lower_bounds_ == other.lower_bounds_


def test_a_name_alone_and_a_search():
    model = fit("means")
    assert_array_equal(model.means_, first_values("full")[0]["means_init"])
    grid = {"fixed": [(), ("means",), {"means": [0]}]}
    search = GridSearchCV(
        EMGaussianMixture(3, **first_values("full")[0], max_iter=500), grid, cv=2,
        error_score="raise",
    )  # fmt: skip
    search.fit(rows())
    assert clone(search.best_estimator_).get_params()["fixed"] in grid["fixed"]


def test_a_fixed_covariance_below_the_floor_is_kept():
    X = rows()
    given = {"means_init": X[:2], "precisions_init": np.array([1e4, 1.0])}
    model = EMGaussianMixture(
        2, covariance_type="spherical", reg_covar=0.1, fixed={"covariances": [0]}, **given
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    assert_allclose(model.covariances_[0], 1e-4)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"fixed": ("rates",)}, r"fixed has 'rates': must be names among 'weights', 'means', 'cov"),
        ({"fixed": 3}, "fixed=3: must be names among"),
        ({"fixed": ("means",)}, "fixed has 'means', and there is no initial value to keep: give m"),
        ({"fixed": ("covariances",)}, "no initial value to keep: give precisions_init"),
        (
            {"fixed": {"means": [3]}},
            r"fixed\['means'\]=\[3\]: must be a list of integers from 0 to 2, the components whose",
        ),
        ({"fixed": {"means": [-1]}}, r"fixed\['means'\]=\[-1\]: must be a list of integers"),
        ({"fixed": {"means": 1}}, r"fixed\['means'\]=1: must be a list of integers"),
        ({"fixed": {"means": [True]}}, r"fixed\['means'\]=\[True\]: must be a list of integers"),
        (
            {"fixed": {"covariances": [0]}, "covariance_type": "tied"},
            "all share the covariances, so that they can only be fixed as a whole",
        ),
    ],
)
def test_errors(settings, text):
    with pytest.raises(ValueError, match=text):
        EMGaussianMixture(3, **settings).fit(rows())
    with pytest.raises(ValueError, match=text):
        EMGaussianMixture(3, **settings).partial_fit(rows())
