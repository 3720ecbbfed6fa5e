"""The machine and the versions, in words, and how many threads may be used.

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
    "numpy",
    "scipy",
    "numba",
    "torch",
    "skorch",
    "dask",
)
# The instruction sets that decide a matrix product, as the kernel and as people call them.
_INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_tile": "AMX"}


def limit_threads(n_threads=None):
    """Confine this process, and those it starts, to `n_threads` cores; return how many it has.

    Affinity is what every library honours in the end, whatever it asks first; where the platform
    has none, the pools' environment variables remain.

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
    """Watches how much of the machine others take while the benchmarks run.

    Libraries whose threads wait for each other suffer out of proportion from a core that is taken
    away, so a ratio measured beside other work says little.
    """

    # Cores, on average: what a quiet system does in the background stays below.
    QUIET = 0.1

    def __init__(self):
        self._begin = self._now()

    def cores(self):
        """Return the cores others took since the start, on average, or None where unknown."""
        (wall, busy, own), now = self._begin, self._now()
        if busy is None:
            return None
        return max(0.0, (now[1] - busy - (now[2] - own)) / (now[0] - wall))

    def sentence(self):
        """Return a sentence for the report, with a warning where it was not quiet."""
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
    """Return the thread pools that are loaded by now, without where they lie on disk."""
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
