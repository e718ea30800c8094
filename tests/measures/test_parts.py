"""The parts of an evaluation: what they declare, and that they are pure."""

from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import FULL, QUICK, Measured, Subject
from tests.support.runs import TINY


@pytest.mark.parametrize("name", PARTS)
def test_a_part_says_what_it_is(name):
    part = PARTS[name]
    assert part.title and part.look.endswith(".") and part.measure.__name__ == f"measure_{name}"
    assert part.terms and all(meaning.endswith(".") for _, meaning in part.terms)
    keys = [row.key for row in part.rows]
    assert len(keys) == len(set(keys)) and not set(keys) & {"seed", "quick", "checkpoint"}
    assert keys and all(row.name and row.kind in ("figure", "words") for row in part.rows)


def test_floors_of_comparisons_are_rows():
    rows = {f"{name}.{row.key}": row for name, part in PARTS.items() for row in part.rows}
    floors = [row.compared.floor for row in rows.values() if row.compared and row.compared.floor]
    assert floors == ["samples.frechet_distance_real", "factors.label_chance"]
    assert set(floors) <= set(rows)


def test_quick_takes_no_more_of_anything():
    pairs = {name: (value, getattr(FULL, name)) for name, value in vars(QUICK).items()}
    assert all(quick <= full for quick, full in pairs.values())
    assert (QUICK.bound_samples, FULL.bound_samples) == (500, 5000)


@pytest.mark.parametrize("name", ["decoder", "latents", "limit", "factors"])
def test_a_part_writes_nothing_and_repeats_with_its_seed(name, digits, no_pictures, elsewhere):
    vae = pv.VAE((1, 8, 8), 2, "gaussian_shared_sigma", hidden=(4,), levels=17).eval()
    state = torch.get_rng_state()
    first, again, other = (
        PARTS[name].measure(Subject(vae, digits, TINY, seed)) for seed in (3, 3, 4)
    )
    assert first.figures == again.figures and set(first.figures) == set(other.figures)
    assert (first.figures != other.figures) == (name != "factors")  # a probe draws nothing
    assert list(first.drawings) == list(again.drawings) and first.columns == {}
    assert torch.equal(state, torch.get_rng_state()) and list(Path().iterdir()) == []


def test_what_does_not_apply_has_no_figures(digits):
    model = pv.Autoencoder((1, 8, 8), 2, hidden=(4,)).eval()
    subject = Subject(model, digits, TINY)
    assert all(PARTS[name].measure(subject) == Measured() for name in ("decoder", "posterior"))
    assert PARTS["latents"].measure(subject) == Measured()
