"""The classifiers of data sets, which judge samples and are kept in the data folder."""

import pytest
import torch

from pyro_vae.data import Dataset, Split
from pyro_vae.evaluation.features import train_features
from pyro_vae.measures.samples import classifier_for


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


def test_a_data_sets_classifier_is_trained_once(trainings, tmp_path):
    data = labelled(torch.rand(30, 1, 8, 8))
    state = torch.get_rng_state()
    nets = [classifier_for(data, tmp_path) for _ in range(2)]
    assert len(trainings) == 1 and torch.equal(state, torch.get_rng_state())
    for net in nets:  # as it was trained, and as it was kept
        assert torch.equal(net.features(data.test.images), trainings[0].features(data.test.images))
        assert net.accuracy == trainings[0].accuracy and not net.training
    classifier_for(data, tmp_path, seed=1)
    classifier_for(labelled(torch.rand(30, 1, 8, 8)), tmp_path)  # same name, other images
    assert len(trainings) == 3 and len(list((tmp_path / "features").iterdir())) == 3


def test_a_data_set_without_labels_has_no_classifier(tmp_path):
    split = Split(torch.rand(30, 1, 8, 8))
    with pytest.raises(ValueError, match="labels: expected two or more for 30 images, got none"):
        classifier_for(Dataset("mine", split, split, None), tmp_path)
