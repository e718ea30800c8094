"""Many models of one shape trained at once: their steps are one compiled function of stacks."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pyro_vae.capture import Captured
from pyro_vae.compiled import Learned, Noise, compile_step, training_step
from pyro_vae.engines import STEPS, Compiled, Minibatches
from pyro_vae.training import Record, Stopped, Training

Outcome = Record | FloatingPointError


class Ensemble(Iterator[dict[int, Outcome]]):
    """Each `next` trains the members for an epoch and gives what became of each, by its number.

    A member is a `Training` like any other: it has its own order, noise and schedules, and can be
    saved and restored at any time; its weights and Adam's averages are slices of the ensemble's.
    One that diverged gives its error, once; whoever is behind, after being restored, catches up
    while the others wait.

    Args:
        members: with the engine `compiled`, not yet started.

    Raises:
        ValueError: models of different shapes, or none.
    """

    def __init__(self, members: Sequence[Training]):
        _check_alike(members)
        self.members, self.failed = list(members), set[int]()
        self.images, self.offsets = _joined([m.images for m in members])
        self.take = None

    @property
    def finished(self) -> bool:
        """Whether every member is finished or has failed."""
        return not self._going()

    def _going(self) -> list[int]:
        return [i for i, m in enumerate(self.members) if not m.finished and i not in self.failed]

    def __next__(self) -> dict[int, Outcome]:
        going = self._going()
        if not going:
            raise StopIteration
        behind = min(self.members[i].step for i in going)
        lap = [i for i in going if self.members[i].step == behind]
        minibatches = {i: self.members[i].draw_epoch() for i in lap}
        with self._clock(lap):
            if self.take is None:
                self._compile(minibatches[lap[0]])
            with self._others_wait(lap):
                self._take_steps(minibatches)
        return {i: self._finish(i) for i in lap}

    def _take_steps(self, minibatches: dict[int, Minibatches]) -> None:
        """A step of the ensemble is a step of each; the others' numbers are any, as they wait."""
        anyone, left = next(iter(minibatches)), len(next(iter(minibatches.values())).rows)
        drawn = [minibatches.get(i, minibatches[anyone]) for i in range(len(self.members))]
        engines = [
            self.members[i if i in minibatches else anyone].engine for i in range(len(drawn))
        ]
        rows = torch.stack([m.rows + o for m, o in zip(drawn, self.offsets)], 1)
        numbers = torch.stack([e.numbers(m) for e, m in zip(engines, drawn)], 1).to(self.images)
        steps, taken = self.take(rows, numbers), []
        with self._private_noise(minibatches):
            try:
                while left:
                    if self.members[anyone].should_stop():
                        raise Stopped
                    taken.append(next(steps))
                    left -= len(taken[-1])
            finally:
                for i in minibatches if taken else ():
                    self.members[i].take(torch.cat([terms[:, i] for terms in taken]))
                    self.members[i].engine.count += sum(map(len, taken))

    def _finish(self, i: int) -> Outcome:
        member = self.members[i]
        try:
            with member.private.swapped_in():
                member.calibrate()
            return member.finish_epoch()
        except FloatingPointError as error:
            self.failed.add(i)
            return error

    def _compile(self, minibatches: Minibatches) -> None:
        first, device = self.members[0].engine, self.images.device
        with self.members[0].private.swapped_in():
            first.check(minibatches)
            captured, draws = first.capture(minibatches)
            self.learned = _stacked([m.engine for m in self.members], captured)
            self.generators = [torch.Generator(device) for _ in self.members]
            step = compile_step(training_step(captured, minibatches.dynamic, ensemble=True), device)
            rows = torch.stack([minibatches.rows[0]] * len(self.members))
            numbers = torch.stack([first.numbers(minibatches)[0]] * len(self.members))
            noise = Noise(draws, device, self.generators)
            make = STEPS[device.type]
            self.take = make(
                step, self.learned, self.images, noise, rows, numbers.to(self.images)
            )

    @contextmanager
    def _private_noise(self, lap: dict[int, Minibatches]) -> Iterator[None]:
        """Inside, the generators of the noise go on from the members' random states."""
        for member, generator in zip(self.members, self.generators):
            generator.set_state(member.private.random[-1])
        try:
            yield
        finally:
            for i in lap:
                self.members[i].private.random[-1] = self.generators[i].get_state()

    @contextmanager
    def _others_wait(self, lap: list[int]) -> Iterator[None]:
        """Members that are not in this lap are as before at its end."""
        others = [i for i in range(len(self.members)) if i not in lap]
        slices = [tensor[i] for column in self.learned for tensor in column for i in others]
        kept = [tensor.clone() for tensor in slices]
        try:
            yield
        finally:
            for tensor, before in zip(slices, kept):
                tensor.copy_(before)

    @contextmanager
    def _clock(self, lap: list[int]) -> Iterator[None]:
        """Time spent inside is shared among the members of the lap."""
        start, members = time.perf_counter(), [self.members[i] for i in lap]
        try:
            yield
            if self.images.is_cuda:
                torch.cuda.synchronize()
        finally:
            for member in members:
                member.seconds += (time.perf_counter() - start) / len(members)


def _check_alike(members: Sequence[Training]) -> None:
    if not members:
        raise ValueError("models: expected one at least")
    first, *others = (_kind(m) for m in members)
    for number, other in enumerate(others, 1):
        if other != first:
            raise ValueError(f"models: {number} is not of the shape of 0")


def _kind(member: Training) -> tuple:
    model, likelihood = member.engine.model, member.engine.model.likelihood
    family = type(likelihood), likelihood.levels, likelihood.score
    return type(model), repr(model), model.latent_dim, family, member.images.shape


def _joined(images: list[Tensor]) -> tuple[Tensor, list[int]]:
    """All different tensors in a row, and where each member's begins."""
    different = list({id(x): x for x in images}.values())
    starts, offset = {}, 0
    for x in different:
        starts[id(x)] = offset
        offset += len(x)
    joined = different[0] if len(different) == 1 else torch.cat(different)
    return joined, [starts[id(x)] for x in images]


def _stacked(engines: list[Compiled], captured: Captured) -> Learned:
    """What the models have learned, stacked; their own tensors become slices of the stacks."""
    each = [engine.learned(captured) for engine in engines]
    stacks = Learned(*([torch.stack(t).detach() for t in zip(*column)] for column in zip(*each)))
    for i, learned in enumerate(each):
        for column, column_stacks in zip(learned, stacks):
            for tensor, stack in zip(column, column_stacks):
                tensor.data = stack[i]
    return stacks
