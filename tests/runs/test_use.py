"""What a trained model makes of images: codes and log P in closed form, and ranks that are right."""

import numpy as np
import pytest
import torch
from scipy import stats

import pyro_vae as pv
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.imputation import impute
from pyro_vae.kept import cache_file
from pyro_vae.randomness import seeded
from pyro_vae.runs import use
from pyro_vae.runs.use import rank_among
from tests.support.hostile import picture
from tests.support.linear_gaussian import ACCEPTED, linear_gaussian_vae
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere")
FLOATS = np.random.default_rng(0).random((40, 4, 4), dtype=np.float32)


def run_of(vae, **settings):
    """A run of a model that was not trained."""
    run = pv.Run("a", quick(**settings))
    run.vae, run.fingerprint, run.image_fingerprint = vae.eval(), f"{settings}", None
    return run


@pytest.fixture
def exact_run():
    """A run whose encoder is the posterior, on floats of no known grid; and its closed forms."""
    np.save("a.npy", FLOATS)
    vae, exact = linear_gaussian_vae()
    return run_of(vae, dataset="a.npy", precision="float64"), exact


# --- codes ----------------------------------------------------------------------------------------


def test_codes_are_those_of_the_closed_form(exact_run):
    run, exact = exact_run
    posterior = exact.posterior(torch.from_numpy(FLOATS).double())
    codes = run.encode("a.npy")
    assert (codes.mean - posterior.mean).abs().max() < 1e-12  # rounding
    assert (codes.scale - posterior.stddev).abs().max() < 1e-12


@pytest.mark.parametrize("at_once", [100, 500, 10**6])
def test_codes_are_those_of_one_batch_bit_for_bit(digits, monkeypatch, at_once):
    run = run_of(pv.VAE((1, 8, 8)))
    monkeypatch.setattr(use, "ENCODED_AT_ONCE", 64 * at_once)
    counted = []
    codes = run.encode("digits:train", lambda done, total, unit: counted.append((done, total)))
    with torch.no_grad():
        q = run.vae.encode(digits.train.images)
    assert torch.equal(codes.mean, q.mean) and torch.equal(codes.scale, q.variance.sqrt())
    assert counted[-1] == (1437, 1437) and len(counted) == -(-1437 // at_once)


@pytest.mark.parametrize("posterior", ["full_normal", "flow", "point"])
def test_codes_of_other_posteriors_have_moments_or_no_scale(digits, posterior):
    run, x = run_of(pv.VAE((1, 8, 8), posterior=posterior)), digits.test.images[:9]
    codes, q = run.encode(x), run.vae.encode(x)
    assert torch.equal(codes.mean, q.mean)
    if posterior == "point":
        assert codes.scale is None
    else:
        assert torch.equal(codes.scale, q.variance.sqrt())


def test_reconstructions_are_those_of_the_model_and_the_seed(digits):
    run, x = run_of(pv.VAE((1, 8, 8))), digits.test.images
    with seeded(3):
        expected = run.vae.reconstruct(x)
    assert torch.equal(run.reconstruct("digits:test", seed=3), expected)
    assert not torch.equal(run.reconstruct(x), expected)


# --- scores ---------------------------------------------------------------------------------------


def test_scores_are_log_densities_in_closed_form_where_pixels_lie_on_no_grid(exact_run):
    """Where q is the posterior, the bound is log p(x) with any number of draws."""
    run, exact = exact_run
    scores = run.score("a.npy", num_samples=3)
    assert (scores.log_prob - exact.log_prob(torch.from_numpy(FLOATS).double())).abs().max() < 1e-9
    assert (scores.effective_sample_size - 3).abs().max() < 1e-9 and scores.bits_per_dim is None


def test_test_images_have_each_rank_once_and_noise_has_the_lowest(copy_run, digits):
    run = pv.load_run(copy_run())
    scores = run.score("digits:test", num_samples=20)
    assert torch.equal((361 * scores.rank).round().sort().values, torch.arange(2.0, 362))
    order = scores.log_prob.argsort()
    assert (scores.rank[order].diff() > 0).all()
    noise = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = run.score((16 * noise).round() / 16, num_samples=20)
    assert (found.rank == 1 / 361).all()
    bits = -found.log_prob / (64 * np.log(2))
    assert torch.allclose(found.bits_per_dim, bits)


def test_scores_of_test_images_are_kept_for_one_run_and_one_setting(exact_run, monkeypatch):
    run, _ = exact_run
    counted = []

    def count(done, total, unit):
        counted.append(unit)

    first = run.score(torch.from_numpy(FLOATS[:2, None]), 5, progress=count)
    again = run.score(torch.from_numpy(FLOATS[:2, None]), 5, progress=count)
    run.score(torch.from_numpy(FLOATS[:2, None]), 6, progress=count)
    assert counted == ["test images", "images", "images", "test images", "images"]
    assert torch.equal(first.rank, again.rank)
    assert cache_file("test_scores", "").parent.is_dir()


def test_a_rank_is_as_small_as_it_says_as_often_as_it_says():
    """Of 19 + 1 values of the same kind, the last has a rank up to 0.05 once in 20 times."""
    draws = torch.randn(5000, 20, generator=torch.Generator().manual_seed(0))
    ranks = torch.stack([rank_among(row[19:], row[:19]) for row in draws])
    small = int((ranks < 0.0501).sum())
    assert stats.binomtest(small, len(draws), 0.05).pvalue > ACCEPTED
    shifted = torch.stack([rank_among(row[19:] - 1, row[:19]) for row in draws[:2000]])
    assert (shifted < 0.0501).float().mean() > 0.15  # of other images it is small more often


@pytest.mark.parametrize(
    "vae, word",
    [
        (pv.Autoencoder((1, 8, 8)), "autoencoder"),
        (pv.VAE((1, 8, 8), likelihood="bernoulli", levels=17), "bernoulli"),
    ],
)
def test_what_gives_no_probability_is_not_scored(vae, word):
    config = {"model": word} if word == "autoencoder" else {"likelihood": word}
    with pytest.raises(ValueError, match=f"score: {word} gives such images no probability"):
        run_of(vae, **config).score("digits:test")


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["threshold", "static", "dynamic"])
def test_images_are_read_as_the_run_reads_its_own(digits, how):
    run = run_of(pv.VAE((1, 8, 8), levels=2), binarize=how)
    expected = pv.load_dataset("digits", binarize=how).test
    found = run.read("digits:test")
    assert torch.equal(found.images, expected.images) and torch.equal(found.labels, expected.labels)
    np.save("v.npy", (16 * digits.test.images[:, 0]).numpy().astype(bool))
    assert torch.equal(run.read("v.npy").images, digits.test.images.bool().float())


def test_whole_numbers_have_the_levels_of_the_run_and_floats_may_lie_between_them(digits):
    run, x = run_of(pv.VAE((1, 8, 8), levels=17)), digits.test.images
    np.save("v.npy", (16 * x[:, 0]).numpy().astype(np.uint8))
    np.save("bytes.npy", (255 * x[:, 0]).numpy().astype(np.uint8))
    np.save("between.npy", (x[:1, 0] * 0.99).numpy())
    assert torch.equal(run.read("v.npy").images, x)
    with pytest.raises(ValueError, match="expected pixels of 17 grey levels, 0 to 16, in"):
        run.read("bytes.npy")
    assert run.encode("between.npy").mean.shape == (1, 8)
    with pytest.raises(
        ValueError, match="levels: expected the 17 grey levels v / 16 in the images"
    ):
        run.score("between.npy")


def test_a_folder_is_read_whole_with_labels_and_names(tmp_path):
    run = run_of(pv.VAE((1, 4, 4)))
    for place in ("train/b/1", "train/a/2", "test/b/0"):
        picture(tmp_path / "p" / f"{place}.png")
    found = run.read("p")
    assert found.names == ("test/b/0.png", "train/a/2.png", "train/b/1.png")
    assert found.labels.tolist() == [1, 0, 1] and len(found.images) == 3


def test_the_split_of_own_images_is_that_of_their_training():
    run = run_of(pv.VAE((1, 4, 4)), dataset="a.npy", validation="always")
    np.save("a.npy", FLOATS)
    data = pv.load_dataset("a.npy", validation=True)
    for name in ("train", "validation", "test"):
        assert torch.equal(run.read(f"a.npy:{name}").images, getattr(data, name).images)
    assert torch.equal(run.read("a.npy").images[:, 0], torch.from_numpy(FLOATS))


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.rand(2, 3, 64, 64), r"expected 1x8x8 .* got 3x64x64; Pillow converts pictures: pic"),
        (torch.rand(0, 1, 8, 8), r"images: expected a tensor \(N, 1, 8, 8\) of at least one image"),
        (torch.full((2, 1, 8, 8), torch.nan), "images: expected finite pixels"),
        (FLOATS, r"images: expected a tensor \(N, 1, 8, 8\)"),
        ("digits", "images: name the split of digits, as in digits:test"),
        ("digits:tets", "images: split: unknown name 'tets'; did you mean 'test'?"),
    ],
)
def test_other_images_are_refused(images, message):
    run = run_of(pv.VAE((1, 8, 8)))
    for use_of in (run.encode, run.reconstruct, run.score):
        with pytest.raises(ValueError, match=message):
            use_of(images)


# --- missing pixels -------------------------------------------------------------------------------


def test_missing_pixels_are_left_out_of_codes_scores_and_ranks(exact_run):
    """A file of floats with NaN; an image without missing pixels is used as ever."""
    run, _ = exact_run
    x = torch.from_numpy(FLOATS[:6, None].copy())
    x[1:, :, :2] = torch.nan
    np.save("holes.npy", x[:, 0].numpy())
    zeros = run.encode(x.nan_to_num())
    assert torch.equal(run.encode("holes.npy").mean, zeros.mean)
    reconstructions = run.reconstruct("holes.npy", seed=3)
    assert torch.equal(reconstructions, run.reconstruct(x.nan_to_num(), seed=3))
    scores, whole = run.score("holes.npy", 9), run.score(x[:1], 9)
    expected = importance_bound(run.vae.given(missing=True), x.double(), 9, score="density")
    assert torch.equal(scores.log_prob, expected.log_prob)
    assert (scores.log_prob[0] - whole.log_prob[0]).abs() < 1e-9 and scores.rank[0] == whole.rank[0]
    assert scores.rank[1:].isnan().all()
    found = run.impute("holes.npy", 9, seed=4)
    assert torch.equal(found.images, impute(run.vae, x.double(), 9, seed=4).images)
    assert not found.images.isnan().any()


def test_bits_are_of_the_pixels_that_are_there(copy_run, digits):
    run, x = pv.load_run(copy_run()), digits.test.images[:4].clone()
    x[2:, :, :2] = torch.nan
    scores = run.score(x, 9)
    pixels = torch.tensor([64, 64, 48, 48])
    assert torch.allclose(scores.bits_per_dim, -scores.log_prob / pixels / np.log(2))


@pytest.mark.parametrize("how", ["threshold", "static"])
def test_missing_pixels_stay_missing_where_others_become_binary(how):
    x = FLOATS[:9].copy()
    x[:, 1] = np.nan
    np.save("holes.npy", x)
    found = run_of(pv.VAE((1, 4, 4), levels=2), binarize=how).read("holes.npy").images
    assert (found[:, 0, 1].isnan()).all() and set(found[:, 0, 2:].unique().tolist()) == {0.0, 1.0}
