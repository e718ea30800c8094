"""Several processes that train one model: which of them this is, and what they tell one another."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=30)  # of ranks that wait: for a download, for a compiler
GRACE = 10.0  # seconds after a signal that a step on a GPU may still take


class RankLost(RuntimeError):
    """A process of the training is gone, and the others cannot go on."""


@dataclass(eq=False)
class Ranks:
    """The processes that train together, of which this is `number`, and `local` on its node."""

    number: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def launched(cls) -> "Ranks":
        """As torchrun, or another launcher that sets its variables, started this process."""
        number, count, local = (os.environ.get(n) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        return cls(int(number), int(count), int(local or 0)) if number and count else cls()

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.number == 0

    @cached_property
    def store(self) -> dist.Store:
        """What the launcher gives the processes to find one another by."""
        return next(dist.rendezvous("env://", self.number, self.count))[0]

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Inside, the ranks can tell one another; tensors go over NCCL on GPUs, all else over gloo.

        After an error the process is to end, which tells the others: nobody may be waited for.
        """
        if self.count > 1:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            names = {"rank": self.number, "world_size": self.count, "store": self.store}
            dist.init_process_group(backend, timeout=PATIENCE, **names)
        yield
        if self.count > 1:
            dist.destroy_process_group()

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch has no class for a connection that was closed
            raise RankLost(
                f"one of {self.count} processes was lost: it was killed, or its node is gone"
            ) from error

    def gather(self, value=None) -> list:
        """What each rank gives here, in their order; all wait for all.

        Raises:
            RankLost: one does not come.
        """
        values = [value] * self.count
        if self.count > 1:
            with self._heard():
                dist.all_gather_object(values, value)
        return values

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first rank goes through alone, then all others do."""
        if not self.first:
            self.gather()
        yield
        if self.first:
            self.gather()

    def agree(self, error: Exception | None) -> None:
        """Raise on every rank where one has an error: its own, or else the first one's reason."""
        reasons = self.gather(error and (str(error) or repr(error)))
        if error:
            raise error
        for number, reason in enumerate(reasons):
            if reason:
                raise RuntimeError(f"rank {number}: {reason}")

    def agreed(self, wish: Callable[[], bool]) -> Callable[[], bool]:
        """Whether any rank wished so when `average` was last called; alone, the wish itself."""
        if self.count == 1:
            return wish
        self._wish, self._wished = wish, None
        return lambda: bool(self._wished)

    def average(self, flat: Tensor) -> None:
        """The mean over the ranks, in place, of all but the last number, which carries the wish.

        Raises:
            RankLost: one does not come.
        """
        if self._wish():
            flat[-1] = 1
        with self._heard():
            dist.all_reduce(flat)
        flat.div_(self.count)
        self._wished = flat[-1]

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until the device has done its work, in a way that lets signals be heard.

        NCCL waits on for a rank that was killed. The launcher then sends SIGTERM to all others,
        so a step that does not end after one tells that a rank is lost.

        Raises:
            RankLost: so it seems.
        """
        asked = None
        while not done():
            if self._wish():
                asked = asked or time.monotonic()
                with self._heard():
                    if time.monotonic() - asked > GRACE:
                        raise RuntimeError("the step does not end")
            time.sleep(1e-4)

    def last_words(self, status: int, say: Callable[[], None]) -> int:
        """Have one rank, the first to come here, say why all of them end; the exit status of all.

        The launcher ends all ranks as soon as one has gone, so the others wait for the words.
        """
        if self.count == 1:
            say()
            return status
        words = True
        with suppress(RuntimeError):  # the store may have gone with the process that held it
            words = self.store.add("ended", 1) == 1
        if words:
            say()
        with suppress(RuntimeError):
            if words:
                self.store.set("status", str(status))
            status = int(self.store.get("status"))
        return status


ALONE = Ranks()
