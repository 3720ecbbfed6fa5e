"""Both sides of the identity for hidden Markov models, against the enumeration of every path."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMHiddenMarkov
from skvae.hmm import GaussianEmission, PoissonEmission
from skvae.inspection import elbo_decomposition
from tests.hmm.problems import (
    FAMILIES,
    groups_of,
    holes,
    known_model,
    left_right,
    random_chain,
    rows_of,
)
from tests.hmm_oracles import every_path, log_emission, split
from tests.problems import on_the_floor

LENGTHS = (6, 1, 4)
GROUPS = groups_of(LENGTHS)
FIELDS = ("expected_joint", "entropy", "elbo", "log_evidence", "gap")


def paths_of(model, X):
    """Every path of a sequence with its probability: the oracle."""
    return every_path(model.startprob_, model.transmat_, log_emission(X, model.emission_))


def conditional_entropy(paths, weight, t):
    """H(z_t | z_{t+1}, x), or H(z_T | x) of the last row, from every path."""
    n_rows = paths.shape[1]
    later = paths[:, t + 1] if t + 1 < n_rows else np.zeros(len(paths), dtype=int)
    table = np.zeros((paths.max() + 1, paths.max() + 1))
    np.add.at(table, (paths[:, t], later), weight)
    total = np.broadcast_to(table.sum(axis=0), table.shape)
    some = table > 0
    return -(table[some] * np.log(table[some] / total[some])).sum()


def expected_row(model, X, paths, weight, t):
    """E[ln p(z_t | z_{t−1}) + ln p(x_t | z_t)] from every path."""
    with np.errstate(divide="ignore"):
        chain = (
            np.log(model.transmat_)[paths[:, t - 1], paths[:, t]]
            if t
            else np.log(model.startprob_)[paths[:, 0]]
        )
    each = chain + log_emission(X, model.emission_)[t, paths[:, t]]
    return weight[weight > 0] @ each[weight > 0]


def assert_sums_vanish(gap, lengths):
    for own in split(gap, lengths):
        assert_allclose(own.sum(), 0, atol=1e-9 * max(1.0, np.abs(own).max()))


# The identity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("zeros", [0.0, 0.4])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_chain_by_enumeration(family, zeros, missing):
    for seed in (0, 1):
        model = known_model(family, seed=seed, zeros=zeros)
        X = rows_of(model, LENGTHS, seed=seed)
        X = holes(X, seed=seed) if missing else X
        terms = elbo_decomposition(model, X, groups=GROUPS)
        found = [split(getattr(terms, name), LENGTHS) for name in FIELDS]
        for own, *fields in zip(split(X, LENGTHS), *found, strict=True):
            expected_joint, entropy, elbo, log_evidence, _ = fields
            whole = paths_of(model, own)
            weight = whole.probabilities()
            assert_allclose(entropy.sum(), whole.entropy(), rtol=1e-9, atol=1e-12)
            for t in range(len(own)):
                by_hand = conditional_entropy(whole.paths, weight, t)
                assert_allclose(entropy[t], by_hand, rtol=1e-8, atol=1e-12)
                by_hand = expected_row(model, own, whole.paths, weight, t)
                assert_allclose(expected_joint[t], by_hand, rtol=1e-9, atol=1e-12)
            evidence = np.logaddexp.reduce(whole.log_joint)
            assert_allclose(log_evidence.sum(), evidence, rtol=1e-10, atol=1e-14)
            assert_allclose(elbo.sum(), evidence, rtol=1e-10, atol=1e-14)
        assert_sums_vanish(terms.gap, LENGTHS)
        assert_array_equal(terms.log_evidence, model.score_samples(X, groups=GROUPS))
        assert (terms.entropy >= 0).all()


@pytest.mark.parametrize("family", ["full", "categorical"])
def test_the_posterior_of_another_chain_leaves_its_divergence(family):
    before, model = (known_model(family, seed=s) for s in (0, 1))
    if family == "categorical":
        X = rows_of(model, LENGTHS)
    else:
        X = np.random.default_rng(0).normal(size=(sum(LENGTHS), 2))
    gap = elbo_decomposition(model, X, groups=GROUPS, posterior=before).gap
    for own, found in zip(split(X, LENGTHS), split(gap, LENGTHS), strict=True):
        q, p = (paths_of(each, own).probabilities() for each in (before, model))
        assert_allclose(found.sum(), (q[q > 0] * np.log(q[q > 0] / p[q > 0])).sum(), rtol=1e-8)


def test_a_posterior_on_what_the_chain_rules_out_has_an_infinite_gap():
    emission = PoissonEmission.from_parameters([[1.0], [4.0], [9.0]])
    free = EMHiddenMarkov.from_parameters(*random_chain(3), emission)
    ordered = EMHiddenMarkov.from_parameters(*left_right(3), emission)
    terms = elbo_decomposition(ordered, [[1.0], [5.0], [2.0]], posterior=free)
    assert terms.elbo.sum() == -np.inf
    assert terms.gap.sum() == np.inf


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 60))
def test_no_gap_whatever_the_chain(seed, n_states, n_rows):
    rng = np.random.default_rng(seed)
    model = known_model("full", n_states, seed=seed % 1000, zeros=rng.choice([0.0, 0.5]))
    X = holes(rows_of(model, (n_rows,), seed=seed % 1000), 0.2, seed=seed)
    assert_sums_vanish(elbo_decomposition(model, X).gap, (n_rows,))


def test_one_state_is_known():
    model = known_model("full", 1)
    terms = elbo_decomposition(model, rows_of(model, (5,)))
    assert_array_equal(terms.entropy, 0.0)
    assert_allclose(terms.gap, 0, atol=1e-12)


def test_equal_rows_of_transitions_are_a_mixture():
    model = known_model("full")
    model = EMHiddenMarkov.from_parameters(
        model.startprob_, np.tile(model.startprob_, (3, 1)), model.emission_
    )
    terms = elbo_decomposition(model, rows_of(model, (50,)))
    assert_allclose(terms.gap, 0, atol=1e-12)  # of each row: nothing hangs together


def test_many_rows_in_blocks(monkeypatch):
    model = known_model("full", 4)
    X = rows_of(model, (5000,))
    whole = elbo_decomposition(model, X)
    assert_sums_vanish(whole.gap, (5000,))
    monkeypatch.setattr("skvae.inspection.decomposition.hidden_markov._PAIRS", 160)
    for found, expected in zip(elbo_decomposition(model, X), whole, strict=True):
        assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# Where probabilities end --------------------------------------------------------------------------


def test_shares_that_underflow_and_come_back():
    """The first row all but rules out the state that the second, with no way back, must have."""
    for distance in (10.0, 60.0, 1e4):
        model = EMHiddenMarkov.from_parameters(
            [0.5, 0.5],
            np.eye(2),
            GaussianEmission.from_parameters([[0.0], [distance]], [1.0, 1.0], "spherical"),
        )
        X = [[0.0], [distance], [distance]]
        terms = elbo_decomposition(model, X)
        assert_allclose(terms.gap.sum() / distance**2, 0, atol=1e-12)
        whole = paths_of(model, X)
        assert_allclose(terms.entropy.sum(), whole.entropy(), atol=1e-12)


def test_an_underflow_that_other_states_would_hide():
    model = EMHiddenMarkov.from_parameters(
        [0.4, 0.3, 0.3],
        [[1.0, 0.0, 0.0], [0.0, 0.7, 0.3], [0.0, 0.3, 0.7]],
        GaussianEmission.from_parameters([[0.0], [45.0], [46.0]], [1.0, 1.0, 1.0], "spherical"),
    )
    X = np.array([[0.0], [46.0], [45.4], [45.0]])
    terms = elbo_decomposition(model, X)
    assert_allclose(terms.gap.sum(), 0, atol=1e-9)
    assert_allclose(terms.entropy.sum(), paths_of(model, X).entropy(), rtol=1e-9)


def test_an_impossible_row_is_minus_infinity_on_both_sides():
    model = EMHiddenMarkov.from_parameters(
        [1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], PoissonEmission.from_parameters([[0.0], [3.0]])
    )
    X = np.array([[5.0], [0.0], [4.0], [2.0]])  # the first state has zeros only
    terms = elbo_decomposition(model, X)
    assert (terms.expected_joint[0], terms.log_evidence[0]) == (-np.inf, -np.inf)
    assert np.isnan(terms.gap[0])
    gone = elbo_decomposition(model, np.where(X == 5.0, np.nan, X))
    assert_allclose(terms.elbo[1:], gone.elbo[1:], rtol=1e-9, atol=1e-12)
    assert_allclose(terms.entropy, gone.entropy, rtol=1e-9, atol=1e-12)


# Forms of sequences -------------------------------------------------------------------------------


def test_lists_arrays_and_groups_are_the_same():
    model = known_model("full")
    X = rows_of(model, LENGTHS)
    expected = elbo_decomposition(model, X, groups=GROUPS)
    listed = elbo_decomposition(model, split(X, LENGTHS))
    named = elbo_decomposition(model, [part.tolist() for part in split(X, LENGTHS)], groups=None)
    for name in FIELDS:
        for found in (getattr(listed, name), getattr(named, name)):
            assert isinstance(found, list)
            assert [len(part) for part in found] == list(LENGTHS)
            assert_allclose(np.concatenate(found), getattr(expected, name), rtol=1e-12, atol=1e-14)
    cube = X[:9].reshape(3, 3, 2)
    for found, part in zip(elbo_decomposition(model, cube).elbo, cube, strict=True):
        assert_allclose(found, elbo_decomposition(model, part).elbo, rtol=1e-12)


def test_all_sequences_are_decomposed_together(monkeypatch):
    model, calls = known_model("full"), []
    log_density = GaussianEmission.log_density

    def counted(emission, X):
        calls.append(len(X))
        return log_density(emission, X)

    monkeypatch.setattr(GaussianEmission, "log_density", counted)
    elbo_decomposition(model, rows_of(model, (3,) * 50), groups=np.repeat(np.arange(50), 3))
    assert calls == [150]


@on_the_floor
def test_data_frames_and_single_precision():
    model = known_model("full")
    X = rows_of(model, LENGTHS)
    fitted = EMHiddenMarkov(2, random_state=0, tol=0.1).fit(pd.DataFrame(X, columns=["a", "b"]))
    table = pd.DataFrame(X, columns=["a", "b"])
    assert_sums_vanish(elbo_decomposition(fitted, table, groups=GROUPS).gap, LENGTHS)
    single = elbo_decomposition(model, [part.astype(np.float32) for part in split(X, LENGTHS)])
    for gap in single.gap:
        assert gap.dtype == np.float64
        assert_allclose(gap.sum(), 0, atol=1e-12)


@pytest.mark.parametrize("inference", ["smooth", "filter"])
def test_the_estimator_s_inference_does_not_matter(inference):
    model = known_model("full").set_params(inference=inference)
    X = rows_of(model, LENGTHS)
    expected = elbo_decomposition(known_model("full"), X, groups=GROUPS)
    for found, other in zip(elbo_decomposition(model, X, groups=GROUPS), expected, strict=True):
        assert_array_equal(found, other)
    assert model.inference == inference


def test_bad_groups_are_the_estimator_s_error():
    model = known_model("full")
    with pytest.raises(ValueError, match="comes back in row"):
        elbo_decomposition(model, rows_of(model, (3,)), groups=[0, 1, 0])
