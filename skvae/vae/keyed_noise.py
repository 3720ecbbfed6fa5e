"""Standard normal noise that belongs to a row: the same wherever and whenever the row is asked."""

import hashlib

import numpy as np


class KeyedNoise:
    """Standard normal noise for rows, each from a generator seeded with the row and the seed.

    The noise of different rows is independent, equal rows have the same. Rows count as equal if
    they are so in float32: then other units of X, or another order of it in memory, which change
    the last digits of prepared rows, leave the noise as it is. It is drawn on the CPU always, so
    that answers do not depend on the device but for rounding.

    Parameters
    ----------
    x : ndarray of shape (B, D), float64
        Rows. All NaNs are alike, and so are zeros of either sign.
    n_components : int
        L, numbers in a draw.
    seed : int
        In [0, 2**64), of the model: another seed gives the same rows other noise.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.vae.keyed_noise import KeyedNoise
    >>> x = np.array([[1.0, 2.0], [3.0, np.nan]])
    >>> together, alone = KeyedNoise(x, 3, seed=0).draw(5), KeyedNoise(x[[1]], 3, seed=0).draw(5)
    >>> np.array_equal(together[:, [1]], alone)
    True
    """

    def __init__(self, x, n_components, seed):
        x = np.where(np.isnan(x), np.nan, x)  # one NaN
        with np.errstate(over="ignore"):  # rows so far away are alike
            x = np.ascontiguousarray(x, dtype="<f4")
        x += np.float32(0.0)  # -0.0 + 0.0 is 0.0
        self._n_components = n_components
        self._generators = [_generator(row, int(seed)) for row in x]

    def draw(self, n_draws):
        """Return the next draws of every row.

        Parameters
        ----------
        n_draws : int
            How many. Two calls give what one of as many draws would have given.

        Returns
        -------
        noise : ndarray of shape (n_draws, B, L)
            C-ordered.
        """
        noise = np.empty((n_draws, len(self._generators), self._n_components))
        for i, generator in enumerate(self._generators):
            noise[:, i] = generator.standard_normal((n_draws, self._n_components))
        return noise


def _generator(row, seed):
    """Return a generator with a key of 128 bits: no two rows that differ will ever share it."""
    key = hashlib.blake2b(row, digest_size=16, key=seed.to_bytes(8, "little"))
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.digest(), "little")))
