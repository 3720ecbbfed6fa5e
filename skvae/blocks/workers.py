"""Threads for sums over blocks of rows, with single-threaded linear algebra inside them."""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import starmap
from operator import attrgetter

import numpy as np
from threadpoolctl import ThreadpoolController

from skvae.blocks.rows import even_block, ranges

N_CHUNKS = 32
_ATTEMPTS = 10  # to remove the limit of BLAS; Ctrl-C may interrupt an attempt

# A short buffer makes some operations twice as fast: NumPy joins the rows of an array until they
# fill its buffer, and copies operands that cannot be joined, such as a factor for each column. Rows
# longer than the buffer are not joined.
_BUFFER = 256

# Measured, in multiplications: threads take 1 to 3 ms to start, and wait for one another between
# NumPy calls. With less work than this, one thread is faster.
_WORTH_THREADS = 100_000_000


@lru_cache(maxsize=1)
def _controller():
    return ThreadpoolController()


class _SingleThreadedBlas:
    """Keeps BLAS single-threaded while at least one caller, in any thread, needs it.

    The limit belongs to the process, so callers are counted: the first sets the limit, the last
    removes it. threadpoolctl lets only the thread that set a limit remove it, and the first caller
    may leave before the last. So the limit is set and removed by an additional thread.
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
        if not self._callers and _blas_threads() == 1:  # a limit would change nothing
            yield 1
            return
        caller = object()
        try:
            with self._lock:
                if not self._callers:
                    self._set_limit()
                self._callers.add(caller)
                n_threads = self._n_threads
            yield n_threads
        finally:
            # This code is in no function of its own: Ctrl-C may strike on entry to a function, and
            # the limit must be removed even then. The interruption is raised after the removal. If
            # it strikes while the lock is acquired or released, it becomes a RuntimeError.
            interruption = None
            for _ in range(_ATTEMPTS):
                try:
                    with self._lock:
                        self._callers.discard(caller)  # Ctrl-C may have prevented its addition
                        if not self._callers and self._holder is not None:
                            self._release.set()
                            if self._holder.ident is not None:  # it was started
                                self._holder.join()
                            self._holder = None
                    break
                except (KeyboardInterrupt, RuntimeError) as error:
                    interruption = error
            if interruption is not None:
                raise interruption

    def _after_fork(self):
        """Start anew: the thread that held the limit, and its callers, stayed in the parent."""
        if self._callers:
            _controller().limit(limits=self._n_threads, user_api="blas")
        self.__init__()

    def _set_limit(self):
        """Set the limit; ``_n_threads`` is the number before, which honours the user's limits."""
        allowed = _blas_threads()
        ready, self._release = threading.Event(), threading.Event()

        def hold(release=self._release):
            try:
                if release.is_set():  # Ctrl-C struck before this thread began
                    return
                with _controller().limit(limits=1, user_api="blas"):
                    ready.set()
                    release.wait()
            finally:
                ready.set()

        self._holder = threading.Thread(target=hold, name="blas-limit", daemon=True)
        self._holder.start()
        ready.wait()
        # If the limit has no effect, because BLAS obeys another one of the caller's thread, BLAS
        # keeps its threads and the chunks run in one thread.
        self._n_threads = allowed if _blas_threads() == 1 else 1


def _blas_threads():
    """Return the number of threads that BLAS uses now."""
    pools = _controller().select(user_api="blas").lib_controllers
    return max(map(attrgetter("num_threads"), pools), default=0) or os.cpu_count() or 1


_single_threaded_blas = _SingleThreadedBlas()


@dataclass
class Workers:
    """Threads that compute chunks of rows; see :func:`workers`.

    Parameters
    ----------
    n_threads : int
        The number of threads.
    executor : ThreadPoolExecutor or None
        The threads, which are made for the first chunk that needs them.
    spare : deque
        Memory of chunks that are done, for the next chunks: fresh memory is slow.
    """

    n_threads: int
    executor: ThreadPoolExecutor | None = None
    spare: deque = field(default_factory=deque)

    def map(self, function, n_rows, block, row_work=np.inf):
        """Return an iterator over ``function(start, stop)`` of the chunks, in row order.

        Chunks are whole blocks of ``block`` rows, at most ``N_CHUNKS`` of them whatever the
        number of threads. At most a few results wait to be read, so memory stays bounded.
        ``row_work`` is about the number of multiplications for a row: the calling thread does
        little work alone.
        """
        n_blocks = -(-n_rows // block)
        chunk = block * max(1, -(-n_blocks // N_CHUNKS))
        chunks = ranges(0, n_rows, chunk)
        if self.n_threads == 1 or n_rows <= chunk or n_rows * row_work < _WORTH_THREADS:
            return starmap(function, chunks)
        return self._map_in_threads(function, chunks)

    def _map_in_threads(self, function, chunks):
        if self.executor is None:
            self.executor = ThreadPoolExecutor(
                self.n_threads, "skvae", initializer=np.setbufsize, initargs=(_BUFFER,)
            )
        waiting = deque()
        for start, stop in chunks:
            waiting.append(self.executor.submit(function, start, stop))
            if len(waiting) > 2 * self.n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_here = threading.local()


@contextmanager
def one_thread():
    """Restrict :func:`workers` to the calling thread while it is open."""
    before = getattr(_here, "alone", False)
    _here.alone = True
    try:
        yield
    finally:
        _here.alone = before


def workers_for(rows, kernel):
    """Return :func:`workers` for rows and the kernel of their densities.

    One block, or little work, is done by the calling thread, which leaves BLAS as it is.
    """
    n_rows, complete = rows.n_rows, rows.order is None
    little = complete and n_rows * kernel.row_work < _WORTH_THREADS
    if little or even_block(n_rows, kernel.block_rows) >= n_rows:
        return nullcontext(Workers(1))
    return workers()


@contextmanager
def workers(n_threads=None):
    """Yield threads for sums over blocks of rows, with single-threaded BLAS while they are open.

    Parameters
    ----------
    n_threads : int or None
        The number of threads; None is as many as BLAS would use, which honours
        ``OMP_NUM_THREADS``, ``threadpoolctl`` and joblib's own limits for its workers.
    """
    with _single_threaded_blas() as allowed:
        if getattr(_here, "alone", False):
            n_threads = 1
        pool, buffer = Workers(allowed if n_threads is None else n_threads), np.getbufsize()
        try:
            np.setbufsize(_BUFFER)  # of this thread alone
            yield pool
        finally:
            np.setbufsize(buffer)
            if pool.executor is not None:  # work that has not begun is dropped
                pool.executor.shutdown(cancel_futures=True)
