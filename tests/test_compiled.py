"""The captured step equals the eager one, and Pyro's own through it."""

import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.engines import Compiled
from pyro_vae.likelihoods.families import LIKELIHOODS
from pyro_vae.training import step as compiled
from pyro_vae.training.capture import capture
from pyro_vae.training.objectives import OBJECTIVES
from tests.programs import Branching, Choosy, Counting, Dropping, Straying, Warping, images, model


def trained(engine, vae, **options):
    settings = {"epochs": 10, "batch_size": 16, "precision": "float64", "test_images": images(7)}
    run = pv.fit(vae, images(), engine=engine, **(settings | options))
    return list(run), vae.state_dict()


def assert_same(one, other, tolerance):
    for a, b in zip(one.values(), other.values(), strict=True):
        assert (a - b).abs().max() <= tolerance


@pytest.fixture
def interpreted(monkeypatch):
    """The captured graph is run as it is, without inductor: it is the capture that is tested."""
    monkeypatch.setattr(Compiled, "compile", staticmethod(lambda step, device: step))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_graph_is_the_eager_step(interpreted, name, objective):
    """Every parameter after 20 steps on the same noise, in float64: to 1e-10."""
    options = {"objective": objective, "num_particles": 3 if objective == "iwae" else 1}
    options |= {} if objective == "iwae" else {"beta_schedule": "linear", "warmup_epochs": 4}
    records, weights = trained("compiled", model(name), **options)
    expected, reference = trained("eager", model(name), **options)
    assert_same(weights, reference, 1e-10)
    for a, b in zip(records, expected, strict=True):
        for field in ("loss", "train_rate", "train_distortion", "test_elbo", "beta", "step"):
            assert getattr(a, field) == pytest.approx(getattr(b, field), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("network, hidden", [("linear", None), ("conv", (4,)), ("mlp", (8, 6))])
def test_every_network_is_captured(interpreted, network, hidden):
    options = {"network": network, "hidden": hidden}
    one, other = (trained(e, model(**options))[1] for e in ("compiled", "eager"))
    assert_same(one, other, 1e-10)


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_an_autoencoder_is_captured(interpreted, engine):
    one, other = (trained(e, model(kind=pv.Autoencoder))[1] for e in ("compiled", engine))
    assert_same(one, other, 1e-7 if engine == "svi" else 1e-10)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_lower_precisions_are_captured(interpreted, precision):
    """Losses of the first epoch: to the rounding of the type that the networks compute in."""
    one, other = (
        trained(e, model(), precision=precision, epochs=1)[0][0] for e in ("compiled", "eager")
    )
    assert one.loss == pytest.approx(other.loss, rel=1e-6 if precision == "float32" else 1e-2)


def test_first_gradients_in_single_precision(interpreted):
    """A tenth of them are Adam's averages after one step: equal to the rounding of the largest."""
    averages = []
    for engine in ("compiled", "eager"):
        run = pv.fit(model(), images(), engine=engine, epochs=1, batch_size=40)
        next(run)
        averages.append({n: state["exp_avg"] for n, state in run.engine.adam_state().items()})
    for name, average in averages[0].items():
        scale = averages[1][name].abs().max()
        assert (average - averages[1][name]).abs().max() <= 1e-5 * scale, name


@pytest.mark.parametrize(
    "name, objective",
    [("bernoulli", "elbo"), ("gaussian_shared_sigma", "elbo_analytic"), ("laplace", "iwae")],
)
def test_machine_code_is_the_eager_step_too(name, objective):
    options = {"objective": objective, "num_particles": 2}
    one, other = (trained(e, model(name), **options)[1] for e in ("compiled", "eager"))
    assert_same(one, other, 1e-10)
    assert pyro.infer.util.is_validation_enabled()
    assert torch.distributions.Distribution._validate_args


def test_more_models_than_dynamo_likes():
    """Each has a code object of its own; eight of one would be the end."""
    graph = capture(model(), OBJECTIVES["elbo"], 1, images())
    step = [compiled.training_step(graph, False).__code__ for _ in range(3)]
    assert len({id(code) for code in step}) == 3


@pytest.mark.parametrize("other", ["svi", "eager", "compiled"])
def test_the_state_goes_on_under_every_engine(interpreted, other):
    def start(engine, **options):
        settings = {"epochs": 6, "batch_size": 16, "precision": "float64", "dynamic": True}
        return pv.fit(model(), images() * 0.7, engine=engine, **settings, **options)

    first, second, whole = start("compiled"), start(other), start("compiled")
    next(first), next(first)
    second.restore(first.state())
    list(second), list(whole)
    pairs = (run.engine.model.state_dict() for run in (second, whole))
    assert_same(*pairs, 0 if other == "compiled" else 1e-7)


def test_the_seed_decides(interpreted):
    same = [trained("compiled", model(), seed=s)[1] for s in (1, 1, 2)]
    assert_same(same[0], same[1], 0)
    assert any(not torch.equal(a, b) for a, b in zip(same[0].values(), same[2].values()))


def test_a_loss_that_is_not_finite_is_named(interpreted):
    vae = model("laplace")
    with torch.no_grad():
        next(vae.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="is not finite at epoch 1, step 1"):
        trained("compiled", vae)


@pytest.mark.parametrize(
    "kind, reason",
    [
        (Counting, "changes buffers"),
        (Dropping, "expected standard Normal or uniform draws only, got aten.bernoulli"),
        (Branching, "torch cannot export it"),
        (Choosy, "guide: k has no reparameterised draws; use the engine svi"),
        (Straying, "param: mine is none of the model's; use the engine svi"),
    ],
    ids=lambda kind: getattr(kind, "__name__", None),
)
def test_what_cannot_be_captured_is_refused(kind, reason):
    with pytest.raises(ValueError, match=f"engine: .*{reason}"):
        trained("compiled", model(kind=kind))


@pytest.mark.parametrize("kind", [Choosy, Straying])
def test_what_needs_pyros_estimators_is_refused_by_the_eager_engine_too(kind):
    with pytest.raises(ValueError, match="use the engine svi"):
        trained("eager", model(kind=kind))
    assert trained("svi", model(kind=kind))


def test_a_users_own_programs_are_captured(interpreted):
    one, other = (trained(e, model(kind=Warping))[1] for e in ("compiled", "eager"))
    assert_same(one, other, 1e-10)
    assert other["shift"].abs().min() > 0


def test_adams_averages_hold_no_denormal_numbers():
    """Where a gradient has been zero for long: 0.9 to the 1,000th, and then no change in the weights."""
    tiny = torch.finfo(torch.float32).tiny
    p, m, v = torch.ones(3), torch.tensor([1.0, tiny, -tiny]), torch.tensor([1.0, tiny, 0.0])
    one = torch.ones(())
    for _ in range(1_000):
        p, m, v = compiled._adam(p, m, v, torch.zeros(3), 1e-3 * one, one)
    assert m.tolist() == [0.0, 0.0, 0.0] and v[1:].tolist() == [0.0, 0.0]
    assert p[1] == 1.0 and p[2] == 1.0


# --- CUDA -----------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_cuda_graphs_are_the_eager_step(name, objective):
    """On the device's own noise, with dynamic pixels, in float64: every parameter to 1e-10."""
    options = {"objective": objective, "num_particles": 3 if objective == "iwae" else 1}
    options |= {"device": "cuda", "dynamic": True}
    _, weights = trained("compiled", model(name), **options)
    _, expected = trained("eager", model(name), **options)
    assert_same(weights, expected, 1e-10)


@pytest.mark.cuda
def test_a_cuda_graph_goes_on_within_an_epoch(monkeypatch):
    monkeypatch.setattr(compiled.ReplayedSteps, "block", 7)
    options = {"device": "cuda", "epochs": 3, "batch_size": 2, "precision": "float64"}
    asked = iter([False, True])
    whole, first, second = (pv.fit(model(), images(), engine="compiled", **options) for _ in "abc")
    list(whole)
    first.should_stop = lambda: next(asked)
    with pytest.raises(pv.training.Stopped):
        list(first)
    second.restore(first.state())
    list(second)
    assert_same(*(run.engine.model.state_dict() for run in (second, whole)), 0)


@pytest.mark.cuda
def test_a_replay_does_not_wait_for_the_gpu():
    run = pv.fit(model(), images(), engine="compiled", device="cuda", epochs=9, batch_size=16)
    next(run)
    with run.private.swapped_in():
        steps = run.engine.steps(run.draw_epoch())
        torch.cuda.set_sync_debug_mode("error")
        try:
            next(steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")
