"""Random state that a block of code borrows: nothing here reseeds the caller's generators."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro
import torch

_turn = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one thread of the process compute inside a `with` block or a function; others wait.

    Random state, Pyro's handlers and parameters, and the number of torch's threads are those of the
    process. Tensors for which no device is named are on the CPU, whatever torch's default device is.
    """
    moved = torch.get_default_device().type != "cpu"
    with _turn, torch.device("cpu") if moved else nullcontext():
        yield


def _cuda_devices(device: torch.device | str) -> list[torch.device]:
    device = torch.device(device)
    return [device] if device.type == "cuda" else []


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Make the draws inside a `with` block depend on `seed` alone.

    The generators of the CPU and of `device` are restored afterwards.
    """
    devices = _cuda_devices(device)
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU
        for cuda in devices:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        yield


class PrivateState:
    """A run's own random state, validation flag and Pyro parameter store.

    `with state.swapped_in():` installs them in the process for the length of the block. Draws,
    validation and training outside such blocks change nothing inside them. Nothing that happens
    inside is seen outside.
    """

    def __init__(self, seed: int, device: torch.device | str, validate: bool):
        self._devices, self._validate = _cuda_devices(device), validate
        self._params: Any = None  # a Pyro parameter store's content
        with seeded(seed, device):
            self.random = self._get_random()

    @property
    def noise(self) -> torch.Tensor:
        """Return the state of the generator that draws the noise on the device."""
        return self.random[-1]

    @noise.setter
    def noise(self, state: torch.Tensor) -> None:
        self.random[-1] = state

    def _get_random(self) -> list[torch.Tensor]:
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self._devices)]

    def _set_random(self) -> None:
        torch.set_rng_state(self.random[0])
        for device, state in zip(self._devices, self.random[1:]):
            torch.cuda.set_rng_state(state, device)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Install this state inside a `with` block, and restore the caller's state afterwards."""
        with (
            torch.random.fork_rng(self._devices),
            pyro.validation_enabled(self._validate),
            pyro.get_param_store().scope(self._params) as self._params,
        ):
            self._set_random()
            try:
                yield
            finally:
                self.random = self._get_random()
