"""Peak memory beyond the sentences of one EM iteration."""

from dataclasses import asdict, replace

from benchmarks import report
from benchmarks.grammar.contenders import PEERS, SENTCFG, SKVAE, one_thread
from benchmarks.grammar.problem import Problem
from benchmarks.memory import peak_beyond_data
from benchmarks.suite import Section

_MEGABYTE = 1e6
_CONTENDERS = {"skvae": SKVAE, **PEERS}

CASES = {
    "10-20-100": Problem(10, 20, 100, target=0.01),
    "20-40-20": Problem(20, 40, 20, target=0.01),
}


def measure(problem, settings):
    """Return a row for each contender; skvae's target is relative to the graph in log space."""
    problem = problem.sized(settings)
    peaks = {
        name: peak_beyond_data(
            f"{__name__}:prepare", problem=asdict(problem), contender=name, seed=settings.seed
        )
        for name in _CONTENDERS
    }
    rows = []
    for name, peak in peaks.items():
        share = peak / peaks[SENTCFG]
        target = problem.target if name == "skvae" else None
        row = [name, problem.sizes, f"{peak / _MEGABYTE:,.1f} MB", f"{share:.4f}"]
        rows.append([*row, report.verdict(share, target, sign="≤")])
    return rows


def prepare(problem, contender, seed):
    """Return the fit to measure, after a small one that loads and compiles.

    Parameters
    ----------
    problem : dict
        Fields of a Problem.
    contender : str
    seed : int
    """
    problem = Problem(**problem)
    one = _CONTENDERS[contender]
    _fit(one, replace(problem, length=3, n_sentences=problem.n_components), seed)()
    return _fit(one, problem, seed)


def _fit(one, problem, seed):
    start, data = problem.start(seed), one.load(problem.make(seed))

    def act():
        with one_thread():
            one.fit(data, start, 1)

    return act


SECTION = Section(
    name="grammar-memory",
    title="Context-free grammars: peak memory beyond the sentences",
    method=(
        "One EM iteration, one thread, each contender in a process of its own, after a fit of K "
        "sentences of three words: peak resident memory of the fit less resident memory just "
        "before it. MB are 10^6 bytes. Target: a hundredth of the graph in log space."
    ),
    columns=["contender", "K, words, sentences", "peak", "of the graph's", "target"],
    cases=CASES,
    measure=measure,
)
