"""The training step as one function: minibatch, loss, gradients and Adam's update.

It is one for a single model, or for many of the same architecture in one batched step. Below it is
estimated how much memory a step takes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from pyro_vae.devices import device_bytes
from pyro_vae.models.vae import VAE
from pyro_vae.settings import TrainingSettings
from pyro_vae.training.adam import ADAM, Adam, adam_step, clipped
from pyro_vae.training.capture import Captured

COPIES = 8  # of the weights: with Adam's averages, gradients and their successors
BACKWARD = 2  # what the gradients take, beside what the step keeps for them


class Learned(NamedTuple):
    """The tensors that a step reads and changes, in the graph's order.

    In an ensemble their first dimension is the model. Scalars of a single model have one dimension,
    since torch 2.11 does not write to tensors without dimensions.
    """

    parameters: list[Tensor]
    averages: list[Tensor]  # Adam's averages of gradients
    squares: list[Tensor]
    buffers: list[Tensor]

    def of_one(self) -> "Learned":
        """Return the same tensors of a single model, in the form that a step takes."""
        *columns, buffers = self
        return Learned(*([torch.atleast_1d(t.detach()) for t in c] for c in columns), buffers)

    def write(self, new: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Write what `updated` returned into the tensors, in place."""
        for current, values in zip(zip(*self[:3]), new):
            for tensor, value in zip(current, values):
                tensor.copy_(value)

    def clone(self) -> "Learned":
        """Return a copy, on which a step can be tried."""
        return Learned(*([t.clone() for t in column] for column in self))


Step = Callable[[Learned, Tensor, Tensor, Tensor, list[Tensor]], Tensor]
Gradients = Callable[
    [Learned, Tensor, Tensor, Tensor, list[Tensor]], tuple[Sequence[Tensor], Tensor]
]


def loss_gradients(captured: Captured, dynamic: bool, labels: Tensor | None) -> Gradients:
    """Return a function from the arguments of a step to the loss's gradients and the terms (3,)."""
    shapes = captured.shapes(InputKind.PARAMETER)

    def gradients(learned, images, rows, scalars, noise):
        x = images.index_select(0, rows).contiguous()  # the images may have their channels last
        y = None if labels is None else labels.index_select(0, rows)
        if dynamic:
            x, noise = (noise[0] < x).to(x.dtype), noise[1:]

        def loss(parameters):
            shaped = [p.view(shape) for p, shape in zip(parameters, shapes)]
            terms = captured(shaped, learned.buffers, x, scalars[0], noise, y)
            return terms[0], terms

        values, (_, terms) = torch.func.grad_and_value(loss, has_aux=True)(learned.parameters)
        return values, terms

    return gradients


def training_step(
    captured: Captured,
    dynamic: bool,
    adam: Adam = ADAM,
    ensemble: bool = False,
    labels: Tensor | None = None,
) -> Step:
    """Return a function that updates what was learned in place and gives the terms (3,) before that.

    It takes `Learned`, all images (N, C, H, W), the minibatch's rows (B,), beta with the scalars
    of `adam_scalars` (3,), and the noise. In an ensemble, all of them but the images have the model
    as their first dimension, and so have the terms.

    Args:
        labels: those of all images (N,), of a conditional model.
    """
    gradients = loss_gradients(captured, dynamic, labels)

    def update(learned, images, rows, scalars, noise):
        values, terms = gradients(learned, images, rows, scalars, noise)
        return terms, updated(learned, values, scalars, adam)

    if ensemble:
        update = torch.func.vmap(update, in_dims=(0, None, 0, 0, 0))

    def step(learned, images, rows, scalars, noise):
        terms, new = update(learned, images, rows, scalars, noise)
        learned.write(new)
        return terms

    return step


def updated(
    learned: Learned, gradients: Sequence[Tensor], scalars: Tensor, adam: Adam
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return each parameter and its averages after Adam's step; scalars (3,) are those of a step."""
    _, *of_step = scalars.unbind()
    gradients = clipped(gradients, adam.clip_norm)
    return [adam_step(*each, *of_step, adam) for each in zip(*learned[:3], gradients)]


def fused_step(captured: Captured, dynamic: bool, adam: Adam, labels: Tensor | None = None) -> Step:
    """Return a step like `training_step` that needs no compiler: Adam is one fused kernel of torch.

    Its scalars (3,) are beta, the learning rate and the number of the step, counted from 1.
    """
    gradients = loss_gradients(captured, dynamic, labels)

    def step(learned, images, rows, scalars, noise):
        values, terms = gradients(learned, images, rows, scalars, noise)
        _, learning_rate, count = scalars.float().unbind()
        torch._fused_adam_(
            learned.parameters,
            [value.contiguous() for value in clipped(values, adam.clip_norm)],
            learned.averages,
            learned.squares,
            [],
            [count] * len(values),
            lr=learning_rate,
            beta1=adam.beta1,
            beta2=adam.beta2,
            weight_decay=0.0,
            eps=adam.epsilon,
            amsgrad=False,
            maximize=False,
        )
        return terms

    return step


# --- size -----------------------------------------------------------------------------------------


def numbers_scored(model: VAE, images: int) -> int:
    """Return an estimate of the numbers with which a likelihood scores so many images at once."""
    return images * math.prod(model.image_shape) * model.likelihood.numbers_per_pixel


def numbers_compiled(model: VAE, images: int) -> int:
    """Return the numbers that say how much time a step on so many images saves if it is compiled.

    A density saves about half as much as the probability of grey levels.
    """
    family = model.likelihood
    halves = 1 if family.scored_on(family.score) == "density" else 2
    return images * math.prod(model.image_shape) * family.compiled_per_pixel * halves // 2


def step_bytes(model: VAE, settings: TrainingSettings) -> int:
    """Return an estimate of the memory that a step takes, in bytes.

    It counts what the likelihood holds for each pixel of each draw of z, and what each layer of the
    networks gives, and the same again for the gradients; weights and the images are left out.
    """
    images = (settings.batch_size or 0) * settings.num_particles
    hidden = sum(m.out_features for m in model.modules() if isinstance(m, nn.Linear))
    itemsize = 8 if settings.precision == "float64" else 4
    return BACKWARD * itemsize * (numbers_scored(model, images) + images * hidden)


def models_that_fit(model: VAE, settings: TrainingSettings, device: torch.device) -> int:
    """Return how many such models a GPU with its free memory can train in one step.

    Each has its weights, Adam's averages, gradients, and what the step computes; a fifth is left.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(0.8 * free) // (COPIES * weights + step_bytes(model, settings)))


def check_step_fits(model: VAE, settings: TrainingSettings, device: torch.device) -> None:
    """Raise a ValueError, with both figures, unless a step fits into the device's memory."""
    needed, there = step_bytes(model, settings), device_bytes(device)
    if needed > there:
        raise ValueError(
            f"batch_size, num_particles: a step would take about {needed / 1e9:,.0f} GB with"
            f" {settings.batch_size} images and {settings.num_particles} draws of each, and"
            f" {device} has {there / 1e9:,.0f} GB; use fewer"
        )
