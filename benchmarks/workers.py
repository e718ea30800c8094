"""A process for each peer, at rest between its slices.

At rest it uses no processor time, and what a library changes globally stays with it. In one process
with PyTorch, NumPyro took 2% longer for the MNIST network (two cores, each process in turn).
"""

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

from cases import CASES
from peers import Unavailable, reason, set_up
from peers.base import Peer

PATIENCE = 5.0  # seconds that a worker is given to end by itself


class Slice(NamedTuple):
    """Some epochs: how long they took together, and the last one's mean loss in nats per image."""

    seconds: float
    loss: float


class Failure(NamedTuple):
    """Why a worker has come to its end, in one line."""

    reason: str


def run_slice(peer: Peer, epochs: int) -> Slice:
    """So many epochs on the clock; each leaves the device at rest."""
    start = time.perf_counter()
    for _ in range(epochs):
        loss = peer.epoch()
    return Slice(time.perf_counter() - start, loss)


def serve(pipe: Connection, case: str, peer: str, models: int, data_dir: str, device: str) -> None:
    """In the worker: set the peer up, send its steps per epoch, then a slice for every number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # jax else takes the GPU whole
    try:
        ready = set_up(peer, CASES[case].task(data_dir, device, models))
        pipe.send(ready.steps)
        while True:
            pipe.send(run_slice(ready, pipe.recv()))
    except EOFError:
        pass  # the parent has closed its end
    except Exception as error:
        pipe.send(Failure(reason(error)))


class Worker:
    """A peer in a process of its own; a context that ends it.

    Raises:
        Unavailable: in `receive` and `run`: the peer cannot be had, or failed.
    """

    def __init__(self, case: str, peer: str, models: int, data_dir: str, device: str):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, case, peer, models, data_dir, device)
        )
        self.process.start()
        theirs.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.pipe.close()  # upon which it ends, unless it is busy
        self.process.join(PATIENCE)
        self.process.terminate()
        self.process.join()

    def receive(self) -> Slice | int:
        """What the worker sends next."""
        try:
            answer = self.pipe.recv()
        except EOFError:
            self.process.join()
            answer = Failure(f"its process ended with exit code {self.process.exitcode}")
        if isinstance(answer, Failure):
            raise Unavailable(answer.reason)
        return answer

    def run(self, epochs: int) -> Slice:
        """So many epochs."""
        self.pipe.send(epochs)
        return self.receive()
