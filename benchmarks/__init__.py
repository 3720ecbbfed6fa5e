"""Benchmarks of skvae against named peers, in the same run, as ratios.

``python -m benchmarks.run`` prints the tables. The files at this level know no model: ``run`` is
the command, ``suite`` says what a section is, ``timing`` and ``memory`` measure, ``process``
starts a fresh one for what can be measured only once, ``machine`` says on what, ``report`` writes
Markdown. Each family of models has a folder with its cases and peers.
"""
