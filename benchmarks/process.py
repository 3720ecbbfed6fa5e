"""A measurement in a process of its own: what a process can do only once, it does there."""

import json
import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def answer_of(module, order, **variables):
    """Return what ``python -m module ORDER`` printed last, both being JSON.

    Parameters
    ----------
    module : str
        It is run as a script and gets the order as its one argument.
    order : dict
        What it shall do.
    **variables : str
        Environment variables it gets beyond this process's own.

    Raises
    ------
    RuntimeError
        If it fails, with the last line it wrote.
    """
    environment = {**os.environ, **variables}
    paths = [environment.get("PYTHONPATH"), str(_ROOT)]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(order)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"{module} with {order}: {reason}")
    return json.loads(done.stdout.splitlines()[-1])
