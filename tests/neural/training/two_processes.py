"""Two processes in one group of torch.distributed, which call a function of a test together."""

import datetime as dt
import multiprocessing
import warnings
from contextlib import contextmanager

import torch
from torch import distributed


def serve(rank, pipe, place):
    """Call functions that come through a pipe, with the rank first, until it is closed."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{place}",
        rank=rank,
        world_size=2,
        timeout=dt.timedelta(seconds=60),
    )
    while True:
        function, arguments = pipe.recv()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pipe.send((True, function(rank, *arguments)))
        except BaseException as error:
            pipe.send((False, f"{type(error).__name__}: {error}"))


@contextmanager
def two_processes(folder):
    """Give a function that calls another in both, and returns (whether it returned, result)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skvae.vae.autoencoder", "tests.vae.estimator_problems"])
    pipes, processes = [], []
    for rank in range(2):
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(rank, there, folder / "group"), daemon=True)
        process.start()
        pipes.append(here)
        processes.append(process)

    def call(function, *arguments):
        for pipe in pipes:
            pipe.send((function, arguments))
        found = []
        for pipe in pipes:
            assert pipe.poll(60), "a process hangs"
            found.append(pipe.recv())
        return found

    try:
        yield call
    finally:
        for process in processes:
            process.kill()
            process.join()
