"""Several ranks train the model of one process: on the same noise, to rounding."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.capture import Draw
from pyro_vae.training.distributed import _shares
from pyro_vae.training.processes import ALONE, Ranks
from tests.support.processes import start_ranks, statuses
from tests.support.programs import Warping, images, model
from tests.support.training import assert_same_records, assert_same_weights

DYNAMIC = {"dynamic": True, "beta_schedule": "linear", "warmup_epochs": 4}
HELD_OUT = {"patience": 3, "validation_images": images(9), "test_images": images(7)}
ANALYTIC = {"family": "gaussian_shared_sigma", "objective": "elbo_analytic"}
PARTICLES = {"num_particles": 3, "learning_rate_schedule": "cosine"}
CASES = {
    "dynamic pixels": DYNAMIC,
    "convolutions, selection": {"network": "conv"} | ANALYTIC | HELD_OUT,
    "particles": {"family": "laplace"} | PARTICLES,
    "importance": {"objective": "piwae", "num_particles": 4, "dynamic": True},
    "a point": {"kind": pv.Autoencoder, "clip_norm": 0.1, "adam_epsilon": 1e-3},
    "own programs": {"kind": Warping},
}
SINGLE_PRECISION = {"precision": "float32", "epochs": 1, "batch_size": 40}
REFUSED = {"family": "gaussian_optimal_sigma", "engine": "auto"}
HIDDEN = {"linear": (), "mlp": (8,), "conv": (4,)}


def training(family="bernoulli", kind=pv.VAE, network="mlp", **options):
    """A run of 24 steps, which is what Adam needs to forget its first ones."""
    vae = model(family, kind, network=network, hidden=HIDDEN[network])
    settings = {"epochs": 12, "batch_size": 16, "precision": "float64", "engine": "eager"}
    return pv.fit(vae, images() * 0.7, **(settings | options))


def outcome(device="cpu", ranks=ALONE, **options):
    """The records of a training and its final state, or why it is refused."""
    try:
        run = training(ranks=ranks, device=device, **options)
        return list(run), run.state()
    except ValueError as error:
        return str(error)


def train_all(cases, device="cpu"):
    """In a rank: train every case, and leave what came of it in a file."""
    ranks = Ranks.launched()
    place = torch.device(device, ranks.local) if device == "cuda" else torch.device(device)
    with ranks.joined(place):
        outcomes = {name: outcome(place, ranks, **options) for name, options in cases.items()}
    torch.save(outcomes, f"{ranks.number}.pt")


def of_two_ranks(cases, device="cpu"):
    """What came of the cases in the first and in the second of two ranks."""
    assert statuses(start_ranks(train_all, cases, device)) == [0, 0]
    return [torch.load(f"{n}.pt", map_location="cpu", weights_only=False) for n in (0, 1)]


def assert_same_outcome(one, other, tolerance):
    (records, state), (expected, reference) = one, other
    assert_same_records(records, expected, tolerance)
    assert_same_weights(state["model"], reference["model"], tolerance)
    assert state["adam"].keys() == reference["adam"].keys() != set()
    for name, adam in state["adam"].items():
        assert_same_weights(adam, reference["adam"][name], tolerance)
    assert (state["step"], state["best_epoch"]) == (reference["step"], reference["best_epoch"])
    assert torch.equal(state["order"], reference["order"])
    assert torch.equal(state["random"][0], reference["random"][0])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All cases on two ranks; they are started once, since torch takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ranks"))
        return of_two_ranks(CASES | {"float32": SINGLE_PRECISION, "refused": REFUSED})


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_are_one_process(outcomes, name):
    """Weights, Adam's averages and records of 24 steps; in float64, since Adam magnifies rounding
    where gradients are tiny: sums in another order differ by 1e-16, and weights by less than 1e-12.
    """
    first, second = (each[name] for each in outcomes)
    assert_same_outcome(first, second, 0)
    assert_same_outcome(first, outcome(**CASES[name]), 1e-12)


@pytest.mark.slow
def test_two_ranks_select_the_same_epoch(outcomes):
    assert [each["convolutions, selection"][1]["best_epoch"] for each in outcomes] == [12, 12]


@pytest.mark.slow
def test_two_ranks_are_one_process_in_single_precision(outcomes):
    """The loss of the first step."""
    (record,), _ = outcomes[0]["float32"]
    (expected,), _ = outcome(**SINGLE_PRECISION)
    assert record.loss == pytest.approx(expected.loss, rel=1e-6)


@pytest.mark.slow
def test_a_loss_that_is_no_mean_over_shares_is_refused(outcomes):
    """The optimal sigma is that of all images of a minibatch."""
    for each in outcomes:
        assert "is not the mean over its shares" in each["refused"]
        assert "2 ranks would train another model; train in a single" in each["refused"]


class HalfDeaf(Ranks):
    """The first of two, who hears nothing of the other and takes its own share for the mean."""

    def gather(self, value=None):
        return [value] * 2

    def average(self, flat):
        pass


@pytest.mark.slow
def test_both_halves_of_a_step_are_machine_code_too():
    options = {"network": "linear", "ranks": HalfDeaf(0, 2)} | DYNAMIC
    _, compiled = outcome(engine="compiled", **options)
    _, eager = outcome(engine="eager", **options)
    assert [compiled["engine"], eager["engine"]] == ["compiled", "eager"]
    assert_same_weights(compiled["model"], eager["model"], 1e-12)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 15}, "batch_size: expected a multiple of 2, the number of ranks, got 15"),
        (
            {"objective": "elbo_analytic", "free_bits": 0.1},
            "free_bits: are of a whole minibatch, which ranks divide; use one process",
        ),
        ({"engine": "svi"}, "engine: svi does not divide a minibatch among 2 ranks; use auto"),
    ],
)
def test_what_ranks_cannot_train_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training(ranks=Ranks(0, 2), **options)


def test_noise_is_divided_along_the_images():
    noise = [torch.rand(3, 4, 5), torch.rand(2)]
    parts = [Draw("normal_", torch.Size(s), torch.float32) for s in [(3, 2, 5), (2,)]]
    one, other = _shares(noise, parts, 2)
    assert torch.equal(torch.cat([one[0], other[0]], 1), noise[0])
    assert torch.equal(one[1], noise[1]) and torch.equal(other[1], noise[1])


@pytest.mark.parametrize("shape", [(3, 2, 3), (3, 3, 5)])
def test_noise_of_no_single_dimension_of_images_is_refused(shape):
    part = Draw("normal_", torch.Size(shape), torch.float32)
    with pytest.raises(ValueError, match=r"model: noise .*expected one dimension of images"):
        _shares([torch.rand(3, 4, 5)], [part], 2)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs")
def test_two_gpus_are_one(elsewhere):
    """In float64, on the device's own noise; its sums are in no fixed order."""
    first, second = of_two_ranks(CASES, "cuda")
    for name, options in CASES.items():
        assert_same_weights(first[name][1]["model"], second[name][1]["model"])
        _, alone = outcome("cuda", **options)
        on_cpu = {key: weight.cpu() for key, weight in alone["model"].items()}
        assert_same_weights(first[name][1]["model"], on_cpu, 1e-9)
