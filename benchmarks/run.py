"""Print the benchmark tables: ``python -m benchmarks.run [words ...] [--quick] [--output FILE]``.

Words select cases by name: ``python -m benchmarks.run iteration/full accuracy`` runs the
full-covariance timings and the accuracy table. The name of a folder selects all of its cases:
``python -m benchmarks.run deep_chain --data FOLDER --output FILE``. ``--list`` prints the names.
Tables go to standard output as they are finished, progress goes to standard error. The exit status
is 1 if a case failed.
"""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from benchmarks import machine, report, timing
from benchmarks.suite import Settings

# Each has SECTIONS. They are imported after the number of threads is set.
SUITES = (
    "benchmarks.mixture",
    "benchmarks.hmm",
    "benchmarks.grammar",
    "benchmarks.bayesian",
    "benchmarks.grid",
    "benchmarks.inference",
    "benchmarks.vae",
    "benchmarks.deep_chain",
    "benchmarks.large",
    "benchmarks.distributed",
)


def main(arguments=None):
    """Run the benchmarks selected on the command line and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        n_threads = machine.limit_threads(options.threads)
    except ValueError as error:
        parser.error(str(error))
    folders = {
        suite.removeprefix("benchmarks."): importlib.import_module(suite).SECTIONS
        for suite in SUITES
    }
    sections = [section for found in folders.values() for section in found]
    words = list(options.words)
    for word in options.words:
        words += [name for section in folders.get(word, ()) for name in section.selected([])]
    names = [name for section in sections for name in section.selected(words)]
    if not names:
        parser.error(f"no case holds any of {options.words}: --list prints their names.")
    if options.list:
        print("\n".join(names))
        return 0
    settings = Settings(
        options.quick,
        1 if options.quick else options.rounds,
        options.seed,
        options.data,
        options.minutes,
    )
    timing.rest = options.rest
    begin, neighbours = time.perf_counter(), machine.Neighbours()
    parts, failures = [], 0

    def publish(text):
        parts.append(text)
        print(text, end="\n\n", flush=True)

    publish(_introduction(settings, n_threads))
    for section in sections:
        text, failed = _run(section, settings, words)
        failures += failed
        if text:
            publish(text)
    minutes = (time.perf_counter() - begin) / 60
    publish(f"Measured in {minutes:.1f} minutes. {neighbours.sentence()}")
    if options.output:
        options.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return 1 if failures else 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("words", nargs="*", help="run the cases whose name holds one of these")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it all work?")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved repeats (default 5)")
    parser.add_argument(
        "--rest", type=float, default=0.0, help="seconds of rest before each measurement"
    )
    parser.add_argument("--threads", type=int, help="cores to use (default: all there are)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data (default 0)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="where JapaneseVowels and the idx files of Fashion-MNIST are",
    )
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="of training on them, each (default 20)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the Markdown here too")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    return parser


def _run(section, settings, wanted):
    """Return (Markdown of a section, number of cases that failed)."""
    rows, failures = [], 0
    for name, case in section.selected(wanted).items():
        begin = time.perf_counter()
        try:
            rows += section.measure(case, settings)
            outcome = "done"
        except Exception as error:  # One broken case must not cost the half hour of the others.
            traceback.print_exc()
            row = [name, f"failed: {type(error).__name__}"]
            rows.append(row + [report.NOT_APPLICABLE] * (len(section.columns) - len(row)))
            failures += 1
            outcome = "FAILED"
        print(
            f"{name}: {outcome}, {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True
        )
    if not rows:
        return "", failures
    heading = f"## {section.title}\n\n{section.method}\n\n"
    return heading + report.table(section.columns, rows), failures


def _introduction(settings, n_threads):
    lines = ["# Benchmarks", "", machine.describe(n_threads)]
    lines.append(f"- Rounds: {settings.rounds}; seed {settings.seed}")
    if timing.rest:
        lines.append(f"- {timing.rest:g} seconds of rest before each measurement")
    if settings.quick:
        lines.append("- **Quick run**: reduced sizes, so targets are not judged.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
