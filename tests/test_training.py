"""Training: engines agree, closed forms are reached, and nothing leaks in or out."""

import math

import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.exact import linear_optimum
from pyro_vae.evaluation.latents import rate_per_component
from pyro_vae.likelihoods.families import LIKELIHOODS
from pyro_vae.evaluation.thresholds import COLLAPSED_RATE
from pyro_vae.training.objectives import OBJECTIVES
from tests.programs import SHAPE, images, model


def trained(vae, x, **options):
    options = {"epochs": 3, "batch_size": 16, "precision": "float64"} | options
    return list(pv.fit(vae, x, **options)), vae.state_dict()


def assert_same(one, other, tolerance):
    for a, b in zip(one.values(), other.values(), strict=True):
        assert (a - b).abs().max() <= tolerance * max(1, b.abs().max())


# --- engines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_svi_and_eager_train_alike(name, objective):
    """Records and weights after 6 steps, on the same noise, in float64.

    Adam divides by the root of the squared gradient, which magnifies rounding where that is tiny:
    hence 1e-7 on weights that moved by 6e-3.
    """
    options = {"objective": objective, "num_particles": 3 if objective == "iwae" else 1}
    runs = [
        trained(model(name), images(), test_images=images(), engine=e, **options)
        for e in ("svi", "eager")
    ]
    (records, weights), (other_records, other_weights) = runs
    assert_same(weights, other_weights, 1e-7)
    for a, b in zip(records, other_records, strict=True):
        for field in ("epoch", "step", "beta", "loss", "train_elbo", "train_rate", "test_elbo"):
            assert getattr(a, field) == pytest.approx(getattr(b, field), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_the_autoencoder_trains_and_has_no_rate(engine):
    records, _ = trained(model(kind=pv.Autoencoder), images(), epochs=40, engine=engine)
    assert records[-1].train_distortion < records[0].train_distortion - 0.1
    assert records[-1].loss == pytest.approx(records[-1].train_distortion)
    assert math.isnan(records[-1].train_rate) and math.isnan(records[-1].train_elbo)


# --- what a record says ---------------------------------------------------------------------------


def test_a_record_says_what_was_trained():
    records, _ = trained(model(), images(), test_images=images(7), beta=0.5)
    assert [r.epoch for r in records] == [1, 2, 3]
    assert [r.step for r in records] == [2, 4, 6]  # 40 images in batches of 16: 8 dropped
    assert all(0 < a.seconds < b.seconds for a, b in zip(records, records[1:]))
    for r in records:
        assert r.loss == pytest.approx(r.train_distortion + 0.5 * r.train_rate)
        assert r.train_elbo == pytest.approx(-r.train_distortion - r.train_rate)
        assert r.test_elbo == pytest.approx(-r.test_distortion - r.test_rate)
    assert trained(model(), images())[0][0].test_elbo is None


def test_beta_follows_its_schedule():
    options = {"beta": 2.0, "warmup_epochs": 2, "epochs": 5}
    linear, _ = trained(model(), images(), beta_schedule="linear", **options)
    assert [r.beta for r in linear] == [0.5, 1.5, 2.0, 2.0, 2.0]  # at each epoch's last step
    cyclical, _ = trained(model(), images(), beta_schedule="cyclical", **options)
    assert [r.beta for r in cyclical] == [0.5, 1.5, 2.0, 2.0, 0.5]


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_the_learning_rate_follows_its_schedule(engine):
    """A cosine ends near 0: the last of 40 epochs moves the weights far less than the first."""
    vae = model()
    records = pv.fit(
        vae, images(), epochs=40, learning_rate_schedule="cosine", engine=engine, batch_size=16
    )
    path = []
    for _ in records:
        path.append(torch.cat([p.detach().flatten().clone() for p in vae.parameters()]))
    moves = [(b - a).norm().item() for a, b in zip(path, path[1:])]
    assert moves[-1] < 0.01 * moves[0]


def test_dynamic_pixels_are_drawn_anew_each_epoch(monkeypatch):
    seen = []
    step = pv.engines.Eager.step
    monkeypatch.setattr(
        pv.engines.Eager, "step", lambda self, x, *a: (seen.append(x), step(self, x, *a))[1]
    )
    grey = torch.full((16, *SHAPE), 0.3)
    trained(model(), grey, dynamic=True)
    assert all(((x == 0) | (x == 1)).all() for x in seen)
    assert len(seen) == 3 and not torch.equal(seen[0].sum(0), seen[1].sum(0))
    mean = torch.stack(seen).mean()
    assert abs(mean - 0.3) < 5 * math.sqrt(0.21 / (3 * 16 * 16))


def test_the_optimal_sigma_is_the_training_sets_error():
    vae = model("gaussian_optimal_sigma")
    trained(vae, images(), epochs=20)
    with torch.no_grad():
        x = images().double()
        z = vae.encode(x).sample((400,))
        rmse = (vae.decode(z).mean - x).square().mean().sqrt()
    assert vae.likelihood.sigma.item() == pytest.approx(rmse.item(), rel=0.03)  # one draw of z


# --- nothing leaks --------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_what_happens_between_records_changes_no_weight(engine):
    """Sampling, other training, validation and parameter stores on the outside stay outside."""
    options = {"epochs": 4, "engine": engine, "batch_size": 16, "dynamic": True}
    quiet, busy = model(), model()
    list(pv.fit(quiet, images(), **options))
    for _ in pv.fit(busy, images(), **options):
        busy.sample(3), busy.reconstruct(images(2)), torch.randn(7)
        trained(model(), images(), engine=engine)
        pyro.enable_validation(not pyro.infer.util.is_validation_enabled())
        pyro.clear_param_store()
        torch.manual_seed(99)
    assert_same(quiet.state_dict(), busy.state_dict(), 0)


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_training_leaves_the_callers_state_alone(engine):
    pyro.param("mine", torch.ones(2))
    vae, before = model(), torch.get_rng_state()
    for _ in pv.fit(vae, images(), epochs=2, engine=engine, dynamic=True):
        assert pyro.infer.util.is_validation_enabled()
        assert torch.distributions.Distribution._validate_args
        assert list(pyro.get_param_store().keys()) == ["mine"]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides():
    same = [trained(model(), images(), seed=s)[1] for s in (1, 1, 2)]
    assert_same(same[0], same[1], 0)
    assert any(not torch.equal(a, b) for a, b in zip(same[0].values(), same[2].values()))


# --- closed forms ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits").train.images


@pytest.mark.parametrize("beta", [0.25, 1, 4, 8, 30])
def test_components_collapse_where_the_closed_form_says(digits, beta):
    torch.manual_seed(0)
    family = {"likelihood": "gaussian_fixed_sigma", "sigma": 0.25, "levels": 17}
    vae = pv.VAE((1, 8, 8), 8, network="linear", **family)
    settings = {"objective": "elbo_analytic", "learning_rate": 0.01, "epochs": 400}
    list(pv.fit(vae, digits, beta=beta, learning_rate_schedule="cosine", **settings))
    exact = linear_optimum(digits, 8, beta, 0.25)
    rates = rate_per_component(vae, digits).mean(0)
    assert int((rates > COLLAPSED_RATE).sum()) == exact.active
    assert abs(rates.sum().item() - exact.rate) < max(0.03 * exact.rate, 0.02)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective": "elb"}, "objective: unknown name 'elb'; did you mean 'elbo'"),
        ({"engine": "egaer"}, "engine: .* did you mean 'eager'"),
        ({"precision": "float16"}, "precision: .* did you mean 'float"),
        ({"beta_schedule": "lin"}, "beta_schedule: .* did you mean 'linear'"),
        ({"learning_rate_schedule": "cos"}, "learning_rate_schedule: .* did you mean 'cosine'"),
        ({"beta": -1.0}, "beta: expected a number >= 0"),
        ({"beta": math.nan}, "beta: expected a number >= 0"),
        ({"epochs": 0}, "num_particles, epochs: expected >= 1, got 1, 0"),
        ({"num_particles": 0}, "num_particles, epochs: expected >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive number, got 0.0"),
        ({"learning_rate": -1e-3}, "learning_rate: expected a positive number"),
        ({"batch_size": 41}, "batch_size: expected 1 to 40 images, got 41"),
        ({"batch_size": 0}, "batch_size: expected 1 to 40 images, got 0"),
        ({"patience": 3}, "patience: expected at least 1, with validation_images; got 3"),
        (
            {"patience": 0, "validation_images": torch.zeros(2, *SHAPE)},
            "patience: expected at least 1, with validation_images; got 0",
        ),
        ({"validation_images": torch.zeros(2, *SHAPE)}, "patience: .* got None"),
        ({"objective": "iwae", "beta": 2.0}, "iwae is a bound at beta 1 only, got 2.0"),
        (
            {"objective": "iwae", "beta_schedule": "linear", "warmup_epochs": 1},
            "iwae is a bound at beta 1 only",
        ),
        ({"warmup_epochs": 1}, "goes with beta_schedule linear or cyclical"),
        ({"beta_schedule": "linear"}, "goes with beta_schedule linear or cyclical"),
        (
            {"beta_schedule": "linear", "warmup_epochs": 4},
            "warmup_epochs: would end after training, 4 > 3",
        ),
    ],
)
def test_wrong_arguments_are_named_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        pv.fit(model(), images(), **({"epochs": 3} | options))


def test_images_outside_the_support_are_refused_at_once():
    for options in ({}, {"dynamic": True}):
        with pytest.raises(ValueError, match="finite"):
            pv.fit(model(), images() / 0, **options)
        with pytest.raises(ValueError, match=r"\[0, 1\], got 0 to 2"):
            pv.fit(model(), 2 * images(), **options)
        with pytest.raises(ValueError, match="finite"):
            pv.fit(model(), images(), test_images=images() / 0, **options)
    with pytest.raises(ValueError, match="17 grey levels"):
        pv.fit(model("categorical", levels=17), images() * 0.51)


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager"])
@pytest.mark.parametrize("name", ["bernoulli", "laplace"])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_loss_that_is_not_finite_stops_training_and_is_named(part, name, engine):
    vae = model(name)
    with torch.no_grad():
        next(getattr(vae, part).parameters()).fill_(math.nan)
    with pytest.raises(FloatingPointError, match="is not finite at epoch 1, step 1; try a smaller"):
        list(pv.fit(vae, images(), test_images=images(), engine=engine))


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_weights_that_the_last_step_blew_up_are_named(engine):
    with pytest.raises(FloatingPointError, match="not finite at epoch"):
        list(pv.fit(model("laplace"), images(), learning_rate=1e20, epochs=9, engine=engine))


@pytest.mark.parametrize("precision, dtype", [("float64", torch.float64), ("bf16", torch.float32)])
def test_precisions(precision, dtype):
    vae = model("gaussian_shared_sigma")
    records = list(pv.fit(vae, images(), epochs=60, precision=precision, batch_size=16))
    assert {p.dtype for p in vae.parameters()} == {dtype}
    assert records[-1].loss < records[0].loss


# --- CUDA -----------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("engine", ["svi", "eager"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_cuda_trains_every_family(name, engine):
    vae = model(name)
    records = list(pv.fit(vae, images(), epochs=40, device="cuda", engine=engine, batch_size=16))
    assert {p.device.type for p in vae.parameters()} == {"cuda"}
    assert records[-1].loss < records[0].loss


@pytest.mark.cuda
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_cuda_and_cpu_score_alike(name):
    """The same weights, images and latents in float64: equal to rounding."""
    vae, x, z = model(name).double().eval(), images().double(), torch.randn(40, 2).double()
    here = vae.decode(z).log_prob(x)
    there = vae.to("cuda").decode(z.to("cuda")).log_prob(x.to("cuda")).cpu()
    assert torch.allclose(here, there, rtol=1e-9, atol=1e-9)


@pytest.mark.cuda
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("score", ["density", "levels"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_eager_step_does_not_wait_for_the_gpu(name, score, objective):
    vae = model(name, score=score).to("cuda")
    engine = pv.engines.Eager(vae, OBJECTIVES[objective], 2)
    x = images().to("cuda")
    pyro.enable_validation(False)
    engine.step(x, 1.0, 1e-3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.step(x, 1.0, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
