"""Many models of the same architecture, trained in one batched step on stacked tensors."""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.data import Split
from pyro_vae.data.mapped import MappedImages
from pyro_vae.devices import computing_on, sent, synchronize
from pyro_vae.randomness import one_at_a_time
from pyro_vae.training.capture import Captured, Draw
from pyro_vae.training.engines import Compiled
from pyro_vae.training.epochs import Lazy, Minibatches, Record
from pyro_vae.training.loop import Stopped, Training
from pyro_vae.training.replay import STEPS, Noise
from pyro_vae.training.step import Learned, Step, models_that_fit, training_step

MOST_IN_A_STACK = {"cpu": 16, "cuda": 1024}  # a CPU's caches hold about 16 small models
MOST_CONVOLUTIONS = {"cpu": 1, "cuda": 64}  # in a stack, of models with convolutions
Outcome = Record | FloatingPointError


class Program(NamedTuple):
    """A compiled step of many models, with the graph and the noise that it was made of."""

    step: Step
    captured: Captured
    draws: list[Draw]


Programs = dict[tuple[int, int, int], Program]  # by places, and images of a step and in all


class Ensemble(Lazy[dict[int, Outcome]]):
    """An iterator that trains many members for an epoch and gives their records by their numbers.

    A member is an ordinary `Training` with its own order, noise and schedules. It can be saved and
    restored between two epochs, and wherever training stopped. Its weights and Adam's averages are
    slices of a stack. A member that diverges gives its error once, in place of a record. A member
    that is behind after it was restored catches up while the others wait.

    Args:
        members: trainings with the engine `compiled`, not yet started.
        stack: places in a stack, some of which may stay idle, or fewer where the memory of a GPU
            holds fewer (default: equal stacks, as few as hold all members).
        programs: those of earlier ensembles of the same architecture and data, by the places in a
            stack and the numbers of images. That of this ensemble is added.

    Raises:
        ValueError: models of different architectures, or no models.
    """

    def __init__(
        self,
        members: Sequence[Training],
        stack: int | None = None,
        programs: Programs | None = None,
    ):
        _check_alike(members)
        self.stack, self.programs = stack, {} if programs is None else programs
        self.members, self.failed = list(members), set[int]()
        self.images, self.labels, self.offsets = _joined([m.splits.train for m in members])
        self.stacks: list[Stack] = []

    @property
    def finished(self) -> bool:
        """Return whether every member is finished or has failed."""
        return not self._going()

    def _going(self) -> list[int]:
        return [i for i, m in enumerate(self.members) if not m.finished and i not in self.failed]

    def _lap(self) -> list[int]:
        """Return the members that take the next epoch: all that have taken the fewest steps."""
        going = self._going()
        behind = min((self.members[i].step for i in going), default=0)
        return [i for i in going if self.members[i].step == behind]

    @one_at_a_time()
    def prepare(self) -> None:
        """Compile the step, as the first epoch would."""
        self.unused = False
        lap = self._lap()
        if lap and not self.stacks:
            with self._clock(lap):
                self._compile(self.members[lap[0]].draw_epoch())

    @one_at_a_time()
    def __next__(self) -> dict[int, Outcome]:
        self.unused = False
        lap = self._lap()
        if not lap:
            raise StopIteration
        self.prepare()
        minibatches = {i: self.members[i].draw_epoch() for i in lap}
        outcomes: dict[int, Outcome] = {}
        try:
            for stack in self.stacks:
                together = {i: minibatches[i] for i in stack.indices if i in minibatches}
                if together:
                    with self._clock(list(together)):
                        stack.take_steps(together)
                        finite = stack.finite()
                    with computing_on(self.images.device):
                        outcomes |= {i: self._finish(i, finite[i]) for i in together}
        except Stopped:
            if not outcomes:
                raise
        return outcomes

    def _compile(self, minibatches: Minibatches) -> None:
        size = self._stack_size(self.images.device)
        with self.members[0].private.swapped_in():
            kind = size, minibatches.rows.shape[1], len(self.images)
            if kind not in self.programs:
                self.programs[kind] = self._program(minibatches)
            for start in range(0, len(self.members), size):
                indices = range(start, min(start + size, len(self.members)))
                self.stacks.append(Stack(self, indices, size, self.programs[kind], minibatches))

    def _program(self, minibatches: Minibatches) -> Program:
        first = self.members[0].engine
        first.loss.check(*minibatches.first())
        captured, draws = first.capture(minibatches)
        step = training_step(captured, minibatches.dynamic, first.adam, True, self.labels)
        return Program(first.compile(step, self.images.device), captured, draws)

    def _stack_size(self, device: torch.device) -> int:
        first, fit = self.members[0], None
        if device.type == "cuda":
            fit = models_that_fit(first.model, first.settings, device)
        return stack_size(self.stack or len(self.members), first.model, device.type, fit)

    def _finish(self, i: int, finite: bool) -> Outcome:
        member = self.members[i]
        try:
            with member.private.swapped_in():
                calibrated = member.calibrate()
            return member.finish_epoch(finite and not calibrated)  # what was set is not known yet
        except FloatingPointError as error:
            self.failed.add(i)
            return error

    @contextmanager
    def _clock(self, lap: list[int]) -> Iterator[None]:
        """Compute on the images' device inside the block.

        Its time counts as training, in equal shares for the members of the lap.
        """
        start = time.perf_counter()
        try:
            with computing_on(self.images.device):
                yield
                synchronize(self.images.device)
        finally:
            share = (time.perf_counter() - start) / len(lap)
            for i in lap:
                self.members[i].seconds += share


class Stack:
    """Members of an ensemble whose steps are taken together.

    Args:
        indices: the numbers of its members in the ensemble.
        size: the places in every stack of the ensemble; places beyond the members are idle.
        minibatches: an example.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        indices: range,
        size: int,
        program: Program,
        minibatches: Minibatches,
    ):
        self.indices, self.members = indices, [ensemble.members[i] for i in indices]
        self.offsets, self.images = [ensemble.offsets[i] for i in indices], ensemble.images
        self.idle, device = size - len(indices), self.images.device
        self.learned = _stacked([m.engine for m in self.members], program.captured, size)
        self.generators = [torch.Generator(device) for _ in range(size)]
        example = self.members[0].engine.scalars(minibatches).to(self.images)
        self.step_all = STEPS[device.type](
            program.step,
            self.learned,
            self.images,
            Noise(program.draws, device, self.generators),
            torch.stack([minibatches.rows[0]] * size),
            torch.stack([example[0]] * size),
        )

    def take_steps(self, lap: dict[int, Minibatches]) -> None:
        """Take an epoch's steps of the members in the lap, while the others wait.

        Raises:
            Stopped: training was asked to stop, and did so between two steps.
        """
        here = {self.indices.index(i): minibatches for i, minibatches in lap.items()}
        rows, scalars = self._schedules(here)
        left, taken, should_stop = len(rows), [], self.members[next(iter(here))].should_stop
        with self._others_wait(here), self._private_noise(here):
            try:
                with closing(self.step_all(rows, scalars)) as steps:
                    while left:
                        if should_stop():
                            raise Stopped
                        taken.append(next(steps))
                        left -= len(taken[-1])
            finally:
                for i, terms in enumerate(torch.cat(taken).cpu().unbind(1)) if taken else ():
                    if i in here:
                        self.members[i].advance(terms)

    def finite(self) -> dict[int, bool]:
        """Return by a member's number whether all that it has learned is finite; this waits once."""
        columns = [tensor for column in self.learned for tensor in column]
        largest = [tensor.reshape(len(tensor), -1).abs().amax(1) for tensor in columns]
        return dict(zip(self.indices, torch.stack(largest).isfinite().all(0).tolist()))

    def _schedules(self, here: dict[int, Minibatches]) -> tuple[Tensor, Tensor]:
        """Return rows (steps, size, B) and scalars (steps, size, 3).

        Members that wait and idle places get those of another member.
        """
        rows = {i: m.rows + self.offsets[i] for i, m in here.items()}
        scalars = {i: self.members[i].engine.scalars(m) for i, m in here.items()}
        anyone, places = next(iter(here)), range(len(self.members) + self.idle)
        filled = ([each.get(i, each[anyone]) for i in places] for each in (rows, scalars))
        rows, scalars = (torch.stack(each, 1) for each in filled)
        return rows, sent(scalars.to(self.images.dtype), self.images.device)

    @contextmanager
    def _private_noise(self, here: dict[int, Minibatches]) -> Iterator[None]:
        """Continue the members' random states in the noise generators, inside the block."""
        for i in here:
            self.generators[i].set_state(self.members[i].private.noise)
        try:
            yield
        finally:
            for i in here:
                self.members[i].private.noise = self.generators[i].get_state()

    @contextmanager
    def _others_wait(self, here: dict[int, Minibatches]) -> Iterator[None]:
        """Restore the members that are not in this lap at the end of the block."""
        others = [i for i in range(len(self.members)) if i not in here]
        slices = [tensor[i] for column in self.learned for tensor in column for i in others]
        kept = [tensor.clone() for tensor in slices]
        try:
            yield
        finally:
            for tensor, before in zip(slices, kept):
                tensor.copy_(before)


def stack_size(count: int, model: nn.Module, device: str, fit: int | None = None) -> int:
    """Return the number of places in each stack for `count` models of the same architecture.

    The models go into as few stacks of equal size as hold them all. On a CPU, a convolutional model
    has a stack to itself, since stacked convolutions are slower than one after the other.

    Args:
        fit: how many the device's memory holds, if that is known.
    """
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    most = (MOST_CONVOLUTIONS if convolves else MOST_IN_A_STACK)[device]
    most = most if fit is None else min(most, fit)
    return math.ceil(count / math.ceil(count / most))


def _check_alike(members: Sequence[Training]) -> None:
    if not members:
        raise ValueError("models: expected one at least")
    if any(isinstance(member.images, MappedImages) for member in members):
        raise ValueError("images: expected them in memory, where several models share them")
    first, *others = (_architecture(m) for m in members)
    for number, other in enumerate(others, 1):
        if other != first:
            raise ValueError(f"models: {number} is not of the architecture of 0")


def _architecture(member: Training) -> tuple:
    model, likelihood = member.model, member.model.likelihood
    family = type(likelihood), likelihood.levels, likelihood.score
    images = member.images.shape, model.missing
    return type(model), repr(model), model.latent_dim, family, *images


def _joined(splits: list[Split]) -> tuple[Tensor, Tensor | None, list[int]]:
    """Return all different images and their labels in a row, and the offset of each member's.

    Members that train on the same images share one tensor, which is in the row once.
    """
    different: list[Split] = []
    for split in splits:
        if not any(split.images is other.images for other in different):
            different.append(split)
    starts = list(itertools.accumulate(map(len, different), initial=0))
    offsets = [
        next(s for s, other in zip(starts, different) if split.images is other.images)
        for split in splits
    ]
    (images, *others), labels = [d.images for d in different], [d.labels for d in different]
    return (
        torch.cat([images, *others]) if others else images,
        None if labels[0] is None else torch.cat(labels),
        offsets,
    )


def _stacked(engines: list[Compiled], captured: Captured, size: int) -> Learned:
    """Return what the models have learned in stacks; their tensors become slices of these."""
    each = [engine.learned(captured) for engine in engines]
    filled = each + each[:1] * (size - len(each))
    stacks = Learned(*([torch.stack(t).detach() for t in zip(*column)] for column in zip(*filled)))
    for i, learned in enumerate(each):
        for column, column_stacks in zip(learned, stacks):
            for tensor, stack in zip(column, column_stacks):
                tensor.data = stack[i]
    return stacks
