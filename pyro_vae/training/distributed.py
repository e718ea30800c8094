"""The engines of several ranks: each computes its share of a minibatch, and one sum joins them.

A step equals that of a single process to rounding. Every rank draws the noise of the whole
minibatch and uses the share that belongs to its images, so all ranks have the same random state.
This relies on equal GPUs, which draw equal numbers from a seed. Gradients, terms and the request
to stop go through one sum, so all ranks have the same weights.
"""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from pyro_vae.devices import sent
from pyro_vae.randomness import seeded
from pyro_vae.training.adam import ADAM, Adam
from pyro_vae.training.capture import Captured, Draw
from pyro_vae.training.engines import Compiled
from pyro_vae.training.epochs import Minibatches
from pyro_vae.training.objectives import Loss
from pyro_vae.training.processes import Ranks
from pyro_vae.training.replay import Noise, Steps
from pyro_vae.training.step import Learned, Step, loss_gradients, of_its_own, updated

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of sums in another order, per nat or pixel
STEPS_PER_BLOCK = {"cpu": 1, "cuda": 4}  # steps between two checks for a request to stop


def flat_gradients(captured: Captured, dynamic: bool) -> Step:
    """Return a function that gives a step's gradients, terms and a zero in one dimension.

    It takes the arguments of a step. The zero is the place for the request to stop.
    """
    gradients = loss_gradients(captured, dynamic)

    def flat(learned, images, rows, scalars, noise):
        values, terms = gradients(learned, images, rows, scalars, noise)
        return torch.cat([*(g.flatten() for g in values), terms, terms.new_zeros(1)])

    return of_its_own(flat)


def flat_update(adam: Adam) -> Step:
    """Return a function that takes Adam's step in place, given what `flat_gradients` gives."""

    def update(learned, flat, scalars):
        pieces = flat[:-4].split([p.numel() for p in learned.parameters])
        gradients = [g.view(p.shape) for g, p in zip(pieces, learned.parameters)]
        learned.write(updated(learned, gradients, scalars, adam))

    return of_its_own(update)


class RankSteps(Steps):
    """Steps that are taken together with the other ranks.

    Args:
        gradients, update: the two halves of a step, between which the ranks average their results.
    """

    def __init__(
        self,
        ranks: Ranks,
        gradients: Step,
        update: Step,
        learned: Learned,
        images: Tensor,
        noise: Noise,
        rows: Tensor,
        scalars: Tensor,
    ):
        self.ranks, self.gradients, self.update = ranks, gradients, update
        super().__init__(self._step, learned, images, noise, rows, scalars)

    def _step(self, learned: Learned, images: Tensor, rows: Tensor, scalars: Tensor, noise):
        flat = self.gradients(learned, images, rows, scalars, noise)
        self.ranks.average(flat)
        self.update(learned, flat, scalars)
        self.wished = flat[-1]
        return flat[-4:-1].clone()

    def _warm_up(self, rows, scalars):
        """Try a step on this rank alone, since another rank may have failed to compile."""
        copy = self.learned.clone()
        flat = self.gradients(copy, self.images, rows, scalars, self.noise.tensors)
        self.update(copy, flat, scalars)

    def __call__(self, rows, scalars):
        """Take steps in blocks; on CUDA the next block is under way before the last one is done."""
        steps, device = super().__call__(rows, scalars), self.images.device
        under_way = []
        while block := list(islice(steps, STEPS_PER_BLOCK[device.type])):
            under_way.append(self.ranks.mark(self.wished))
            if device.type == "cpu" or len(under_way) > 1:
                self.ranks.wait(under_way.pop(0))
            yield torch.cat(block)
        for mark in under_way:
            self.ranks.wait(mark)


class Distributed(Compiled):
    """The engines `eager` and `compiled` on several ranks.

    Both capture the programs as a graph. Only `compiled` compiles it.
    """

    def __init__(self, loss: Loss, ranks: Ranks, name: str, adam: Adam = ADAM):
        if name == "svi":
            raise ValueError(
                f"engine: svi does not divide a minibatch among {ranks.count} ranks; use auto,"
                " eager or compiled, or a single process"
            )
        super().__init__(loss, adam)
        self.name, self.ranks = name, ranks

    @property
    def plainer(self):
        return "eager" if self.name == "compiled" else None

    def prepare(self, minibatches):
        error = None
        try:
            self.take_steps = self.take_steps or self._make_steps(minibatches)
        except Exception as mine:
            error = mine
        self.ranks.agree(error)

    def steps(self, minibatches):
        yield from super().steps(self._share(minibatches))

    def _share(self, minibatches: Minibatches) -> Minibatches:
        rows = minibatches.rows.chunk(self.ranks.count, 1)[self.ranks.number]
        return minibatches._replace(rows=rows)

    def _make_steps(self, minibatches: Minibatches) -> RankSteps:
        self.loss.check(minibatches.first())
        share, device = self._share(minibatches), minibatches.images.device
        whole, draws = self.capture(minibatches)
        part, part_draws = self.capture(share)
        noise = Noise(draws, device)
        shares = _shares(noise.tensors, part_draws, self.ranks.count)
        self._check_mean(minibatches, noise, whole, part, shares)
        noise.tensors = shares[self.ranks.number]
        halves = flat_gradients(part, minibatches.dynamic), flat_update(self.adam)
        if self.name == "compiled":
            halves = [self.compile(half, device) for half in halves]
        scalars = self.scalars(share)[0].to(share.images.dtype)
        example = share.rows[0], sent(scalars, share.images.device)
        learned = self.learned(part).of_one()
        return RankSteps(self.ranks, *halves, learned, share.images, noise, *example)

    @torch.no_grad()
    def _check_mean(
        self,
        minibatches: Minibatches,
        noise: Noise,
        whole: Captured,
        part: Captured,
        shares: list[list[Tensor]],
    ) -> None:
        """Check that the loss of a minibatch is the mean of the losses of its shares.

        Shares that differ show an error best, so all images outside the first share are black.
        """
        x = minibatches.first()
        x[len(x) // len(shares) :] = 0
        with seeded(0, x.device):
            noise.draw()

        def loss(graph: Captured, x: Tensor, noise: Sequence[Tensor]) -> float:
            learned, one = self.learned(graph), x.new_ones(())
            drawn = noise[1:] if minibatches.dynamic else noise
            return graph(learned.parameters, learned.buffers, x, one, drawn)[0].item()

        mean = sum(map(loss, [part] * len(shares), x.chunk(len(shares)), shares)) / len(shares)
        once = loss(whole, x, noise.tensors)
        if abs(once - mean) > TOLERANCE[x.dtype] * max(x[0].numel(), abs(once)):
            raise ValueError(
                f"the loss of a minibatch, {once:.6g}, is not the mean over its shares, {mean:.6g}:"
                f" {len(shares)} ranks would train another model; train in a single process"
            )


def _shares(noise: list[Tensor], parts: list[Draw], count: int) -> list[list[Tensor]]:
    """Return the noise of each rank; noise that is not per image goes to every rank."""
    divided = []
    for tensor, part in zip(noise, parts, strict=True):
        dims = [d for d, (a, b) in enumerate(zip(tensor.shape, part.shape)) if a != b]
        shares = tensor.chunk(count, dims[0]) if dims else [tensor] * count
        if any(share.shape != part.shape for share in shares):
            raise ValueError(
                f"model: noise {tuple(tensor.shape)} for a minibatch is {tuple(part.shape)} for a"
                " share of it: expected one dimension of images"
            )
        divided.append(shares)
    return [list(each) for each in zip(*divided)] or [[]] * count
