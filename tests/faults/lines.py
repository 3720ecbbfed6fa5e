"""Interruptions between two lines of the library, counted so that each can be had again."""

import sys
from linecache import getline
from pathlib import Path

import skvae

_HOME = str(Path(skvae.__file__).parent)
# Gives threads back in `finally`: where a tracer can strike in its own lines, a signal cannot.
_EXEMPT = str(Path(skvae.__file__).parent / "blocks")


def lines_of(call):
    """How many lines of the library a call runs in this thread."""
    return _traced(call, None)


def interrupted_at(line, call):
    """Make a call that is interrupted before so many lines: KeyboardInterrupt, as by Ctrl-C."""
    return _traced(call, line)


def _leaves_a_block(frame):
    """Whether a line may be the end of a ``with``, before which no signal is heard either."""
    return getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with ")


def _traced(call, due):
    count = -1

    def on_line(frame, event, _):
        nonlocal count
        if event == "line" and not _leaves_a_block(frame):
            count += 1
            if count == due:
                sys.settrace(None)
                raise KeyboardInterrupt
        return on_line

    def on_call(frame, event, _):
        path = frame.f_code.co_filename
        return on_line if path.startswith(_HOME) and not path.startswith(_EXEMPT) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        call()
    finally:
        sys.settrace(before)
    return count + 1
