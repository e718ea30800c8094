"""The two programs under stock Pyro, unmodified."""

import copy
import math
import pickle
import re

import pyro
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import MCMC, NUTS, SVI, Predictive, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO

from pyro_vae import VAE, Autoencoder
from pyro_vae.likelihoods import LIKELIHOODS
from tests.support.linear_gaussian import linear_gaussian_vae, linear_layers

SHAPE = (1, 6, 6)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def small(likelihood="gaussian_shared_sigma", latent_dim=2, **options):
    options = {"network": "mlp", "hidden": (16,), "levels": 2} | options
    return VAE(SHAPE, latent_dim, likelihood, **options)


def images(count=16):
    return torch.randint(2, (count, *SHAPE)).float()


CASES = [
    (Trace_ELBO, {"network": "conv", "hidden": (4, 8)}),
    (Trace_ELBO, {"network": "linear", "hidden": ()}),
    (Trace_ELBO, {"network": "resnet", "hidden": (16, 8), "activation": "gated"}),
    (Trace_ELBO, {"decoder_features": 3, "initialisation": "glorot"}),
    (TraceMeanField_ELBO, {"likelihood": "bernoulli"}),
    (RenyiELBO, {}),
]  # the engine `svi` trains every family


@pytest.mark.slow
@pytest.mark.parametrize("elbo, options", CASES)
def test_stock_svi_trains_every_network_on_every_elbo(elbo, options):
    vae, x, loss = small(**options), images(), elbo(num_particles=3, vectorize_particles=True)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), loss)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_sites_and_shapes():
    vae, x = small(latent_dim=3), images(5)
    guide = poutine.trace(vae.guide).get_trace(x)
    model = poutine.trace(poutine.replay(vae.model, guide)).get_trace(x)
    assert set(guide.stochastic_nodes) == {"z", "data"} and model.observation_nodes == ["x"]
    assert guide.nodes["z"]["fn"].batch_shape == (5,) and guide.nodes["z"]["fn"].event_shape == (3,)
    assert (
        model.nodes["x"]["fn"].batch_shape == (5,) and model.nodes["x"]["fn"].event_shape == SHAPE
    )
    assert torch.equal(model.nodes["z"]["value"], guide.nodes["z"]["value"])


@pytest.mark.parametrize("features", [None, 4])
@pytest.mark.parametrize(
    "network, hidden", [("mlp", (8,)), ("conv", (4, 8)), ("linear", ()), ("resnet", (4, 16))]
)
def test_leading_dimensions_pass_through(network, hidden, features):
    vae = VAE((3, 9, 7), 2, "laplace", network, hidden, decoder_features=features)
    x = torch.rand(4, 5, 3, 9, 7)
    z = vae.encode(x).mean
    assert z.shape == (4, 5, 2)
    assert torch.allclose(z[1, 2], vae.encode(x[1, 2:3]).mean[0], atol=1e-6)
    assert torch.allclose(vae.decode(z).mean[3, 1], vae.decode(z[3, 1:2]).mean[0], atol=1e-6)


def test_decoders_with_a_head_differ_by_its_weights_alone():
    """(F + 1) weights and biases for each output of the family per pixel."""
    bodies = set()
    for name in LIKELIHOODS:
        vae = small(name, decoder_features=5)
        body, head = vae.decoder
        bodies.add(repr(body))
        outputs = vae.likelihood.channels
        assert sum(p.numel() for p in head.parameters()) == (5 + 1) * outputs
    assert len(bodies) == 1 and "out_features=180" in bodies.pop()  # 5 for each of 36 pixels


def test_predictive_gives_observed_and_new_images():
    vae, x = small(), images(4)
    seen = Predictive(vae.model, guide=vae.guide, num_samples=7)(x)
    assert seen["z"].shape == (7, 4, 2) and torch.equal(seen["x"], x.expand(7, *x.shape))
    free = poutine.uncondition(vae.model)
    for parallel in (False, True):
        new = Predictive(free, num_samples=300, parallel=parallel)(x)
        assert new["x"].shape == (300, 4, *SHAPE)
        assert new["z"].std().item() == pytest.approx(1, abs=0.1)  # the prior's: 2,400 draws


def test_predictive_draws_new_images_of_a_linear_gaussian_model():
    """Moments of the prior and of p(x) = N(b, W W' + sigma^2), within 5 Monte Carlo errors."""
    vae, _ = linear_gaussian_vae(oblique=True)
    count = 20_000
    new = Predictive(vae.model, num_samples=1)(None, num_images=count)
    z, x = new["z"].squeeze(0), new["x"].squeeze(0).flatten(1)
    assert x.dtype == torch.float64 and z.shape == (count, 3)
    decoder = linear_layers(vae)[1]
    weight, offset = decoder.weight.detach(), decoder.bias.detach()
    covariance = weight @ weight.T + 0.5**2 * torch.eye(16)
    variance = covariance.diagonal()
    for drawn, mean, truth in (
        (z, torch.zeros(3), torch.eye(3).double()),
        (x, offset, covariance),
    ):
        variance = truth.diagonal()
        assert ((drawn.mean(0) - mean).abs() < 5 * (variance / count).sqrt()).all()
        error = ((variance.outer(variance) + truth.square()) / count).sqrt()  # of Normal draws
        assert ((drawn.T.cov() - truth).abs() < 5 * error).all()


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_a_program_without_images_needs_their_number(kind):
    model = kind(SHAPE, 2, hidden=(8,))
    assert model.model(None, num_images=4).shape == (4, *SHAPE)
    with pytest.raises(ValueError, match="num_images: expected how many images to draw without x"):
        model.model(None)


@pytest.mark.slow
def test_nuts_finds_the_posterior_of_a_linear_gaussian_model():
    """One image, two latents: moments against the closed form, within 5 standard errors."""
    vae = small("gaussian_fixed_sigma", network="linear", hidden=(), sigma=0.7).double().eval()
    x = images(1).double()
    before = copy.deepcopy(vae.state_dict())
    mcmc = MCMC(NUTS(vae.model), 500, warmup_steps=150, disable_progbar=True)
    mcmc.run(x)
    z, diagnostics = mcmc.get_samples()["z"].squeeze(1), mcmc.diagnostics()["z"]
    loadings, offset = vae.decoder[0].weight, vae.decoder[0].bias
    covariance = torch.linalg.inv(torch.eye(2).double() + loadings.T @ loadings / 0.7**2)
    mean = covariance @ loadings.T @ (x.flatten() - offset) / 0.7**2
    draws = diagnostics["n_eff"].flatten()
    assert (draws > 200).all()
    deviation = covariance.diagonal().sqrt()
    assert ((z.mean(0) - mean).abs() < 5 * deviation / draws.sqrt()).all()
    assert (z.std(0) / deviation - 1).abs().max() < 5 / (2 * draws.min()).sqrt()
    assert all(torch.equal(v, before[k]) for k, v in vae.state_dict().items())


def test_render_model_draws_the_plate():
    vae, x = small(), images(3)
    source = pyro.render_model(vae.model, model_args=(x,), render_distributions=True).source
    (plate,) = re.findall(r"subgraph cluster_data \{(.*?)\}", source, re.S)
    colours = dict(re.findall(r"(\w+) \[label=\w+ fillcolor=(\w+)", plate))
    assert colours == {"z": "white", "x": "gray"}  # a latent and an observed site
    assert re.findall(r"(\w+) -> (\w+)", source) == [("z", "x")]
    assert "z ~ Normal" in source


@pytest.mark.slow
def test_two_models_in_one_process_do_not_starve_each_other():
    """Equal names would share one parameter store, and the second would never train."""
    x = images()
    for _ in range(2):
        vae = small()
        svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
        before = copy.deepcopy(vae.state_dict())
        losses = [svi.step(x) for _ in range(80)]
        assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
        assert all(not torch.equal(p, before[k]) for k, p in vae.named_parameters())


@pytest.mark.parametrize("clone", [copy.deepcopy, pickled])
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_copies_get_names_of_their_own(kind, clone):
    model = kind(SHAPE, 2)
    other = clone(model)
    assert other.name != model.name
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))
    assert list(model.state_dict()) == list(other.state_dict())
    assert not any(model.name in key for key in model.state_dict())


def test_an_unregistered_program_leaves_the_parameter_store_alone():
    vae, x = small(), images()
    with vae.unregistered():
        vae.model(x), vae.guide(x)
    with vae.unregistered():
        with vae.unregistered():
            pass
        vae.model(x)
    assert len(pyro.get_param_store()) == 0
    vae.model(x), vae.guide(x)
    assert len(pyro.get_param_store()) == len(list(vae.parameters()))


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_images_for_the_eye_lie_in_the_unit_interval(kind):
    vae, x = kind(SHAPE, 2, "gaussian_pixel_sigma", hidden=(8,)), images(3)
    with torch.no_grad():
        vae.decoder[-2].bias.add_(torch.randn_like(vae.decoder[-2].bias) * 3)
    for picture in (vae.reconstruct(x), vae.sample(9)):
        assert picture.shape[1:] == SHAPE and not picture.requires_grad
        assert picture.min() >= 0 and picture.max() <= 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"likelihood": "gausian_shared_sigma"}, "did you mean 'gaussian_shared_sigma'"),
        ({"network": "transformer"}, "network: unknown name 'transformer'; expected one of"),
        ({"activation": "rleu"}, "activation: .* did you mean 'relu'"),
        ({"initialisation": "golrot"}, "initialisation: .* did you mean 'glorot'"),
        ({"decoder_features": 0}, "decoder_features: expected at least 1, got 0"),
        ({"latent_dim": 0}, "latent_dim: expected a size >= 1, got 0"),
        ({"hidden": (4, 0)}, r"hidden: expected sizes >= 1, got \(4, 0\)"),
        ({"network": "conv", "hidden": (4, 4, 4)}, "6 pixels allow 1 to 2 of them, got 3"),
        ({"image_shape": (28, 28)}, r"image_shape: expected \(C, H, W\), got \(28, 28\)"),
        ({"likelihood": "laplace", "sigma": 0.1}, "sigma: LaplacePixels takes none"),
        ({"likelihood": "gaussian_fixed_sigma", "sigma": 0.0}, "expected a positive number"),
        ({"levels": 1}, "at least 2 grey levels"),
        ({"score": "bits"}, "score: unknown name 'bits'; expected one of density, levels"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        VAE(**({"image_shape": SHAPE, "latent_dim": 2} | options))


@pytest.mark.parametrize("beta", [-1.0, float("nan"), float("inf")])
def test_beta_must_not_be_negative(beta):
    with pytest.raises(ValueError, match="beta: expected a number >= 0"):
        small().model(images(), beta)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_drawn_images_have_the_noise_of_the_likelihood_and_expected_ones_have_none(name):
    torch.manual_seed(0)
    levels = 2 if name == "bernoulli" else 17
    vae = VAE((1, 4, 4), 2, name, hidden=(8,), levels=levels).eval()
    new = Predictive(vae.model, num_samples=3)(None, num_images=5)
    assert new["x"].shape == (3, 5, 1, 4, 4) and new["x"].isfinite().all()
    z = torch.randn(3, 2)
    drawn = vae.images(z.repeat(4000, 1), draw=True).unflatten(0, (4000, 3))
    grid = drawn * (levels - 1)
    assert torch.allclose(grid, grid.round(), atol=1e-4) and 0 <= drawn.min() <= drawn.max() <= 1
    with torch.no_grad():
        mean = vae.decode_levels(z).mean
    error = drawn.std(0) / math.sqrt(4000)
    assert ((drawn.mean(0) - mean).abs() < 5 * error + 1e-3).all()
    assert torch.equal(vae.images(z), vae.images(z)) and vae.sample(5, draw=True).shape[0] == 5
