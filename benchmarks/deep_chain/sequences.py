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
    n_sequences, n_said=12, *, n_units=6, n_features=12, shift=0.8, noise=0.05, seed=0
):
    """Return sequences of repeated units under speaker-like distortion, and their units.

    A unit is a place on an axis of the articulators, six places in a row. Each sequence has a
    speaker, who shifts all places along a second axis. Sines bend the plane of both axes into the
    space of features, so that the rows of a unit lie on a curve along the speakers. A unit lasts
    three to six rows, and each unit has few successors.

    Parameters
    ----------
    n_sequences : int
        The number of sequences, each of another speaker.
    n_said : int
        The number of units in a sequence.
    n_units, n_features : int
        Sizes.
    shift : float
        The standard deviation of a speaker's shift; neighbouring units are 0.8 apart.
    noise : float
        The standard deviation of each feature about the surface.
    seed : int
        Seed of the draws. The surface, the units and their order are always the same.

    Returns
    -------
    sequences : list of ndarray of shape (n_steps, n_features)
        The rows.
    units : list of ndarray of shape (n_steps,)
        The unit of each row.
    """
    fixed = np.random.default_rng(5)
    directions = 1.2 * fixed.normal(size=(2, n_features))
    phases = fixed.uniform(0, 2 * np.pi, size=n_features)
    places = 0.8 * (np.arange(n_units) - (n_units - 1) / 2)
    order = fixed.dirichlet(np.full(n_units, 0.5), size=n_units)
    np.fill_diagonal(order, 0.0)
    order /= order.sum(1, keepdims=True)
    rng = np.random.default_rng(seed)
    sequences, units = [], []
    for _ in range(n_sequences):
        speaker = shift * rng.normal()
        unit, said = rng.integers(n_units), []
        for _ in range(n_said):
            said += [unit] * rng.integers(3, 7)
            unit = rng.choice(n_units, p=order[unit])
        said = np.array(said)
        z = np.column_stack([places[said], np.full(len(said), speaker)])
        z += 0.15 * rng.normal(size=z.shape)
        x = np.sin(z @ directions + phases)
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
