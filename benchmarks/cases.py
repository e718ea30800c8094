"""What is trained: data, network, minibatches, who takes part with how many models at once."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from peers import PEERS
from peers.base import Task
from torch import Tensor

import pyro_vae as pv

APART = ("fit_many", "handwritten_channels_last")  # with cases of their own
FITTED = dict.fromkeys([name for name in PEERS if name not in APART], (1,))  # a model at a time
SEVERAL = (1, 4, 16, 64)
OF_TORCH = ("handwritten_eager", "handwritten_compiled", "handwritten_channels_last")
CONVOLVED = dict.fromkeys([*OF_TORCH, "eager", "compiled"], (1,))
STEPS = 6  # in an epoch of random images


@dataclass(frozen=True)
class Case:
    """A line of description, the data, the network, and the peers with their numbers of models.

    Args:
        warm_up: epochs before the measured ones; the loss that is shown is the last one's.
        dataset: a name, or a shape (C, H, W) of random binary images.
        floor: whether to say what a step cannot do without.
        as_documented: each library loads images the way in which its own documentation does.
    """

    description: str
    dataset: str | tuple[int, int, int]
    binarize: str
    hidden: tuple[int, ...]
    latent_dim: int
    batch_size: int
    warm_up: int
    as_documented: bool = False
    floor: bool = False
    network: str = "mlp"
    peers: dict[str, tuple[int, ...]] = field(default_factory=lambda: FITTED)

    def problem(self, data_dir: str) -> str | None:
        """One line on data that are missing or damaged, else None; what is packed is unpacked."""
        if isinstance(self.dataset, tuple):
            return None
        raw = Path(data_dir) / "MNIST" / "raw"
        if self.dataset == "mnist" and not any(raw.glob("train-images-idx3-ubyte*")):
            return (
                f"MNIST: expected its published files in {raw} (--data-dir DIR: in DIR/MNIST/raw)"
            )
        try:
            pv.load_dataset(self.dataset, data_dir)
        except ValueError as error:
            return str(error)
        return None

    def task(self, data_dir: str, device: str = "cpu", models: int = 1) -> Task:
        """The task for a peer that trains so many models at once."""
        return Task(
            *self._images(data_dir),
            self.hidden,
            self.latent_dim,
            self.batch_size,
            device,
            betas=betas(models),
            data_dir=data_dir if self.as_documented else None,
            network=self.network,
        )

    def _images(self, data_dir: str) -> tuple[Tensor, int]:
        """Training images (N, C, H, W) and their grey levels."""
        if isinstance(self.dataset, tuple):
            count, generator = STEPS * self.batch_size, torch.Generator().manual_seed(0)
            return torch.rand(count, *self.dataset, generator=generator).round(), 2
        data = pv.load_dataset(self.dataset, data_dir, self.binarize)
        return data.train.images, data.levels


def betas(models: int) -> tuple[float, ...]:
    """From above 1/2 to under 2, evenly by their logarithms; 1 where there is one."""
    return tuple(2.0 ** ((2 * n + 1 - models) / models) for n in range(models))


CASES: dict[str, Case] = {
    "digits": Case(
        "scikit-learn's 8x8 digits, binary by threshold; 64-128-8-128-64, batch 64; resident",
        *("digits", "threshold", (128,), 8, 64),
        warm_up=20,
        floor=True,
    ),
    "mnist": Case(
        "MNIST, binary by threshold; 784-400-20-400-784, batch 128; resident",
        *("mnist", "threshold", (400,), 20, 128),
        warm_up=2,
        floor=True,
    ),
    "mnist_epoch": Case(
        "MNIST, the same network; each library loads images the way in which its own documentation"
        " does, and treats grey values as there",
        *("mnist", "none", (400,), 20, 128),
        warm_up=2,
        as_documented=True,
    ),
    "sweep": Case(
        "The digits again, many models at once, each with a beta and a seed of its own;"
        " ms per step are divided by the number of models, and the loss is their mean."
        " Where one model is trained, its time is the time per model",
        *("digits", "threshold", (128,), 8, 64),
        warm_up=20,
        peers={
            "stock_pyro": (1,),
            "handwritten_eager": (1,),
            "handwritten_compiled": (1,),
            "compiled": (1,),
            "numpyro": SEVERAL,
            "fit_many": SEVERAL,
        },
    ),
    "conv_28": Case(
        "Random binary images of 28x28; convolutions with 32 and 64 channels and back, batch 128",
        *((1, 28, 28), "none", (32, 64), 16, 128),
        warm_up=2,
        network="conv",
        peers=CONVOLVED,
    ),
    "conv_64": Case(
        "Random binary images of 64x64 and three colours; the same convolutions, batch 64",
        *((3, 64, 64), "none", (32, 64), 16, 64),
        warm_up=2,
        network="conv",
        peers=CONVOLVED,
    ),
}
