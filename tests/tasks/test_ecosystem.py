"""The tasks as estimators of scikit-learn: its checks, parameters, routing, errors."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.tasks import DensityClassifier, DensityImputer, DensityOutlierDetector

TASKS = DensityOutlierDetector, DensityClassifier, DensityImputer
every_task = pytest.mark.parametrize("task", TASKS)
RNG = np.random.default_rng(0)
Y = np.repeat(["a", "b"], 20)
X = RNG.normal(size=(40, 2)) + 3.0 * (Y == "b")[:, None]


@parametrize_with_checks([task(EMGaussianMixture(1)) for task in TASKS])
def test_scikit_learn_s_checks_pass_raw(estimator, check):
    check(estimator)


@pytest.mark.slow  # the checks above are the same with another density
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # of KernelDensity
def test_scikit_learn_s_checks_pass_with_a_density_of_scikit_learn():
    for task in TASKS[:2]:
        check_estimator(task(KernelDensity()), on_skip=None, on_fail="raise")


@every_task
def test_parameters_are_those_of_the_density_too(task):
    density = EMGaussianMixture(2, random_state=0)
    estimator = clone(task(density)).set_params(density__n_components=3)
    assert estimator.density.n_components == 3
    assert density.n_components == 2
    fitted = estimator.fit(X, Y)
    assert not hasattr(estimator.density, "means_")
    again = pickle.loads(pickle.dumps(fitted))
    method = "transform" if task is DensityImputer else "predict"
    assert_array_equal(getattr(again, method)(X), getattr(fitted, method)(X))


@every_task
def test_names_of_columns_are_kept_and_forgotten(task):
    estimator = task(EMGaussianMixture(1)).fit(pd.DataFrame(X, columns=["u", "v"]), Y)
    assert estimator.feature_names_in_.tolist() == ["u", "v"]
    assert estimator.n_features_in_ == 2
    assert not hasattr(estimator.fit(X, Y), "feature_names_in_")


@every_task
def test_tags_are_those_of_the_density(task):
    assert get_tags(task(EMGaussianMixture(1))).input_tags.allow_nan
    assert not get_tags(task(GaussianMixture(1))).input_tags.allow_nan
    assert is_outlier_detector(task(EMGaussianMixture(1))) == (task is DensityOutlierDetector)
    assert is_classifier(task(EMGaussianMixture(1))) == (task is DensityClassifier)


@every_task
def test_a_failed_fit_changes_nothing(task):
    estimator = task(EMGaussianMixture(1)).fit(X, Y)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match="inf"):
        estimator.fit(np.full((4, 3), np.inf), ["a", "a", "b", "b"])
    assert vars(estimator) == before


@every_task
@pytest.mark.parametrize(
    ("density", "error", "message"),
    [
        (EMGaussianMixture, ValueError, r"density=EMGaussianMixture is a class: pass an instance"),
        (StandardScaler(), TypeError, r"density=StandardScaler\(\) has no (score_samples|impute)"),
        ("mixture", TypeError, "density='mixture' has no fit"),
    ],
)
def test_a_density_that_is_none_is_named(task, density, error, message):
    with pytest.raises(error, match=message):
        task(density).fit(X, Y)


@every_task
def test_metadata_that_the_density_does_not_take_is_named(task):
    with pytest.raises(
        ValueError, match=r"groups is given, and density=EMGaussianMixture\(\) does"
    ):
        task(EMGaussianMixture(1)).fit(X, Y, groups=np.zeros(40))
    if task is not DensityImputer:
        with pytest.raises(ValueError, match=r"sample_weight is given, and GaussianMixture.fit"):
            task(GaussianMixture(1)).fit(X, Y, sample_weight=np.ones(40))


@every_task
def test_unfitted_tasks_are_an_error(task):
    with pytest.raises(NotFittedError):
        (task(EMGaussianMixture(1)).transform if task is DensityImputer else task(1).predict)(X)


def test_groups_are_routed_to_a_density_of_sequences():
    groups = np.repeat(np.arange(8), 5)
    chain = EMHiddenMarkov(1)
    options = {"cv": GroupKFold(2), "params": {"groups": groups}, "error_score": "raise"}
    with config_context(enable_metadata_routing=True):
        scores = cross_val_score(DensityClassifier(chain), X, Y, **options)
        mixture = cross_val_score(DensityClassifier(EMGaussianMixture(1)), X, Y, **options)
        imputer = DensityImputer(chain)
        behind = cross_val_score(make_pipeline(imputer, EMGaussianMixture(1)), X, **options)
    assert scores.shape == mixture.shape == (2,)
    assert (scores > 0.9).all()
    assert np.isfinite(behind).all()


def test_a_search_over_the_density_s_parameters():
    search = GridSearchCV(
        DensityClassifier(EMGaussianMixture(1, random_state=0)), {"density__n_components": [1, 2]}
    )
    assert search.fit(X, Y).best_score_ > 0.9
    inner = GridSearchCV(EMGaussianMixture(random_state=0), {"n_components": [1, 2]}, cv=2)
    labels = DensityClassifier(inner).fit(X, Y).predict(X)
    assert (labels == Y).mean() > 0.9
    assert DensityOutlierDetector(inner).fit(X).predict(X).sum() == 38 - 2
    holes = X.copy()
    holes[0, 0] = np.nan
    assert np.isfinite(DensityImputer(inner).fit_transform(holes)).all()
