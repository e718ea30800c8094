"""Flags and their help."""

from dataclasses import fields

import pytest

import pyro_vae as pv
from pyro_vae.cli.commands import COMMANDS
from pyro_vae.cli.main import main
from pyro_vae.cli.parser import parse
from pyro_vae.measures import PARTS

SETTINGS = {f.name: f"--{f.name.replace('_', '-')}" for f in fields(pv.RunConfig)}
VALUES = {
    "dataset": "mnist", "data_dir": "elsewhere", "data_limit": "8.5", "levels": "17",
    "binarize": "static", "model": "autoencoder", "likelihood": "laplace", "score": "levels",
    "validation": "always", "sigma": "0.5", "network": "conv", "hidden": "32,64",
    "activation": "tanh", "latent_dim": "3", "objective": "elbo_analytic", "num_particles": "2",
    "beta": "4", "beta_schedule": "linear", "warmup_epochs": "5", "epochs": "20",
    "batch_size": "64", "learning_rate": "0.01", "learning_rate_schedule": "cosine",
    "posterior": "flow", "prior": "mine.py:Own", "adam_beta1": "0.8", "adam_beta2": "0.9",
    "adam_epsilon": "1e-4", "clip_norm": "2", "free_bits": "0.5", "init_from": "runs/a",
    "initialisation": "glorot", "decoder_features": "3", "conditional": "3",
    "train_images": "100", "image_size": "16", "channels": "1",
    "patience": "3", "seed": "7", "precision": "float64", "engine": "svi", "device": "cpu",
}  # fmt: skip


BESIDE = {  # what a setting cannot be without
    "beta_schedule": "warmup_epochs", "warmup_epochs": "beta_schedule", "free_bits": "objective",
}  # fmt: skip


@pytest.fixture
def help_of(capsys, monkeypatch):
    """The help of a command, as a terminal of 80 columns has it."""
    monkeypatch.setenv("COLUMNS", "80")

    def read(*arguments):
        with pytest.raises(SystemExit) as status:
            main([*arguments, "--help"])
        assert status.value.code == 0
        return capsys.readouterr().out

    return read


def test_help_fits_a_terminal(help_of):
    for command in ([], *([name] for name in COMMANDS)):
        text = help_of(*command)
        assert max(map(len, text.splitlines())) <= 80, command
        assert text.startswith("usage: pyro-vae")


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_every_setting_has_a_flag_with_its_help(help_of, command):
    words = " ".join(help_of(command).split())
    for f in fields(pv.RunConfig):
        assert f.metadata["help"] and f"{SETTINGS[f.name]} " in words
        assert "".join(f.metadata["help"].split()) in words.replace(" ", ""), f.name


def test_every_flag_sets_its_setting():
    assert VALUES.keys() == SETTINGS.keys()
    for name, value in VALUES.items():
        parsed = parse(COMMANDS, ["train", SETTINGS[name], value])
        assert getattr(parsed, name) == value
        others = set(SETTINGS) - {name}
        assert not others & vars(parsed).keys()  # what is not given is left to the file
        beside = BESIDE.get(name)
        config = pv.RunConfig(**{n: VALUES[n] for n in (name, beside) if n})
        assert getattr(config, name) != getattr(pv.RunConfig(), name)


def test_every_flag_of_a_sweep_takes_several_values():
    for name, value in VALUES.items():
        parsed = parse(COMMANDS, ["sweep", "--out", "a", SETTINGS[name], value, "other"])
        assert getattr(parsed, name) == [value, "other"]


def test_the_help_says_what_a_sweep_does(help_of):
    text = help_of("sweep")
    assert "--beta BETA [BETA ...]" in text
    assert "To resume a sweep that was stopped, give the same command again" in text


def test_the_help_names_the_parts_of_an_evaluation(help_of):
    assert ", ".join(PARTS) in " ".join(help_of("evaluate").split())


@pytest.mark.parametrize(
    "words",
    [
        "a --only latents limit",
        "--only latents limit a",
        "a --only latents, limit",
        "--only latents,limit a",
    ],
)
def test_parts_of_an_evaluation_need_no_commas(words):
    parsed = parse(COMMANDS, ["evaluate", *words.split()])
    assert (parsed.run, parsed.only) == ("a", ["latents", "limit"])
