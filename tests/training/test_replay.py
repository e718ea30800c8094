"""Steps that are recorded and replayed: what a GPU does, by a stand-in that runs the calls again."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.devices import computing_on
from pyro_vae.training import replay
from pyro_vae.training.replay import ReplayedSteps
from tests.support import fake_cuda
from tests.support.programs import images, model
from tests.support.training import (
    assert_resumes_within_an_epoch,
    assert_same_records,
    assert_same_weights,
    trained,
)

ROUNDING = {"compiled": 1e-10, "graph": 1e-6}  # torch's fused Adam has its learning rate in float32


@pytest.fixture
def cuda(monkeypatch, no_inductor):
    return fake_cuda.pretend(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ROUNDING)
def test_replayed_steps_are_eager_steps(cuda, engine):
    """70 steps an epoch: more than a block, and more than a graph holds."""
    options = {"batch_size": 2, "epochs": 2, "dynamic": True}
    x = images(140) * 0.7
    records, weights = trained(model(), x, engine=engine, **options)
    expected, reference = trained(model(), x, engine="eager", **options)
    assert_same_weights(weights, reference, ROUNDING[engine])
    assert_same_records(records, expected, 1e-5)


@pytest.mark.slow
def test_recording_belongs_to_preparing(cuda):
    """Two graphs, of one step and of sixteen, before a step is taken; none later."""
    run = pv.fit(model(), images(), engine="graph", epochs=2, batch_size=2)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.prepare()
    one, many = fake_cuda.Graph.made
    assert len(many.calls) == 16 * len(one.calls) and one.replays == many.replays == 0
    assert_same_weights(run.model.state_dict(), before)
    list(run)
    assert len(fake_cuda.Graph.made) == 2
    assert (many.replays, one.replays) == (2, 8)  # twenty steps an epoch
    # Errors of other threads do not end a recording.
    assert [mode for mode, _ in cuda.modes] == ["thread_local"] * 2
    assert cuda.modes[0][1] is cuda.modes[1][1] is not None  # a stream of its own


def fail_to_record(monkeypatch):
    """Have the first recording fail, as one that meets a full GPU."""
    take = ReplayedSteps._replayed
    left = iter([True])

    def replayed(self):
        take(self)
        if next(left, False):
            raise RuntimeError("CUDA error: out of memory\nand more")

    monkeypatch.setattr(ReplayedSteps, "_replayed", replayed)
    monkeypatch.setattr(replay, "_renew", lambda generator, state: generator.set_state(state))


@pytest.mark.slow
def test_a_recording_that_fails_falls_back(cuda, monkeypatch):
    """`auto` goes on with the next plainer engine, and trains as that one would have."""
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", {"cpu": {"graph": 0}})
    fail_to_record(monkeypatch)
    with pytest.warns(UserWarning, match="engine: eager, since CUDA error: out of memory"):
        _, weights = trained(model(), engine="auto")
    assert_same_weights(weights, trained(model(), engine="eager")[1])


@pytest.mark.slow
def test_a_recording_that_fails_ends_a_training_that_asked_for_it(cuda, monkeypatch):
    fail_to_record(monkeypatch)
    with pytest.raises(RuntimeError, match=r"^engine: CUDA error: out of memory$"):
        trained(model(), engine="graph")


def test_a_recording_that_failed_leaves_usable_generators(cuda, monkeypatch):
    """Older versions of torch leave a generator recording; it gets a new inside, and its state."""
    said = []

    class Generator:
        device = torch.device("cpu")

        def get_state(self):
            return "before"

        def set_state(self, state):
            said.append(state)

        def graphsafe_get_state(self):
            return "new"

        def graphsafe_set_state(self, state):
            said.append(state)

    monkeypatch.setattr(torch, "Generator", lambda device: Generator())
    replay._renew(Generator(), "before")
    assert said == ["new", "before"]


@pytest.mark.slow
@pytest.mark.parametrize("version, registered", [("2.11.0", 2), ("2.14.0", 0)])
def test_generators_are_registered_where_torch_wants_it(cuda, monkeypatch, version, registered):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
    models = [model(seed=seed) for seed in range(2)]
    pv.fit_many(models, images(), seeds=[0, 1], epochs=1, precision="float64").prepare()
    assert [len(graph.registered) for graph in fake_cuda.Graph.made] == [registered] * 2


@pytest.mark.slow
def test_an_ensemble_replays_what_its_members_would_take(cuda, monkeypatch):
    """Each with a generator of its own, which torch 2.13 wants registered."""
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.13.1"))
    options = {"epochs": 2, "batch_size": 2, "precision": "float64"}
    models = [model(seed=seed) for seed in range(3)]
    list(pv.fit_many(models, images(), seeds=[0, 1, 2], **options))
    assert [len(graph.registered) for graph in fake_cuda.Graph.made] == [3] * 2
    for seed, vae in enumerate(models):
        alone = model(seed=seed)
        list(pv.fit(alone, images(), seed=seed, engine="eager", **options))
        assert_same_weights(vae.state_dict(), alone.state_dict(), 1e-9)


@pytest.mark.slow
def test_a_graph_resumes_within_an_epoch(cuda, monkeypatch):
    assert_resumes_within_an_epoch(monkeypatch, engine="graph")


# --- the device -----------------------------------------------------------------------------------


def test_a_second_gpu_records_and_waits_on_itself(monkeypatch):
    """Streams, graphs and waiting belong to the current device, which is the images' one."""
    cuda = fake_cuda.pretend(monkeypatch)
    device = torch.device("cuda", 1)
    with computing_on(device):
        torch.cuda.Stream(device)
        torch.cuda.synchronize(device)
        assert not torch.backends.cudnn.allow_tf32 and torch.backends.cudnn.deterministic
    assert {current for _, current in cuda.seen} == {1} and cuda.current == 0


@pytest.mark.slow
def test_a_training_computes_on_its_own_device(cuda, monkeypatch):
    """All of preparing, recording, stepping and waiting happens inside `computing_on`."""
    second = torch.device("cuda", 1)
    for module in ("loop", "ensembles"):
        monkeypatch.setattr(
            f"pyro_vae.training.{module}.computing_on", lambda device: computing_on(second)
        )
        monkeypatch.setattr(
            f"pyro_vae.training.{module}.synchronize", lambda device: torch.cuda.synchronize(device)
        )
    list(pv.fit(model(), images(), engine="graph", epochs=2))
    list(pv.fit_many([model()], images(), epochs=2))
    assert {what for what, _ in cuda.seen} == {"stream", "record", "synchronize"}
    assert {current for _, current in cuda.seen} == {1}
