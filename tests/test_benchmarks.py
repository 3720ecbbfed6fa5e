"""The grid of the benchmarks: its cells, its timing, and the rows that it reports."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import run
from benchmarks.grid import SECTIONS, chain, latency, mixture, table
from benchmarks.suite import Settings
from benchmarks.timing import Spread, interleave_calls

QUICK = Settings(quick=True)
TABLES = {f"{s.name}/{name}": case for s in SECTIONS for name, case in s.cases.items()}


class Clock:
    """A clock on which each call of an action takes a given time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def action(self, *seconds):
        """Return an action whose calls take these seconds, in turn; it returns their number."""
        turns, count = itertools.cycle(seconds), itertools.count(1)

        def act():
            self.now += next(turns)
            return next(count)

        return act


def test_the_grids_have_the_cells_of_their_reports():
    assert len(set(mixture.CELLS)) == len(mixture.CELLS) == 160
    assert len(set(chain.CELLS)) == len(chain.CELLS) == 48
    assert {c.n_samples for c in mixture.CELLS} == {50, 200, 1000, 5000, 20_000}
    assert {c.n_features for c in mixture.CELLS} == {1, 2, 8, 32, 128, 300}


def test_a_word_selects_one_table():
    names = [name for section in SECTIONS for name in section.selected([])]
    assert len(set(names)) == len(names)
    for word in ("grid/mixture-fit", "grid/mixture-one-row", "grid/chain-predict"):
        assert [name for s in SECTIONS for name in s.selected([word])] == [word]


def test_the_grid_is_a_part_of_the_benchmarks(monkeypatch, capsys):
    assert "benchmarks.grid" in run.SUITES
    monkeypatch.setattr(run, "SUITES", ["benchmarks.grid"])  # the others import slow libraries
    monkeypatch.setattr(run.machine, "limit_threads", lambda n: 1)  # of this process
    assert run.main(["grid/", "--list"]) == 0
    assert capsys.readouterr().out.split() == list(TABLES)


def test_slow_calls_are_made_three_times_and_their_ratios_paired():
    clock = Clock()
    actions = {"a": clock.action(1.0, 2.0, 4.0), "b": clock.action(3.0, 4.0, 4.0)}
    times, results = interleave_calls(actions, at_least=1.0, clock=clock)
    assert times["b"].over(times["a"]).values == (3.0, 2.0, 1.0)
    assert results == {"a": 3, "b": 3}


def test_fast_calls_are_repeated_until_the_time_is_up():
    clock = Clock()
    times, _ = interleave_calls({"a": clock.action(0.01)}, at_least=0.05, clock=clock)
    assert times["a"].values == pytest.approx([0.01] * 5)
    assert clock.now == pytest.approx(0.07)  # two calls of warm-up
    times, results = interleave_calls({"a": clock.action(1e-4)}, at_least=1.0, clock=clock)
    assert times["a"].values == pytest.approx([1e-4] * 15)
    assert results["a"] == 2 + 15 * 20


def test_rows_have_the_worst_cells_first():
    ratios = [*np.linspace(2.0, 3.0, 11), 0.5, 0.25]
    timed = [table.Timed(f"{r:.2f}", Spread((1.0,)), Spread((r,)), r) for r in ratios]
    rows = table.rows_of(timed, 1.5, 1.0)
    assert [row[0] for row in rows[:2]] == ["all 13: median", "all 13: smallest, 2 below 1"]
    assert [row[3] for row in rows[:4]] == ["2.40×", "0.25×", "0.25×", "0.50×"]
    assert [row[4] for row in rows[:2]] == ["≥ 1.5×: reached", "≥ 1×: **missed**"]
    assert [row[0] for row in rows[2:]] == sorted(cell.label for cell in timed)[:10]
    assert len({len(row) for row in rows}) == 1


def test_results_that_differ_fail_and_the_cell_is_named():
    def contest(cell, settings):
        return table.Contest(lambda: 1.0, lambda: 1.0 + cell, float)

    agreeing = table.Table([0.0], contest, str)
    assert len(table.measure(agreeing, QUICK)) == 3
    with pytest.raises(RuntimeError, match=r"comes to 1\.5, skvae to 1\.0") as raised:
        table.measure(table.Table([0.0, 0.5], contest, str), QUICK)
    assert raised.value.__notes__ == ["in the cell 0.5"]


def test_two_threads_are_not_measured_on_one_core(monkeypatch):
    monkeypatch.setattr(table, "_cores", lambda: 1)
    rows = table.measure(table.Table([0], None, str, n_threads=2), QUICK)
    assert rows[0][0] == "not measured: the run has 1 thread"


def _small(cells):
    """Return two small cells in which the results of both libraries can be compared."""
    rows = {"n_samples": 200, "n_components": 3, "n_rows": 1000, "n_states": 3}
    return [
        cell
        for cell in cells
        if all(getattr(cell, name, value) == value for name, value in rows.items())
        and cell.n_features in (2, 4)
    ][:2]


@pytest.mark.parametrize(
    "name", [name for name, case in TABLES.items() if getattr(case, "n_threads", 2) == 1]
)
def test_both_libraries_do_the_same_work(name):
    if "chain" in name:
        pytest.importorskip("hmmlearn")
    cells = _small(TABLES[name].cells)
    assert cells or "large" in name
    assert len(table.measure(replace(TABLES[name], cells=cells or mixture.CELLS[:1]), QUICK)) >= 3


@pytest.mark.parametrize("name", latency.CASES)
def test_latencies_are_judged_in_the_slowest_cell(name, monkeypatch):
    times = iter([0.1, 0.3, *[0.2] * 30])
    monkeypatch.setattr(latency, "_milliseconds", lambda call, settings: next(times))
    cells = latency.CASES[name][1]
    [row] = latency.measure(latency.CASES[name], Settings())
    assert row[1:4] == [str(len(cells)), "0.200 ms", "0.300 ms"]
    assert row[4].startswith(cells[1].sizes)
    assert row[5] == "≤ 0.25 ms: **missed**"
