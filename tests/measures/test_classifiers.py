"""The classifiers of data sets, which judge samples and are kept in the user's cache folder."""

import numpy as np
import pytest
import torch

from pyro_vae.data import Dataset, Split
from pyro_vae.evaluation.features import train_features
from pyro_vae.kept import load_arrays, save_arrays
from pyro_vae.measures.samples import classifier_for
from pyro_vae.notices import Notice


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder of kept classifiers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pyro_vae" / "classifiers"


@pytest.fixture
def trainings(monkeypatch):
    """Short trainings, which are noted."""
    trained = []

    def short(images, labels, num_features, seed):
        trained.append(train_features(images, labels, num_features, seed, num_steps=3))
        return trained[-1]

    monkeypatch.setattr("pyro_vae.measures.samples.train_features", short)
    return trained


def labelled(images):
    split = Split(images, torch.arange(len(images)) % 3)
    return Dataset("mine", split, split, None)


def test_a_data_sets_classifier_is_trained_once(trainings, cache):
    data = labelled(torch.rand(30, 1, 8, 8))
    state = torch.get_rng_state()
    nets = [classifier_for(data) for _ in range(2)]
    assert len(trainings) == 1 and torch.equal(state, torch.get_rng_state())
    for net in nets:  # as it was trained, and as it was kept
        assert torch.equal(net.features(data.test.images), trainings[0].features(data.test.images))
        assert net.accuracy == trainings[0].accuracy and not net.training
    assert len(list(cache.iterdir())) == 1


def test_other_images_labels_shapes_and_seeds_have_another_classifier(trainings, cache):
    images, labels = torch.rand(30, 1, 8, 8), torch.arange(30) % 3
    for other in (images, images.flip(0), images.view(30, 1, 4, 16)):
        classifier_for(labelled(other))
    classifier_for(labelled(images), seed=1)
    right = Split(images, labels.roll(1))  # after wrong ones
    classifier_for(Dataset("mine", right, right, None))
    assert len(trainings) == 5 and len(list(cache.iterdir())) == 5


def test_a_damaged_classifier_is_trained_again(trainings, cache):
    data = labelled(torch.rand(30, 1, 8, 8))
    classifier_for(data)
    (path,) = cache.iterdir()
    save_arrays(path, load_arrays(path) | {"sizes": np.array([10**9, 3])})
    with pytest.warns(Notice, match=f"kept: {path} is not as it was written"):
        assert classifier_for(data).sizes == trainings[0].sizes


def test_a_data_set_without_labels_has_no_classifier():
    split = Split(torch.rand(30, 1, 8, 8))
    with pytest.raises(ValueError, match="labels: expected two or more for 30 images, got none"):
        classifier_for(Dataset("mine", split, split, None))
