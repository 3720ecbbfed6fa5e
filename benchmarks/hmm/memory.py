"""Peak memory beyond X of one EM iteration over a long sequence."""

from dataclasses import asdict, replace

from benchmarks import report
from benchmarks.hmm.contenders import HMMLEARN, SKVAE
from benchmarks.hmm.problem import Problem
from benchmarks.memory import peak_beyond_data
from benchmarks.suite import Section

_MEGABYTE = 1e6
_CONTENDERS = {"skvae": SKVAE, **HMMLEARN}

CASES = {
    "diag-1000000-4-32-one": Problem(1_000_000, 4, 32, target=0.25),
    "diag-1000000-4-32-twenty": Problem(1_000_000, 4, 32, n_sequences=20, target=0.25),
}


def measure(problem, settings):
    """Return a row for each contender; skvae's target is relative to hmmlearn's smallest."""
    problem = problem.sized(settings)
    peaks = {
        name: peak_beyond_data(
            f"{__name__}:prepare", problem=asdict(problem), contender=name, seed=settings.seed
        )
        for name in _CONTENDERS
    }
    least = min(peaks[name] for name in HMMLEARN)
    size = problem.n_rows * problem.n_features * 8
    rows = []
    for name, peak in peaks.items():
        row = [name, problem.sizes, f"{problem.n_sequences:,}", f"{size / _MEGABYTE:,.0f} MB"]
        row += [f"{peak / _MEGABYTE:,.0f} MB", f"{peak / least:.2f}"]
        target = problem.target if name == "skvae" else None
        rows.append([*row, report.verdict(peak / least, target, sign="≤")])
    return rows


def prepare(problem, contender, seed):
    """Return the fit to measure, after loading and compiling the libraries and making the data.

    Parameters
    ----------
    problem : dict
        Fields of a Problem.
    contender : str
    seed : int
    """
    problem = Problem(**problem)
    one = _CONTENDERS[contender]
    _fit(one, replace(problem, n_rows=100 * problem.n_sequences * problem.n_states), seed)()
    return _fit(one, problem, seed)


def _fit(one, problem, seed):
    X = problem.make(seed)
    start, data = problem.start(X, seed), one.load(X, problem)
    return lambda: one.fit(data, start, 1)


SECTION = Section(
    name="hmm-memory",
    title="Hidden Markov models: peak memory beyond X",
    method=(
        "One EM iteration, diagonal covariances, each in a process of its own, after a small "
        "warm-up fit: peak resident memory of the fit less resident memory just before it. MB are "
        "10^6 bytes. Target: at most a quarter of the thriftier of hmmlearn's implementations. "
        "hmmlearn keeps five arrays of one sequence's rows times states, so that many sequences "
        "are easier for it than one."
    ),
    columns=[
        "contender",
        "T, D, K",
        "sequences",
        "size of X",
        "peak beyond X",
        "of hmmlearn's",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
