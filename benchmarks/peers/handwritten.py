"""Plain PyTorch, as one would write it without any library: resident data and fused Adam."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from peers.base import LEARNING_RATE, Minibatches, Peer, Task, mlp

MODES = {"cpu": "default", "cuda": "reduce-overhead"}  # the latter replays CUDA graphs


def perceptrons(task: Task) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder with linear layers."""
    encoder = mlp(task.pixels, *task.hidden, 2 * task.latent_dim)
    decoder = mlp(task.latent_dim, *reversed(task.hidden), task.pixels)
    shape = tuple(task.images.shape[1:])
    return nn.Sequential(nn.Flatten(), encoder), nn.Sequential(decoder, nn.Unflatten(1, shape))


def convolutions(task: Task) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder with two convolutions each, for sides that are multiples of 4."""
    channels, height, width = task.images.shape[1:]
    few, many = task.hidden
    small = many, height // 4, width // 4
    encoder = nn.Sequential(
        *(nn.Conv2d(channels, few, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(few, many, 4, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(prod(small), 2 * task.latent_dim)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(task.latent_dim, prod(small)), nn.Unflatten(1, small), nn.ReLU()),
        *(nn.ConvTranspose2d(many, few, 4, 2, 1), nn.ReLU()),
        nn.ConvTranspose2d(few, channels, 4, 2, 1),
    )
    return encoder, decoder


NETWORKS = {"mlp": perceptrons, "conv": convolutions}


class NegativeElbo(nn.Module):
    """Distortion + rate of images (B, C, H, W) in nats per image.

    Both terms of the rate are those of the drawn z, as in `Trace_ELBO`, which most others train
    with; `closed_form` takes its expectation, which learns a little faster.
    """

    def __init__(self, task: Task, closed_form: bool = False):
        super().__init__()
        self.encoder, self.decoder = NETWORKS[task.network](task)
        self.closed_form = closed_form

    def forward(self, x: Tensor) -> Tensor:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        scale, noise = log_scale.exp(), torch.randn_like(log_scale)
        z = loc + scale * noise
        distortion = binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        squares = loc**2 + scale**2 - 1 if self.closed_form else z**2 - noise**2
        rate = (0.5 * squares - log_scale).sum()
        return (distortion + rate) / len(x)


class Handwritten(Peer):
    """The loop over a loss: a module, or what `torch.compile` made of one."""

    def __init__(self, task: Task, prepare: Callable = lambda loss: loss, closed_form=False):
        super().__init__(task)
        loss = NegativeElbo(task, closed_form).to(task.device)
        self.adam = torch.optim.Adam(loss.parameters(), lr=LEARNING_RATE, fused=True)
        self.loss = prepare(loss)
        self.minibatches = Minibatches(task)

    def train(self):
        total = 0.0
        for (x,) in self.minibatches:
            self.adam.zero_grad()
            loss = self.loss(x)
            loss.backward()
            self.adam.step()
            total = total + loss.detach()
        return float(total) / self.steps


def channels_last(task: Task) -> Handwritten:
    """Weights and images in memory by pixel and then by channel."""
    images = task.images.contiguous(memory_format=torch.channels_last)
    task = replace(task, images=images)
    return Handwritten(task, lambda loss: loss.to(memory_format=torch.channels_last))


def compiled(task: Task) -> Handwritten:
    """`torch.compile` of the loss, and so of its gradients; Adam is one fused call as it is."""
    options = {"fullgraph": True, "dynamic": False, "mode": MODES[task.device]}
    return Handwritten(task, partial(torch.compile, **options))
