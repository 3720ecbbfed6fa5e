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


def unit_patterns(language, n_sequences, n_said=16, *, distortion=1.0, n_units=6, seed=0):
    """Return sequences of repeated patterns under speaker-like distortion, and their patterns.

    A unit is a pattern of three places in a plane of articulation, passed in order; each holds for
    one to three rows, so that the timing of a unit varies. Units follow each other at random. Each
    sequence has a speaker, the third coordinate. Sines of mixtures of all three coordinates are the
    twelve features, so that each speaker has another smooth map from the plane to the features.

    Parameters
    ----------
    language : int
        Seed of the patterns, whose places are at least 0.6 apart, and of the map.
    n_sequences : int
        The number of sequences, each of another speaker.
    n_said : int
        The number of units in a sequence.
    distortion : float
        Speakers are uniform from −distortion to distortion; 0 is one speaker.
    n_units : int
        The number of units.
    seed : int
        Seed of the draws.

    Returns
    -------
    sequences : list of ndarray of shape (n_steps, 12)
        The rows.
    parts : list of ndarray of int, shape (n_steps,)
        The part of each row, 0, 1, 2 of unit 0, then 3, 4, 5 of unit 1, and so on.
    """
    fixed = np.random.default_rng(language)
    directions = 0.6 * fixed.normal(size=(3, 12))
    phases = fixed.uniform(0, 2 * np.pi, size=12)
    places = _places_apart(fixed, 3 * n_units, 0.6)
    rng = np.random.default_rng([language, seed])
    sequences, parts = [], []
    for _ in range(n_sequences):
        speaker = distortion * rng.uniform(-1, 1)
        said = 3 * rng.integers(n_units, size=n_said)
        path = (said[:, None] + np.arange(3)).ravel()
        path = np.repeat(path, rng.integers(1, 4, size=len(path)))
        z = np.column_stack([places[path], np.full(len(path), speaker)])
        z += 0.1 * rng.normal(size=z.shape)
        x = np.sin(z @ directions + phases)
        sequences.append(x + 0.1 * rng.normal(size=x.shape))
        parts.append(path)
    return sequences, parts


def _places_apart(rng, n_places, apart):
    """Return standard normal places in a plane, (n_places, 2), without those near earlier ones."""
    places = []
    while len(places) < n_places:
        place = rng.normal(size=2)
        if all(np.hypot(*(place - other)) > apart for other in places):
            places.append(place)
    return np.array(places)


def _path(rng, n_steps, n_states, stay):
    """Return a path of states, (n_steps,), each of which stays with the same probability."""
    path = np.empty(n_steps, dtype=int)
    path[0] = rng.integers(n_states)
    for t in range(1, n_steps):
        change = rng.uniform() > stay
        path[t] = (path[t - 1] + change * rng.integers(1, n_states)) % n_states
    return path
