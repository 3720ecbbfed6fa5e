"""The parts of a benchmark: settings of a run, sections of a report, cases of a section."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Parameters
    ----------
    quick : bool
        Small sizes: shows that everything works. Targets are not judged.
    rounds : int
        Interleaved repeats of each measurement.
    seed : int
        Seed of all data.
    data : Path or None
        A folder with Fashion-MNIST, for the benchmarks that use it.
    minutes : float
        Limit of the training, for benchmarks with a limit of time.
    """

    quick: bool = False
    rounds: int = 5
    seed: int = 0
    data: Path | None = None
    minutes: float = 20.0

    def judged(self, target):
        """Return `target`, or None in a quick run: the targets are for full sizes."""
        return None if self.quick else target


@dataclass(frozen=True)
class Section:
    """One table of the report.

    Parameters
    ----------
    name : str
        The first part of the names of cases, as in "iteration/full-200000-16-16".
    title : str
        Heading of the table.
    method : str
        A description of the measurement; printed under the title.
    columns : sequence of str
        Head of the table.
    cases : mapping from str to object
        Cases by name; each is given to `measure`.
    measure : callable
        ``measure(case, settings)`` returns the case's rows, each a sequence of strings.
    """

    name: str
    title: str
    method: str
    columns: Sequence[str]
    cases: Mapping[str, object]
    measure: Callable[[object, Settings], Sequence[Sequence[str]]]

    def selected(self, wanted):
        """Return the cases with one of the words `wanted` in their "section/case" name (or all)."""
        full_names = {f"{self.name}/{name}": case for name, case in self.cases.items()}
        return {
            name: case
            for name, case in full_names.items()
            if not wanted or any(word in name for word in wanted)
        }
