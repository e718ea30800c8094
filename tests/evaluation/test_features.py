"""The classifier in whose features samples are measured."""

import math

import pytest
import torch

from pyro_vae.data import Split
from pyro_vae.evaluation.features import FeatureNet, feature_count, train_features


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
