"""The description of the machine and the versions, and the limit of the threads.

Nothing here imports NumPy before `limit_threads` was called: thread pools read their limits once.
"""

import datetime as dt
import importlib.metadata
import os
import platform
import time
from pathlib import Path

_POOL_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_PACKAGES = (
    "skvae",
    "scikit-learn",
    "hmmlearn",
    "pomegranate",
    "pythae",
    "nltk",
    "numpy",
    "scipy",
    "numba",
    "torch",
    "skorch",
    "dask",
)
# The instruction sets for matrix products: the kernel's names and the usual names.
_INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_tile": "AMX"}


def limit_threads(n_threads=None):
    """Confine this process, and those it starts, to `n_threads` cores; return how many it has.

    Every library obeys the affinity. On platforms without it, the environment variables of the
    thread pools are set.

    Parameters
    ----------
    n_threads : int or None, default=None
        None: all the cores this process may use.

    Raises
    ------
    ValueError
        If there are fewer cores than that.
    """
    affinity = hasattr(os, "sched_setaffinity")
    cores = sorted(os.sched_getaffinity(0)) if affinity else list(range(os.cpu_count() or 1))
    n_threads = len(cores) if n_threads is None else n_threads
    if not 1 <= n_threads <= len(cores):
        raise ValueError(
            f"threads={n_threads}: must be from 1 to {len(cores)}, the cores there are."
        )
    if affinity:
        os.sched_setaffinity(0, cores[:n_threads])
    for variable in _POOL_VARIABLES:
        os.environ[variable] = str(n_threads)
    return n_threads


def describe(n_threads):
    """Return the machine, the threads and the versions as lines of Markdown."""
    lines = [
        f"Date: {dt.date.today().isoformat()}",
        f"Processor: {_processor()}; {_memory()}",
        f"Threads: {n_threads}",
        f"System: {platform.system()}, Python {platform.python_version()}",
        f"Versions: {', '.join(_versions())}",
        f"Linear algebra: {', '.join(_libraries()) or 'unknown'}",
    ]
    return "\n".join(f"- {line}" for line in lines)


class Neighbours:
    """Measures the processor time of other processes while the benchmarks run.

    If a library's threads wait for each other, one busy core slows it down more than
    proportionally, so ratios measured beside other work are not reliable.
    """

    # Cores, on average: the background work of a quiet system is below this.
    QUIET = 0.1

    def __init__(self):
        self._begin = self._now()

    def cores(self):
        """Return the mean number of cores used by others since the start, or None if unknown."""
        (wall, busy, own), now = self._begin, self._now()
        if busy is None:
            return None
        return max(0.0, (now[1] - busy - (now[2] - own)) / (now[0] - wall))

    def sentence(self):
        """Return a sentence for the report, with a warning if the machine was not quiet."""
        cores = self.cores()
        if cores is None:
            return "What else ran on the machine is unknown."
        warning = "" if cores <= self.QUIET else " **Not a quiet machine: run it again.**"
        return f"Other processes took {cores:.2f} cores on average.{warning}"

    @staticmethod
    def _now():
        """Return (wall clock, processor time of everything, of this process and its children)."""
        own = sum(os.times()[:4])
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        except OSError:
            return time.perf_counter(), None, own
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
        ticks = user + nice + system + irq + softirq + steal
        return time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), own


def _processor():
    fields = _key_values("/proc/cpuinfo")
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = fields.get("flags", "").split()
    known = [word for flag, word in _INSTRUCTIONS.items() if flag in flags]
    return name + (f" ({', '.join(known)})" if known else "") + f", {os.cpu_count()} cores"


def _memory():
    total = _key_values("/proc/meminfo").get("MemTotal")
    return f"{int(total.split()[0]) / 2**20:.0f} GiB of memory" if total else "memory unknown"


def _versions():
    for package in _PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{package} not installed"


def _libraries():
    """Return the loaded thread pools, without their paths."""
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture")
    return sorted(
        {" ".join(str(pool[key]) for key in keys if pool.get(key)) for pool in threadpool_info()}
    )


def _key_values(path):
    """Return the first value of every "key: value" line of a file, {} where there is no file."""
    try:
        text = Path(path).read_text()
    except OSError:
        return {}
    values = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    return values
