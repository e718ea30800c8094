"""The connection to a Ray cluster, and the end of a cluster that was started here."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from pyro_vae.runs.interrupts import SIGNALS

TOKEN = "where it asks for a token, as Ray 2.60 does, set RAY_AUTH_MODE=token"
TOKENS_SINCE = (2, 59)  # the first Ray whose local clusters ask for a token
HEAD = ("gcs_server", "raylet")  # without which a cluster does nothing
ENDING = 5.0  # seconds, for the processes of a cluster to end
STORE = 80 * 2**20  # bytes, about the least that Ray accepts; nothing large goes through its store


class StartedCluster:
    """The processes of the cluster that this process has just started."""

    def __init__(self):
        import psutil  # which comes with Ray

        self.psutil = psutil
        self.head = [p for p in psutil.Process().children() if p.name() in HEAD]
        self.all = set(self.head)

    @property
    def alive(self) -> bool:
        """Return whether the head of the cluster is alive."""
        with suppress(self.psutil.Error):
            return all(p.status() != self.psutil.STATUS_ZOMBIE for p in self.head)
        return False

    def look(self) -> None:
        """Take note of the processes that the cluster has started since.

        Raises:
            OSError: its head has ended.
        """
        for process in self.head:
            with suppress(self.psutil.Error):
                self.all |= {process, *process.children(recursive=True)}
        if not self.alive:
            raise OSError("ray: the cluster's head has ended; the same command resumes the sweep")

    def end(self) -> None:
        """End what is left of the cluster; its workers save what they have."""
        for process in self.all:
            with suppress(self.psutil.Error):
                process.terminate()
        for process in self.psutil.wait_procs(self.all, timeout=ENDING)[1]:
            with suppress(self.psutil.Error):
                process.kill()


def _check_version(ray: ModuleType) -> None:
    """Check that a cluster that Ray starts here asks for a token, since it listens to all machines.

    Raises:
        ValueError: it does not.
    """
    if tuple(map(int, ray.__version__.split(".")[:2])) < TOKENS_SINCE:
        raise ValueError(
            f"ray: a local cluster of Ray {ray.__version__} obeys everybody in the network; install"
            " ray>=2.59, whose clusters ask for a token"
        )


@contextmanager
def connection(ray: ModuleType, address: str) -> Iterator[StartedCluster | None]:
    """Provide a connection to a cluster inside the block, or a cluster on this machine.

    Args:
        ray: the package.
        address: as `ray.init` takes it.

    Raises:
        ValueError: there is no cluster at the address, or this Ray should start none.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with TemporaryDirectory(prefix="pyro-vae-", dir="/tmp") as folder:  # short: it holds sockets
        if address == "local":
            _check_version(ray)
            quiet |= {"include_dashboard": False, "object_store_memory": STORE}
            quiet["_temp_dir"] = f"{folder}/ray"  # which Ray opens to all, in a folder that is ours
            if hasattr(os, "sched_getaffinity"):  # a Slurm job's, not all of the node's
                quiet["num_cpus"] = len(os.sched_getaffinity(0))
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        started = None
        try:
            try:
                ray.init(address, **quiet)
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise ValueError(f"ray: no cluster at {address}: {reason}; {TOKEN}") from error
            for number, handler in handlers.items():
                if signal.getsignal(number) is not handler:  # Ray sets its own for SIGTERM
                    signal.signal(number, handler)
            started = StartedCluster() if address == "local" else None
            yield started
        finally:
            if started and not started.alive:
                started.end()  # Ray would wait for the head
            ray.shutdown()
            if started:
                started.end()
