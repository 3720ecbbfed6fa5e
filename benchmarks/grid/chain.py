"""EMHiddenMarkov against hmmlearn's scaled implementation, from 100 rows on."""

from functools import partial

from benchmarks.grid.table import (
    ANSWER_MEDIAN,
    FIT_MEDIAN,
    N_ITERATIONS,
    Call,
    Contest,
    sections,
)
from benchmarks.hmm.contenders import HMMLEARN, SCALING, SKVAE
from benchmarks.hmm.problem import Problem

N_ROWS = (100, 1000, 20_000)
N_SEQUENCES = (1, 50)
N_STATES = (1, 3, 8, 16)
N_FEATURES = (1, 4)
_ENTRANTS = (SKVAE, HMMLEARN[SCALING])
# Rows for each state. With fewer, some variances become zero: skvae has a floor, hmmlearn has none.
_COMPARABLE = 50

CELLS = tuple(
    Problem(n_rows, n_features, n_states, n_sequences=n_sequences)
    for n_rows in N_ROWS
    for n_sequences in N_SEQUENCES
    for n_states in N_STATES
    for n_features in N_FEATURES
)


def fit(problem, settings):
    """Return the Contest of a fit of ten iterations from one start; its results are the bounds."""
    X = problem.make(settings.seed)
    start = problem.start(X, settings.seed)

    def bound(one, data):
        model = one.fit(data, start, N_ITERATIONS)
        if one.iterations(model) != N_ITERATIONS:
            raise RuntimeError(f"{model!r} did {one.iterations(model)} iterations.")
        return one.bound(model, len(X))

    calls = [partial(bound, one, one.load(X, problem)) for one in _ENTRANTS]
    calls[0]()  # compiles; a cell of slow calls would have few rounds
    comparable = problem.n_rows >= _COMPARABLE * problem.n_states
    return Contest(*calls, float if comparable else None)


def path(problem, settings):
    """Return the Contest of a most probable path at the parameters that the data came from."""
    X, truth = problem.make(settings.seed), problem.truth(settings.seed)
    calls = [partial(one.predict, one.known(truth), one.load(X, problem)) for one in _ENTRANTS]
    calls[0]()  # as above
    return Contest(*calls)


def label(problem):
    """Return the text of a cell."""
    return f"{problem.sizes}, {problem.n_sequences}"


CALLS = (
    Call("fit", "fit of ten iterations", fit, FIT_MEDIAN),
    Call("predict", "`predict`", path, ANSWER_MEDIAN),
)
_of = partial(
    sections,
    model="chain",
    peer="hmmlearn scaling",
    sizes="T, D, K, sequences",
    label=label,
    method="Diagonal covariances; fits from the same start, paths at the same parameters.",
    calls=CALLS,
    cells=CELLS,
)

MAIN = _of()
OTHERS = _of(n_threads=2)
