"""The M step of a chain, compiled: probabilities from expected counts."""

from skvae.chain.compilation import compiled


@compiled
def fill_probabilities(counts, allowed, before, out):
    """Fill the probabilities that maximise Σ count ln p in each row.

    Parameters
    ----------
    counts : ndarray of shape (n, K)
        Expected counts, and those of a prior.
    allowed : ndarray of bool, shape (n, K)
        Which probabilities may be positive; the others become zero.
    before : ndarray of shape (n, K)
        The probabilities of a row without any count.
    out : ndarray of shape (n, K)
        Filled.
    """
    for i in range(len(counts)):
        total = 0.0
        for j in range(counts.shape[1]):
            total += counts[i, j] if allowed[i, j] else 0.0
        for j in range(counts.shape[1]):
            if total > 0.0:
                out[i, j] = counts[i, j] / total if allowed[i, j] else 0.0
            else:
                out[i, j] = before[i, j]
