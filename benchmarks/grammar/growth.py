"""Seconds per EM iteration as sentences become longer and labels more, against n³K² + n²K³."""

from benchmarks import report
from benchmarks.grammar.contenders import LEAN, PEERS, SKVAE
from benchmarks.grammar.iteration import differences, iteration_times
from benchmarks.grammar.problem import Problem
from benchmarks.suite import Section

_WORDS = 2400  # about as many in each problem

CASES = {
    "words": [Problem(10, n, max(4, _WORDS // n)) for n in (5, 10, 20, 40, 80, 160)],
    "labels": [Problem(k, 20, _WORDS // 20 // max(1, k // 10)) for k in (2, 5, 10, 20, 40)],
}


def measure(problems, settings):
    """Return a row for each size, with the growth from the one before."""
    rows, before = [], None
    for problem in (problem.sized(settings) for problem in problems):
        times, fitted = iteration_times({"skvae": SKVAE, LEAN: PEERS[LEAN]}, problem, settings)
        differences(fitted)
        work = problem.work
        ours = times["skvae"].median / problem.n_sentences
        row = [
            problem.sizes,
            f"{work:,.0f}",
            f"{1e6 * ours:,.1f} µs",
            f"{1e6 * ours / work:.2f} ns",
        ]
        growth = [report.NOT_APPLICABLE] * 2
        if before is not None:
            growth = [f"{work / before[0]:.1f}×", f"{ours / before[1]:.1f}×"]
        rows.append([*row, *growth, report.ratio(times[LEAN].over(times["skvae"]))])
        before = work, ours
    return rows


SECTION = Section(
    name="grammar-growth",
    title="Context-free grammars: growth with words and labels",
    method=(
        "As above. Work is n³K² + n²K³, in thousands, for a sentence of n words; growth is that "
        "from the row above."
    ),
    columns=[
        "K, words, sentences",
        "work",
        "skvae, a sentence",
        "a unit of work",
        "growth of work",
        "growth of time",
        "lean / skvae",
    ],
    cases=CASES,
    measure=measure,
)
