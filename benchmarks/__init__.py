"""Benchmarks of skvae against named peers, in the same run, as ratios.

``python -m benchmarks.run`` prints the tables. The files at this level do not depend on a model:
``run`` is the command, ``suite`` defines sections and cases, ``timing`` and ``memory`` measure,
``process`` runs a measurement in a new process, ``machine`` describes the machine, ``report``
writes Markdown. Each kind of model has a folder with its cases and peers.
"""
