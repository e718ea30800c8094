"""Ranks: the processes that train one model together, and how they communicate."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=30)  # of ranks that wait for a download or a compiler
GRACE = 10.0  # seconds after a signal that a step on a GPU may still take


class RankLost(RuntimeError):
    """The error of a training that lost one of its processes and cannot continue."""


class Mark(NamedTuple):
    """A place in a device's work, and whether a rank wished to stop there (positive)."""

    wished: Tensor  # on the CPU, valid once the mark is reached
    event: torch.cuda.Event | None = None

    def reached(self) -> bool:
        """Return whether the work before the mark is done."""
        return self.event is None or self.event.query()


@dataclass(eq=False)
class Ranks:
    """The processes that train together, `count` of them.

    This process has the number `number` among all of them, and the number `local` on its node.
    """

    number: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def launched(cls) -> "Ranks":
        """Return the ranks that torchrun started, or another launcher that sets its variables."""
        values = {}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            text = os.environ.get(name, "")
            if text and not text.isdecimal():
                raise ValueError(
                    f"{name}: expected a whole number in the environment, got {text!r}"
                )
            values[name] = int(text) if text else None
        number, count, local = values.values()
        return cls() if number is None or count is None else cls(number, count, local or 0)

    @property
    def first(self) -> bool:
        """Return whether this is the rank that writes files and prints messages."""
        return self.number == 0

    @cached_property
    def store(self) -> dist.Store:
        """Return the launcher's store, through which the processes find one another."""
        return next(dist.rendezvous("env://", self.number, self.count))[0]

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Connect the ranks inside the block.

        Tensors on GPUs go over NCCL, and all other data over gloo. After an error the process must
        end, which tells the other ranks, and it must not wait for them.
        """
        if self.count > 1:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(
                backend,
                timeout=PATIENCE,
                rank=self.number,
                world_size=self.count,
                store=self.store,
            )
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
        """Return the values of all ranks, in the order of their numbers; all wait for all.

        Raises:
            RankLost: another rank was lost.
        """
        values = [value] * self.count
        if self.count > 1:
            with self._heard():
                dist.all_gather_object(values, value)
        return values

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first rank run the block alone, and all others after it."""
        if not self.first:
            self.gather()
        yield
        if self.first:
            self.gather()

    def agree(self, error: Exception | None) -> None:
        """Raise an error on every rank if one of them has an error.

        A rank raises its own error, or else a RuntimeError with the first failing rank's reason.
        """
        reasons = self.gather(error and (str(error) or repr(error)))
        if error:
            raise error
        for number, reason in enumerate(reasons):
            if reason:
                raise RuntimeError(f"rank {number}: {reason}")

    def agreed(self, wish: Callable[[], bool]) -> Callable[[], bool]:
        """Return a function that says whether `wish` was true on any rank at the last `wait`.

        A single process gets `wish` itself.
        """
        if self.count == 1:
            return wish
        self._wish, self._wished = wish, False
        return lambda: self._wished

    def average(self, flat: Tensor) -> None:
        """Replace numbers by their means over the ranks, in place.

        The last number is positive afterwards if the `wish` of any rank is true.

        Raises:
            RankLost: another rank was lost.
        """
        if self._wish():
            flat[-1] = 1
        with self._heard():
            dist.all_reduce(flat)
        flat.div_(self.count)

    def mark(self, wished: Tensor) -> "Mark":
        """Return a mark behind all work so far, with the last number of the last `average`."""
        if not wished.is_cuda:
            return Mark(wished)
        here = torch.empty((), dtype=wished.dtype, pin_memory=True)
        here.copy_(wished, non_blocking=True)
        return Mark(here, torch.cuda.current_stream().record_event())

    def wait(self, mark: "Mark") -> None:
        """Wait until the device has come to a mark, in a way that lets signals through.

        NCCL waits without end for a rank that was killed. The launcher then sends SIGTERM to all
        other ranks. A step that does not end soon after the signal means that a rank was lost. An
        event's own way of waiting would hold signals back, so the mark is asked again and again
        here; the device has more to do meanwhile.

        Raises:
            RankLost: another rank seems to be lost.
        """
        asked = None
        while not mark.reached():
            if self._wish():
                asked = asked or time.monotonic()
                with self._heard():
                    if time.monotonic() - asked > GRACE:
                        raise RuntimeError("the step does not end")
            time.sleep(1e-4)
        self._wished = bool(mark.wished > 0)

    def last_words(self, status: int, say: Callable[[], None]) -> int:
        """Let the rank that arrives first say why all of them end, and return their exit status.

        The launcher ends all ranks as soon as one has ended, so the others wait for the message.
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
