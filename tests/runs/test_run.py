"""A run that is loaded is the run that was trained, and how it is shown."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.runs.run import build_model
from tests.support.pages import Page
from tests.support.runs import quick
from tests.support.training import assert_same_weights


class Keeping(pv.Observer):
    """Keeps the model that is trained."""

    def started(self, folder, config, data, training):
        self.model = training.model


def test_a_loaded_run_is_the_trained_model(elsewhere, no_pictures):
    config, observer = quick(likelihood="gaussian_optimal_sigma", precision="float64"), Keeping()
    run = pv.train(config, "a", observer=observer)
    again = pv.load_run("a")
    assert not again.vae.training and again.config == run.config
    assert {value.dtype for value in again.vae.state_dict().values()} == {torch.float64}
    assert_same_weights(again.vae.state_dict(), observer.model.state_dict())
    assert again.vae.sample(3).shape == (3, 1, 8, 8)


def test_a_run_reads_each_file_once_and_anew_when_it_is_read_again(copy_run):
    copy_run("a")
    run = pv.Run("a")
    assert run.metrics["epoch"] == [1, 2] and run.summary["epochs"] == 2
    for path in (run.metrics_file, run.summary_file):
        path.unlink()
    assert run.metrics["epoch"] == [1, 2] and run.summary["epochs"] == 2 and run.finished
    again = run.reread()
    assert again.metrics["epoch"] == [] and again.summary is None and not again.finished


def test_a_run_that_is_resumed_for_longer_is_read_again_with_its_settings_of_now(copy_run):
    run, runs = pv.load_run(copy_run("a")), pv.load_runs("a")
    quick(epochs=5, batch_size=128).save("a/config.yaml")
    assert run.reread().config.epochs == 5 and run.reread().summary is None
    assert runs.table().loc["a", "test.elbo_nats"] is None
    assert pv.Run("a", run.config).reread().config.epochs == 2, "settings that were given stay"


@pytest.mark.parametrize(
    "name, part, way_out",
    [
        ("summary.json", "summary", "delete it and resume the run, which writes it again"),
        ("evaluation.json", "evaluation", "delete it and evaluate the run again"),
        (
            "metrics.csv",
            "metrics",
            "restore it from a copy, or delete the folder and train the run",
        ),
        ("checkpoints/last.pt", "vae", "restore it from a copy, or delete the folder and train"),
        (
            "per_image.npz",
            "per_image",
            "delete it and summary.json, and resume the run, which writes",
        ),
    ],
)
def test_a_damaged_file_is_named_with_a_way_out(copy_run, name, part, way_out):
    copy_run("a")
    Path("a", name).write_text("epoch\n" * 2)
    with pytest.raises(ValueError, match=f"a/{name} .*; {way_out}"):
        getattr(pv.Run("a"), part)


def test_a_folder_that_holds_no_run_says_so(elsewhere):
    with pytest.raises(ValueError, match=r"run: nowhere is no run folder: it has no config\.yaml"):
        pv.load_run("nowhere")
    Path("a").mkdir()
    quick().save("a/config.yaml")
    with pytest.raises(ValueError, match="run: a has no checkpoint yet; train it first"):
        pv.load_run("a")


def test_the_seed_draws_the_first_weights_and_leaves_the_callers_draws_alone():
    state = torch.get_rng_state()
    first, same, other = (build_model(quick(seed=s), (1, 4, 4), 2) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_weights(first.state_dict(), same.state_dict())
    weights = zip(first.encoder.parameters(), other.encoder.parameters())
    assert not any(torch.equal(a, b) for a, b in weights)


# --- in a notebook --------------------------------------------------------------------------------


def read(html):
    """A card as a page that has been read."""
    Path("card.html").write_text(html)
    return Page(Path("card.html"))


@pytest.mark.slow
def test_a_run_is_shown_in_a_line_and_on_a_card(finished_run):
    run = pv.load_run("a")
    elbo = run.summary["test"]["elbo_nats"]
    assert repr(run) == (
        "Run('a', digits, gaussian_shared_sigma, beta 1, 2 latents, 2 epochs,"
        f" test ELBO {elbo:.2f})"
    )
    page = read(run._repr_html_())
    assert repr(run) in page.text and f"{elbo:.4g}" in page.text
    for name, value in {"dataset": "digits", "beta": "1", "hidden": "8", "epochs": "2"}.items():
        assert f"{name}{value}" in page.text.replace(" ", "").replace("\n", "")
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [attributes["alt"] for attributes in pictures] == ["reconstructions", "samples"]
    assert all(attributes["src"].startswith("data:image/png;base64,") for attributes in pictures)


def test_an_unfinished_run_and_one_without_an_elbo(copy_run):
    copy_run("a", model="autoencoder")
    assert repr(pv.Run("a")) == "Run('a', digits, autoencoder, beta 1, 2 latents, 2 epochs)"
    Path("a/summary.json").unlink()
    unfinished = pv.Run("a")
    assert repr(unfinished).endswith("2 latents, unfinished after 2 of 2 epochs)")
    page = read(unfinished._repr_html_())
    assert "unfinished" in page.text and "distortion" not in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_what_a_user_typed_is_escaped(elsewhere):
    figures = Path("figures")
    figures.mkdir()
    Image.new("L", (2, 2)).save(figures / "samples.png")
    card = pv.Run(".", quick(data_dir="<script>1</script>"))._repr_html_()
    assert "&lt;script&gt;" in card
    assert "<script" not in card and "test rate" not in card
    assert card.count("<img") == 1
