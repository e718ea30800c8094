"""The figures of parts are those of the functions that they call, on models of every kind."""

from dataclasses import replace

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import Subject
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.models.fitted import FITTED
from pyro_vae.randomness import seeded
from tests.support.runs import TINY

SEVEN_DRAWS = replace(TINY, bound_samples=7, rows=60)


def trained(digits, model=None, epochs=3, **settings):
    """A model of 16 hidden units and three components that has learned a little of the digits."""
    options = {"likelihood": "gaussian_shared_sigma", "hidden": (16,), "levels": 17} | settings
    vae = model or pv.VAE((1, 8, 8), options.pop("latent_dim", 3), **options)
    for _ in pv.fit(vae, digits.train.images, epochs=epochs, learning_rate=0.01, batch_size=128):
        pass
    return vae.eval()


@pytest.fixture(scope="module")
def likelihood(digits):
    """A model, and what the part `likelihood` found of it, with images held out."""
    data = pv.load_dataset("digits", validation=True)
    vae = trained(data)
    counted = []
    subject = Subject(vae, data, SEVEN_DRAWS, 3, progress=lambda *count: counted.append(count))
    return subject, PARTS["likelihood"].measure(subject), counted


@pytest.mark.slow
def test_means_over_images_are_those_of_the_functions(likelihood):
    subject, found, _ = likelihood
    images = subject.test[:60]
    terms = elbo_terms(subject.model, images, seed=3)
    bound = importance_bound(subject.model, images, 7, seed=3)
    expected = {
        "elbo_nats": terms.elbo,
        "rate_nats": terms.rate,
        "distortion_nats": terms.distortion,
        "bits_per_dim": bits_per_dim(bound.log_prob, (1, 8, 8)),
    }
    for key, values in expected.items():
        assert found.figures[key] == pytest.approx(estimate(values), rel=1e-5)
    assert found.figures["bits_per_dim_samples"] == 7


@pytest.mark.slow
def test_the_ladder_is_that_of_the_functions(likelihood):
    subject, found, counted = likelihood
    bound = importance_bound(subject.model, subject.test[:4], 7, 3).log_prob
    ladder, rungs = found.figures["ladder"], found.columns["likelihood"]
    assert torch.equal(rungs["importance_bound"], bound)
    assert all(len(values) == 4 for values in rungs.values())
    for name, figure in ladder["nats"].items():
        values = rungs[name]
        assert figure == estimate(values)
        assert ladder["bits_per_dim"][name] == estimate(bits_per_dim(values, (1, 8, 8)))
    log_prob = rungs["ais_from_posterior"]
    assert ladder["log_prob_nats"] == estimate(log_prob)
    gap = estimate(log_prob - rungs["elbo_refitted"])
    assert ladder["approximation_gap_nats"] == pytest.approx(gap)
    assert {unit for *_, unit in counted} == {"images", "steps of a fit", "temperatures"}
    assert list(found.drawings) == ["ladder"]


@pytest.mark.slow
def test_the_gain_of_a_density_of_codes_is_that_of_bounds_on_the_same_draws(likelihood):
    subject, found, _ = likelihood
    with seeded(3):
        few = subject.train[torch.randperm(len(subject.train))[: subject.effort.rows]]
    assert len(few) < len(subject.train)
    for kind in FITTED:
        fitted = pv.fit_prior(subject.model, few, kind, seed=3)
        bound = importance_bound(fitted, subject.test[:4], 7, seed=3)
        columns = found.columns["likelihood"]
        assert torch.equal(columns[f"importance_bound_{kind}"], bound.log_prob)
        gain = estimate(bound.log_prob - columns["importance_bound"])
        assert found.figures[f"gain_of_{kind}_nats"] == gain
        assert 1 <= found.figures[f"gain_of_{kind}_effective_samples"].mean <= 7


def test_drawn_binary_images_are_encoded_where_training_draws_them(digits):
    vae = pv.VAE((1, 8, 8), 2, "bernoulli", hidden=(4,), levels=2).eval()
    data = pv.load_dataset("digits", binarize="dynamic")
    encoded = []
    vae.encoder.register_forward_pre_hook(lambda _, given: encoded.append(given[0]))
    Subject(vae, data, TINY).with_fitted_prior("gaussian")
    assert set(encoded[0].unique().tolist()) == {0, 1}


@pytest.mark.slow
def test_images_to_choose_by_are_measured_as_well(likelihood):
    _, found, _ = likelihood
    values = found.columns["validation_likelihood"]["ais_from_posterior"]
    assert len(values) == 4
    assert found.figures["validation_log_prob_nats"] == estimate(values)


@pytest.mark.slow
def test_a_ladder_says_when_the_importance_bound_fails(digits):
    """A small fixed sigma and a spoilt encoder."""
    vae = trained(digits, epochs=30, likelihood="gaussian_fixed_sigma", sigma=0.05)
    with torch.no_grad():
        for p in vae.encoder.parameters():
            p.mul_(0.7)
    subject = Subject(vae, digits, replace(TINY, bound_images=4, temperatures=50))
    ladder = PARTS["likelihood"].measure(subject).figures["ladder"]
    missed = ladder["nats"]["ais_from_prior"].mean - ladder["nats"]["importance_bound"].mean
    assert missed > 5 and "misses" in ladder["warning"]


@pytest.mark.slow
def test_a_posterior_is_compared_with_draws_of_nuts(digits):
    found = PARTS["posterior"].measure(Subject(trained(digits), digits, TINY))
    draws = found.draws["posterior"]
    assert draws["posterior"]["z"].shape == (2, 12, 2, 3)
    assert draws["variational"]["z"].shape == (1, 12, 2, 3)
    assert found.figures["nuts_images"] == 2 and found.figures["k_hat_images"] == 4
    assert found.figures["smallest_scale_ratio"] <= found.figures["largest_scale_ratio"]
    names = ["posterior_moments", "calibration", "calibration_on_data"]
    assert list(found.drawings) == names
    assert found.figures["calibration_simulations"] == 60


# --- models and data that lack something ----------------------------------------------------------


@pytest.mark.slow
def test_what_is_no_likelihood_stands_on_no_ladder(digits):
    subject = Subject(trained(digits, epochs=1, likelihood="bernoulli"), digits, TINY)
    found = PARTS["likelihood"].measure(subject)
    assert found.figures["bits_per_dim"] is None and "ladder" not in found.figures
    posterior = PARTS["posterior"].measure(subject)
    assert "calibration_p_value" not in posterior.figures
    assert list(posterior.drawings) == ["posterior_moments"]


@pytest.mark.slow
def test_an_autoencoder_is_measured_where_it_can_be(digits, no_pictures):
    model = pv.Autoencoder((1, 8, 8), 3, "gaussian_shared_sigma", hidden=(16,), levels=17)
    subject = Subject(trained(digits, model), digits, TINY)
    likelihood = PARTS["likelihood"].measure(subject).figures
    undefined = ("elbo_nats", "rate_nats", "bits_per_dim", "collapsed_units")
    assert [likelihood[key] for key in undefined] == [None] * 4
    assert likelihood["distortion_nats"].mean > 0 and "ladder" not in likelihood
    assert PARTS["limit"].measure(subject).figures["p_value"] < 1e-6
    factors = PARTS["factors"].measure(subject).figures
    assert factors["label_accuracy"].mean > 3 * factors["label_chance"]


@pytest.mark.slow
def test_true_factors_are_scored():
    sprites = pv.load_dataset("sprites")
    vae = pv.VAE(sprites.image_shape, 3, "bernoulli", hidden=(4,), levels=2).eval()
    factors = PARTS["factors"].measure(Subject(vae, sprites, TINY)).figures
    assert factors["factor_names"] == ["shape", "scale", "rotation", "x", "y"]
    for key in ("mutual_information_gap", "disentanglement", "completeness"):
        assert 0 <= factors[key] <= 1
    assert factors["factor_vae_score"].standard_error > 0


@pytest.mark.parametrize("side, classes", [(8, 1), (3, 2)])
def test_images_that_allow_no_classifier_are_measured_without(side, classes):
    images = torch.rand(80, 1, side, side)
    split = pv.Split(images, torch.arange(80) % classes)
    vae = pv.VAE((1, side, side), 2, hidden=(4,)).eval()
    data = pv.Dataset("mine", split, split, None)
    subject = Subject(vae, data, TINY, labelled=lambda: data)
    samples = PARTS["samples"].measure(subject).figures
    assert samples["verdict"].word and "classifier_accuracy" not in samples
    assert "sharpness_ratio_samples_mixture" in samples
    data = replace(data, train=split[:9])  # to whose codes no density is fitted
    samples = PARTS["samples"].measure(replace(subject, data=data)).figures
    assert samples["verdict"].word and "sharpness_ratio_samples_mixture" not in samples


def bars(count=640, **columns):
    """Bars at eight places, a model of them, and what the part `factors` finds of further factors."""
    places = torch.arange(count) % 8
    images = torch.zeros(count, 1, 8, 8)
    images[torch.arange(count), :, :, places] = 1
    named = {name: column(places) for name, column in columns.items()}
    split = pv.Split(images, places, torch.stack([v.double() for v in named.values()], 1))
    vae = pv.VAE((1, 8, 8), 2, "bernoulli", hidden=(4,), levels=2).eval()
    data = pv.Dataset("bars", split, split[:64], 2, factor_names=tuple(named))
    return PARTS["factors"].measure(Subject(vae, data, TINY)).figures


def itself(places):
    return places


@pytest.mark.slow
@pytest.mark.parametrize(
    "count, columns, scored, not_scored",
    [
        (640, {"place": itself}, ["place"], ["beta_vae_score: ", "disentanglement: "]),
        (640, {"place": itself, "one": torch.zeros_like}, ["place"], ["one: a single value"]),
        (640, {"place": itself, "angle": torch.rand_like}, ["place"], ["angle: no whole numbers"]),
        (640, {"place": itself, "row": lambda p: torch.arange(len(p))}, ["place"],
         ["row: more than 100 values"]),
        (640, {"place": itself, "half": lambda p: p // 4}, ["place", "half"], []),
        (80, {"place": itself, "half": lambda p: p // 4}, ["place", "half"],
         ["factor_vae_score: expected 64 rows of some value of each, got 10"]),
        (64, {"place": itself, "rare": lambda p: torch.arange(64) == 3}, ["place", "rare"], []),
        (640, {"one": torch.zeros_like}, [], ["one: a single value"]),
    ],
)  # fmt: skip
def test_factors_that_cannot_be_scored_are_left_out_by_name(count, columns, scored, not_scored):
    columns = {n: (lambda p, c=c: c(p.double())) for n, c in columns.items()}
    figures = bars(count, **columns)
    assert figures["factor_names"] == scored and figures["label_accuracy"].mean > 0
    for said in not_scored:
        assert said in figures["not_scored"]
    assert ("mutual_information_gap" in figures) == bool(scored)
    if len(scored) == 1:
        assert "factor_vae_score" not in figures and "disentanglement" not in figures
        assert 0 <= figures["completeness"] <= 1
    if scored and not not_scored and count > 64:
        assert "not_scored" not in figures and figures["beta_vae_score"].mean > 0


def test_sorted_labels_are_probed_over_all_classes(digits):
    rows = digits.train.labels.argsort()
    data = replace(digits, train=digits.train[rows])
    vae = pv.VAE((1, 8, 8), 16, network="linear", levels=17).eval()
    few = replace(TINY, rows=300)  # the first 300 are of two classes
    figures = PARTS["factors"].measure(Subject(vae, data, few)).figures
    assert figures["label_accuracy"].mean > 3 * figures["label_chance"]


def test_images_without_labels_need_no_classifier(digits):
    vae = pv.VAE((1, 8, 8), 2, "gaussian_shared_sigma", hidden=(4,), levels=17).eval()
    split = pv.Split(torch.randint(17, (80, 1, 8, 8)) / 16)
    subject = Subject(vae, pv.Dataset("mine", split, split, 17), TINY)
    samples = PARTS["samples"].measure(subject).figures
    drawn, expected = (samples[f"sharpness_ratio_{name}"] for name in ("samples", "sample_means"))
    assert expected.mean < 0.8 * drawn.mean, "draws have the noise of the likelihood"
    real = samples["sharpness_ratio_real"].mean
    assert abs(real - 1) > 1e-6, "half of the real images is compared with the other half"
    assert "frechet_distance_samples" not in samples and samples["verdict"].word
    assert "label_accuracy" not in PARTS["factors"].measure(subject).figures


# --- the verdict ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "beta, word",
    [(1e-4, "under-regularised"), (0.5, "well regularised"), (100.0, "over-regularised")],
)
def test_the_verdict_tells_betas_apart(beta, word, digits, classifier, monkeypatch):
    """On the digits: a beta of 100 leaves nothing, one of 1e-4 leaves the prior behind."""
    monkeypatch.setattr("pyro_vae.measures.samples.classifier_for", lambda *_: classifier)
    vae = pv.VAE((1, 8, 8), 8, "gaussian_fixed_sigma", hidden=(128,), levels=17)
    settings = {"epochs": 40, "learning_rate": 0.01, "batch_size": 128}
    for _ in pv.fit(vae, digits.train.images, beta=beta, **settings):
        pass
    subject = Subject(vae.eval(), digits, TINY, labelled=lambda: digits)
    figures = PARTS["samples"].measure(subject).figures
    assert figures["verdict"].word == word and figures["classifier_accuracy"].mean > 0.9
