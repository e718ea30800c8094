"""Taking steps: one call each on a CPU, recorded graphs on CUDA."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from pyro_vae.training.capture import Draw
from pyro_vae.training.step import Learned, Step


class Noise:
    """Buffers of standard noise, which are filled again in place for every step.

    Args:
        draws: what to draw, in this order.
        generators: one for each model of an ensemble (default: a single model, which draws from
            the generator of the process).
    """

    def __init__(
        self, draws: list[Draw], device: torch.device, generators: Sequence[Generator] | None = None
    ):
        self.generators = generators
        models = () if generators is None else (len(generators),)
        self.tensors = [torch.zeros(*models, *d.shape, dtype=d.dtype, device=device) for d in draws]
        self._fills = [
            partial(getattr(part, draw.fill), generator=generator)
            for draw, tensor in zip(draws, self.tensors)
            for part, generator in zip(*((tensor, generators) if models else ([tensor], [None])))
        ]

    def draw(self) -> None:
        """Fill all buffers with new noise."""
        for fill in self._fills:
            fill()


class Steps:
    """Steps on a CPU, one call each; the constructor compiles.

    Args:
        learned: the tensors that every step changes in place.
        images: all images (N, C, H, W).
        rows, scalars: those of one step, as an example.
    """

    window = 1  # steps whose images are in memory at once, if they are read from a file

    def __init__(
        self,
        step: Step,
        learned: Learned,
        images: Tensor,
        noise: Noise,
        rows: Tensor,
        scalars: Tensor,
    ):
        self.step, self.learned, self.images, self.noise = step, learned, images, noise
        self._warm_up(rows, scalars)

    def _warm_up(self, *each: Tensor) -> None:
        copy = self.learned.clone()  # since a warm-up trains
        self.step(copy, self.images, *each, self.noise.tensors)

    def __call__(self, rows: Tensor, scalars: Tensor) -> Iterator[Tensor]:
        """Take steps and yield their terms in blocks (steps, ..., 3).

        Args:
            rows: the images of each minibatch, (steps, ..., B).
            scalars: three numbers for each step, of which the first is beta, (steps, ..., 3).
        """
        for each in zip(rows.unbind(), scalars.unbind()):
            self.noise.draw()
            yield self.step(self.learned, self.images, *each, self.noise.tensors)[None]


class ReplayedSteps(Steps):
    """Steps on CUDA, which are recorded once as graphs, noise included, and then replayed.

    The constructor records two graphs: one of sixteen steps, and one of a single step for those that
    remain. A step finds its minibatch in the block by a counter on the device, so that nothing waits
    for the device. The model's device must be the current one.
    """

    block = 64  # steps between two checks for a request to stop
    unrolled = window = 16

    def __init__(self, step, learned, images, noise, rows, scalars):
        self.stream = torch.cuda.Stream(images.device)
        super().__init__(step, learned, images, noise, rows, scalars)
        self.rows = rows.new_zeros(self.block, *rows.shape)
        self.scalars = scalars.new_zeros(self.block, *scalars.shape)
        self.terms = torch.zeros_like(self.scalars)
        self.counter = torch.zeros(1, dtype=torch.int64, device=images.device)
        self.at_once = min(self.unrolled, self.block)
        self.one = self._recorded(1)
        self.many = self._recorded(self.at_once, self.one.pool())

    def _warm_up(self, *each):
        current = torch.cuda.current_stream(self.images.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                super()._warm_up(*each)
        current.wait_stream(self.stream)

    def __call__(self, rows, scalars):
        for block, numbers in zip(rows.split(self.block), scalars.split(self.block)):
            self.rows[: len(block)].copy_(block)
            self.scalars[: len(block)].copy_(numbers)
            self.counter.zero_()
            for _ in range(len(block) // self.at_once):
                self.many.replay()
            for _ in range(len(block) % self.at_once):
                self.one.replay()
            yield self.terms[: len(block)].clone()

    def _recorded(self, steps: int, pool: tuple[int, int] | None = None) -> torch.cuda.CUDAGraph:
        """Return a graph of steps, none of which is taken.

        Raises:
            RuntimeError: the step does something that cannot be recorded, or the memory is full.
                Generators are as before, and other steps can be taken.
        """
        graph, generators = torch.cuda.CUDAGraph(), self._generators()
        before = [generator.get_state() for generator in generators]
        if torch.__version__ < (2, 14):  # later versions register what a graph draws from
            for generator in self.noise.generators or ():
                graph.register_generator_state(generator)
        options = {"pool": pool, "stream": self.stream, "capture_error_mode": "thread_local"}
        try:
            with torch.cuda.graph(graph, **options):
                for _ in range(steps):
                    self._replayed()
        except BaseException:
            for generator, state in zip(generators, before):
                _renew(generator, state)
            raise
        return graph

    def _generators(self) -> Sequence[Generator]:
        of_the_process = torch.cuda.default_generators
        return self.noise.generators or [of_the_process[self.images.device.index or 0]]

    def _replayed(self) -> None:
        self.noise.draw()
        each = (tensor.index_select(0, self.counter)[0] for tensor in (self.rows, self.scalars))
        terms = self.step(self.learned, self.images, *each, self.noise.tensors)
        self.terms.index_copy_(0, self.counter, terms[None])
        self.counter.add_(1)


def _renew(generator: Generator, state: Tensor) -> None:
    """Give a generator back its state, which a recording that failed may have left recording."""
    generator.graphsafe_set_state(torch.Generator(generator.device).graphsafe_get_state())
    generator.set_state(state)


STEPS: dict[str, type[Steps]] = {"cpu": Steps, "cuda": ReplayedSteps}
