"""Sequences made for the deep models of sequences: regimes on a curved surface, repeated units."""

import numpy as np


def curved_regimes(n_sequences, n_steps=50, *, n_features=8, noise=0.05, seed=0):
    """Return sequences on a curved surface with regimes, and their regimes.

    A row is f(z) with noise. z has two dimensions and is drawn from the Gaussian of one of four
    regimes, which stays with a probability of 0.95; f bends the plane by sines.

    Parameters
    ----------
    n_sequences, n_steps, n_features : int
        Sizes.
    noise : float
        The standard deviation of each feature about the surface.
    seed : int
        Seed of the draws. The surface and the regimes are always the same.

    Returns
    -------
    sequences : list of ndarray of shape (n_steps, n_features)
        The rows.
    regimes : list of ndarray of shape (n_steps,)
        The regime of each row.
    """
    surface = np.random.default_rng(7)
    directions = surface.normal(size=(2, n_features))
    phases = surface.uniform(0, 2 * np.pi, size=n_features)
    centres = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    scales = np.array([[0.7, 0.2], [0.2, 0.7], [0.4, 0.4], [0.6, 0.3]])
    rng = np.random.default_rng(seed)
    sequences, regimes = [], []
    for _ in range(n_sequences):
        k = _path(rng, n_steps, 4, 0.95)
        z = centres[k] + scales[k] * rng.normal(size=(n_steps, 2))
        x = np.sin(z @ directions + phases)
        sequences.append(x + noise * rng.normal(size=x.shape))
        regimes.append(k)
    return sequences, regimes


def spoken_units(
    n_sequences,
    n_units_spoken=12,
    *,
    n_units=6,
    n_bands=16,
    warp=0.1,
    spread=0.3,
    noise=0.05,
    seed=0,
):
    """Return sequences of repeated units under speaker-like distortion, and their units.

    A unit is a pattern over frequency bands, the sum of two resonances. Each sequence has a
    speaker, who shifts all resonances by a common factor, as a vocal tract of another length does,
    and has a loudness of his own. Units last three to six rows, and their order is that of a
    hidden chain with few successors each.

    Parameters
    ----------
    n_sequences : int
        The number of sequences, each of another speaker.
    n_units_spoken : int
        The number of units in a sequence.
    n_units : int
        The number of different units.
    n_bands : int
        The number of features.
    warp : float
        The largest relative shift of a speaker's resonances.
    spread : float
        The largest relative change of a speaker's loudness.
    noise : float
        The standard deviation of each feature about the pattern.
    seed : int
        Seed of the draws. The units and their order are always the same.

    Returns
    -------
    sequences : list of ndarray of shape (n_steps, n_bands)
        The rows.
    units : list of ndarray of shape (n_steps,)
        The unit of each row.
    """
    patterns = np.random.default_rng(3)
    resonances = np.sort(patterns.uniform(0.15, 0.85, size=(n_units, 2)), axis=1)
    heights = patterns.uniform(0.6, 1.4, size=(n_units, 2))
    order = patterns.dirichlet(np.full(n_units, 0.3), size=n_units)
    np.fill_diagonal(order, 0.0)
    order /= order.sum(1, keepdims=True)
    bands = np.linspace(0, 1, n_bands)
    rng = np.random.default_rng(seed)
    sequences, units = [], []
    for _ in range(n_sequences):
        shift, loudness = rng.uniform(1 - warp, 1 + warp), rng.uniform(1 - spread, 1 + spread)
        unit, said = rng.integers(n_units), []
        for _ in range(n_units_spoken):
            said += [unit] * rng.integers(3, 7)
            unit = rng.choice(n_units, p=order[unit])
        said = np.array(said)
        places = shift * resonances[said] * rng.normal(1, 0.02, size=(len(said), 1))
        distance = (bands[:, None] - places[:, None]) / 0.08
        x = loudness * (heights[said][:, None] * np.exp(-0.5 * distance**2)).sum(-1)
        sequences.append(x + noise * rng.normal(size=x.shape))
        units.append(said)
    return sequences, units


def _path(rng, n_steps, n_states, stay):
    """Return a path of states, (n_steps,), each of which stays with the same probability."""
    path = np.empty(n_steps, dtype=int)
    path[0] = rng.integers(n_states)
    for t in range(1, n_steps):
        change = rng.uniform() > stay
        path[t] = (path[t - 1] + change * rng.integers(1, n_states)) % n_states
    return path
