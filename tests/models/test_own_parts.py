"""Networks, likelihoods, priors and posteriors of a user's own: objects and import paths."""

import copy
import pickle

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.models.posteriors import FullNormalPosterior
from pyro_vae.models.priors import MixturePrior
from tests.support.own_parts import FILE, paths
from tests.support.programs import SHAPE, images
from tests.support.training import assert_same_weights, trained


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    return file


@pytest.mark.parametrize(
    "engine", ["svi", "eager", pytest.param("compiled", marks=pytest.mark.slow)]
)
def test_a_model_of_four_parts_trains_under_every_engine(no_inductor, mine, engine):
    torch.manual_seed(0)
    vae = pv.VAE(SHAPE, 2, levels=2, **paths(mine))
    records, weights = trained(vae, epochs=30, learning_rate=0.02, engine=engine)
    assert records[-1].loss < records[0].loss and weights["prior_module.loc"].abs().max() > 0
    assert vae.encode(images(3).double()).stddev.unique().item() == pytest.approx(0.1)


def test_objects_are_the_same_model_as_paths(mine):
    module = {}
    exec(FILE, module)
    torch.manual_seed(0)
    by_path = pv.VAE(SHAPE, 2, levels=2, **paths(mine))
    torch.manual_seed(0)
    likelihood, posterior = module["Binary"](SHAPE, 2), module["Narrow"](2)
    pair = module["Net"](SHAPE, 2, 2, SHAPE)
    by_object = pv.VAE(SHAPE, 2, likelihood, pair, posterior=posterior, prior=module["Wide"](2))
    assert_same_weights(trained(by_path)[1], trained(by_object)[1])


def test_copies_of_a_model_with_own_parts_are_whole(mine):
    vae = pv.VAE(SHAPE, 2, levels=2, prior="vamp", network=f"{mine}:Net")
    for other in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))):
        with torch.no_grad():
            next(vae.encoder.parameters()).add_(1)  # the copy's prior has an encoder of its own
            mean = other.prior.mean
            next(vae.encoder.parameters()).sub_(1)
            assert torch.allclose(mean, vae.prior.mean)


def test_parts_with_arguments_of_their_own():
    posterior, prior = FullNormalPosterior(2), MixturePrior(2, components=4)
    vae = pv.VAE(SHAPE, 2, posterior=posterior, prior=prior)
    assert vae.posterior is posterior and vae.prior_module is prior


def test_a_changed_file_is_another_part(mine):
    before = pv.VAE(SHAPE, 2, posterior=f"{mine}:Narrow")
    mine.write_text(FILE.replace("0.1", "0.3"))
    after = pv.VAE(SHAPE, 2, posterior=f"{mine}:Narrow")
    x = images(1)
    assert [v.encode(x).stddev.max().item() for v in (before, after)] == pytest.approx([0.1, 0.3])
    assert not list(mine.parent.glob("__pycache__"))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"network": "nowhere.py:Net"}, "network: nowhere.py:Net cannot be imported: .*No such file"),
        ({"prior": "{}:Nothing"}, "prior: .*:Nothing cannot be imported: .*no attribute 'Nothing'"),
        ({"prior": "{}:number"}, "prior: .*:number is no class or function"),
        ({"posterior": "no.such:Thing"}, "posterior: no.such:Thing cannot be imported: No module"),
        ({"network": "{}:Crooked"}, r"encoder: expected the shape \(4,\) for each of 2, got \(2, 5\)"),
        ({"network": "{}:Wide"}, "network: .*Wide"),
        ({"network": "{}:Net", "hidden": (4,)}, "hidden: goes with the name of a network"),
        ({"network": (nn.Flatten(), None)}, r"network: expected a pair of modules \(encoder, decoder\)"),
        ({"network": (nn.Flatten(), nn.Identity())}, r"encoder: expected the shape \(4,\)"),
        ({"prior": MixturePrior(3)}, r"prior: .*expected the shape|prior: fails"),
        ({"posterior": FullNormalPosterior(3)}, r"posterior: expected the shape \(2,\)"),
        ({"prior": "mixtur"}, "prior: unknown name 'mixtur'; did you mean 'mixture'"),
    ],
)  # fmt: skip
def test_a_part_that_does_not_fit_is_named(mine, options, message):
    options = {k: v.format(mine) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(ValueError, match=message):
        pv.VAE(SHAPE, 2, **options)
