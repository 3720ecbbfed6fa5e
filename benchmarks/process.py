"""A measurement in its own process, for actions that a process can do only once."""

import json
import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def answer_of(module, order, **variables):
    """Return the last line of ``python -m module ORDER``; it and the order are JSON.

    Parameters
    ----------
    module : str
        The module is run as a script with the order as its only argument.
    order : dict
        The arguments of the measurement.
    **variables : str
        Additional environment variables.

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
