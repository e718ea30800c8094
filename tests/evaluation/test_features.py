"""The classifier in whose features samples are measured, and a linear one of codes."""

import math

import pytest
import torch
from scipy.stats import norm

from pyro_vae.data import Split
from pyro_vae.evaluation.features import FeatureNet, feature_count, linear_probe, train_features
from tests.support.factors import near


def accuracy(net, split):
    with torch.no_grad():
        return (net(split.images).argmax(1) == split.labels).double().mean().item()


@pytest.mark.slow
def test_the_classifier_knows_the_digits(classifier, digits):
    """Its test set was written by other people; the held-out images were not."""
    assert classifier.accuracy.mean > 0.95 and classifier.accuracy.standard_error < 0.02
    assert accuracy(classifier, digits.test) > 0.9
    features = classifier.features(digits.test.images)
    assert features.shape == (360, 32) and not features.requires_grad
    assert (features.std(0) > 0.01).all()
    assert torch.equal(
        classifier.head(features).argmax(1), classifier(digits.test.images).argmax(1)
    )


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 28, 28)])
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


# --- a probe of codes -----------------------------------------------------------------------------


def test_a_probe_of_two_normals_reaches_the_bayes_rate():
    """Phi(1) for means 2 apart; the fit on 4,000 rows costs well under one standard error."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (20000,), generator=generator)
    codes = torch.randn(20000, 2, generator=generator)
    codes[:, 0] = 1e-3 * (codes[:, 0] + 2 * labels)  # else the penalty would flatten it
    codes = torch.cat([codes, torch.ones(20000, 1)], 1)
    estimate = linear_probe(codes[:4000], labels[:4000], codes[4000:], labels[4000:])
    assert near(estimate, norm.cdf(1)) and estimate.standard_error > 0
    binomial = math.sqrt(estimate.mean * (1 - estimate.mean) / (16000 - 1))
    assert estimate.standard_error == pytest.approx(binomial, rel=1e-9)
    shuffled = labels[torch.randperm(20000, generator=generator)]
    assert near(linear_probe(codes[:4000], shuffled[:4000], codes[4000:], shuffled[4000:]), 1 / 2)


def test_a_probe_refuses_what_does_not_fit():
    codes, labels = torch.rand(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"test_codes: expected \(N, 2\), not empty, got \(4, 1\)"):
        linear_probe(codes, labels, codes[:, :1], labels)
    with pytest.raises(ValueError, match=r"train_codes: expected finite numbers"):
        linear_probe(codes / 0, labels, codes, labels)
    with pytest.raises(ValueError, match=r"test_labels: expected \(4,\), got \(3,\)"):
        linear_probe(codes, labels, codes, labels[:3])
    with pytest.raises(ValueError, match="train_labels: expected at least 2 different ones, got 1"):
        linear_probe(codes, labels * 0, codes, labels)
