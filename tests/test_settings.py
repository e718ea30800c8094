"""Every setting: its check, its bounds, and the settings that do not go together."""

import math
from dataclasses import fields, replace

import pytest

from pyro_vae.names import DATASETS
from pyro_vae.runs.config import RunConfig
from pyro_vae.settings import (
    DataSettings,
    ModelSettings,
    TrainingSettings,
    by_name,
    check_setting,
    default_batch_size,
    setting_text,
)

KINDS = (DataSettings, ModelSettings, TrainingSettings)
FIELDS = {f.name: f for f in fields(RunConfig)}
NUMBERS = [f.name for f in FIELDS.values() if f.metadata["at_least"] is not None]
POSITIVE = [f.name for f in FIELDS.values() if f.metadata["above"] is not None]
CHOICES = [f.name for f in FIELDS.values() if f.metadata["choices"]]


def test_a_run_has_the_settings_of_all_three_kinds_and_a_device():
    of_kinds = [f.name for kind in KINDS for f in fields(kind)]
    assert len(of_kinds) == len(set(of_kinds))
    assert set(FIELDS) == {*of_kinds, "device", "init_from"}
    assert {*NUMBERS, *POSITIVE, *CHOICES, "dataset", "data_dir", "init_from"} == set(FIELDS)


def test_choices_are_names_with_the_nearest_one_as_a_hint():
    for name in CHOICES:
        first = FIELDS[name].metadata["choices"][0]
        assert check_setting(FIELDS[name], first) == first
        with pytest.raises(ValueError, match=f"^{name}: unknown name '{first}x'; did you mean"):
            check_setting(FIELDS[name], f"{first}x")
        with pytest.raises(ValueError, match=f"^{name}: expected a name, got 3"):
            check_setting(FIELDS[name], 3)


def test_numbers_have_a_least_value():
    for name in NUMBERS:
        field, least = FIELDS[name], FIELDS[name].metadata["at_least"]
        expected = (least,) if name == "hidden" else least
        assert check_setting(field, least) == check_setting(field, str(least)) == expected
        message = f"^{name}: expected a .*number >= {least}, got {least - 1}"
        with pytest.raises(ValueError, match=message):
            check_setting(field, least - 1)


@pytest.mark.parametrize("name", POSITIVE)
def test_numbers_that_have_to_be_positive(name):
    assert check_setting(FIELDS[name], "1e-9") == 1e-9
    for wrong in (0, -1.0):
        with pytest.raises(ValueError, match=f"^{name}: expected a number > 0, got {wrong}"):
            check_setting(FIELDS[name], wrong)


@pytest.mark.parametrize("wrong", ["x", "nan", "inf", math.nan, math.inf, True, {}])
def test_what_is_no_number_is_refused(wrong):
    for name in (*NUMBERS, *POSITIVE):
        with pytest.raises(ValueError, match=f"^{name}: expected a "):
            check_setting(FIELDS[name], wrong)


@pytest.mark.parametrize("name", ["epochs", "seed", "latent_dim", "levels"])
def test_whole_numbers_are_exact(name):
    assert check_setting(FIELDS[name], 7.0) == 7
    for wrong in (7.5, "7.5"):
        with pytest.raises(ValueError, match=f"^{name}: expected a whole number"):
            check_setting(FIELDS[name], wrong)


@pytest.mark.parametrize("given", ["400,200", [400, 200], (400, 200), ["400", 200.0]])
def test_hidden_sizes_are_a_tuple(given):
    assert ModelSettings(hidden=given).hidden == (400, 200)
    assert ModelSettings(hidden=8).hidden == (8,) and ModelSettings(hidden=None).hidden is None


def test_only_what_is_unset_by_default_may_be_unset():
    for name, field in FIELDS.items():
        if field.default is not None:
            with pytest.raises(ValueError, match=f"^{name}: expected a "):
                check_setting(field, None)


def test_a_data_set_is_known_or_a_path():
    for known in (*DATASETS, "mine.npy", "pictures/mine"):
        assert DataSettings(dataset=known).dataset == known
    with pytest.raises(ValueError, match="dataset: unknown name 'minst'; did you mean 'mnist'"):
        DataSettings(dataset="minst")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"objective": "iwae", "beta": 2}, "beta: iwae is a bound at beta 1 only, got 2.0 with"),
        (
            {"objective": "iwae", "beta_schedule": "linear", "warmup_epochs": 1},
            "beta: iwae is a bound at beta 1 only, got 1.0 with schedule linear",
        ),
        ({"free_bits": 0.5}, "free_bits: go with objective elbo_analytic, got elbo"),
        ({"warmup_epochs": 1}, "warmup_epochs: goes with beta_schedule linear or cyclical"),
        ({"beta_schedule": "cyclical"}, "warmup_epochs: goes with .*, got 0 with cyclical"),
        (
            {"beta_schedule": "linear", "warmup_epochs": 4, "epochs": 3},
            "warmup_epochs: would end after training, 4 > 3 epochs",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**settings)


def test_settings_of_a_kind_are_taken_by_name():
    config = RunConfig(beta=4, latent_dim=3)
    assert TrainingSettings(**by_name(config, TrainingSettings)) == TrainingSettings(beta=4)
    assert ModelSettings(**by_name(config, ModelSettings)) == ModelSettings(latent_dim=3)
    assert replace(config, **by_name(config, DataSettings)) == config


def test_settings_as_text_are_what_flags_take():
    texts = [setting_text(v) for v in (None, (400, 200), 0.001, 1e-5, 4.0, 7, "mnist")]
    assert texts == ["unset", "400,200", "0.001", "1e-05", "4", "7", "mnist"]
    for field in FIELDS.values():
        if field.default is not None:
            assert check_setting(field, setting_text(field.default)) == field.default


def test_a_minibatch_is_128_images_or_all_of_fewer():
    assert [default_batch_size(n) for n in (1, 127, 128, 60_000)] == [1, 127, 128, 128]
