"""Commands as processes of their own, forked from a server that has torch loaded."""

import multiprocessing
import os
import sys

import torch

from pyro_vae.cli.main import main
from tests.support.seams import do_without_pictures

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["pyro_vae.cli.training", "pyro_vae.runs.evaluate", "sklearn.datasets", "torch._dynamo"]
)


def start_command(folder, arguments):
    """The command as a process of its own, which draws nothing; it is forked, to be there in no time."""
    process = PROCESSES.Process(target=_command, args=(folder, arguments))
    process.start()
    return process


def _command(folder, arguments):
    os.chdir(folder)
    torch.set_num_threads(1)
    do_without_pictures()
    write_to(os.devnull, 1)
    sys.exit(main(arguments))


def write_to(path, descriptor):
    """Have what this process writes to a descriptor appended to a file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
