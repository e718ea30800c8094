"""Lower bounds on log P(x) of the same images, from the ELBO up, and the gaps between them."""

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from pyro_vae.evaluation.ais import (
    DEFAULT,
    Annealed,
    Annealing,
    Bracket,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
)
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.estimates import MISSED_NATS
from pyro_vae.evaluation.gaps import missed_modes, refit_posterior
from pyro_vae.evaluation.tempering import STARTS
from pyro_vae.models.vae import VAE
from pyro_vae.notices import Progress, no_progress

ESTIMATE = "ais_from_posterior"  # of log P(x): chosen beforehand, as the largest of all is biased
SIMULATED = 20  # images whose codes are known, on which fits are checked
GAPS = {  # a higher rung minus a lower one
    "correlation_gap": ("elbo_full_covariance", "elbo_refitted"),  # what a covariance closes
    "shape_gap": (ESTIMATE, "elbo_full_covariance"),  # what no Normal closes
    "closed_by_flow": ("elbo_flow", "elbo_full_covariance"),  # of that, what a flow closes
}


class Ladder(NamedTuple):
    """Lower bounds on log P(x) in expectation: nats per image at beta = 1, on the grey levels."""

    rungs: dict[str, Tensor]  # (N,) each, the loosest first
    errors: dict[str, Tensor]  # their Monte Carlo standard errors, if known
    bracket: Bracket  # of images that the model drew
    annealed: Annealed  # AIS from q(z|x), with all that is known of its chains
    bound_effective_sample_size: Tensor  # of the draws of the importance bound, (N,)
    failed_fits: int  # images of which no fitted diagonal Normal reached the encoder's
    missed_modes: Tensor  # for which images that the model drew fits missed a mode, (few,)
    own: str | None  # the rung of the best q of the encoder's own family, if it is a Normal

    @property
    def log_prob(self) -> Tensor:
        """Return the estimate of log P(x) by AIS from q(z|x), (N,), a lower bound in expectation.

        It is fixed beforehand. The largest of several noisy means would be biased upwards.
        """
        return self.rungs[ESTIMATE]

    @property
    def monte_carlo_error(self) -> float:
        """Return the Monte Carlo error of the estimate's mean over these particular images."""
        return (self.errors[ESTIMATE].square().sum().sqrt() / len(self.log_prob)).item()

    @property
    def bias(self) -> float:
        """Return the bias of the estimate's mean over these images, which more images do not reduce."""
        return self.annealed.bias.mean().item()

    @property
    def gaps(self) -> dict[str, Tensor]:
        """Return the differences of rungs that `GAPS` names, nats (N,) each.

        Where the encoder's q is a Normal, they begin with what the best one of its family loses
        (`approximation_gap`), and what the encoder loses to this one (`amortization_gap`).
        """
        pairs = GAPS
        if self.own is not None:
            of_family = {"approximation_gap": (ESTIMATE, self.own)}
            pairs = of_family | GAPS | {"amortization_gap": (self.own, "elbo")}
        return {name: self.rungs[high] - self.rungs[low] for name, (high, low) in pairs.items()}

    @property
    def missed(self) -> float | None:
        """Return the shortfall of the importance bound against annealing, nats, or None.

        It is None unless the shortfall exceeds 0.5 nats, and 5 Monte Carlo standard errors plus the
        bias.
        """
        missed = (self.log_prob - self.rungs["importance_bound"]).mean().item()
        certain = missed > max(MISSED_NATS, 5 * self.monte_carlo_error + self.bias)
        return missed if certain else None


def climb(
    vae: VAE,
    images: Tensor,
    num_samples: int = 5000,
    annealing: Annealing = DEFAULT,
    refit_steps: int = 500,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Ladder:
    """Measure the same images (N, C, H, W) by every bound.

    Args:
        vae: a VAE in `eval` mode.
        num_samples: the number of draws of the importance bound.
        annealing: the settings of annealed importance sampling. Its `start` is not used, since both
            starts are measured.
        refit_steps: the number of steps that fit each family of distributions to each image.
        seed: the seed of the draws of each bound.
        progress: a function that receives how many of what are done.

    Raises:
        ValueError: if the family is not a likelihood of such data.
    """
    fit = refit_posterior(vae, images, refit_steps, seed=seed, progress=progress)
    bound = importance_bound(vae, images, num_samples, seed, progress=progress)
    annealed = {
        f"ais_from_{start}": annealed_importance_sampling(
            vae, images, replace(annealing, start=start), seed, progress
        )
        for start in STARTS
    }
    bracket = bidirectional_monte_carlo(
        vae, len(images), replace(annealing, start="prior"), seed, progress
    )
    bounds = {"importance_bound": bound.log_prob} | {n: a.log_prob for n, a in annealed.items()}
    return Ladder(
        fit.elbos | bounds,
        fit.errors | {name: a.standard_error for name, a in annealed.items()},
        bracket,
        annealed[ESTIMATE],
        bound.effective_sample_size,
        int(fit.failed.sum()),
        missed_modes(vae, min(len(images), SIMULATED), refit_steps, seed, progress=progress),
        fit.own,
    )
