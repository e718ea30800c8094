"""`train`: what a run folder holds, who is told of it, and what repeats the run."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import Mock, call

import numpy as np
import pytest
from PIL import Image

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.runs.train import locate
from pyro_vae.training.loop import Stopped
from tests.support.runs import assert_same_run, contents, quick
from tests.support.training import assert_same_weights, stop_after

pytestmark = pytest.mark.usefixtures("elsewhere")
HEADER = (
    "epoch,step,seconds,beta,loss,train_elbo,train_rate,train_distortion,"
    "test_elbo,test_rate,test_distortion,validation_loss"
)


@pytest.mark.slow
def test_a_run_folder_holds_what_the_contract_says():
    run = pv.train(quick(), "a")
    assert run.folder == pv.load_run("a").folder
    figures = (
        "learning_curves", "reconstructions", "samples", "kl_histogram", "latent_map",
        "traversals", "interpolation", "progress_0001", "progress_0002",
    )  # fmt: skip
    pictures = {f"figures/{name}.png" for name in figures}
    assert {path.removeprefix("a/") for path in contents("a")} == pictures | {
        "config.yaml", "metrics.csv", "summary.json", "report.html", "per_image.npz", "images.sha256",
        "checkpoints/last.pt", "figures/latent_map.svg",
    }  # fmt: skip
    for picture in run.folder.glob("figures/*.png"):
        assert max(Image.open(picture).size) > 450
    header, *rows = Path("a/metrics.csv").read_text().splitlines()
    assert header == HEADER and [row.split(",")[0] for row in rows] == ["1", "2"]
    assert run.metrics["epoch"] == [1, 2] and run.metrics["step"] == [11, 22]


@pytest.mark.slow
def test_the_configuration_repeats_the_run(copy_run, no_pictures):
    copy_run("a", binarize="dynamic", likelihood="bernoulli")
    config = pv.RunConfig.load("a/config.yaml")
    assert config.batch_size == 128
    assert pv.train(config, "b").config == config
    assert_same_run("a", "b")


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_another(copy_run, no_pictures):
    """Under another objective; what resumes has weights of its own, and needs the other no more."""
    copy_run("a")
    config = quick(init_from="a", objective="dreg", num_particles=4)
    job = locate(config, "b")
    job.build(job.load(), Noting())
    assert_same_weights(job.training.model.state_dict(), pv.load_run("a").vae.state_dict())
    run = pv.train(config, "b")
    assert run.config.init_from == str(Path("a").resolve())
    shutil.rmtree("a")
    longer = replace(config, epochs=config.epochs + 1)
    assert pv.train(longer, "b", resume=True).metrics["epoch"][:2] == run.metrics["epoch"]


def test_weights_of_another_run_that_do_not_fit_are_refused(copy_run):
    copy_run("a")
    Path("c").mkdir()
    for change, message in [
        (
            {"init_from": "a", "latent_dim": 5},
            "init_from: the weights in .*a do not fit: .* is of another",
        ),
        ({"init_from": "c"}, "run: .*c is no run folder"),
    ]:
        with pytest.raises(ValueError, match=message):
            pv.train(quick(**change), "b")
    assert not Path("b").exists()


class Noting(pv.Observer):
    """Keeps what it is told, in order."""

    def __init__(self):
        super().__init__()
        self.told = []

    def started(self, folder, config, data, training):
        assert training.epoch == 0 or Path(folder, "checkpoints/last.pt").exists()
        self.told.append(("started", str(folder), data.name, training.epoch))

    def notice(self, message):
        self.told.append(("notice", message))

    def epoch(self, record, last):
        self.told.append(("epoch", record.epoch, last))

    def failed(self, error):
        self.told.append(("failed", str(error)))

    def measuring(self, done, total, unit):
        self.measured = done, total, unit

    def finished(self):
        assert Path("a/report.html").exists()
        self.told.append(("finished",))


def test_an_observer_is_told_from_start_to_end(no_pictures):
    observer = Noting()
    pv.train(quick(), "a", observer=observer)
    epochs = [("epoch", 1, False), ("epoch", 2, True)]
    assert observer.told == [("started", "a", "digits", 0), *epochs, ("finished",)]
    assert observer.measured == (3, 3, "baselines")


def test_a_tracker_has_the_settings_and_every_epoch(no_pictures):
    tracker = Mock()
    pv.train(quick(), "a", observer=pv.Tracked(tracker, project="first"))
    init, *logged, finish = tracker.method_calls
    assert init == call.init(project="first", name="a", config=asdict(pv.load_run("a").config))
    rows = [record.test_elbo for record in pv.load_run("a").records]
    assert [c.args[0]["test_elbo"] for c in logged] == pytest.approx(rows)
    assert [c.kwargs["step"] for c in logged] == [1, 2] and finish == call.finish()
    assert "validation_loss" not in logged[0].args[0], "there are no validation images"
    with pytest.raises(FloatingPointError):
        pv.train(quick(learning_rate=1e30), "b", observer=pv.Tracked(tracker))
    assert tracker.method_calls[-1] == call.finish()


def test_an_observer_of_a_resumed_run_is_told_of_what_is_left(copy_run, no_pictures):
    copy_run("a")
    observer = Noting()
    pv.train(quick(epochs=3), "a", resume=True, observer=observer)
    assert observer.told == [("started", "a", "digits", 2), ("epoch", 3, True), ("finished",)]


def test_a_notice_is_for_the_observer_and_else_a_warning(no_pictures):
    observer, config = Noting(), quick(likelihood="bernoulli", epochs=1)
    pv.train(config, "a", observer=observer)
    (message,) = [what[1] for what in observer.told if what[0] == "notice"]
    assert message.startswith("bernoulli is no likelihood of 17 grey levels")
    with pytest.warns(UserWarning, match="bernoulli is no likelihood of 17 grey levels"):
        pv.train(config, "b")


def test_an_observer_is_told_of_a_run_that_failed(no_pictures):
    observer = Noting()
    with pytest.raises(FloatingPointError, match="last finite checkpoint: none yet") as raised:
        pv.train(quick(learning_rate=1e30), "a", observer=observer)
    assert observer.told == [("started", "a", "digits", 0), ("failed", str(raised.value))]


class Impatient(pv.Observer):
    """Stops training after its third step, without a signal, which is no failure."""

    def failed(self, error):
        raise AssertionError

    def __init__(self):
        super().__init__()
        self.should_stop = stop_after(3)


def test_an_observer_that_stops_training_hears_so_and_all_is_saved(copy_run, no_pictures):
    with pytest.raises(Stopped):
        pv.train(quick(), "a", observer=Impatient())
    assert load_checkpoint("a/checkpoints/last.pt")["step"] == 3
    pv.train(quick(), "a", resume=True)
    assert_same_run("a", copy_run("whole"))


def test_where_a_run_goes_is_settled_before_anything_is_written(copy_run):
    copy_run("a")
    before = contents(".")
    new, old = locate(quick(), "b"), locate(quick(epochs=5), "a", resume=True)
    old.release()
    assert not new.resumes and not new.finished
    assert old.resumes and not old.finished and old.run.config.epochs == 5
    again = locate(quick(), "a", resume=True)
    again.release()
    assert again.finished
    assert locate(quick(), None).unnamed  # it is chosen when the data are there
    assert contents(".") == before


def test_your_own_images_train(tmp_path, monkeypatch, no_pictures):
    np.save("floats.npy", np.random.default_rng(0).random((30, 4, 4)))
    run = pv.train(quick(dataset="floats.npy", epochs=1), "a")
    assert run.summary["test"]["bits_per_dim"] is None and run.summary["test"]["elbo_nats"]
    monkeypatch.chdir("a")
    assert pv.load_run(".").config.dataset == str(tmp_path / "floats.npy")  # from anywhere
