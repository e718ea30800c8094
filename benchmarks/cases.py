"""What is trained: data, network, minibatches, who takes part with how many models at once."""

from dataclasses import dataclass, field
from pathlib import Path

from peers import PEERS
from peers.base import Task

import pyro_vae as pv

FITTED = dict.fromkeys([name for name in PEERS if name != "fit_many"], (1,))  # a model at a time
SEVERAL = (1, 4, 16, 64)


@dataclass(frozen=True)
class Case:
    """A line of description, the data, the network, and the peers with their numbers of models.

    Args:
        warm_up: epochs before the measured ones; the loss that is shown is the last one's.
        floor: whether to say what a step cannot do without.
        as_documented: each library loads images the way in which its own documentation does.
    """

    description: str
    dataset: str
    binarize: str
    hidden: tuple[int, ...]
    latent_dim: int
    batch_size: int
    warm_up: int
    as_documented: bool = False
    floor: bool = False
    peers: dict[str, tuple[int, ...]] = field(default_factory=lambda: FITTED)

    def problem(self, data_dir: str) -> str | None:
        """One line on data that are missing or damaged, else None; what is packed is unpacked."""
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
        data = pv.load_dataset(self.dataset, data_dir, self.binarize)
        return Task(
            data.train.images,
            data.levels,
            self.hidden,
            self.latent_dim,
            self.batch_size,
            device,
            betas=betas(models),
            data_dir=data_dir if self.as_documented else None,
        )


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
}
