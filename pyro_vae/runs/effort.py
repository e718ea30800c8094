"""How much an evaluation spends; torch is not imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How many images, draws and steps an evaluation takes."""

    images: int  # for the measures that need many
    few_images: int  # for those that run chains or fits on each image
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
    refit_steps=200,
    nuts_images=2,
    nuts_draws=150,
    simulations=300,
    walkers=1024,
    rows=5000,
)
IMPORTANCE_DRAWS = 1000  # per image, for k-hat and the effective sample size
CODES = 5000  # at most, of the aggregate posterior
WATCHED_CHAINS = 64  # whose images become the video
