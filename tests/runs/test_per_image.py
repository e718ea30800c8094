"""The measures of each image that a run keeps."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.bounds import bits_per_dim
from pyro_vae.kept import save_arrays
from pyro_vae.runs.results import load_per_image, save_per_image

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_what_is_saved_is_loaded(tmp_path):
    images, other = torch.rand(2, 3, 1, 2, 2)
    columns = {"elbo_nats": torch.tensor([1.0, 2.0, 3.0])}
    save_per_image(tmp_path / "a.npz", {"test": (images, columns), "validation": (other, {})})
    found = load_per_image(tmp_path / "a.npz")
    assert found["test"].columns["elbo_nats"].tolist() == [1, 2, 3]
    assert found["test"].mark != found["validation"].mark
    assert load_per_image(tmp_path / "absent.npz") == {}
    save_per_image(tmp_path / "a.npz", {"test": (images.double(), {})})
    assert load_per_image(tmp_path / "a.npz")["test"].mark == found["test"].mark


@pytest.mark.slow
def test_a_run_keeps_the_measures_whose_means_its_summary_has(copy_run):
    run = pv.load_run(copy_run("a", validation="always", likelihood="discretized_logistic"))
    splits = load_per_image(run.folder / "per_image.npz")
    assert list(splits) == ["test", "validation"]
    for name, split in splits.items():
        means = run.summary[name]
        assert len(split.columns["elbo_nats"]) == means["images"]
        for column in ("elbo_nats", "rate_nats", "distortion_nats"):
            assert split.columns[column].mean() == pytest.approx(means[column], rel=1e-5)
        bits = bits_per_dim(torch.from_numpy(split.columns["log_prob_nats"]), (1, 8, 8)).mean()
        assert bits.item() == pytest.approx(means["bits_per_dim"], rel=1e-5)
    assert run.summary["test"]["images"] == 360 and run.summary["validation"]["images"] == 143


@pytest.mark.slow
def test_runs_of_all_seeds_are_measured_on_the_same_drawn_pixels(copy_run):
    marks = set()
    for seed in (0, 1):
        folder = copy_run(f"{seed}", likelihood="bernoulli", binarize="dynamic", seed=seed)
        marks.add(load_per_image(folder / "per_image.npz")["test"].mark)
    assert len(marks) == 1


def test_images_are_held_out_without_early_stopping(copy_run):
    run = pv.load_run(copy_run("a", validation="always", likelihood="discretized_logistic"))
    assert run.summary["best_epoch"] is None and not (run.folder / "checkpoints/best.pt").exists()
    assert "validation" not in pv.load_run(copy_run("b")).summary


@pytest.mark.parametrize(
    "arrays", [{"test.elbo_nats": [1.0]}, {"test.mark": 1, "test.elbo_nats": [[1.0]]}], ids=str
)
def test_arrays_of_something_else_are_refused(arrays, tmp_path):
    save_arrays(tmp_path / "a.npz", arrays)
    with pytest.raises(ValueError, match=r"a\.npz holds no measures of images"):
        load_per_image(tmp_path / "a.npz")
