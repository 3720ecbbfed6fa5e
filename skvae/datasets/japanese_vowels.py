"""Utterances of nine speakers, as sequences of frames."""

from importlib import resources

import numpy as np
from sklearn.utils import Bunch

from skvae.validation import check_choice

_MODULE = "skvae.datasets"
_N_TRAIN = 270  # of the first utterances in the file


def load_japanese_vowels(*, subset="train", return_X_y=False):
    """Return utterances of Japanese vowels by nine speakers, each a sequence of frames.

    =================   =============================
    Classes                                         9
    Sequences total            270 train and 370 test
    Dimensionality                         12 a frame
    Features                                     real
    =================   =============================

    Parameters
    ----------
    subset : {'train', 'test'}, default='train'
        The utterances of the training set, or those of the test set.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : list of ndarray of shape (n_frames, 12)
            The utterances, 7 to 29 frames each.
        target : ndarray of shape (n_sequences,)
            The speaker of each utterance, from 1 to 9.
        feature_names : list of str
            ``["c1", ..., "c12"]``, the cepstrum coefficients.
        DESCR : str
            The description of the data and of their source.
        filename : str
            The path of the file below the package `data_module`.
        data_module : str
            The package that holds the file.

    (data, target) : tuple if `return_X_y` is True
        The data as above.

    References
    ----------
    .. [1] M. Kudo, J. Toyama and M. Shimbo (1999). "Multidimensional curve classification using
       passing-through regions". Pattern Recognition Letters 20(11-13), 1103-1111.

    Examples
    --------
    >>> from skvae.datasets import load_japanese_vowels
    >>> X, y = load_japanese_vowels(return_X_y=True)
    >>> len(X), X[0].shape, y[0]
    (270, (20, 12), np.int64(1))
    """
    check_choice("subset", subset, ("train", "test"))
    package, filename = resources.files(_MODULE), "data/japanese_vowels.npz"
    with package.joinpath(filename).open("rb") as file, np.load(file) as arrays:
        frames = arrays["millionths"] / 1e6
        lengths, speakers = arrays["lengths"], arrays["speakers"].astype(np.int64)
    sequences = np.split(frames, np.cumsum(lengths, dtype=np.intp)[:-1])
    kept = slice(_N_TRAIN) if subset == "train" else slice(_N_TRAIN, None)
    data, target = [sequence.copy() for sequence in sequences[kept]], speakers[kept]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        feature_names=[f"c{j}" for j in range(1, 13)],
        DESCR=package.joinpath("data/japanese_vowels.rst").read_text(encoding="utf-8"),
        filename=filename,
        data_module=_MODULE,
    )
