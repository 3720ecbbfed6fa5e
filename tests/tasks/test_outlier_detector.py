"""Thresholds of outliers: by value, by weight, out of fold, and of rows in sequences."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.tasks import DensityOutlierDetector


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "contamination"), [(100, 0.05), (101, 0.1), (30, 0.1), (57, 0.5)])
def test_the_threshold_leaves_the_given_proportion_below(seed, n, contamination):
    X = np.random.default_rng(seed).normal(size=(n, 2))
    detector = DensityOutlierDetector(EMGaussianMixture(1), contamination=contamination).fit(X)
    scores = np.sort(EMGaussianMixture(1).fit(X).score_samples(X))
    below = int(np.floor(contamination * n + 1e-9))
    assert_allclose(detector.offset_, (scores[below - 1] + scores[below]) / 2)
    assert (detector.predict(X) == -1).sum() == below
    assert_allclose(detector.decision_function(X), detector.score_samples(X) - detector.offset_)
    assert_array_equal(detector.predict(X), detector.fit_predict(X))


def test_the_rate_of_false_alarms_of_a_known_gaussian():
    """Half of the rows beyond the quantile of |x| are outliers: x² > z² of the normal."""
    X = np.random.default_rng(0).normal(size=(200_000, 1))
    detector = DensityOutlierDetector(EMGaussianMixture(1), contamination=0.1).fit(X)
    expected = norm.logpdf(norm.ppf(0.95))
    assert_allclose(detector.offset_, expected, atol=0.01)


def test_a_tiny_contamination_makes_no_training_row_an_outlier():
    X = np.random.default_rng(0).normal(size=(30, 1))
    detector = DensityOutlierDetector(EMGaussianMixture(1), contamination=0.01).fit(X)
    assert_allclose(detector.offset_, detector.score_samples(X).min())
    assert detector.predict(X).tolist() == [1] * 30
    assert detector.predict([[9.0]]).tolist() == [-1]


def test_weights_are_repeated_rows():
    rng = np.random.default_rng(1)
    X, weight = rng.normal(size=(60, 2)), rng.integers(0, 4, size=60)
    detector = DensityOutlierDetector(EMGaussianMixture(1), contamination=0.2)
    offset = detector.fit(X, sample_weight=weight).offset_
    assert_allclose(detector.fit(np.repeat(X, weight, axis=0)).offset_, offset)


def test_out_of_fold_scores_are_those_of_densities_without_the_row():
    X = np.random.default_rng(2).normal(size=(40, 3))
    cv = KFold(4, shuffle=True, random_state=0)
    held_out = np.empty(40)
    for train, test in cv.split(X):
        held_out[test] = GaussianMixture(1).fit(X[train]).score_samples(X[test])
    detector = DensityOutlierDetector(GaussianMixture(1), contamination=0.25, cv=cv).fit(X)
    scores = np.sort(held_out)
    assert_allclose(detector.offset_, (scores[9] + scores[10]) / 2)
    assert_allclose(detector.score_samples(X), GaussianMixture(1).fit(X).score_samples(X))


@pytest.mark.parametrize("seed", range(3))
def test_out_of_fold_the_rate_of_false_alarms_is_nearer_the_one_given(seed):
    rng = np.random.default_rng(seed)
    X, new = rng.normal(size=(150, 6)), rng.normal(size=(20_000, 6))
    density = EMGaussianMixture(3, random_state=0)
    rates = [
        (DensityOutlierDetector(density, contamination=0.1, cv=cv).fit(X).predict(new) < 0).mean()
        for cv in (None, 10)
    ]
    assert abs(rates[1] - 0.1) < 0.06
    assert rates[0] > 0.17


def test_rows_of_sequences_are_judged_one_by_one():
    rng = np.random.default_rng(3)
    sequences = [rng.normal(size=(n, 1)) for n in (30, 40, 50)]
    sequences[1][7] = 9.0
    chain = EMHiddenMarkov(1)
    listed = DensityOutlierDetector(chain, contamination=0.01).fit(sequences)
    labels = listed.predict(sequences)
    assert [len(some) for some in labels] == [30, 40, 50]
    assert [np.flatnonzero(some < 0).tolist() for some in labels] == [[], [7], []]
    X, groups = np.concatenate(sequences), np.repeat(np.arange(3), (30, 40, 50))
    flat = DensityOutlierDetector(chain, contamination=0.01).fit(X, groups=groups)
    assert flat.offset_ == listed.offset_
    assert_array_equal(flat.predict(X, groups=groups), np.concatenate(labels))
    assert_array_equal(flat.fit_predict(X, groups=groups), np.concatenate(labels))
    scores = np.concatenate(listed.score_samples(sequences))
    assert_allclose(scores, flat.score_samples(X, groups=groups))


def test_folds_hold_whole_sequences():
    rng = np.random.default_rng(4)
    sequences = [rng.normal(size=(n, 1)) + n for n in (5, 6, 7, 8)]
    chain = EMHiddenMarkov(1)
    held_out = np.concatenate(
        [
            EMHiddenMarkov(1).fit(sequences[:s] + sequences[s + 1 :]).score_samples(sequences[s])
            for s in range(4)
        ]
    )
    scores = np.sort(held_out)
    X, groups = np.concatenate(sequences), np.repeat(np.arange(4), (5, 6, 7, 8))
    detector = DensityOutlierDetector(chain, contamination=0.5, cv=4)
    for given in (groups, groups.tolist(), pd.Series(groups, index=groups + 100)):
        assert_allclose(detector.fit(X, groups=given).offset_, (scores[12] + scores[13]) / 2)
    masks = [(np.arange(4) != s, np.arange(4) == s) for s in range(4)]
    for cv in (4, masks):
        offset = detector.set_params(cv=cv).fit(sequences).offset_
        assert_allclose(offset, (scores[12] + scores[13]) / 2)
    # A density of rows has groups for its folds only.
    mixture = DensityOutlierDetector(EMGaussianMixture(1), contamination=0.5, cv=GroupKFold(4))
    assert_allclose(mixture.fit(X, groups=groups).offset_, (scores[12] + scores[13]) / 2)


def test_a_pipeline_with_groups():
    rng = np.random.default_rng(5)
    X, groups = rng.normal(size=(60, 2)), np.repeat(np.arange(6), 10)
    pipeline = make_pipeline(StandardScaler(), EMHiddenMarkov(2, random_state=0, max_iter=3, tol=1))
    detector = DensityOutlierDetector(pipeline, contamination=0.1).fit(X, groups=groups)
    Z = StandardScaler().fit_transform(X)
    chain = EMHiddenMarkov(2, random_state=0, max_iter=3, tol=1).fit(Z, groups=groups)
    scores = chain.score_samples(Z, groups=groups)
    assert_allclose(detector.score_samples(X, groups=groups), scores)


@pytest.mark.parametrize("contamination", [0, 0.0, -0.1, 0.6, np.nan, "auto", None])
def test_a_contamination_that_is_no_proportion_is_named(contamination):
    detector = DensityOutlierDetector(EMGaussianMixture(1), contamination=contamination)
    with pytest.raises(ValueError, match=f"contamination={contamination!r}: must be"):
        detector.fit([[0.0], [1.0]])


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # of KernelDensity
def test_impossible_rows_leave_no_threshold():
    X = np.array([[0.0], [0.1], [0.2], [50.0], [99.0]])
    density = KernelDensity(kernel="tophat", bandwidth=1.0)
    detector = DensityOutlierDetector(density, contamination=0.1, cv=5)
    with pytest.raises(ValueError, match=r"contamination=0.1: 2 of 5 rows have log-density -inf"):
        detector.fit(X)
    detector.set_params(contamination=0.4).fit(X)
    assert_allclose(detector.offset_, np.log(2 / 4 / 2.0))  # two of four rows, width two
    assert detector.predict([[0.1], [50.0], [200.0]]).tolist() == [1, -1, -1]
