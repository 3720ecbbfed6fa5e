"""Peak memory beyond the data, each measurement in its own process.

A process has one high-water mark, so a fit is measured in a new process: load the libraries and
warm them up by a small fit, make the data, reset the mark, fit. For data in memory, the result is
the kernel's peak of resident memory minus the resident memory just before the fit. Pages of a
memory-mapped file are resident too but are only the file's cache, so for a memmap the anonymous
part is sampled.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import sys
import threading
from pathlib import Path

from benchmarks.process import answer_of


def peak_beyond_data(task, *, anonymous=False, **arguments):
    """Return the peak memory in bytes of the action made by `task`, beyond the memory before it.

    Parameters
    ----------
    task : str
        "module:function". The function is called in a new process with `arguments`, loads its
        modules, makes the data and returns the action to measure, a callable without arguments.
    anonymous : bool, default=False
        Count anonymous memory only, sampled each millisecond.

    Raises
    ------
    RuntimeError
        If the task fails, with the last line it wrote.
    """
    order = {"task": task, "anonymous": anonymous, "arguments": arguments}
    return answer_of("benchmarks.memory", order)


def _measure(task, anonymous, arguments):
    module, _, function = task.partition(":")
    action = getattr(importlib.import_module(module), function)(**arguments)
    gc.collect()
    _return_free_memory()
    _reset_peak()
    if not anonymous:
        before = _resident("VmRSS")
        action()
        return _resident("VmHWM") - before
    before = _resident("RssAnon")
    with _Sampler() as sampler:
        action()
    return sampler.peak - before


def _resident(field):
    """Return a field of the process's memory status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{field} is not in the process status: peak memory needs Linux.")


def _return_free_memory():
    """Release the memory that the allocator keeps after the warm-up: a fit would reuse it."""
    with contextlib.suppress(AttributeError):  # Only glibc has it.
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak():
    """Reset the high-water mark to the present resident memory.

    If this is forbidden, the mark of loading and of making the data remains, and the result can
    only be too large.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class _Sampler:
    """Samples the anonymous memory of this process in a thread; `peak` is the largest sample."""

    def __enter__(self):
        self.peak = _resident("RssAnon")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(0.001):
            self.peak = max(self.peak, _resident("RssAnon"))


if __name__ == "__main__":
    print(json.dumps(_measure(**json.loads(sys.argv[1]))))
