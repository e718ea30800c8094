"""Fréchet distance, precision and recall, the classifier behind them, and sharpness."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

import pyro_vae as pv
from pyro_vae.data import Dataset, Split
from pyro_vae.evaluation import samples
from pyro_vae.evaluation.features import FeatureNet, feature_count, train_features
from pyro_vae.evaluation.samples import frechet_distance, precision_recall, sample_quality
from pyro_vae.evaluation.sharpness import radial_power_spectrum, sharpness_ratio
from pyro_vae.runs.checkpoints import save_checkpoint
from pyro_vae.runs.classifiers import classifier_for, load_features, save_features


def closed_form(a, b):
    """The distance from sample moments, with scipy's root of a matrix that is not symmetric."""
    a, b = np.asarray(a), np.asarray(b)
    s, t = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(s @ t).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)


def with_moments(mean, covariance, count=40):
    """Rows whose sample mean and covariance are exactly these."""
    x = torch.randn(count, len(mean), dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0))[0] * math.sqrt(count - 1)
    return mean + x @ torch.linalg.cholesky(covariance).T


def random_covariance(size):
    x = torch.randn(size, size, dtype=torch.float64)
    return x @ x.T + 0.1 * torch.eye(size)


# --- Fréchet distance -----------------------------------------------------------------------------


def test_the_distance_of_independent_components_is_a_sum():
    """|means' gap|^2 + sum of squared gaps between the standard deviations; rounding."""
    s, t = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.1, 0.5]).double()
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    a, b = with_moments(mean, (s**2).diag()), with_moments(torch.zeros(3), (t**2).diag(), 55)
    exact = (mean**2).sum() + ((s - t) ** 2).sum()
    assert frechet_distance(a, b).mean == pytest.approx(exact.item(), abs=1e-8)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_the_distance_of_exact_moments_is_the_closed_form(size):
    a = with_moments(torch.randn(size).double(), random_covariance(size))
    b = with_moments(torch.randn(size).double(), random_covariance(size), 60)
    s, t = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    root = scipy.linalg.sqrtm(s @ t).real
    exact = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(s + t - 2 * root)
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there.mean == pytest.approx(exact, abs=1e-8)
    assert back == pytest.approx(there, rel=1e-9)


def test_the_distance_of_drawn_normals_is_near_the_closed_form():
    """Within 5 standard errors; at 5,000 rows the bias, 3 * 4 / 5,000, is a tenth of one."""
    s, t = random_covariance(3), random_covariance(3)
    mean = torch.tensor([2.0, 0.0, -1.0]).double()
    a = with_moments(mean, s)
    exact = closed_form(a, with_moments(torch.zeros(3), t))
    draw = torch.distributions.MultivariateNormal
    found = frechet_distance(draw(mean, s).sample((5000,)), draw(0 * mean, t).sample((5000,)))
    assert abs(found.mean - exact) < 5 * found.standard_error
    assert found.standard_error < exact / 10
    off = frechet_distance(draw(0 * mean, s).sample((5000,)), draw(0 * mean, t).sample((5000,)))
    assert abs(off.mean - exact) > 5 * found.standard_error


def test_the_standard_error_is_made_of_the_rows_influences():
    """Each influence as a difference quotient of the closed form with one row weighted up.

    To 1e-5: the quotient's own error is of the order of the squared step.
    """
    a, b = torch.randn(12, 3).double(), 2 * torch.randn(15, 3).double() + 1

    def distance(weights, moving, fixed):
        w = weights / weights.sum()
        mean = w @ moving
        spread = np.cov(moving.T, aweights=weights, ddof=0) - np.cov(moving.T, ddof=0)
        s, t = np.cov(moving.T) + spread, np.cov(fixed.T)
        root = scipy.linalg.sqrtm(s @ t).real
        return ((mean - fixed.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)

    def variance(moving, fixed):
        n, step = len(moving), 1e-4
        weights = step * np.eye(n)
        slope = [distance(1 + w, moving, fixed) - distance(1 - w, moving, fixed) for w in weights]
        return (np.array(slope) * n / (2 * step)).var(ddof=1) / n

    exact = math.sqrt(variance(a.numpy(), b.numpy()) + variance(b.numpy(), a.numpy()))
    assert frechet_distance(a, b).standard_error == pytest.approx(exact, rel=1e-5)


def test_the_standard_error_is_the_spread_of_repeated_samples():
    """400 repeats: a standard deviation is known to 1 / sqrt(800), five of which are 18%."""
    scale = torch.tensor([1.0, 2.0, 0.3])
    pairs = [(torch.randn(500, 3) * scale + 0.5, torch.randn(400, 3)) for _ in range(400)]
    found = torch.tensor([frechet_distance(a, b) for a, b in pairs])
    assert found[:, 1].mean().item() == pytest.approx(found[:, 0].std().item(), rel=0.18)


def test_between_samples_of_one_distribution_the_standard_error_is_too_large_by_root_two():
    """A quadratic form of Normals m'm varies by 2 tr S^2; its influences, 2m, say 4 tr S^2.

    400 repeats of a form of 14 squares, whose kurtosis makes five standard errors 21%, and a
    little for the standard error's own: both together less than what separates it from 1.
    """
    pairs = [(torch.randn(300, 4), torch.randn(300, 4)) for _ in range(400)]
    found = torch.tensor([frechet_distance(a, b) for a, b in pairs])
    rms = found[:, 1].square().mean().sqrt() / found[:, 0].std()
    assert rms.item() == pytest.approx(math.sqrt(2), rel=0.25)


def test_equal_sets_are_at_zero_whatever_their_rank():
    full = torch.randn(50, 6).double()
    flat = full[:, :2] @ torch.randn(2, 6).double() * 100  # rank 2
    for x in (full, flat, full[:3], torch.full((5, 6), 0.3)):
        assert frechet_distance(x, x).mean == pytest.approx(0, abs=1e-9 * (1 + x.var().item()))
        assert frechet_distance(x, x).standard_error == pytest.approx(0, abs=1e-6)
        assert frechet_distance(x, x + 1).mean == pytest.approx(6, rel=1e-6)


def test_singular_covariances():
    """On two lines at right angles nothing overlaps: the distance is that of the means and traces."""
    t, u = torch.randn(30, 1).double(), torch.randn(40, 1).double()
    a, b = t * torch.tensor([1.0, 0, 0]), u * torch.tensor([0, 3.0, 4.0]) + 1
    exact = (a.mean(0) - b.mean(0)).square().sum() + t.var() + 25 * u.var()
    assert frechet_distance(a, b).mean == pytest.approx(exact.item(), rel=1e-9)
    point = torch.ones(7, 3)
    exact = (a.mean(0) - 1).square().sum() + t.var()
    assert frechet_distance(a, point).mean == pytest.approx(exact.item(), rel=1e-9)
    assert math.isfinite(frechet_distance(point, a).standard_error)


@pytest.mark.parametrize("measure", [frechet_distance, precision_recall])
def test_features_are_checked(measure):
    x = torch.randn(9, 3)
    for other in (torch.randn(9, 2), torch.randn(9), torch.randn(1, 3)):
        with pytest.raises(ValueError, match=r"features: expected finite .* got \(9, 3\) and"):
            measure(x, other)
    with pytest.raises(ValueError, match=r"features: expected finite .* got NaN or infinite"):
        measure(x, x / 0)


# --- precision and recall -------------------------------------------------------------------------


def counted(real, generated, k):
    """Precision and recall by the definition, one distance at a time."""

    def share(rows, others):
        between = np.linalg.norm(rows[:, None] - others[None], axis=-1)
        radii = np.sort(np.linalg.norm(others[:, None] - others[None], axis=-1), axis=1)[:, k]
        return (between <= radii[None]).any(1).mean()

    return share(generated, real), share(real, generated)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_precision_and_recall_as_counted(k, monkeypatch):
    far = 1e7  # from the origin, where products of matrices would lose the distances
    real = far + torch.randn(60, 4).double()
    generated = far + 0.7 * torch.randn(45, 4).double() + 0.5
    exact = counted(real.numpy(), generated.numpy(), k)
    for at_once in (samples._DISTANCES_AT_ONCE, 130, 1):
        monkeypatch.setattr(samples, "_DISTANCES_AT_ONCE", at_once)
        found = precision_recall(real, generated, k)
        assert [f.mean for f in found] == pytest.approx(exact, abs=1e-12)
    assert 0 < exact[0] < 1 and 0 < exact[1] < 1
    p = exact[0]  # the standard error of a share
    assert found[0].standard_error == pytest.approx(math.sqrt(p * (1 - p) / 44), rel=1e-9)


def test_equal_sets_are_precise_and_recalled_and_distant_ones_are_neither():
    x = torch.rand(40, 32)
    x = torch.cat([x, x[:9], x[:9], x[:9], x[:9]])  # some with balls of radius zero
    assert [p.mean for p in precision_recall(x, x.clone())] == [1, 1]
    assert [p.mean for p in precision_recall(x, x + 100)] == [0, 0]


def test_a_forgotten_mode_costs_recall_and_an_invented_one_precision():
    """Ten modes 100 apart, of width one; four are generated, with a shift below every distance."""
    modes = 100 * torch.eye(10).repeat_interleave(20, 0)
    real = modes + torch.randn(200, 10)
    some = real[:80] + 1e-3
    assert [p.mean for p in precision_recall(real, some)] == [1, pytest.approx(0.4)]
    assert [p.mean for p in precision_recall(some, real)] == [pytest.approx(0.4), 1]


def test_neighbours_are_checked():
    x = torch.randn(4, 2)
    with pytest.raises(ValueError, match="neighbours: expected 1 or more, got 0"):
        precision_recall(x, x, 0)
    with pytest.raises(ValueError, match="of 5 rows up"):
        precision_recall(x, x, 4)
    assert precision_recall(x, x, 3)[0].mean == 1


# --- sharpness ------------------------------------------------------------------------------------


def ring_by_ring(images):
    """Rings, their mean power and what lies beyond, by loops over numpy's transform."""
    height, width = images.shape[2:]
    shorter = min(height, width)
    power, counts, corners = np.zeros(shorter // 2), np.zeros(shorter // 2), 0.0
    transform = np.abs(np.fft.fft2(images.double().numpy())) ** 2 / (height * width) ** 2
    for u in range(height):
        for v in range(width):
            y, x = min(u, height - u) / height, min(v, width - v) / width
            ring = max(1, round(shorter * math.hypot(y, x)))
            if (u, v) != (0, 0) and ring <= shorter // 2:
                power[ring - 1] += transform[..., u, v].mean()
                counts[ring - 1] += 1
            elif (u, v) != (0, 0):
                corners += transform[..., u, v].mean()
    return power / counts, counts, corners


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (28, 28), (6, 17), (2, 2), (3, 40)])
def test_the_spectrum_as_counted_and_parseval(shape):
    """Rounding; the variance is around the mean of each image and channel."""
    images = torch.rand(3, 2, *shape)
    found = radial_power_spectrum(images)
    power, counts, corners = ring_by_ring(images)
    assert found.power.numpy() == pytest.approx(power, rel=1e-9)
    assert found.counts.tolist() == counts.tolist()
    assert found.frequencies.tolist() == list(range(1, min(shape) // 2 + 1))
    assert found.corners == pytest.approx(corners, rel=1e-9)
    variance = images.double().var((2, 3), correction=0).mean().item()
    total = (found.counts * found.power).sum().item() + found.corners
    assert total == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("waves, ring", [((0, 1), 1), ((5, 0), 5), ((3, 4), 5), ((0, 14), 14)])
def test_a_grating_has_its_power_in_its_ring(waves, ring):
    """Rounding: a cosine of amplitude 0.3 has variance 0.045, at the Nyquist frequency 0.09."""
    y, x = torch.meshgrid(*[torch.arange(28).double() / 28] * 2, indexing="ij")
    image = 0.5 + 0.3 * torch.cos(2 * math.pi * (waves[0] * y + waves[1] * x))
    found = radial_power_spectrum(image.expand(4, 1, 28, 28))
    power = found.counts * found.power
    assert power[ring - 1].item() == pytest.approx(0.09 if ring == 14 else 0.045, rel=1e-12)
    assert power.sum() - power[ring - 1] + found.corners < 1e-25


def blurred(images, width):
    """Circular convolution with a Gaussian of this width in pixels, and its transfer function."""
    y, x = (torch.fft.fftfreq(n, dtype=torch.float64) for n in images.shape[2:])
    transfer = torch.exp(-2 * (math.pi * width) ** 2 * (y[:, None] ** 2 + x**2))
    return torch.fft.ifft2(torch.fft.fft2(images.double()) * transfer).real, transfer


def test_white_noise_is_flat_and_blurred_noise_is_not():
    """All 14 rings within 5 standard errors of variance / pixels; a blur shows from the fourth on."""
    noise = 0.2 * torch.randn(300, 1, 28, 28)
    found = radial_power_spectrum(noise)
    assert ((found.power - 0.04 / 784).abs() < 5 * found.standard_error).all()
    assert (found.standard_error < 0.03 * found.power).all()
    found = radial_power_spectrum(blurred(noise, 0.5)[0])
    assert ((found.power - 0.04 / 784).abs() > 5 * found.standard_error)[3:].all()


@pytest.mark.parametrize("side", [8, 28, 9])
def test_a_blur_of_known_transfer_has_its_sharpness(side):
    """A single bright pixel has equal power everywhere: the ratio is the mean squared transfer."""
    image = torch.zeros(1, 3, side, side)
    image[..., side // 2, 1] = 1
    soft, transfer = blurred(image, 0.6)
    waves = torch.fft.fftfreq(side, 1 / side)
    ring = torch.hypot(waves[:, None], waves).round()
    upper = (ring > side // 2 / 2) & (ring <= side // 2)
    exact = transfer[upper].square().mean().item()
    assert sharpness_ratio(soft, image).mean == pytest.approx(exact, rel=1e-9)
    assert sharpness_ratio(image, soft).mean == pytest.approx(1 / exact, rel=1e-9)
    assert sharpness_ratio(image, image).mean == pytest.approx(1, rel=1e-12)
    assert 0.01 < exact < 0.6


def test_the_standard_error_of_sharpness_is_the_spread_of_repeated_samples():
    """400 repeats, 18% as above; images of random contrast, so that they differ in power."""

    def draw(count):
        return torch.rand(count, 1, 1, 1) * torch.randn(count, 1, 8, 8)

    found = torch.tensor([sharpness_ratio(draw(60), 2 * draw(90)) for _ in range(400)])
    assert found[:, 1].mean().item() == pytest.approx(found[:, 0].std().item(), rel=0.18)
    error = found[:, 0].std().item() / 20
    assert found[:, 0].mean().item() == pytest.approx(0.25, abs=5 * error + 0.005)  # bias of 1 / N


def test_images_without_fine_detail_have_no_sharpness_and_are_no_reference():
    x, flat = torch.rand(5, 1, 8, 8), torch.full((5, 1, 8, 8), 0.3)
    assert sharpness_ratio(flat, x).mean == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="reference: expected power in the upper frequencies"):
        sharpness_ratio(x, flat)


def test_images_are_checked():
    for shape in ((5, 8, 8), (0, 1, 8, 8), (5, 1, 1, 8)):
        with pytest.raises(ValueError, match=r"images: expected \(N, C, H, W\) from 2x2 up, got"):
            radial_power_spectrum(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"reference, \(1, 9, 9\), got \(1, 8, 8\)"):
        sharpness_ratio(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 9, 9))


# --- the classifier -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits")


@pytest.fixture(scope="module")
def net(digits):
    return train_features(digits.train.images, digits.train.labels, 32)


def accuracy(net, split):
    with torch.no_grad():
        return (net(split.images).argmax(1) == split.labels).double().mean().item()


def test_the_classifier_knows_the_digits(net, digits):
    """Its test set was written by other people; the held-out images were not."""
    assert net.accuracy.mean > 0.95 and net.accuracy.standard_error < 0.02
    assert accuracy(net, digits.test) > 0.9
    features = net.features(digits.test.images)
    assert features.shape == (360, 32) and not features.requires_grad
    assert (features.std(0) > 0.01).all()
    torch.testing.assert_close(net.head(features).argmax(1), net(digits.test.images).argmax(1))


def test_accuracy_is_measured_on_images_that_were_held_out(digits):
    """Labels at random can be learned by heart, and then say nothing of other images: 10%."""
    images, labels = digits.train.images[:300], torch.randint(10, (300,))
    net = train_features(images, labels, 32, num_steps=300)
    assert accuracy(net, Split(images, labels)) > 0.5
    assert abs(net.accuracy.mean - 0.1) < 5 * math.sqrt(0.1 * 0.9 / 30)


def test_a_seed_gives_the_same_weights_and_leaves_the_callers_draws_alone(digits):
    x, y = digits.train.images, digits.train.labels
    state = torch.get_rng_state()
    with torch.no_grad():
        first, second, other = (train_features(x, y, 8, s, num_steps=15) for s in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, second.state_dict()[name])
        assert not torch.equal(weights, other.state_dict()[name])
    assert first.accuracy == second.accuracy


def test_training_takes_as_many_steps_as_it_is_told(digits):
    """A second step moves no weight by much more than its rate, half of 0.003; Adam's bound."""
    x, y = digits.train.images, digits.train.labels
    one, two = (train_features(x, y, 8, num_steps=n).head.weight for n in (1, 2))
    assert 0 < (one - two).abs().max() < 0.002


@pytest.mark.parametrize("shape", [(1, 4, 5), (1, 28, 28), (3, 32, 32)])
def test_images_of_any_size_and_labels_of_any_name(shape):
    """Two classes that differ in brightness, named 3 and 7."""
    labels = torch.tensor([3, 7]).repeat(40)
    images = 0.5 * torch.rand(80, *shape) + (labels == 7).view(-1, 1, 1, 1) * 0.5
    net = train_features(images, labels, 4, num_steps=25)
    assert net.accuracy.mean == 1 and net.features(images).shape == (80, 4)


def test_the_number_of_features_fits_the_number_of_images():
    assert [feature_count(n) for n in (60_000, 2080, 2079, 1437, 3, 2)] == [64, 64, 32, 32, 2, 1]


def test_training_checks_its_images_and_labels():
    x, y = torch.rand(20, 1, 8, 8), torch.arange(20) % 2
    for labels in (None, y[:9], torch.zeros(20)):
        with pytest.raises(ValueError, match="labels: expected two or more for 20 images, got"):
            train_features(x, labels, 2)
    with pytest.raises(ValueError, match=r"images: expected pixels in \[0, 1\]"):
        train_features(2 + x, y, 2)
    with pytest.raises(ValueError, match="images: expected at least 4x4 pixels, got 8x3"):
        train_features(x[..., :3], y, 2)
    with pytest.raises(ValueError, match=r"images: expected \(N, \*\(1, 8, 8\)\), got \(20, 1, 8,"):
        FeatureNet((1, 8, 8), 2, 2).features(x[..., :5])


def test_a_saved_classifier_is_the_same(net, digits, tmp_path):
    save_features(tmp_path / "net.pt", net)
    state = torch.get_rng_state()
    loaded = load_features(tmp_path / "net.pt")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(loaded.features(digits.test.images), net.features(digits.test.images))
    assert loaded.accuracy == net.accuracy and not loaded.training


def test_another_checkpoint_is_no_classifier(net, tmp_path):
    save_checkpoint(tmp_path / "other.pt", {"epoch": 3})
    with pytest.raises(ValueError, match=r"features: .*other.pt holds no classifier"):
        load_features(tmp_path / "other.pt")
    with pytest.raises(FileNotFoundError):
        load_features(tmp_path / "none.pt")


@pytest.fixture
def trainings(monkeypatch):
    """Short trainings, whose seeds are noted."""
    seeds, train = [], train_features

    def short(images, labels, num_features, seed):
        seeds.append(seed)
        return train(images, labels, num_features, seed, num_steps=3)

    monkeypatch.setattr("pyro_vae.evaluation.features.train_features", short)
    return seeds


def labelled(images):
    split = Split(images, torch.arange(len(images)) % 3)
    return Dataset("mine", split, split, None)


def test_a_data_sets_classifier_is_trained_once(trainings, tmp_path):
    data = labelled(torch.rand(30, 1, 8, 8))
    first, again = classifier_for(data, tmp_path), classifier_for(data, tmp_path)
    assert trainings == [0] and torch.equal(first.head.weight, again.head.weight)
    (file,) = (tmp_path / "features").iterdir()
    assert file.name.startswith("mine-30-") and file.name.endswith("-0.pt")
    classifier_for(data, tmp_path, seed=1)
    classifier_for(labelled(torch.rand(30, 1, 8, 8)), tmp_path)  # same name, other images
    assert trainings == [0, 1, 0]
    file.write_bytes(b"damaged")
    classifier_for(data, tmp_path)
    assert trainings == [0, 1, 0, 0] and load_features(file).accuracy == first.accuracy


def test_a_folder_that_cannot_be_written_is_no_obstacle(trainings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    net = classifier_for(labelled(torch.rand(30, 1, 8, 8)), tmp_path / "file")
    assert trainings == [0] and math.isfinite(net.accuracy.mean)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_data_set_without_labels_has_no_classifier(tmp_path):
    split = Split(torch.rand(30, 1, 8, 8))
    with pytest.raises(ValueError, match="labels: expected two or more for 30 images, got none"):
        classifier_for(Dataset("mine", split, split, None), tmp_path)


# --- all together ---------------------------------------------------------------------------------


def test_blur_noise_and_constant_images_are_told_from_real_ones(net, digits):
    x = digits.test.images[torch.randperm(360)]
    real, other = x[:180], x[180:]
    soft = blurred(other, 1.0)[0].float()
    flat = digits.train.images.mean(0).expand(180, 1, 8, 8)
    quality = sample_quality(net, real, soft, flat, other)
    floor, blur, mean = (
        quality[f"frechet_distance_{name}"] for name in ("real", "reconstructions", "samples")
    )
    assert quality["images"] == 180
    assert blur.mean - floor.mean > 5 * math.hypot(blur.standard_error, floor.standard_error)
    assert mean.mean - floor.mean > 5 * math.hypot(mean.standard_error, floor.standard_error)
    assert quality["recall_samples"].mean < 0.1 < 0.5 < quality["recall_real"].mean
    assert quality["precision_real"].mean > 0.5
    sharp = quality["sharpness_ratio_real"]
    assert abs(sharp.mean - 1) < 5 * sharp.standard_error
    soft = quality["sharpness_ratio_reconstructions"]
    assert soft.mean < 1 - 5 * soft.standard_error


def test_perfect_reconstructions_score_the_floor_and_numbers_are_equal(net, digits):
    x = digits.test.images[torch.randperm(360)]
    quality = sample_quality(net, x[:180], x[180:], digits.train.images[:100], x[180:])
    assert quality["images"] == 100 and len(quality) == 13
    for measure in ("frechet_distance", "precision", "recall", "sharpness_ratio"):
        assert quality[f"{measure}_reconstructions"] == quality[f"{measure}_real"]
    features = net.features(x[180:280]), net.features(x[:100])
    assert quality["frechet_distance_real"] == frechet_distance(*features)
    exact = sharpness_ratio(digits.train.images[:100], x[:100])
    assert quality["sharpness_ratio_samples"] == exact
