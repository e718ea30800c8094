"""log p(x, z) and its gradient, as they come and compiled."""

import gc
import weakref

import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation import joint
from pyro_vae.evaluation.ais import Annealing, annealed_importance_sampling
from pyro_vae.evaluation.bounds import work_per_draw
from pyro_vae.evaluation.joint import CompiledJoint, Joint, joint_of
from pyro_vae.models.elbo import fixed_weights
from pyro_vae.notices import Notice
from tests.support.linear_gaussian import OBLIQUE, assert_within, drawn_images, linear_gaussian_vae

PRIORS = {"gaussian_shared_sigma": "normal", "discretized_logistic": "vamp"}


def small_vae(likelihood="gaussian_shared_sigma", **options):
    torch.manual_seed(0)
    vae = pv.VAE((1, 4, 4), likelihood=likelihood, levels=17, latent_dim=3, hidden=(5,), **options)
    return vae.eval()


def grey_images(count):
    return torch.randint(17, (count, 1, 4, 4), generator=torch.Generator().manual_seed(1)) / 16


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", PRIORS)
def test_compiled_equals_plain(likelihood):
    """In float64, on fewer images than a block has, and on more chains."""
    vae = small_vae(likelihood, prior=PRIORS[likelihood]).double()
    x = grey_images(5).double()
    with pyro.validation_enabled(False), fixed_weights(vae):
        plain, compiled = Joint(vae, "levels"), CompiledJoint(vae, "levels", (2, 5))
        for chains, images in ((2, 5), (2, 3), (6, 5)):
            z = torch.randn(chains, images, 3, dtype=torch.float64)
            for found, expected in zip(compiled(x[:images], z), plain(x[:images], z)):
                assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_products_by_another_library_are_equal_to_rounding(monkeypatch):
    """And the model is let go with it."""
    monkeypatch.setattr(joint, "choose", lambda wanted, _: dict.fromkeys(wanted, "onednn"))
    vae, x, z = small_vae(), grey_images(5), torch.randn(2, 5, 3)
    with pyro.validation_enabled(False), fixed_weights(vae):
        expected, compiled = Joint(vae, "levels")(x, z), CompiledJoint(vae, "levels", (2, 5))
        for found, value in zip(compiled(x, z), expected):
            assert torch.allclose(found, value, rtol=1e-4, atol=1e-4)
    kept = weakref.ref(vae)
    del vae, compiled
    gc.collect()
    assert kept() is None


@pytest.mark.slow
@pytest.mark.filterwarnings("error::pyro_vae.notices.Notice")
def test_annealing_with_it_finds_log_p(monkeypatch):
    monkeypatch.setattr(joint, "PAYS", 0)
    vae, exact = linear_gaussian_vae(OBLIQUE)
    x, made = drawn_images(vae, 8), []
    monkeypatch.setattr(
        joint, "CompiledJoint", lambda *a: made.append(CompiledJoint(*a)) or made[0]
    )
    annealing = Annealing(200, 32, start="posterior", score="density")
    found = annealed_importance_sampling(vae, x, annealing)
    assert_within(found.log_prob, exact.log_prob(x), found.standard_error)
    assert len(made) == 1


@pytest.mark.parametrize("share, kind", [(1.01, CompiledJoint), (0.99, Joint)])
def test_it_is_compiled_where_that_pays(monkeypatch, share, kind):
    monkeypatch.setattr(joint, "compile_step", lambda step, *_: step)
    vae = small_vae()
    codes = int(share * joint.PAYS / work_per_draw(vae))
    with fixed_weights(vae):
        assert type(joint_of(vae, grey_images(5), "levels", (4, 5), codes)) is kind


def without_a_compiler(vae, x, monkeypatch):
    monkeypatch.setattr(joint, "missing_compiler", lambda: "no C++ compiler")
    return vae, x


def with_missing_pixels(vae, x, monkeypatch):
    return vae, torch.where(x < 0.1, torch.nan, x)


def given_labels(vae, x, monkeypatch):
    return small_vae(conditional=3).given(torch.arange(5) % 3), x


@pytest.mark.parametrize("case", [without_a_compiler, with_missing_pixels, given_labels])
def test_it_is_not_compiled_where_it_cannot_be(monkeypatch, case):
    monkeypatch.setattr(joint, "PAYS", 0)
    vae, x = case(small_vae(), grey_images(5), monkeypatch)
    assert type(joint_of(vae, x, "levels", (4, 5), 100)) is Joint


def test_what_inductor_refuses_stays_plain_and_is_named(monkeypatch):
    def refuse(*_):
        raise RuntimeError("no such operator\nand a page of advice")

    monkeypatch.setattr(joint, "PAYS", 0)
    monkeypatch.setattr(joint, "compile_step", refuse)
    with pytest.warns(Notice, match="^annealing: not compiled, since no such operator and a"):
        assert type(joint_of(small_vae(), grey_images(5), "levels", (4, 5), 100)) is Joint
