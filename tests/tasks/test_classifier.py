"""Bayes' rule by value: known Gaussians, priors, weights, sequences, one space for all classes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.datasets import load_japanese_vowels
from skvae.tasks import DensityClassifier

RNG = np.random.default_rng(0)
Y = np.array(["a"] * 30 + ["b"] * 10)
X = RNG.normal(size=(40, 1)) + 2.0 * (Y == "b")[:, None]


@pytest.mark.parametrize("priors", [None, [0.5, 0.5], [0.9, 0.1]])
def test_bayes_rule_of_known_gaussians(priors):
    exact = EMGaussianMixture(1, reg_covar=0.0)
    classifier = DensityClassifier(exact, priors=priors).fit(X, Y)
    new = np.linspace(-3, 5, 9)[:, None]
    densities = [norm(X[c == Y].mean(), X[c == Y].std()).logpdf(new[:, 0]) for c in "ab"]
    joint = np.stack(densities, axis=1) + np.log([0.75, 0.25] if priors is None else priors)
    assert_allclose(classifier.predict_log_proba(new), log_softmax(joint, axis=1), atol=1e-9)
    assert_allclose(classifier.predict_proba(new).sum(axis=1), 1.0)
    assert_allclose(classifier.decision_function(new), joint[:, 1] - joint[:, 0], atol=1e-9)
    assert_array_equal(classifier.predict(new), np.array(["a", "b"])[joint.argmax(axis=1)])


def test_one_gaussian_a_class_is_a_peer_s_answer():
    rows, labels = load_iris(return_X_y=True)
    diagonal = EMGaussianMixture(1, covariance_type="diag", reg_covar=0.0)
    ours, peer = DensityClassifier(diagonal).fit(rows, labels), GaussianNB().fit(rows, labels)
    assert_allclose(ours.predict_proba(rows), peer.predict_proba(rows), atol=1e-6)
    full = DensityClassifier(EMGaussianMixture(1)).fit(rows, labels)
    quadratic = QuadraticDiscriminantAnalysis().fit(rows, labels)
    assert (full.predict(rows) == quadratic.predict(rows)).mean() > 0.99
    assert full.decision_function(rows).shape == (150, 3)
    assert full.score(rows, labels) == (full.predict(rows) == labels).mean()


def test_weights_are_repeated_rows():
    weight = np.random.default_rng(1).integers(0, 4, size=40)
    weighted = DensityClassifier(EMGaussianMixture(1)).fit(X, Y, sample_weight=weight)
    repeated = DensityClassifier(EMGaussianMixture(1)).fit(
        np.repeat(X, weight, axis=0), np.repeat(Y, weight)
    )
    assert_allclose(weighted.priors_, repeated.priors_)
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)


def _sequences(seed=0, n=12):
    """Return sequences with equal rows and two speeds of changing, and their speeds."""
    rng, sequences, speeds = np.random.default_rng(seed), [], []
    for s in range(n):
        stay = 0.95 if s % 3 else 0.05
        changes = rng.random(rng.integers(30, 50)) > stay
        states = np.cumsum(changes) % 2
        sequences.append(4.0 * states[:, None] + rng.normal(size=(len(states), 1)))
        speeds.append("slow" if s % 3 else "fast")
    return sequences, np.array(speeds)


def test_a_sequence_has_the_sum_of_its_rows():
    sequences, speeds = _sequences()
    chain = EMHiddenMarkov(2, random_state=0, tol=1e-2)
    classifier = DensityClassifier(chain).fit(sequences, speeds)
    assert classifier.priors_.tolist() == [1 / 3, 2 / 3]
    new, truth = _sequences(seed=1)
    chains = [
        EMHiddenMarkov(2, random_state=0, tol=1e-2).fit(
            [x for x, speed in zip(sequences, speeds, strict=True) if speed == label]
        )
        for label in ("fast", "slow")
    ]
    joint = np.array([[chain.score_samples(x).sum() for chain in chains] for x in new])
    joint += np.log([1 / 3, 2 / 3])
    assert_allclose(classifier.predict_log_proba(new), log_softmax(joint, axis=1), atol=1e-8)
    assert classifier.score(new, truth) == 1.0


def test_groups_give_each_row_the_label_of_its_sequence():
    sequences, speeds = _sequences()
    lengths = [len(x) for x in sequences]
    rows, groups = np.concatenate(sequences), np.repeat(np.arange(12), lengths)
    labels = np.repeat(speeds, lengths)
    chain = EMHiddenMarkov(2, random_state=0, tol=1e-2)
    listed = DensityClassifier(chain).fit(sequences, speeds)
    flat = DensityClassifier(chain).fit(rows, labels, groups=groups)
    assert_array_equal(flat.priors_, listed.priors_)
    expected = np.repeat(listed.predict_proba(sequences), lengths, axis=0)
    assert_allclose(flat.predict_proba(rows, groups=groups), expected, atol=1e-9)
    assert flat.score(rows, labels, groups=groups) == 1.0
    assert set(flat.predict(sequences[0])) == {"fast"}  # without groups one sequence


def test_weights_of_sequences_count_in_the_priors():
    sequences, speeds = _sequences()
    chain = EMHiddenMarkov(2, random_state=0, max_iter=3, tol=1)
    weight = np.where(speeds == "fast", 2.0, 1.0)
    classifier = DensityClassifier(chain).fit(sequences, speeds, sequence_weight=weight)
    assert classifier.priors_.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("priors", [None, [0.5, 0.5]])
def test_weights_of_another_length_are_named(priors):
    X, y = np.linspace(0.0, 9.0, 60)[:, None], np.repeat(["a", "b"], 30)
    classifier = DensityClassifier(EMGaussianMixture(1), priors=priors)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(30,\): must be \(60,\)"):
        classifier.fit(X, y, sample_weight=np.arange(1.0, 31.0))
    sequences, speeds = _sequences()
    with pytest.raises(ValueError, match=r"sequence_weight has shape \(6,\): must be \(12,\)"):
        DensityClassifier(EMHiddenMarkov(1)).fit(sequences, speeds, sequence_weight=np.ones(6))


def test_labels_that_differ_within_a_sequence_are_named():
    chain = DensityClassifier(EMHiddenMarkov(1))
    message = "y is 'b' in row 30 and 'a' where its sequence begins: must be one label"
    with pytest.raises(ValueError, match=message):
        chain.fit(X, Y)
    with pytest.raises(ValueError, match="y is 'b' in row 30"):
        chain.fit(X, Y, groups=np.repeat([0, 1], 20))


def test_classes_are_compared_in_one_space():
    """Classes of other scales: a scaler that each class fits for itself would hide them."""
    rows = np.random.default_rng(2).normal(size=(200, 1)) * np.repeat([1.0, 10.0], 100)[:, None]
    labels = np.repeat([0, 1], 100)
    inside = DensityClassifier(make_pipeline(StandardScaler(), EMGaussianMixture(1, reg_covar=0)))
    outside = DensityClassifier(EMGaussianMixture(1, reg_covar=0))
    expected = outside.fit(rows, labels).predict_proba(rows)
    assert_allclose(inside.fit(rows, labels).predict_proba(rows), expected, atol=1e-9)
    scaled = make_pipeline(StandardScaler(), outside).fit(rows, labels)
    assert_allclose(scaled.predict_proba(rows), expected, atol=1e-9)
    assert inside.n_features_in_ == 1


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # of KernelDensity
def test_where_no_class_is_possible_the_priors_remain():
    density = KernelDensity(kernel="tophat", bandwidth=1.0)
    classifier = DensityClassifier(density, priors=[0.3, 0.7]).fit(X, Y)
    assert_allclose(classifier.predict_proba([[99.0]]), [[0.3, 0.7]])


def test_missing_values_are_marginalised():
    rows, labels = load_iris(return_X_y=True)
    holes = rows.copy()
    holes[::3, 0] = np.nan
    classifier = DensityClassifier(EMGaussianMixture(1)).fit(holes, labels)
    assert classifier.score(holes, labels) > 0.95
    marginal = DensityClassifier(EMGaussianMixture(1)).fit(rows, labels)
    densities = [
        some.marginal([1, 2, 3]).score_samples(rows[:, 1:]) for some in marginal.densities_
    ]
    hidden = np.column_stack([np.full(150, np.nan), rows[:, 1:]])
    expected = log_softmax(np.stack(densities, axis=1), axis=1)
    assert_allclose(marginal.predict_log_proba(hidden), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ([0.5, 0.2], "priors has a row that sums to 0.7: must sum to 1"),
        ([1.5, -0.5], "priors has an entry -0.5: must be >= 0"),
        ([1.0], r"priors has shape \(1,\): must have shape \(2,\) .* each of \['a', 'b'\]"),
    ],
)
def test_priors_that_are_none_are_named(priors, message):
    with pytest.raises(ValueError, match=message):
        DensityClassifier(EMGaussianMixture(1), priors=priors).fit(X, Y)


def test_the_class_that_cannot_be_fitted_is_named():
    with pytest.raises(ValueError, match="the density of the class 'b': Found array with 1"):
        DensityClassifier(EMGaussianMixture(2)).fit(X[:31], Y[:31])
    with pytest.raises(ValueError, match="the density of the class 'b': sample_weight"):
        DensityClassifier(EMGaussianMixture(1)).fit(X, Y, sample_weight=1.0 * (Y == "a"))


def test_speakers_are_recognised_by_one_chain_for_each():
    X, y = load_japanese_vowels(return_X_y=True)
    chain = EMHiddenMarkov(5, covariance_type="diag", tol=1e-2, random_state=0)
    classifier = DensityClassifier(chain).fit(X, y)
    assert classifier.score(*load_japanese_vowels(subset="test", return_X_y=True)) > 0.96
