"""The classifiers of the data sets, kept in the data folder."""

import math

import pytest
import torch

from pyro_vae.checkpoints import save_checkpoint
from pyro_vae.data import Dataset, Split
from pyro_vae.evaluation.features import train_features
from pyro_vae.runs.classifiers import classifier_for, load_features, save_features


@pytest.mark.slow
def test_a_saved_classifier_is_the_same(classifier, digits, tmp_path):
    save_features(tmp_path / "net.pt", classifier)
    state = torch.get_rng_state()
    loaded = load_features(tmp_path / "net.pt")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(loaded.features(digits.test.images), classifier.features(digits.test.images))
    assert loaded.accuracy == classifier.accuracy and not loaded.training


@pytest.mark.slow
def test_another_checkpoint_is_no_classifier(classifier, tmp_path):
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

    monkeypatch.setattr("pyro_vae.runs.classifiers.train_features", short)
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
    classifier = classifier_for(labelled(torch.rand(30, 1, 8, 8)), tmp_path / "file")
    assert trainings == [0] and math.isfinite(classifier.accuracy.mean)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_data_set_without_labels_has_no_classifier(tmp_path):
    split = Split(torch.rand(30, 1, 8, 8))
    with pytest.raises(ValueError, match="labels: expected two or more for 30 images, got none"):
        classifier_for(Dataset("mine", split, split, None), tmp_path)
