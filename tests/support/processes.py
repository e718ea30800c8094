"""Commands and ranks as processes of their own, forked from a server that has torch loaded."""

import multiprocessing
import os
import sys

import torch

from pyro_vae.cli.main import main

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["pyro_vae.cli.training", "pyro_vae.runs.evaluate", "sklearn.datasets", "torch._dynamo"]
)
_stores = []  # the launcher's, which outlive the ranks


def start_command(folder, arguments):
    """The command as a process of its own; one that is forked, to be there in no time."""
    process = PROCESSES.Process(target=_command, args=(folder, arguments))
    process.start()
    return process


def _command(folder, arguments):
    os.chdir(folder)
    torch.set_num_threads(1)
    write_to(os.devnull, 1)
    sys.exit(main(arguments))


def start_ranks(function, *arguments, count=2):
    """The function in so many ranks, as torchrun starts them, and in no time since they are forked.

    What they print and complain of goes into the files `printed` and `complaints`.
    """
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    _stores.append(store)
    each = [(os.getcwd(), n, count, store.port, function, arguments) for n in range(count)]
    processes = [PROCESSES.Process(target=_as_rank, args=args) for args in each]
    for process in processes:
        process.start()
    return processes


def _as_rank(folder, number, count, port, function, arguments):
    os.chdir(folder)
    os.environ |= {"RANK": f"{number}", "WORLD_SIZE": f"{count}", "LOCAL_RANK": f"{number}"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": f"{port}"}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    write_to("complaints", 2)
    write_to("printed", 1)
    sys.exit(function(*arguments))


def write_to(path, descriptor):
    """Have what this process writes to a descriptor appended to a file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)


def statuses(processes):
    """The exit statuses of the processes, when all of them have ended."""
    for process in processes:
        process.join(100)
    return [process.exitcode for process in processes]
