"""The parts of an evaluation: what they declare, and that they are pure."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.explorer.page import page_of
from pyro_vae.figures.one_run import component_panels
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import FULL, QUICK, VERSION, Measured, Subject
from pyro_vae.pages.wording import lookup
from pyro_vae.randomness import seeded
from pyro_vae.runs.judgements import judgements
from tests.support.runs import TINY


@pytest.mark.parametrize("name", PARTS)
def test_a_part_says_what_it_is(name):
    part = PARTS[name]
    assert part.title and part.look.endswith(".") and part.measure.__name__ == f"measure_{name}"
    assert part.terms and all(meaning.endswith(".") for meaning in part.terms.values())
    keys = [row.key for row in part.rows]
    assert len(keys) == len(set(keys)) and not set(keys) & {"seed", "quick", "checkpoint"}
    assert keys and all(row.name and row.kind in ("main", "figure", "words") for row in part.rows)


def test_a_part_of_many_figures_leads_with_five_or_six():
    kinds = {name: [row.kind for row in part.rows] for name, part in PARTS.items()}
    leading = {name: kinds[name].count("main") for name in kinds}
    assert {name: count for name, count in leading.items() if count} == {
        "likelihood": 5,
        "posterior": 5,
        "latents": 5,
        "samples": 6,
    }
    for name in ("decoder", "limit", "checks", "factors"):
        assert len(kinds[name]) <= 17, f"{name}: too many to be shown at once"


def test_floors_of_comparisons_are_rows():
    rows = {f"{name}.{row.key}": row for name, part in PARTS.items() for row in part.rows}
    floors = [row.compared.floor for row in rows.values() if row.compared and row.compared.floor]
    assert floors == ["samples.frechet_distance_real", "factors.label_chance"]
    assert set(floors) <= set(rows)


def test_quick_takes_no_more_of_anything():
    pairs = {name: (value, getattr(FULL, name)) for name, value in vars(QUICK).items()}
    assert all(quick <= full for quick, full in pairs.values())
    assert (QUICK.bound_samples, FULL.bound_samples) == (500, 5000)


def test_large_decoders_are_measured_on_fewer_images():
    """By the multiply-adds of a draw, 10 times the usual ones here, and down to a least number."""
    small = pv.VAE((1, 28, 28), 8)
    large = pv.VAE((3, 64, 64), 8, network="conv")
    assert (QUICK.within(small), FULL.within(small)) == (QUICK, FULL)
    least = {"few_images": 2, "nuts_images": 1, "simulations": 100, "walkers": 103}
    assert QUICK.within(large) == replace(QUICK, bound_images=100, **least)
    more = {"few_images": 10, "nuts_images": 1, "simulations": 100, "walkers": 412}
    assert FULL.within(large) == replace(FULL, bound_images=1008, **more)
    assert replace(QUICK, few_images=1).within(large).few_images == 1


@pytest.mark.parametrize(
    "name",
    ["decoder", "latents", "checks", pytest.param("limit", marks=pytest.mark.slow), "factors"],
)
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


@pytest.mark.slow
def test_components_are_counted_alike_everywhere(digits):
    """Rates on both sides of 0.01 and 0.1 nats, variances on both sides of 0.01: three are active.

    The part `latents` measures fewer images than there are, and counts components on all of them.
    """
    vae = pv.VAE((1, 8, 8), 6, "gaussian_shared_sigma", "linear", levels=17).eval()
    *_, layer = (m for m in vae.encoder.modules() if isinstance(m, torch.nn.Linear))
    spread = digits.test.images[:, 0, 4, 4].var(correction=0).sqrt()
    deviations = torch.tensor([1.0, 0.3, 0.104, 0.096, 0.01, 0.0])
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(6), 36] = deviations / spread
        layer.bias[:6] = -layer.weight[:6] @ digits.test.images.mean(0).flatten()
        layer.bias[6:] = torch.tensor([-0.5, -0.1, 0, -0.3, 0, 0])
    found = {
        name: PARTS[name].measure(Subject(vae, digits, TINY)).figures
        for name in ("likelihood", "latents")
    }
    variances = found["likelihood"]["mean_variance_per_component"]
    rates = found["likelihood"]["rate_per_component_nats"]
    assert [v > 0.01 for v in variances] == [True] * 3 + [False] * 3
    assert sum(rate < 0.01 for rate in rates) == 3 and sum(rate < 0.1 for rate in rates) == 5
    assert found["likelihood"]["active_units"] == 3 and found["latents"]["inactive_units"] == 3
    run = pv.Run("made_up", pv.RunConfig(latent_dim=6))
    run.vae, run.summary = vae, {"test": found["likelihood"], "latent_dim": 6}
    (answer,) = (j.answer for j in judgements(run.summary, {}) if "components" in j.question)
    assert "Of 6, 3 are active" in answer and "3 are not" in answer
    text = page_of([run], digits).partition('"active":')[2].partition("]")[0]
    assert text.split() == ["[true,", "true,", "true,", "false,", "false,", "false"]
    _, plane = component_panels(rates, variances)
    assert plane.legends[0].get_texts()[0].get_text() == "3 active"


def test_what_does_not_apply_has_no_figures(digits):
    model = pv.Autoencoder((1, 8, 8), 2, hidden=(4,)).eval()
    subject = Subject(model, digits, TINY)
    assert all(PARTS[name].measure(subject) == Measured() for name in ("decoder", "posterior"))
    assert PARTS["latents"].measure(subject) == Measured()


REMEMBERED_VERSION = 5
REMEMBERED = {
    "likelihood": {
        "elbo_nats": -209.87,
        "rate_nats": 1.14047,
        "bits_per_dim": 3.78357,
        "active_units": 3.0,
        "collapsed_units": 0.0,
        "ladder.nats.ais_from_prior": -170.832,
        "ladder.log_prob_nats": -170.555,
        "ladder.log_prob_monte_carlo_error": 0.126366,
        "ladder.ais_bias_nats": 0.0632937,
        "ladder.ais_deviation_nats": 0.509791,
        "ladder.amortization_gap_nats": 54.2448,
        "ladder.correlation_gap_nats": 0.27816,
        "ladder.closed_by_flow_nats": 0.0371584,
        "ladder.bracket_gap_nats": 2.36382,
        "ladder.fits_missing_modes": 0.0,
    },
    "decoder": {
        "coverage_50": 0.320312,
        "coverage_90": 0.660156,
    },
    "posterior": {
        "k_hat": 0.722576,
        "effective_sample_size": 31.9724,
        "calibration_p_value": 1.80769e-161,
        "calibration_on_data_p_value": 1.14909e-204,
    },
    "latents": {
        "rate_nats": 1.14047,
        "mutual_information_nats": 0.105252,
        "mutual_information_upper_nats": 0.108659,
        "total_correlation_nats": -0.0148521,
        "dimension_wise_kl_nats": 0.333118,
        "mmd_squared": 0.0204755,
        "inactive_units": 0.0,
    },
    "factors": {
        "label_accuracy": 0.422222,
    },
}


@pytest.mark.slow
def test_measures_of_another_version_give_other_figures(digits):
    """Raise `VERSION` where this fails, and then write the new figures here.

    Evaluations and kept figures of an earlier version are then measured again. Chains of NUTS are left
    out, as rounding changes them.
    """
    with seeded(5):
        vae = pv.VAE((1, 8, 8), 3, "discretized_logistic", hidden=(8,), levels=17).double().eval()
        for parameter in vae.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    subject = Subject(vae, digits.to("cpu", torch.float64), TINY, 3)
    figures = {name: PARTS[name].measure(subject).figures for name in REMEMBERED}
    assert VERSION == REMEMBERED_VERSION
    for name, remembered in REMEMBERED.items():
        for key, value in remembered.items():
            figure = lookup(figures[name], key)
            found = getattr(figure, "mean", figure)
            assert found == pytest.approx(value, rel=1e-3, abs=1e-9), (name, key)
