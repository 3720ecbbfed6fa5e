"""Progress bars on stderr, for fits and comparisons with ``verbose=1``."""

import threading


def progress_bar(total, unit):
    """Return a bar of tqdm: a context manager that closes it, also after an error or an interrupt.

    Parameters
    ----------
    total : int
        The number of steps.
    unit : str
        The name of a step.

    Examples
    --------
    >>> from skvae.progress import progress_bar
    >>> with progress_bar(3, "step") as bar:
    ...     _ = bar.update(2)
    >>> bar.n
    2
    """
    from tqdm import tqdm  # only when it is needed: it starts a thread

    return tqdm(total=total, unit=unit)


class SearchBar:
    """A bar over the iterations of all starts of a search, which may run in several threads.

    It is a context manager.

    Parameters
    ----------
    n_starts, max_iter : int
        The number of starts, and of iterations of each at most: fewer when a start has converged.
    every : int
        The number of iterations after which the bar shows the current bound.
    """

    def __init__(self, n_starts, max_iter, every):
        self._n_starts, self._max_iter, self._every = n_starts, max_iter, every
        self._done, self._lock = {}, threading.Lock()

    def __enter__(self):
        self._bar = progress_bar(self._n_starts * self._max_iter, "it")
        return self

    def __exit__(self, *_):
        self._bar.close()

    def observer(self, number):
        """Return an observer of a start, as :func:`skvae.ascent.loop.ascend` takes it."""

        def observe(progress, _change):
            n_iter = len(progress.bounds) + 1
            if n_iter == 1 or n_iter % self._every == 0:
                self._advance(number, n_iter, progress.before)

        return observe

    def end(self, number, outcome):
        """Show that a start has ended: an Ascent, or a Collapse, which another start replaces."""
        ended = hasattr(outcome, "bounds")
        n_iter = len(outcome.bounds) if ended else self._done.get(number, 0)
        with self._lock:
            self._bar.total += n_iter - self._max_iter if ended else n_iter
        if ended:
            self._advance(number, n_iter, outcome.bound)

    def _advance(self, number, n_iter, bound):
        with self._lock:
            self._bar.set_postfix_str(f"start {number}, lower bound {bound:.6f}", refresh=False)
            self._bar.update(n_iter - self._done.get(number, 0))
            self._done[number] = n_iter
