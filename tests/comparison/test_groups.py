"""skvae.compare with groups: passed to models, to folds and to searches."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
)
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import EMGaussianMixture, EMHiddenMarkov, compare
from skvae.tasks import DensityOutlierDetector


class GroupAware(BaseEstimator):
    """A density that needs `groups`: each row scores the number of training groups, plus 0.5 if
    the slice of `groups` it is scored with belongs to it."""

    __metadata_request__fit = {"groups": True}
    __metadata_request__score = {"groups": True}

    def fit(self, X, y=None, groups=None):
        if groups is None:
            raise ValueError("fit got no groups")
        assert_array_equal(np.asarray(X)[:, 1], groups)
        self.groups_ = np.unique(groups)
        return self

    def score_samples(self, X, *, groups=None):
        belongs = groups is not None and np.array_equal(np.asarray(X)[:, 1], groups)
        return np.full(len(X), len(self.groups_) + 0.5 * belongs)

    def score(self, X, y=None, *, groups=None):
        return self.score_samples(X, groups=groups).mean()


@pytest.fixture
def grouped():
    groups = np.repeat([10, 11, 12, 13], [3, 5, 2, 6])
    return np.column_stack([np.arange(16.0), groups]), groups


@pytest.mark.parametrize(
    "model",
    [
        GroupAware(),
        make_pipeline("passthrough", GroupAware()),
        make_pipeline(make_pipeline(GroupAware())),
        GridSearchCV(GroupAware(), {}, cv=GroupKFold(2)),
    ],
    ids=["bare", "pipeline", "pipeline in pipeline", "search"],
)
@pytest.mark.parametrize("enabled", [False, True])
def test_groups_reach_fit_and_score_samples(model, enabled, grouped):
    X, groups = grouped
    with config_context(enable_metadata_routing=enabled):
        comparison = compare({"a": model}, X, cv=GroupKFold(4), groups=groups)
        assert get_config()["enable_metadata_routing"] is enabled
    assert_array_equal(comparison.log_likelihoods, np.full((16, 1), 3.5))


def test_groups_behind_a_transformer(grouped):
    X, groups = grouped

    class Check(GroupAware):
        def fit(self, X, y=None, groups=None):
            self.groups_ = np.unique(groups)
            return self

        def score_samples(self, X, *, groups=None):
            return np.full(len(X), float(len(groups)))

    model = make_pipeline(StandardScaler(), Check())
    comparison = compare({"a": model}, X, groups=groups, cv=4)
    assert_array_equal(comparison.log_likelihoods[:, 0], np.repeat([3, 5, 2, 6], [3, 5, 2, 6]))


@pytest.mark.slow
def test_groups_reach_workers(grouped):
    X, groups = grouped
    comparison = compare({"a": GroupAware()}, X, cv=4, groups=groups, n_jobs=2)
    assert_array_equal(comparison.log_likelihoods, np.full((16, 1), 3.5))


def test_models_that_do_not_ask_for_groups_do_not_get_them(grouped):
    X, groups = grouped
    models = {
        "mixture": GaussianMixture(reg_covar=1.0, random_state=0),
        "search": GridSearchCV(KernelDensity(), {"bandwidth": [1.0, 2.0]}, cv=2),
        "group-aware": GroupAware(),
    }
    comparison = compare(models, X, groups=groups, cv=2)
    assert np.isfinite(comparison.log_likelihoods).all()


def test_an_int_cv_keeps_groups_together(grouped):
    X, groups = grouped
    comparison = compare({"a": GroupAware()}, X, groups=list(groups), cv=4)
    assert_array_equal(comparison.log_likelihoods, np.full((16, 1), 3.5))
    assert "over 16 rows (4 groups) in 4 folds" in repr(comparison)


def _searches(cv=None):
    """Return searches over a Pipeline; the score of its density takes no sample_weight."""
    kernel = make_pipeline(StandardScaler(), KernelDensity())
    mixture = make_pipeline(StandardScaler(), GaussianMixture(random_state=0))
    return {
        "kde": GridSearchCV(kernel, {"kerneldensity__bandwidth": [5.0, 1.0]}, cv=cv),
        "gm": GridSearchCV(mixture, {"gaussianmixture__n_components": [1, 2]}, cv=cv),
    }


@pytest.fixture
def two_clusters():
    """Rows that one Gaussian does not fit, so that the choice of the searches matters."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 2)) * 0.5 + 4 * rng.integers(2, size=(80, 1))
    return X, np.repeat(np.arange(16), 5)


def test_a_search_over_a_pipeline_chooses_the_same_with_groups(two_clusters):
    """Any warning, as that of scores that are nan, would be an error."""
    X, groups = two_clusters
    splits = list(GroupKFold(3).split(X, groups=groups))
    without = compare(_searches(), X, cv=splits)
    with_groups = compare(_searches(), X, cv=3, groups=groups)
    assert_array_equal(with_groups.log_likelihoods, without.log_likelihoods)
    first = make_pipeline(StandardScaler(), KernelDensity(bandwidth=5.0))
    assert with_groups.means[0] > compare({"first": first}, X, cv=splits).means[0] + 1


def test_a_search_whose_splitter_takes_groups_over_a_density_that_does_not(two_clusters):
    X, groups = two_clusters
    comparison = compare(_searches(cv=GroupKFold(3)), X, cv=3, groups=groups)
    for m, search in enumerate(_searches(cv=GroupKFold(3)).values()):
        for train, test in GroupKFold(3).split(X, groups=groups):
            expected = search.fit(X[train], groups=groups[train]).score_samples(X[test])
            assert_array_equal(comparison.log_likelihoods[test, m], expected)


def test_the_default_cv_is_five_folds_with_and_without_groups(two_clusters):
    X, groups = two_clusters
    model = {"a": KernelDensity()}
    expected = compare(model, X, cv=GroupKFold(5), groups=groups)
    with_groups = compare(model, X, cv=None, groups=groups)
    assert_array_equal(with_groups.log_likelihoods, expected.log_likelihoods)
    without = compare(model, X, cv=None)
    assert_array_equal(without.log_likelihoods, compare(model, X, cv=5).log_likelihoods)


def test_folds_that_split_groups_are_warned_about_once():
    groups = np.repeat(np.arange(4), 3)
    model, rows = {"a": KernelDensity()}, np.arange(12.0)[:, None]
    with pytest.warns(UserWarning, match=r"^2 of 2 folds split groups: .*") as record:
        compare(model, rows, cv=KFold(2, shuffle=True, random_state=0), groups=groups)
    assert len(record) == 1
    assert record[0].filename == __file__
    compare(model, rows, cv=KFold(4), groups=groups)  # ignores groups, and splits none: no warning


# Lists of sequences -------------------------------------------------------------------------------


@pytest.fixture
def sequences():
    rng = np.random.default_rng(0)
    return [np.cumsum(rng.normal(size=(n, 2)), axis=0) for n in (30, 12, 25, 40, 18, 22)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_list_of_sequences_is_divided_by_sequences(sequences):
    models = {
        "chain": EMHiddenMarkov(2, covariance_type="diag", max_iter=5, tol=0, random_state=0),
        "mixture": EMGaussianMixture(2, max_iter=5, tol=0, random_state=0),
    }
    cv = KFold(3, shuffle=True, random_state=1)
    comparison = compare(models, sequences, cv=cv)
    offsets = np.cumsum([0, *map(len, sequences)])
    for train, test in cv.split(sequences):
        learned = [sequences[s] for s in train]
        chain = models["chain"].fit(learned)
        mixture = models["mixture"].fit(np.concatenate(learned))
        for s in test:
            found = comparison.log_likelihoods[offsets[s] : offsets[s + 1]].T
            assert_allclose(found[0], chain.score_samples(sequences[s]), rtol=1e-9)
            assert_allclose(found[1], mixture.score_samples(sequences[s]), rtol=1e-9)
    assert_array_equal(np.bincount(comparison.groups), [len(x) for x in sequences])
    assert "over 147 rows (6 groups) in 3 folds" in repr(comparison)


@pytest.mark.parametrize(
    "form",
    [
        lambda rows: [list(map(list, x)) for x in rows],
        lambda rows: [pd.DataFrame(x, columns=["a", "b"]) for x in rows],
        lambda rows: np.array([x[:12] for x in rows]),
        tuple,
        lambda rows: [x[:, 0] for x in rows],
    ],
    ids=["lists", "frames", "cube", "tuple", "columns"],
)
def test_forms_of_lists_are_rows_with_groups(form, sequences):
    given = form(sequences)
    rows = np.concatenate([np.asarray(x).reshape(len(x), -1) for x in given])
    groups = np.repeat(np.arange(6), [len(x) for x in given])
    model = {"kde": KernelDensity()}
    pairs = groups // 2
    splits = [(np.flatnonzero(pairs != k), np.flatnonzero(pairs == k)) for k in range(3)]
    expected = compare(model, rows, cv=splits, groups=groups)
    for cv in (3, [([2, 3, 4, 5], [0, 1]), ([0, 1, 4, 5], [2, 3]), ([0, 1, 2, 3], [4, 5])]):
        found = compare(model, given, cv=cv)
        assert_allclose(found.log_likelihoods, expected.log_likelihoods, rtol=1e-12)
        assert_allclose(found.standard_errors, expected.standard_errors, rtol=1e-12)


def test_groups_beside_a_list_and_a_search_over_a_list(sequences):
    with pytest.raises(ValueError, match="groups is given and X is a list of sequences"):
        compare({"kde": KernelDensity()}, sequences, groups=[0, 1])
    chain = EMHiddenMarkov(random_state=0, covariance_type="diag")
    search = GridSearchCV(chain, {"n_components": [1, 2]}, cv=GroupKFold(2))
    comparison = compare({"search": search, "one": chain}, sequences, cv=2)
    assert np.isfinite(comparison.log_likelihoods).all()


@pytest.mark.parametrize("cv", [-1, 0, 1, 7, 10**6])
def test_numbers_of_folds_that_cannot_be(cv):
    X = np.random.default_rng(0).normal(size=(6, 2, 2))
    rows = f"^cv={cv}: must be at least 2 and at most .* rows or sequences of X, which is 6"
    for rows_or_sequences in (X[:, 0], list(X)):
        models = {"chain": EMHiddenMarkov(1)}
        with pytest.raises(ValueError, match=rows):
            compare(models, rows_or_sequences, cv=cv)
        with pytest.raises(ValueError, match=rows):
            DensityOutlierDetector(models["chain"], cv=cv).fit(rows_or_sequences)


def test_fewer_groups_than_folds():
    X = np.random.default_rng(0).normal(size=(8, 2))
    text = "^cv=5: must be at least 2 and at most the number of groups, which is 4"
    with pytest.raises(ValueError, match=text):  # 5 is the default
        compare({"chain": EMHiddenMarkov(1)}, X, groups=np.repeat(list("abcd"), 2))
    fewer = compare({"chain": EMHiddenMarkov(1)}, X, groups=np.repeat(list("abcd"), 2), cv=4)
    assert fewer.n_splits == 4
