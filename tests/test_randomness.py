"""Random state that is borrowed and given back."""

import pyro
import pytest
import torch

from pyro_vae.randomness import PrivateState, seeded


def test_draws_inside_depend_on_the_seed_alone():
    draws = []
    for seed in (1, 1, 2):
        torch.rand(3)
        with seeded(seed):
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_draws_outside_do_not_see_those_inside():
    torch.manual_seed(0)
    expected = torch.rand(2, 3)
    torch.manual_seed(0)
    first = torch.rand(3)
    with seeded(7):
        torch.rand(99)
    assert torch.equal(torch.stack([first, torch.rand(3)]), expected)


def test_the_callers_state_comes_back_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(7):
        torch.rand(1 // 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_private_state_resumes_where_it_was():
    with seeded(3):
        expected = torch.rand(2)
    private, draws = PrivateState(3, "cpu", validate=False), []
    for _ in range(2):
        torch.manual_seed(99)
        with private.swapped_in():
            draws.append(torch.rand(1))
    assert torch.equal(torch.cat(draws), expected)


def test_a_private_state_has_validation_and_parameters_of_its_own():
    pyro.param("outside", torch.ones(1))
    private = PrivateState(0, "cpu", validate=False)
    with private.swapped_in():
        assert not pyro.infer.util.is_validation_enabled()
        assert list(pyro.get_param_store().keys()) == []
        pyro.param("inside", torch.ones(1))
    assert pyro.infer.util.is_validation_enabled()
    assert list(pyro.get_param_store().keys()) == ["outside"]
    with private.swapped_in():
        assert list(pyro.get_param_store().keys()) == ["inside"]
