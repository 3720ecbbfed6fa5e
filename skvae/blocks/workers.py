"""Threads for sums over blocks of rows, with single-threaded linear algebra inside them."""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from skvae.blocks.rows import ranges

N_CHUNKS = 32


@lru_cache(maxsize=1)
def _controller():
    return ThreadpoolController()


def _blas_threads():
    """Return how many threads BLAS uses now."""
    pools = _controller().select(user_api="blas").info()
    return max((pool["num_threads"] for pool in pools), default=os.cpu_count() or 1)


_ATTEMPTS = 10  # to take a limit back


class _SingleThreadedBlas:
    """Keeps BLAS single-threaded while at least one caller, in whatever thread, wants it so.

    The limit belongs to the process, so callers are counted: the first sets it, the last takes it
    back. threadpoolctl lets only the thread that set a limit take it back, and the first caller may
    leave before the last: so a thread of its own holds the limit in between.
    """

    def __init__(self):
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._callers = set()
        self._holder = self._release = None
        self._n_threads = 1

    @contextmanager
    def __call__(self):
        if self._process != os.getpid():
            self._after_fork()
        caller = object()
        try:
            yield self._enter(caller)
        finally:
            # Here, and not in a function: Ctrl-C may strike where a function is entered, and what
            # strikes must not leave the limit behind. It is raised again once it is taken back.
            # In the middle of a lock Ctrl-C comes out as a RuntimeError.
            interruption = None
            for _ in range(_ATTEMPTS):
                try:
                    self._leave(caller)
                    break
                except (KeyboardInterrupt, RuntimeError) as error:
                    interruption = error
            if interruption is not None:
                raise interruption

    def _after_fork(self):
        """Begin anew: the thread that held the limit, and its callers, stayed in the parent."""
        if self._callers:
            _controller().limit(limits=self._n_threads, user_api="blas")
        self.__init__()

    def _enter(self, caller):
        with self._lock:
            if not self._callers:
                self._begin()
            self._callers.add(caller)
            return self._n_threads

    def _leave(self, caller):
        """Let a caller go, however far it came: Ctrl-C may have struck anywhere in `_enter`."""
        with self._lock:
            self._callers.discard(caller)
            if not self._callers and self._holder is not None:
                self._release.set()
                if self._holder.ident is not None:  # it was started
                    self._holder.join()
                self._holder = None

    def _begin(self):
        """Set the limit; ``_n_threads`` is what BLAS had before: it honours the user's limits."""
        allowed = _blas_threads()
        ready, self._release = threading.Event(), threading.Event()

        def hold(release=self._release):
            try:
                if release.is_set():  # Ctrl-C struck before this thread began: nobody waits
                    return
                with _controller().limit(limits=1, user_api="blas"):
                    ready.set()
                    release.wait()
            finally:
                ready.set()

        self._holder = threading.Thread(target=hold, name="blas-limit", daemon=True)
        self._holder.start()
        ready.wait()
        # Where the caller's own limit may not be changed by others, BLAS keeps its threads and the
        # chunks have one.
        self._n_threads = allowed if _blas_threads() == 1 else 1


_single_threaded_blas = _SingleThreadedBlas()


# NumPy joins the rows of an array until they fill its buffer, and copies what cannot be joined, as
# a factor for each column. Rows longer than the buffer are not joined: twice as fast.
_BUFFER = 256


@contextmanager
def _short_buffer():
    """Make NumPy's buffer short for this thread alone."""
    before = np.getbufsize()
    try:  # first: Ctrl-C may strike right after
        np.setbufsize(_BUFFER)
        yield
    finally:
        np.setbufsize(before)


class Workers:
    """Threads that work through chunks of rows; see :func:`workers`."""

    def __init__(self, n_threads):
        self.n_threads = n_threads
        self._executor = None

    def map(self, function, n_rows, block):
        """Yield ``function(start, stop)`` for each chunk of rows, in the order of the rows.

        Chunks are whole blocks of ``block`` rows, at most ``N_CHUNKS`` of them whatever the
        number of threads. A few results wait at a time, so memory stays bounded.
        """
        function = _short_buffer()(function)
        n_blocks = -(-n_rows // block)
        chunk = block * max(1, -(-n_blocks // N_CHUNKS))
        chunks = ranges(0, n_rows, chunk)
        if self.n_threads == 1 or n_rows <= chunk:
            for start, stop in chunks:
                yield function(start, stop)
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.n_threads, thread_name_prefix="skvae")
        waiting = deque()
        for start, stop in chunks:
            waiting.append(self._executor.submit(function, start, stop))
            if len(waiting) > 2 * self.n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def sum(self, function, n_rows, block):
        """Return the sum of ``function(start, stop)`` over the chunks, added in order, in place."""
        results = self.map(function, n_rows, block)
        total = next(results)
        for result in results:
            total += result
        return total

    def close(self):
        """End the threads; what has not begun is dropped."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None


_here = threading.local()


@contextmanager
def one_thread():
    """Let :func:`workers` give no threads beside the caller's while it is open: others do."""
    before = getattr(_here, "alone", False)
    _here.alone = True
    try:
        yield
    finally:
        _here.alone = before


@contextmanager
def workers(n_threads=None):
    """Give threads for sums over blocks of rows, with single-threaded BLAS while they are open.

    Parameters
    ----------
    n_threads : int or None
        How many; None is as many as BLAS would use, which honours ``OMP_NUM_THREADS``,
        ``threadpoolctl`` and joblib's own limits for its workers.
    """
    with _single_threaded_blas() as allowed:
        if getattr(_here, "alone", False):
            n_threads = 1
        pool = Workers(allowed if n_threads is None else n_threads)
        try:
            yield pool
        finally:
            pool.close()
