"""Labellings against the enumeration of all paths."""

import itertools

import numpy as np
import pytest
import torch

from skvae.deep_chain.labellings import (
    best_alignment,
    best_labelling,
    log_probability,
    rows_needed,
)


def labelling_of(path):
    """Return a path without repeated symbols, and then without blanks."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol)


def enumerated(log_proba):
    """Return ln p(y | x) and the best path of each labelling that is possible, two dicts."""
    totals, best = {}, {}
    n_rows, n_symbols = log_proba.shape
    for path in itertools.product(range(n_symbols), repeat=n_rows):
        log_p = log_proba[np.arange(n_rows), path].sum()
        labels = labelling_of(path)
        totals[labels] = np.logaddexp(totals.get(labels, -np.inf), log_p)
        best[labels] = max(best.get(labels, (-np.inf, ())), (log_p, path))
    return totals, best


def draw(seed, n_rows, n_labels, concentration=1.0):
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(n_labels + 1, concentration), size=n_rows))


SIZES = [(1, 1), (2, 2), (5, 1), (4, 3), (6, 2), (5, 3)]


@pytest.mark.parametrize(("n_rows", "n_labels"), SIZES)
@pytest.mark.parametrize("concentration", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_all_labellings_are_enumerated(n_rows, n_labels, concentration, seed):
    log_proba = draw(seed, n_rows, n_labels, concentration)
    totals, best = enumerated(log_proba)
    assert abs(np.logaddexp.reduce(list(totals.values()))) < 1e-12
    sum_of_all = -np.inf
    for length in range(n_rows + 1):
        for labels in itertools.product(range(1, n_labels + 1), repeat=length):
            found = log_probability(log_proba, labels)
            np.testing.assert_allclose(found, totals.get(labels, -np.inf), atol=1e-12)
            sum_of_all = np.logaddexp(sum_of_all, found)
            assert (found > -np.inf) == (rows_needed(np.array(labels)) <= n_rows)
            path, log_p = best_alignment(log_proba, labels)
            if labels in best:
                assert (pytest.approx(log_p, abs=1e-12), tuple(path)) == best[labels]
            else:
                assert log_p == -np.inf
    assert abs(sum_of_all) < 1e-12
    labels, log_p = best_labelling(log_proba, 10_000)
    best_of_all = max(totals, key=totals.get)
    assert tuple(labels) == best_of_all
    np.testing.assert_allclose(log_p, totals[best_of_all], atol=1e-12)


def beam_search(log_proba, beam_width):
    """Return the result of the search with a dict of prefixes, and no logs."""
    beam = {(): (1.0, 0.0)}
    for frame in np.exp(log_proba):
        found = {}
        for prefix, (blank, other) in beam.items():
            ways = [(prefix, 0, frame[0] * (blank + other))]
            if prefix:
                ways.append((prefix, 1, frame[prefix[-1]] * other))
            for k in range(1, len(frame)):
                before = blank if prefix and prefix[-1] == k else blank + other
                ways.append(((*prefix, k), 1, frame[k] * before))
            for one, kind, p in ways:
                found.setdefault(one, [0.0, 0.0])[kind] += p
        beam = dict(sorted(found.items(), key=lambda item: -sum(item[1]))[:beam_width])
    prefix = max(beam, key=lambda one: sum(beam[one]))
    return prefix, np.log(sum(beam[prefix]))


@pytest.mark.parametrize("beam_width", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("n_labels", [1, 2, 7])
def test_prefixes_that_were_dropped_come_back_as_themselves(beam_width, n_labels):
    """The tree of prefixes has one node for each, and so the beam has each once."""
    for seed in range(20):
        log_proba = draw(seed, 40, n_labels, 0.5)
        labels, log_p = best_labelling(log_proba, beam_width)
        expected = beam_search(log_proba, beam_width)
        assert (tuple(labels), pytest.approx(log_p, abs=1e-10)) == expected
        assert log_p <= log_probability(log_proba, labels) + 1e-12


def test_a_wider_beam_finds_better_labellings():
    found = [
        [best_labelling(draw(seed, 30, 3), width)[1] for seed in range(30)] for width in (1, 30)
    ]
    assert (np.array(found[1]) >= found[0]).all()
    assert np.mean(np.array(found[1]) - found[0]) > 0.1


def test_the_best_path_is_not_the_best_labelling():
    with np.errstate(divide="ignore"):
        log_proba = np.log([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.1, 0.0, 0.9]])
    assert labelling_of(log_proba.argmax(axis=1)) == (2,)  # 0.36 of it against 0.64
    labels, log_p = best_labelling(log_proba, 10)
    assert labels.tolist() == [1, 2]
    np.testing.assert_allclose(np.exp(log_p), 0.64 * 0.9)


def test_torch_has_the_same_probabilities_and_its_gradient_is_the_posterior():
    """The gradient with respect to logits is p − γ, behind log_softmax (γ by enumeration)."""
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(5, 4)), requires_grad=True)
    log_proba = logits.log_softmax(1)
    labels = (1, 1, 3)
    loss = torch.nn.functional.ctc_loss(log_proba, torch.tensor(labels), [5], [3], reduction="sum")
    loss.backward()
    rows = log_proba.detach().numpy()
    np.testing.assert_allclose(-loss.item(), log_probability(rows, labels), atol=1e-12)
    gamma = np.zeros((5, 4))
    for path in itertools.product(range(4), repeat=5):
        if labelling_of(path) == labels:
            gamma[np.arange(5), path] += np.exp(rows[np.arange(5), path].sum() + loss.item())
    np.testing.assert_allclose(gamma.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(-logits.grad.numpy(), gamma - np.exp(rows), atol=1e-12)


def test_symbols_without_probability():
    log_proba = np.array([[-np.inf, 0.0, -np.inf], [-np.inf, -np.inf, 0.0]])
    assert best_labelling(log_proba, 3)[0].tolist() == [1, 2]
    assert log_probability(log_proba, [1, 2]) == 0.0
    assert log_probability(log_proba, [2]) == -np.inf
    assert best_alignment(log_proba, [1])[1] == -np.inf
    impossible = np.array([[-np.inf, 0.0], [-np.inf, -np.inf]])
    assert best_labelling(impossible, 3)[1] == -np.inf
    assert best_labelling(np.zeros((4, 1)), 3)[0].tolist() == []
