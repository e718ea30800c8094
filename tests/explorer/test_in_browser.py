"""The page in a real browser: its numbers equal torch's, and its controls do what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_vae.evaluation.paths import linear, slerp
from pyro_vae.explorer.model import describe, describe_likelihood, float32_text
from pyro_vae.explorer.page import page_of
from pyro_vae.models.autoencoder import Autoencoder
from pyro_vae.models.networks import ACTIVATIONS, NETWORKS
from pyro_vae.models.vae import VAE
from tests.support.browser import answers_of, find_browser, opened
from tests.support.explored import made_up, some_data
from tests.support.families import FAMILIES, build, outputs_for

# The page computes in float64, but its error function is exact to 1.5e-7 only.
TOLERANCE = 1e-6
SHAPE = (3, 7, 5)  # odd sides, unequal, and in colour
SMALL = (2, 2, 3)
NUMBERS = torch.tensor([0.0, -0.0, 1.0, -2.5, 1 / 3, 65505.0, 6e-8, 3e38, -1e-40])
MODELS = {
    f"{network} {activation} {likelihood} {kind.__name__}": (network, activation, likelihood, kind)
    for network in NETWORKS
    if network != "resnet"
    for activation, likelihood, kind in [
        *((activation, "gaussian_shared_sigma", VAE) for activation in ACTIVATIONS),
        ("relu", "discretized_logistic_mixture", VAE),
        ("relu", "categorical", Autoencoder),
    ]
}
FEATURES = {"discretized_logistic_mixture": 4}  # of a decoder with a head
SCORED = [
    (name, levels, score)
    for name in FAMILIES
    for levels in (2, 17, 256)
    for score in ("density", "levels")
    if name != "bernoulli" or score == "density" or levels == 2
]


def model_of(network, activation, likelihood, kind):
    """An untrained model in float64."""
    hidden = {"linear": (), "mlp": (9, 6), "conv": (3, 4)}.get(network)
    torch.manual_seed(1)
    options = {"decoder_features": FEATURES.get(likelihood), "levels": 17}
    model = kind(SHAPE, 3, likelihood, network, hidden, activation, **options).double().eval()
    for values in model.parameters():  # off their small start
        values.data *= 2
    return model


def family_of(name, levels, score):
    """A family off its start in float64, with the numbers of the page, and outputs for it."""
    torch.manual_seed(2)
    family = build(name, SMALL, levels, score).float().double()
    outputs = outputs_for(family, 30).expand(-1, -1, *SMALL[1:])
    return family, outputs + torch.randn(outputs.shape, dtype=outputs.dtype)


def inputs():
    """Images and codes for the models."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(4, *SHAPE, generator=generator, dtype=torch.float64)
    return images, 2 * torch.randn(4, 3, generator=generator, dtype=torch.float64)


def rows(values):
    """A tensor as a list of flat lists."""
    return values.flatten(1).tolist()


def asked():
    """All that the page is asked, as a table for JSON."""
    images, codes = inputs()
    models, likelihoods = [], []
    for case in MODELS.values():
        table = {"model": describe(model_of(*case)), "images": rows(images), "codes": rows(codes)}
        models.append(table)
    for case in SCORED:
        family, outputs = family_of(*case)
        table = {"likelihood": describe_likelihood(family), "outputs": rows(outputs)}
        likelihoods.append(table | {"colors": SMALL[0], "pixels": SMALL[1] * SMALL[2]})
    pictures = [
        {"image": [0.0, 1.0, 0.2, 0.4, 0.6, 0.8], "shape": [3, 1, 2]},
        {"image": [0.0, 1.0], "shape": [1, 1, 2]},
        {"image": [0.0, 1.0, 0.2, 0.4], "shape": [2, 1, 2]},
    ]
    return {
        "pictures": pictures,
        "numbers": float32_text(NUMBERS),
        "models": models,
        "likelihoods": likelihoods,
    }


@pytest.fixture(scope="module")
def two_runs():
    """Images, and two runs on them with four components, one of which is inactive."""
    data = some_data((1, 8, 8), levels=17)
    rates = [0.5, 3.0, 0.02, 1.0]
    variances = [0.9, 0.9, 0.01, 0.9]
    first = made_up(data, rates, variances, latent_dim=4, hidden=(8,))
    second = made_up(data, rates[::-1], variances[::-1], latent_dim=4, hidden=(8,), seed=1)
    return data, [first, second]


@pytest.fixture(scope="module")
def answers(two_runs, tmp_path_factory):
    """What the page answers; the browser is started once."""
    find_browser()  # before any of what follows is made for it
    folder = tmp_path_factory.mktemp("page")
    data, runs = two_runs
    question = f'<script type="application/json" id="asked">{json.dumps(asked())}</script>'
    script = Path(__file__).with_name("check.js").read_text()
    page = page_of(runs, data).replace("</body>", f"{question}<script>{script}</script></body>")
    (folder / "page.html").write_text(page)
    return answers_of(opened(folder / "page.html", folder / "browser"))


def test_numbers_are_read_exactly(answers):
    assert answers["numbers"] == NUMBERS.tolist()


def test_networks_give_the_numbers_of_torch(answers):
    images, codes = inputs()
    for (name, case), found in zip(MODELS.items(), answers["models"], strict=True):
        model = model_of(*case)
        expected = {"encoded": model.encode(images).mean, "decoded": model.images(codes)}
        for key, values in expected.items():
            assert values.std() > 0.01, name  # else a constant would pass
            apart = np.array(found[key]) - values.detach().flatten(1).numpy()
            assert np.abs(apart).max() < TOLERANCE, name


def test_expected_images_are_those_of_the_family(answers):
    for case, found in zip(SCORED, answers["likelihoods"], strict=True):
        family, outputs = family_of(*case)
        with torch.no_grad():
            expected = family(outputs).mean.flatten(1).numpy()
        assert expected.std() > 0.01, case
        # Locations of 50 and more are as exact as they are large.
        apart = np.abs(np.array(found) - expected) / np.maximum(1, np.abs(expected))
        assert apart.max() < TOLERANCE, case


def test_pictures_have_the_colours_of_images(answers):
    grey = [0, 0, 0, 255, 255, 255]  # as are images of two channels, of which the first shows
    assert answers["pictures"] == [[0, 51, 153, 255, 102, 204], grey, grey]


# --- the controls -----------------------------------------------------------------------------------


def close(found, expected):
    return np.abs(np.array(found) - expected.detach().numpy()).max() < 1e-5  # float32 in torch


def shown(runs, seen):
    """Whether each run's canvas shows the decoded code, to the rounding to 256 levels."""
    for run, code, pixels in zip(runs, seen["codes"], seen["pixels"], strict=True):
        image = run.vae.images(torch.tensor(code, dtype=torch.float32))
        assert np.abs(np.array(pixels) - 255 * image.flatten().numpy()).max() < 0.51
    return True


def mean_codes(runs, image):
    return [run.vae.encode(image.unsqueeze(0)).mean[0] for run in runs]


def test_every_run_shows_its_code_decoded(answers, two_runs):
    for place in ("image", "line", "arc", "slider", "map", "arrow", "origin"):
        assert shown(two_runs[1], answers["page"][place]), place


def test_a_clicked_image_is_encoded_by_every_run(answers, two_runs):
    data, runs = two_runs
    for found, expected in zip(
        answers["page"]["image"]["codes"], mean_codes(runs, data.test.images[3])
    ):
        assert close(found, expected)


@pytest.mark.parametrize("name, path", [("line", linear), ("arc", slerp)])
def test_the_path_goes_from_one_kept_image_to_another(answers, two_runs, name, path):
    data, runs = two_runs
    starts, ends = (mean_codes(runs, data.test.images[n]) for n in (3, 5))
    for found, start, end in zip(answers["page"][name]["codes"], starts, ends, strict=True):
        quarter = path(start[None], end[None], torch.tensor([0.25]))[0, 0]
        assert close(found, quarter)


def test_a_slider_moves_one_component_of_the_chosen_run(answers):
    before, after = (np.array(answers["page"][name]["codes"]) for name in ("arc", "slider"))
    assert after[0, 1] == -1.5
    after[0, 1] = before[0, 1]
    assert (after == before).all()


def test_the_map_moves_the_code_within_its_plane(answers):
    before, after = (np.array(answers["page"][name]["codes"]) for name in ("slider", "map"))
    axes = np.array(answers["page"]["map"]["axes"])
    assert (after[1] == before[1]).all()
    assert np.abs(axes @ after[0] - answers["page"]["map"]["place"]).max() < 1e-6
    move = after[0] - before[0]
    assert np.abs(move - axes.T @ (axes @ move)).max() < 1e-6
    assert np.abs(move).max() > 0.1


def test_an_arrow_moves_the_code_along_the_first_axis(answers):
    before, after = (np.array(answers["page"][name]["codes"][0]) for name in ("map", "arrow"))
    along, across = np.array(answers["page"]["map"]["axes"]) @ (after - before)
    assert along > 1e-3 and abs(across) < 1e-6


def test_the_origin_is_a_code_of_zeros(answers):
    assert not np.array(answers["page"]["origin"]["codes"]).any()


def test_a_drawing_lies_on_the_grey_levels_and_is_encoded(answers, two_runs):
    seen = answers["page"]["drawing"]
    image = np.array(seen["image"])
    assert np.abs(image * 16 - (image * 16).round()).max() < 1e-9
    on = image.reshape(8, 8) > 0
    assert on.any(0)[2:6].all() and on.any(1)[2:6].all() and not on[0].any() and not on[-1].any()
    for found, expected in zip(
        seen["codes"], mean_codes(two_runs[1], torch.tensor(image).float().view(1, 8, 8))
    ):
        assert close(found, expected)
    assert np.abs(np.array(answers["page"]["painted"]) - image).max() > 0.5  # the space bar


def test_sliders_stand_in_the_order_of_importance(answers):
    """Those of the second run, which was chosen last: its rates are 1, 0.02, 3 and 0.5."""
    page = answers["page"]
    assert page["chosen"] == 2
    assert page["sliders"] == ["component-3", "component-1", "component-4"]
    assert page["inactive"] == ["component-2"]
    assert page["legend"] == "01"


def test_decoding_is_timed(answers):
    assert len(answers["milliseconds"]) == 2 and max(answers["milliseconds"]) < 1000
