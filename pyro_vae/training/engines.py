"""Engines: ways to take training steps, all of which equal the steps of Pyro's own SVI.

The choice of an engine depends on the training and the machine, and on no clock.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import pyro
import torch
from torch import Tensor
from torch.export.graph_signature import InputKind

from pyro_vae.compiling.compiler import compile_step, missing_compiler
from pyro_vae.compiling.products import choose, products_of_graph
from pyro_vae.data import draw_binary
from pyro_vae.devices import sent
from pyro_vae.names import check_name
from pyro_vae.training.adam import ADAM, Adam, ClippingAdam, adam_scalars
from pyro_vae.training.capture import Captured, Draw, capture
from pyro_vae.training.epochs import Minibatches
from pyro_vae.training.objectives import Loss, Terms, training_mode
from pyro_vae.training.programs import Recorder, per_image
from pyro_vae.training.replay import STEPS, Noise
from pyro_vae.training.step import Learned, Step, fused_step, training_step

AdamState = dict[str, Tensor]  # step, exp_avg and exp_avg_sq of one parameter


class Engine(ABC):
    """A way to minimise a loss with Adam: prepare, take steps, and give or load Adam's state."""

    name: str
    validates: bool  # whether Pyro's validation stays as the user set it, or is off
    one_thread = False  # whether a single thread takes small steps on a CPU
    plainer: str | None = None  # what `auto` falls back to if this one fails
    count = 0  # the number of steps taken; whoever takes the steps counts them

    def __init__(self, loss: Loss, adam: Adam = ADAM):
        self.loss, self.model, self.adam = loss, loss.model, adam
        self.libraries: dict[str, str] | None = {}  # of matrix products, as they were chosen

    def prepare(self, minibatches: Minibatches) -> None:
        """Prepare for steps like these without taking any; a ValueError says what cannot be run."""

    @abstractmethod
    def steps(self, minibatches: Minibatches) -> Generator[Tensor, None, None]:
        """Take the steps as the iterator advances, and yield their terms in blocks (k, 3).

        The terms are in nats per image. Those of a step are measured before its update, which
        changes the parameters in place.
        """

    @abstractmethod
    def adam_state(self) -> dict[str, AdamState]:
        """Return Adam's state by the parameter's name in the model, in one form for all engines."""

    @abstractmethod
    def load_adam_state(self, state: dict[str, AdamState]) -> None:
        """Load what `adam_state` of any engine returned."""


class SingleSteps(Engine):
    """An engine that takes one minibatch at a time."""

    @abstractmethod
    def step(
        self, x: Tensor, beta: float, learning_rate: float, labels: Tensor | None = None
    ) -> Terms:
        """Update the parameters in place and return the terms before the update."""

    def steps(self, minibatches):
        schedules = minibatches.betas.tolist(), minibatches.learning_rates.tolist()
        with training_mode(self.model):
            for (x, labels), beta, learning_rate in zip(minibatches.each(), *schedules):
                x = draw_binary(x) if minibatches.dynamic else x
                with self.loss.autocast():
                    terms = self.step(x, beta, learning_rate, labels)
                yield torch.stack(terms)[None]


class Svi(SingleSteps):
    """The engine that defines the others: `pyro.infer.SVI` with Pyro's ELBOs and Adam."""

    name = "svi"
    validates = True

    def __init__(self, loss, adam=ADAM):
        super().__init__(loss, adam)
        self.optimizer = ClippingAdam(adam)
        self.recorders = Recorder(), Recorder()

    def prepare(self, minibatches):
        if self.loss.estimator(1) is None:
            raise ValueError(
                "svi needs an estimator of Pyro's, which the objective has not; use eager"
            )
        self.loss.check_objective(*minibatches.first())

    def step(self, x, beta, learning_rate, labels=None):
        in_guide, in_model = self.recorders
        estimator, vae = self.loss.estimator(len(x)), self.model.given(labels)
        model, guide = per_image(vae.model), per_image(vae.guide)
        svi = pyro.infer.SVI(in_model(model), in_guide(guide), self.optimizer, estimator)
        self.optimizer.pt_optim_args["lr"] = learning_rate
        for adam in self.optimizer.optim_objs.values():
            adam.param_groups[0]["lr"] = learning_rate
        value = x.new_tensor(svi.step(x, beta))
        with torch.no_grad():
            return self.loss.objective.score(in_guide.sites, in_model.sites)._replace(loss=value)

    def adam_state(self):
        adams = self.optimizer.optim_objs
        named = self.model.named_parameters()
        return {name: dict(adams[p].state[p]) for name, p in named if p in adams}

    def load_adam_state(self, state):
        for name, p in self.model.named_parameters():
            if name in state:
                adam = torch.optim.Adam([p], **self.optimizer.pt_optim_args)
                self.optimizer.optim_objs[p] = adam
                self.optimizer.grad_clip[p] = None
                adam.state[p] = _on_device(state[name], p, step_device="cpu")


class Eager(SingleSteps):
    """The engine that sums over sites without a device sync and uses torch's fused Adam."""

    name = "eager"
    validates = False
    plainer = "svi"

    def __init__(self, loss, adam=ADAM):
        super().__init__(loss, adam)
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True, **adam.options)

    def prepare(self, minibatches):
        self.loss.check(*minibatches.first())

    def step(self, x, beta, learning_rate, labels=None):
        self.optimizer.param_groups[0]["lr"] = learning_rate
        terms = self.loss.terms(x, beta, labels)
        self.optimizer.zero_grad()
        terms.loss.backward()
        if self.adam.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.adam.clip_norm)
        self.optimizer.step()
        return terms._replace(loss=terms.loss.detach())

    def adam_state(self):
        adam = self.optimizer.state
        return {name: dict(adam[p]) for name, p in self.model.named_parameters() if p in adam}

    def load_adam_state(self, state):
        for name, p in self.model.named_parameters():
            if name in state:
                self.optimizer.state[p] = _on_device(state[name], p, step_device=p.device)


def _on_device(state: AdamState, p: Tensor, step_device: torch.device | str) -> AdamState:
    """Return a copy of Adam's state for the parameter p.

    Adam keeps its count of steps on the CPU, and fused Adam keeps it on the device of p.
    """
    if {state["exp_avg"].shape, state["exp_avg_sq"].shape} != {p.shape}:
        raise ValueError(f"expected Adam's averages of shape {tuple(p.shape)}")
    averages = {k: state[k].to(p.device, p.dtype).clone() for k in ("exp_avg", "exp_avg_sq")}
    return {"step": state["step"].to(step_device, torch.float32).clone(), **averages}


class Compiled(Engine):
    """The engine that captures the programs once and compiles a whole step into one function.

    The function holds the loss, its gradients and Adam. Preparing takes a while, since inductor
    compiles. The engine draws the same noise as `Eager`.
    """

    name = "compiled"
    validates = False
    one_thread = True
    compile = staticmethod(compile_step)  # replace it to use another compiler

    def __init__(self, loss, adam=ADAM):
        super().__init__(loss, adam)
        self.take_steps = None
        self.parameters = dict(self.model.named_parameters())
        self.averages, self.squares = (
            {name: torch.zeros_like(p) for name, p in self.parameters.items()} for _ in range(2)
        )

    @property
    def plainer(self):
        return "graph" if next(self.model.parameters()).is_cuda else "eager"

    def prepare(self, minibatches):
        if self.take_steps is not None:
            return
        self.loss.check(*minibatches.first())
        captured, draws = self.capture(minibatches)
        kind = STEPS[minibatches.images.device.type]
        self.window = minibatches.window(kind.window)
        images = self.window.images
        self.take_steps = kind(
            self.make_step(captured, self.window),
            self.learned(captured).of_one(),
            images,
            Noise(draws, images.device),
            self.window.rows[0],
            self.scalars(minibatches)[0].to(images),
        )

    def make_step(self, captured: Captured, minibatches: Minibatches) -> Step:
        """Return the function that takes a step."""
        self.libraries = choose(products_of_graph(captured.graph.graph), self.libraries)
        step = training_step(captured, minibatches.dynamic, self.adam, labels=minibatches.labels)
        return self.compile(step, minibatches.images.device, self.libraries)

    def steps(self, minibatches):
        images = minibatches.images
        scalars = sent(self.scalars(minibatches).to(images.dtype), images.device)
        for rows, of_steps in minibatches.through(self.window, scalars):
            yield from self.take_steps(rows, of_steps)

    def scalars(self, minibatches: Minibatches) -> Tensor:
        """Return beta and the scalars of Adam for the coming steps, (steps, 3), in double precision."""
        counts = self.count + 1.0 + np.arange(len(minibatches.betas))
        scalars = self.of_adam(counts, minibatches.learning_rates)
        return torch.from_numpy(np.stack([minibatches.betas, *scalars], 1))

    def of_adam(self, counts: np.ndarray, learning_rates: np.ndarray) -> tuple:
        """Return the two scalars of each step that Adam needs, (steps,) each."""
        return adam_scalars(counts, learning_rates, self.adam)

    def capture(self, minibatches: Minibatches) -> tuple[Captured, list[Draw]]:
        """Return the graph of the objective, and all the noise that a step takes."""
        x, labels = minibatches.first()
        with self.loss.autocast(), training_mode(self.model):
            captured = capture(self.loss, x, labels)
        pixels = [Draw("uniform_", x.shape, x.dtype)] if minibatches.dynamic else []
        return captured, pixels + captured.noise

    def learned(self, captured: Captured) -> Learned:
        """Return the model's tensors that the graph works on, in the graph's order."""
        names, buffers = captured.names(InputKind.PARAMETER), dict(self.model.named_buffers())
        columns = self.parameters, self.averages, self.squares
        in_order = ([column[name] for name in names] for column in columns)
        return Learned(*in_order, [buffers[n] for n in captured.names(InputKind.BUFFER)])

    def adam_state(self):
        if self.count == 0:
            return {}
        step = torch.tensor(float(self.count))
        return {
            name: {"step": step, "exp_avg": self.averages[name], "exp_avg_sq": self.squares[name]}
            for name in self.parameters
        }

    def load_adam_state(self, state):
        for name, p in self.parameters.items():
            if name in state:
                adam = _on_device(state[name], p, step_device="cpu")
                self.averages[name].copy_(adam["exp_avg"])
                self.squares[name].copy_(adam["exp_avg_sq"])


class Graph(Compiled):
    """The engine that captures the programs and records a whole step as one CUDA graph.

    It needs no compiler, and is ready within a second. Adam is torch's fused one.
    """

    name = "graph"
    plainer = "eager"

    def make_step(self, captured, minibatches):
        return fused_step(captured, minibatches.dynamic, self.adam, minibatches.labels)

    def of_adam(self, counts, learning_rates):
        return learning_rates, counts


ENGINES: dict[str, type[Engine]] = {e.name: e for e in (Svi, Eager, Graph, Compiled)}


# --- the choice -----------------------------------------------------------------------------------


# Total steps of the smallest networks from which on `auto` takes an engine. On a slow Xeon compiling
# takes 11 to 18 seconds and saves 2.5 to 6.5 milliseconds of such a step, which pays from 2,800 to
# 5,400 steps on; for CUDA these are estimates, which no GPU has measured.
STEPS_THAT_PAY = {
    "cpu": {"eager": 0, "compiled": 4_500},
    "cuda": {"eager": 0, "graph": 300, "compiled": 150_000},
}
# Numbers of a likelihood, by `numbers_compiled`, for which compiling saves as much as for another such
# step on a CPU. Measured by benchmarks/families.py; machines differ by a factor of two.
SCORED_LIKE_A_STEP = {"cpu": 250_000, "cuda": math.inf}


class Choice(NamedTuple):
    """A choice of engine: its name, whether another may replace it, and the reason in a few words."""

    name: str
    automatic: bool
    reason: str


def choose_engine(name: str, steps: int, device: str = "cpu", scored: int = 0) -> Choice:
    """Return the engine that a name stands for in a training of `steps` steps in all.

    `auto` depends on the number and the size of the steps, on the type of device, and on whether
    there is a compiler. It does not depend on how busy the machine is, nor on the steps that are
    left, so a run is always computed in the same way on the same machine.

    Args:
        device: the type of the device.
        scored: the numbers of the likelihood in a step, by `numbers_compiled`.

    Raises:
        ValueError: an unknown name; an engine that cannot run here.
    """
    check_name("engine", name, ["auto", *ENGINES])
    missing = {engine: why for engine in ENGINES if (why := _missing(engine, device))}
    if name in missing:
        raise ValueError(f"engine: {missing[name]}, which {name} needs; use eager")
    if name != "auto":
        return Choice(name, False, "as asked for")
    small_steps = steps * (1 + scored / SCORED_LIKE_A_STEP[device])
    pays = STEPS_THAT_PAY[device].items()
    *_, best = (engine for engine, least in pays if small_steps >= least and engine not in missing)
    if best == "compiled":
        return Choice(best, True, f"{steps:,} steps pay for compiling")
    reason = missing.get("compiled") or f"{steps:,} steps do not pay for compiling"
    return Choice(best, True, reason)


def _missing(engine: str, device: str) -> str | None:
    """Return what an engine needs and has not here, in a few words; None where it can run."""
    if engine == "compiled":
        return missing_compiler(device)
    return "no CUDA device" if engine == "graph" and device != "cuda" else None
