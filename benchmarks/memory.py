"""Peak memory beyond the data, each measurement in a process of its own.

A process has one high-water mark, so a fit is measured in a fresh one: libraries loaded and warmed
up by a small fit, data made, mark reset, fit. For data in memory, what is reported is the kernel's
own peak of resident memory less what was resident just before the fit. Pages of a memory-mapped
file are resident too but are only the file's cache, so for a memmap the anonymous part is sampled.
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
    """Return the peak memory in bytes of what `task` prepared, beyond what was there before.

    Parameters
    ----------
    task : str
        "module:function". The function is called in a fresh process with `arguments`, loads what
        it needs, makes the data and returns the action to measure, a callable without arguments.
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
    """Give back what the allocator keeps of the warm-up: reused, it would hide the fit's own."""
    with contextlib.suppress(AttributeError):  # Only glibc has it.
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak():
    """Set the high-water mark back to what is resident now.

    Where that is forbidden the mark of loading and of making the data stays, and the figure can
    only come out larger than the truth.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class _Sampler:
    """Watches the anonymous memory of this process from a thread; `peak` is the largest seen."""

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
