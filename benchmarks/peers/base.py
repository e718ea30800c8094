"""What a peer is given, and what it has to do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

LEARNING_RATE = 1e-3  # of Adam, for everybody


@dataclass(frozen=True)
class Task:
    """What everybody trains: a Bernoulli VAE with ReLU layers on these images.

    Args:
        images: (N, C, H, W) in [0, 1], on the CPU.
        levels: grey levels of the images.
        hidden: sizes of the encoder's hidden layers, which the decoder mirrors.
        device: `cpu` or `cuda`.
        betas: a model for each.
        data_dir: None where minibatches are rows of resident images; else the folder that holds
            MNIST's files, and each library loads the way in which its own documentation does.
        network: `mlp` or `conv`, as `pyro_vae` calls them.
    """

    images: Tensor
    levels: int
    hidden: tuple[int, ...]
    latent_dim: int
    batch_size: int
    device: str = "cpu"
    seed: int = 0
    betas: tuple[float, ...] = (1.0,)
    data_dir: str | None = None
    network: str = "mlp"

    @property
    def pixels(self) -> int:
        """C * H * W."""
        return self.images[0].numel()


class Peer(ABC):
    """A library at its task, set up once."""

    def __init__(self, task: Task):
        torch.manual_seed(task.seed)
        self.task = task
        self.steps = len(task.images) // task.batch_size  # of an epoch

    @abstractmethod
    def train(self) -> float:
        """Train for one epoch; its mean loss in nats per image, over the models if many."""

    def epoch(self) -> float:
        """`train`, and wait for the device."""
        loss = self.train()
        if self.task.device == "cuda":
            torch.cuda.synchronize()
        return loss


class Minibatches:
    """Rows of resident images in a fresh order each epoch, the remainder dropped.

    A DataLoader to those who take one: it yields tuples, and has a length and a `dataset`.
    """

    def __init__(self, task: Task):
        self.images = task.images.to(task.device)
        self.batch_size = task.batch_size
        self.dataset = range(len(self) * task.batch_size)  # its length is the images of an epoch

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        order = torch.randperm(len(self.images), device=self.images.device)
        for rows in order[: len(self.dataset)].view(len(self), self.batch_size):
            yield (self.images[rows],)


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes, a ReLU between each two."""
    layers = [f for n_in, n_out in pairwise(sizes) for f in (nn.Linear(n_in, n_out), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
