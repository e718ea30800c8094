"""A run beside trivial models of its training images."""

from pathlib import Path

import pytest
import torch

from pyro_vae.evaluation import baselines as functions
from pyro_vae.measures.baselines import beside_baselines, not_beaten

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_the_gain_is_paired_over_images(digits):
    log_prob = functions.independent_pixels(digits.test.images, digits.train.images, 17)
    found = beside_baselines(digits, log_prob + 3, 2, "data")
    assert list(found) == ["independent_pixels", "one_gaussian", "ppca"]
    same = found["independent_pixels"]
    assert same["gain_nats"] == pytest.approx(3) and same["gain_error"] == pytest.approx(0)
    assert found["one_gaussian"]["gain_error"] > 0.1
    equal = beside_baselines(digits, log_prob, 2, "data")
    assert not_beaten(equal) == ["independent pixels", "one Gaussian"]
    assert equal["ppca"]["gain_nats"] > 0, "sigma at the density's optimum is too large on levels"


def test_they_are_computed_once_and_kept(digits, monkeypatch):
    log_prob = torch.zeros(len(digits.test))
    first = beside_baselines(digits, log_prob, 2, "data")
    monkeypatch.setattr("pyro_vae.measures.baselines.one_gaussian", lambda *_: pytest.fail("again"))
    assert beside_baselines(digits, log_prob, 2, "data") == first
    assert len(list(Path("data/baselines").iterdir())) == 3
