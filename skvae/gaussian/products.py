r"""Products of matrices with few rows and many columns, :math:`\Theta \Phi` and :math:`R \Phi^T`.

BLAS copies the factors of a large product to a layout in which it multiplies fast. With few rows on
one side, this copy takes as long as the product. OpenBLAS multiplies factors of few numbers as they
are, so a product with many columns is computed as several products of ``_COLUMNS`` columns, which
are one call of NumPy.
"""

import numpy as np

_UNCOPIED = 1_000_000  # multiplications up to which OpenBLAS does not copy the factors
_FEW_TERMS = 256  # below it the product Φ Rᵀ is faster than its transpose
_COLUMNS = 256  # measured: 64 and 128 are slower


def product(left, columns, out):
    """Return left @ columns, written to out, for shapes (k, t), (t, n) and (k, n)."""
    whole = _panelled(len(left), columns)
    if whole == 0:
        return np.matmul(left, columns, out=out)
    np.matmul(left, _panels(columns, whole), out=_panels(out, whole))
    np.matmul(left, columns[:, whole:], out=out[:, whole:])
    return out


def add_product(left, columns, out):
    """Add left @ columns to out, for shapes (k, t), (t, n) and (k, n)."""
    (k, t), n = left.shape, columns.shape[1]
    if columns.flags.f_contiguous and 2 * n >= t and k * t * n <= _UNCOPIED:
        # Columns that are rows of memory: factors that are not copied are multiplied as rows.
        out += (columns.T @ np.ascontiguousarray(left.T)).T
    else:
        out += left @ columns


def weighted_sums(weights, columns):
    """Return weights @ columns.T, shape (k, t), for shapes (k, n) and (t, n)."""
    k, t = len(weights), len(columns)
    whole = _panelled(k, columns)
    if whole == 0 or t < 3 * k:
        return (columns @ weights.T).T if t < _FEW_TERMS else weights @ columns.T
    transposed = np.ascontiguousarray(weights.T)
    each = transposed[:whole].reshape(-1, _COLUMNS, k)
    total = (_panels(columns, whole) @ each).sum(axis=0, dtype=np.float64)
    total += columns[:, whole:] @ transposed[whole:]
    return total.T


def _panelled(k, columns):
    """Return the number of columns that are multiplied in panels, a multiple of ``_COLUMNS``."""
    t, n = columns.shape
    gains = k * t * n > _UNCOPIED >= k * t * _COLUMNS
    return n // _COLUMNS * _COLUMNS if gains else 0


def _panels(columns, whole):
    """Return the first columns (t, whole) as panels (whole / _COLUMNS, t, _COLUMNS), a view."""
    return columns[:, :whole].reshape(len(columns), -1, _COLUMNS).swapaxes(0, 1)
