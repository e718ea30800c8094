"""Means with their standard errors."""

import numpy as np
import pytest
import torch

from pyro_vae.evaluation.estimates import estimate


def test_an_estimate_is_a_mean_with_its_standard_error():
    values = torch.randn(10_000) * 3 + 7
    mean, error = estimate(values)
    assert mean == pytest.approx(values.mean().item()) and error == pytest.approx(0.03, rel=0.05)
    assert np.isnan(estimate(values[:1]).standard_error)
