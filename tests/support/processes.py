"""Processes that are forked from a server that has torch loaded, to be there in no time."""

import multiprocessing
import os

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["pyro_vae.cli.training", "pyro_vae.runs.evaluate", "sklearn.datasets", "torch._dynamo"]
)


def write_to(path, descriptor):
    """Have what this process writes to a descriptor appended to a file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
