"""Engines: ways to take one training step, all of them equal to Pyro's own."""

from abc import ABC, abstractmethod

import pyro
import torch
from torch import Tensor
from torch.export.graph_signature import InputKind

from pyro_vae import compiled
from pyro_vae.names import check_name
from pyro_vae.objectives import Objective, Recorder, Terms, per_image
from pyro_vae.vae import LatentImageModel

AdamState = dict[str, Tensor]  # step, exp_avg and exp_avg_sq of one parameter


class Engine(ABC):
    """A way to take one step of an objective on one minibatch, with Adam."""

    validates: bool  # whether Pyro validates as the user has it, or not at all

    def __init__(self, model: LatentImageModel, objective: type[Objective], num_particles: int):
        self.model, self.objective, self.num_particles = model, objective, num_particles

    @abstractmethod
    def step(self, x: Tensor, beta: float, learning_rate: float) -> Terms:
        """Update the parameters in place; the terms are those before the update."""

    @abstractmethod
    def adam_state(self) -> dict[str, AdamState]:
        """Adam's state by the parameter's name in the model; the same for every engine."""

    @abstractmethod
    def load_adam_state(self, state: dict[str, AdamState]) -> None:
        """Go on from what `adam_state` of any engine gave."""


class Svi(Engine):
    """The definition: `pyro.infer.SVI` with Pyro's ELBOs and Adam."""

    validates = True

    def __init__(self, model, objective, num_particles):
        super().__init__(model, objective, num_particles)
        self.optimizer = pyro.optim.Adam({"lr": 1e-3})
        self.recorders = Recorder(), Recorder()

    def step(self, x, beta, learning_rate):
        in_guide, in_model = self.recorders
        loss = self.objective.estimator(self.num_particles, len(x))
        model, guide = per_image(self.model.model), per_image(self.model.guide)
        svi = pyro.infer.SVI(in_model(model), in_guide(guide), self.optimizer, loss)
        self.optimizer.pt_optim_args["lr"] = learning_rate
        for adam in self.optimizer.optim_objs.values():
            adam.param_groups[0]["lr"] = learning_rate
        value = x.new_tensor(svi.step(x, beta))
        with torch.no_grad():
            return self.objective.score(in_guide.sites, in_model.sites)._replace(loss=value)

    def adam_state(self):
        adams = self.optimizer.optim_objs
        named = self.model.named_parameters()
        return {name: dict(adams[p].state[p]) for name, p in named if p in adams}

    def load_adam_state(self, state):
        for name, p in self.model.named_parameters():
            if name in state:
                adam = self.optimizer.optim_objs[p] = torch.optim.Adam([p])
                self.optimizer.grad_clip[p] = None
                adam.state[p] = _on_device(state[name], p, step_device="cpu")


class Eager(Engine):
    """The sync-free sum over traces, and torch's fused Adam."""

    validates = False

    def __init__(self, model, objective, num_particles):
        super().__init__(model, objective, num_particles)
        self.optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step(self, x, beta, learning_rate):
        self.optimizer.param_groups[0]["lr"] = learning_rate
        programs = self.model.model, self.model.guide
        with self.model.unregistered():
            terms = self.objective.terms(*programs, x, beta, self.num_particles)
        self.optimizer.zero_grad()
        terms.loss.backward()
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
    """A copy for the parameter p; Adam counts steps on the CPU, its fused form beside p."""
    if {state["exp_avg"].shape, state["exp_avg_sq"].shape} != {p.shape}:
        raise ValueError(f"expected Adam's averages of shape {tuple(p.shape)}")
    averages = {k: state[k].to(p.device, p.dtype).clone() for k in ("exp_avg", "exp_avg_sq")}
    return {"step": state["step"].to(step_device, torch.float32).clone(), **averages}


class Compiled(Engine):
    """The same programs captured once, with gradients and Adam compiled into a single function.

    The first step takes a while: inductor compiles. It draws the noise that `Eager` would.
    """

    validates = False

    def __init__(self, model, objective, num_particles):
        super().__init__(model, objective, num_particles)
        self.run, self.count = None, 0
        self.parameters = dict(model.named_parameters())
        self.averages, self.squares = (
            {name: torch.zeros_like(p) for name, p in self.parameters.items()} for _ in range(2)
        )

    def step(self, x, beta, learning_rate):
        if self.run is None:
            self._capture(x)
        self.count += 1
        numbers = compiled.adam_numbers(self.count, learning_rate)
        scalars = [torch.tensor(n, dtype=x.dtype).to(x.device) for n in (beta, *numbers)]
        noise = [
            torch.empty(shape, dtype=dtype, device=x.device).normal_()
            for shape, dtype in self.captured.noise
        ]
        with torch.no_grad():
            terms = self.run(*self.tensors, x, scalars[0], noise, *scalars[1:])
        return Terms(*terms)

    def _capture(self, x: Tensor) -> None:
        self.captured = compiled.capture(self.model, self.objective, self.num_particles, x)
        names = self.captured.names(InputKind.PARAMETER)
        buffers = dict(self.model.named_buffers())
        columns = self.parameters, self.averages, self.squares
        self.tensors = [[column[name].detach() for name in names] for column in columns]
        self.tensors.append([buffers[n] for n in self.captured.names(InputKind.BUFFER)])
        self.run = compiled.compile_step(compiled.training_step(self.captured))

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
                found = _on_device(state[name], p, step_device="cpu")
                self.averages[name].copy_(found["exp_avg"])
                self.squares[name].copy_(found["exp_avg_sq"])
                self.count = int(found["step"])


ENGINES: dict[str, type[Engine]] = {"svi": Svi, "eager": Eager, "compiled": Compiled}


def choose_engine(name: str) -> str:
    """The engine that a name stands for: `auto` is `eager`, which needs no time to compile.

    Raises:
        ValueError: an unknown name.
    """
    check_name("engine", name, ["auto", *ENGINES])
    return "eager" if name == "auto" else name
