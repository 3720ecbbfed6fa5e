r"""The stationary distribution of a chain, and its classes of states.

.. math:: \pi A = \pi, \qquad \sum_k \pi_k = 1.

Transitions above zero form a graph. A *closed class* is a set of states that can all be reached
from each other, and that the chain never leaves. With one closed class there is one stationary
distribution, which is zero elsewhere; with more there are infinitely many.

The solution is by elimination of one state after the other without subtractions (Grassmann, Taksar
& Heyman, Oper. Res. 33, 1985): every entry has full relative accuracy, however small transitions
are.
"""

import numpy as np
from scipy.sparse.csgraph import connected_components


def closed_classes(transmat):
    """Return the closed classes of a chain, a list of arrays of states."""
    possible = transmat > 0
    n_classes, label = connected_components(possible, directed=True, connection="strong")
    leaves = np.zeros(n_classes, dtype=bool)
    i, j = np.nonzero(possible)
    leaves[label[i][label[i] != label[j]]] = True
    found = [np.flatnonzero(label == c) for c in np.flatnonzero(~leaves)]
    return sorted(found, key=lambda states: states[0])


def stationary(transmat):
    """Return the stationary distribution (K,) of a chain of which all states form one class."""
    A = np.array(transmat, dtype=np.float64)
    n_states = len(A)
    for k in range(n_states - 1, 0, -1):
        A[:k, k] /= A[k, :k].sum()
        A[:k, :k] += A[:k, k, None] * A[k, :k]
    out = np.zeros(n_states)
    out[0] = 1.0
    for k in range(1, n_states):
        out[k] = out[:k] @ A[:k, k]
        out /= out[: k + 1].max()  # states may differ by more than the range of a number
    return out / out.sum()
