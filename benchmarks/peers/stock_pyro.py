"""Pyro's own SVI: `Trace_ELBO`, `pyro.optim.Adam`, modules as in Pyro's VAE tutorial.

As there, two heads for location and scale, a sigmoid and probabilities, and no validation of
distributions. The loss is a sum over the minibatch, which Adam does not notice but for its epsilon.

With `data_dir`: torchvision's MNIST with `ToTensor` through a shuffled DataLoader with one worker,
its grey values scored as they are, the remainder trained on. Source: "Variational Autoencoders",
https://pyro.ai/examples/vae.html.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from peers.base import LEARNING_RATE, Minibatches, Peer, Task, mlp


class Programs(nn.Module):
    """Model and guide for images (B, C, H, W)."""

    def __init__(self, task: Task):
        super().__init__()
        self.latent_dim = task.latent_dim
        last = task.hidden[-1]
        self.encoder = nn.ModuleDict(
            {
                "body": nn.Sequential(mlp(task.pixels, *task.hidden), nn.ReLU()),
                "loc": nn.Linear(last, task.latent_dim),
                "log_scale": nn.Linear(last, task.latent_dim),
            }
        )
        layers = mlp(task.latent_dim, *reversed(task.hidden), task.pixels)
        self.decoder = nn.Sequential(layers, nn.Sigmoid())

    def model(self, x: Tensor) -> None:
        """z ~ p(z), x ~ p(x | z)."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            zeros = x.new_zeros(len(x), self.latent_dim)
            z = pyro.sample("z", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
            pyro.sample("x", dist.Bernoulli(self.decoder(z)).to_event(1), obs=x.flatten(1))

    def guide(self, x: Tensor) -> None:
        """z ~ q(z | x)."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            hidden = self.encoder["body"](x.flatten(1))
            loc, scale = self.encoder["loc"](hidden), self.encoder["log_scale"](hidden).exp()
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class StockPyro(Peer):
    """`svi.step` for every minibatch."""

    def __init__(self, task: Task):
        super().__init__(task)
        pyro.clear_param_store()
        programs = Programs(task).to(task.device)
        adam = pyro.optim.Adam({"lr": LEARNING_RATE})
        self.svi = pyro.infer.SVI(programs.model, programs.guide, adam, pyro.infer.Trace_ELBO())
        self.minibatches = Minibatches(task) if task.data_dir is None else mnist_loader(task)
        self.steps = len(self.minibatches)

    def train(self):
        with dist.validation_enabled(False):
            total = sum(self.svi.step(x.to(self.task.device)) for x, *_ in self.minibatches)
        return total / len(self.minibatches.dataset)


def mnist_loader(task: Task) -> torch.utils.data.DataLoader:
    """The tutorial's loader of training images."""
    from torchvision import datasets, transforms

    images = datasets.MNIST(task.data_dir, train=True, transform=transforms.ToTensor())
    return torch.utils.data.DataLoader(
        images,
        batch_size=task.batch_size,
        shuffle=True,
        num_workers=1,
        pin_memory=task.device == "cuda",
    )
