"""The effort of an evaluation; this module does not import torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """The numbers of images, draws and steps of an evaluation."""

    images: int  # for measures that need many
    few_images: int  # for measures that run chains or fits on each image
    bound_samples: int  # draws of z per image for the importance bound
    temperatures: int  # of annealed importance sampling
    chains: int
    refit_steps: int  # of the posterior that is fitted to each image
    nuts_images: int
    nuts_draws: int
    simulations: int  # of simulation-based calibration
    walkers: int  # chains decode - sample - encode - sample
    rows: int  # of codes with factors


FULL = Effort(
    images=10_000,
    few_images=100,
    bound_samples=5000,
    temperatures=1000,
    chains=16,
    refit_steps=500,
    nuts_images=4,
    nuts_draws=500,
    simulations=1000,
    walkers=4096,
    rows=10_000,
)
QUICK = Effort(
    images=1000,
    few_images=20,
    bound_samples=500,
    temperatures=100,
    chains=16,
    refit_steps=100,
    nuts_images=2,
    nuts_draws=100,
    simulations=300,
    walkers=1024,
    rows=5000,
)
IMPORTANCE_DRAWS = 1000  # per image, for k-hat and the effective sample size
CODES = 5000  # of the aggregate posterior, at most
WATCHED_CHAINS = 64  # chains whose images become the video
