"""The utterances, their speakers, and the forms of the loader."""

import numpy as np
import pytest

from skvae.datasets import load_japanese_vowels


@pytest.mark.parametrize(
    ("subset", "counts", "n_frames"),
    [("train", [30] * 9, 4274), ("test", [31, 35, 88, 44, 29, 24, 40, 50, 29], 5687)],
)
def test_the_utterances_of_each_speaker(subset, counts, n_frames):
    vowels = load_japanese_vowels(subset=subset)
    assert np.bincount(vowels.target)[1:].tolist() == counts
    assert len(vowels.data) == sum(counts)
    assert sum(map(len, vowels.data)) == n_frames
    assert {x.shape[1] for x in vowels.data} == {12}
    assert len(vowels.feature_names) == 12
    assert vowels.DESCR.startswith(".. _japanese_vowels_dataset:")


def test_known_values():
    X, y = load_japanese_vowels(return_X_y=True)
    assert X[0][:3, 0].tolist() == [1.860936, 1.891651, 1.939205]
    assert X[0][0, :3].tolist() == [1.860936, -0.207383, 0.261557]
    assert (min(map(len, X)), max(map(len, X))) == (7, 26)
    X[0][:] = 0.0
    y[:] = 0
    again = load_japanese_vowels()
    assert again.data[0].any()
    assert again.target.all()


def test_another_subset_is_an_error():
    with pytest.raises(ValueError, match="subset='all': must be one of 'train', 'test'"):
        load_japanese_vowels(subset="all")
