"""Batches of whole sequences."""

import numpy as np
import pytest
import torch

from skvae.neural.training.sequences import (
    PreparedSequences,
    SequenceDataset,
    split_sequences,
)

OFFSETS = np.array([0, 3, 4, 10, 15, 17])


def _sequences():
    x = np.arange(34.0).reshape(17, 2)
    return PreparedSequences(x, OFFSETS, {"weight": np.repeat(np.arange(5.0), np.diff(OFFSETS))})


def _cut(inputs):
    begins = np.flatnonzero(inputs["first"].numpy())
    return np.split(inputs["x"].numpy(), begins[1:]), inputs["weight"][begins].tolist()


@pytest.mark.parametrize("n_batches", [1, 2, 5])
def test_batches_have_whole_sequences_each_once(n_batches):
    dataset = SequenceDataset(_sequences(), dtype=torch.float64, seed=0)
    orders = []
    for _ in range(2):
        found = []
        for inputs, target in dataset.batches(n_batches, shuffle=True):
            assert len(target) == len(inputs["x"]) == len(inputs["first"])
            found += zip(*_cut(inputs), strict=True)
        assert sorted(number for _, number in found) == [0, 1, 2, 3, 4]
        for rows, number in found:
            begin, end = OFFSETS[int(number)], OFFSETS[int(number) + 1]
            np.testing.assert_array_equal(rows, _sequences().x[begin:end])
        orders.append([number for _, number in found])
    assert (orders[0] != orders[1]) == (n_batches > 1)  # one batch has one order


def test_missing_values_have_a_mask():
    sequences = _sequences()
    sequences.x[5, 1] = np.nan
    ((inputs, _),) = SequenceDataset(sequences).batches(1, shuffle=False)
    np.testing.assert_array_equal(inputs["observed"].numpy(), ~np.isnan(sequences.x))


def test_sequences_are_kept_aside_whole():
    training, validation = split_sequences(_sequences(), 0.3, seed=0)
    numbers = [part.more["weight"][part.offsets[:-1]].tolist() for part in (training, validation)]
    assert len(numbers[1]) == 2
    assert sorted(numbers[0] + numbers[1]) == [0, 1, 2, 3, 4]
    for part, found in zip((training, validation), numbers, strict=True):
        expected = [_sequences().x[OFFSETS[int(s)] : OFFSETS[int(s) + 1]] for s in found]
        np.testing.assert_array_equal(part.x, np.concatenate(expected))


def test_the_end_of_a_single_sequence_is_kept_aside():
    x = np.arange(20.0).reshape(10, 2)
    training, validation = split_sequences(PreparedSequences(x, np.array([0, 10])), 0.25, seed=0)
    np.testing.assert_array_equal(training.x, x[:7])
    np.testing.assert_array_equal(validation.x, x[7:])
    assert split_sequences(PreparedSequences(x, np.array([0, 10])), None, seed=0)[1] is None


def test_nothing_left_to_train_on():
    with pytest.raises(ValueError, match=r"validation_fraction=0.9 leaves none of 5 sequences"):
        split_sequences(_sequences(), 0.9, seed=0)
