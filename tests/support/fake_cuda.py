"""CUDA graphs without a GPU: what is recorded runs again, call by call, at each replay.

As on a GPU, recording takes no step: whatever the calls changed is put back, and so is the random
state. What a GPU refuses while it records (numbers that the CPU wants to know) is refused here.
"""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_vae.training import engines, replay

aten = torch.ops.aten
REFUSED = {aten._local_scalar_dense.default, aten.nonzero.default, aten.is_nonzero.default}


class Graph:
    """A recorded list of calls."""

    made = []

    def __init__(self):
        self.calls, self.registered, self.replays = [], [], 0
        Graph.made.append(self)

    def register_generator_state(self, generator):
        self.registered.append(generator)

    def pool(self):
        return 0, 1

    def replay(self):
        self.replays += 1
        with torch.no_grad():
            for function, args, kwargs, out in self.calls:
                for old, new in zip(tree_leaves(out), tree_leaves(function(*args, **kwargs))):
                    if old is not new and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class _Recorder(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph, self.before, self.own = graph, {}, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in REFUSED:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        self._keep(function, args, kwargs)
        out = function(*args, **kwargs)
        made = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        if not any(r.alias_info for r in function._schema.returns):
            self.own |= {t.untyped_storage()._cdata for t in made}
        self.graph.calls.append((function, args, kwargs, out))
        return out

    def _keep(self, function, args, kwargs):
        """Remember the content of tensors from before the recording that a call will change."""
        named = dict(zip((a.name for a in function._schema.arguments), args)) | kwargs
        for argument in function._schema.arguments:
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            for tensor in tree_leaves(named.get(argument.name)):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.own and storage._cdata not in self.before:
                    self.before[storage._cdata] = storage, storage.clone()

    def undo(self):
        for storage, content in self.before.values():
            storage.copy_(content)


def recording():
    """A block in which a wait for the device is an error."""
    return _Recorder(Graph())


class FakeCuda:
    """What tests look at: the current device at each call, and how graphs were recorded."""

    def __init__(self):
        self.current, self.seen, self.modes = 0, [], []

    @contextmanager
    def device(self, device):
        before, self.current = self.current, torch.device(device).index or 0
        try:
            yield
        finally:
            self.current = before

    def note(self, what):
        self.seen.append((what, self.current))

    def stream(self, device=None):
        self.note("stream")
        return SimpleNamespace(wait_stream=lambda other: None, device=device)

    @contextmanager
    def graph(self, graph, pool=None, stream=None, capture_error_mode="global"):
        self.note("record")
        self.modes.append((capture_error_mode, stream))
        drawn = [torch.default_generator, *graph.registered]
        states = [generator.get_state() for generator in drawn]
        recorder = _Recorder(graph)
        try:
            with recorder:
                yield
        finally:
            recorder.undo()
            for generator, state in zip(drawn, states):
                generator.set_state(state)


def pretend(monkeypatch):
    """Have trainings on the CPU record and replay their steps; return what can be looked at."""
    fake = FakeCuda()
    Graph.made = []
    for name, value in {
        "Stream": fake.stream,
        "current_stream": fake.stream,
        "stream": lambda stream: nullcontext(),
        "device": fake.device,
        "synchronize": lambda device=None: fake.note("synchronize"),
        "CUDAGraph": Graph,
        "graph": fake.graph,
        "default_generators": [torch.default_generator],
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setitem(replay.STEPS, "cpu", replay.ReplayedSteps)
    monkeypatch.setattr(engines, "_missing", lambda engine, device: None)
    return fake
