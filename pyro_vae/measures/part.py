"""A part of an evaluation: what it is given, what it returns, and what its figures mean."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.data import Dataset, Split, draw_binary
from pyro_vae.evaluation.bounds import work_per_draw
from pyro_vae.models.elbo import chunks
from pyro_vae.models.fitted import FEWEST_IMAGES, FITTED, fit_prior
from pyro_vae.models.vae import VAE
from pyro_vae.names import BOUND_DRAWS, QUICK_BOUND_DRAWS
from pyro_vae.notices import Progress, no_progress
from pyro_vae.pages.wording import Row, Shown, shown_rows
from pyro_vae.randomness import seeded

if TYPE_CHECKING:
    from xarray import DataTree  # half a second

VERSION = 5  # of all measures: raise it by hand where the same model and data give other figures

Figures = dict[str, Any]  # of a part, by their keys in `evaluation.json`


@dataclass(frozen=True)
class Effort:
    """The numbers of images, draws and steps of an evaluation."""

    images: int = 10_000  # for measures that need many
    bound_images: int = 10_000  # for the importance bound
    few_images: int = 100  # for measures that run chains or fits on each image
    bound_samples: int = BOUND_DRAWS  # of z per image, for the importance bound
    temperatures: int = 1000  # of annealed importance sampling
    chains: int = 16
    refit_steps: int = 500  # of the posterior that is fitted to each image
    nuts_images: int = 4
    nuts_draws: int = 500
    simulations: int = 1000  # of simulation-based calibration
    walkers: int = 4096  # chains decode - sample - encode - sample
    replicates: int = 199  # sets of images that are drawn for predictive checks
    rows: int = 10_000  # of codes with factors, and of those that densities are fitted to

    def within(self, model: VAE) -> "Effort":
        """Return this effort, with fewer images and chains of a model whose draws cost more.

        Work is counted from the decoder's layers and never timed: figures do not depend on the speed
        of a machine. Draws of the same image stay, since with fewer of them estimates are biased.
        """
        share = min(1.0, USUAL_WORK / work_per_draw(model))
        sizes = {name: (getattr(self, name), least) for name, least in FEWEST.items()}
        return replace(
            self, **{n: max(min(k, least), int(share * k)) for n, (k, least) in sizes.items()}
        )


USUAL_WORK = 3_000_000  # multiply-adds per draw; a small network on MNIST takes about half of them
FEWEST = {"bound_images": 50, "few_images": 2, "nuts_images": 1, "simulations": 100, "walkers": 100}

FULL = Effort()
QUICK = Effort(
    images=1000,
    bound_images=1000,
    few_images=20,
    bound_samples=QUICK_BOUND_DRAWS,
    temperatures=300,
    chains=8,
    refit_steps=100,
    nuts_images=2,
    nuts_draws=100,
    simulations=300,
    walkers=1024,
    replicates=99,
    rows=5000,
)


@dataclass(frozen=True)
class Subject:
    """What is measured: a trained model and its data, with the effort and the seed.

    Args:
        model: the model in `eval` mode.
        data: the data set of the model, with its images on the model's device and in its type.
        effort: the numbers of images, draws and steps.
        seed: the seed of all random draws.
        labelled: returns the labelled data set whose classifier judges samples, or None.
        progress: a function that receives how many of what are done.
    """

    model: VAE
    data: Dataset
    effort: Effort = FULL
    seed: int = 0
    labelled: Callable[[], Dataset | None] = lambda: None
    progress: Progress = no_progress

    @property
    def train(self) -> Tensor:
        """Return the training images (N, C, H, W)."""
        return self.data.train.images

    @property
    def test(self) -> Tensor:
        """Return the test images (N, C, H, W)."""
        return self.data.test.images

    @property
    def scores_levels(self) -> bool:
        """Return whether log P of the grey levels is defined."""
        known = self.data.levels is not None and self.model.has_rate
        return known and self.model.likelihood.is_likelihood

    def model_of(self, split: Split) -> VAE:
        """Return the model, with the labels of a split if it takes them."""
        return self.model if self.model.embedding is None else self.model.given(split.labels)

    @torch.no_grad()
    def draws(self, images: Tensor) -> Tensor:
        """Return draws of q(z|x) for images (N, C, H, W), (N, latent_dim)."""
        return torch.cat([self.model.encode(x).sample() for x in chunks(images)])

    @torch.no_grad()
    def codes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and scales of q(z|x) for images (N, C, H, W), each of them (N, latent_dim)."""
        posteriors = [self.model.encode(x) for x in chunks(images)]
        scales = torch.cat([q.variance.sqrt() for q in posteriors])
        return torch.cat([q.mean for q in posteriors]), scales

    def with_fitted_prior(self, kind: str) -> VAE:
        """Return the model with a density of the codes of training images as its prior.

        If there are more images than `effort.rows`, it is fitted to so many, chosen at random. The
        errors are those of `fit_prior`.
        """
        with seeded(self.seed, self.train.device):
            rows = torch.randperm(len(self.train), device=self.train.device)
            split = self.data.train[rows[: self.effort.rows]]
            images = draw_binary(split.images) if self.data.dynamic else split.images
        return fit_prior(self.model_of(split), images, kind, self.seed)

    def with_fitted_priors(self) -> dict[str, VAE]:
        """Return the model with each density of codes, by kind; none if there are too few images."""
        kinds = list(FITTED) if len(self.train) >= FEWEST_IMAGES else []
        return {kind: self.with_fitted_prior(kind) for kind in kinds}


@dataclass(frozen=True)
class Measured:
    """What a part found.

    Args:
        figures: its figures by key; none where the part does not apply.
        columns: tables with a row for each image, by name: their columns (N,).
        drawings: what it draws, by name: figures, or the content of a picture or a video, whose
            name then has its ending.
        draws: draws of codes by name, as ArviZ reads them.
    """

    figures: Figures = field(default_factory=dict)
    columns: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    drawings: dict[str, Figure | bytes] = field(default_factory=dict)
    draws: dict[str, "DataTree"] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A part of an evaluation, with all that is said of it.

    Only figures that are shown have a row; others are kept in `evaluation.json` all the same.
    """

    title: str
    look: str
    measure: Callable[[Subject], Measured]
    needs: int  # test images
    spends: str  # the fields of its effort that it costs
    rows: tuple[Row, ...]
    pictures: dict[str, str] = field(default_factory=dict)  # file names without ending, captions
    terms: dict[str, str] = field(default_factory=dict)  # words of the part, and what they mean
    takes_labels: bool = False  # whether it measures conditional models

    def shown(self, figures: Figures) -> list[Shown]:
        """Return the rows that have a value, as they are shown."""
        return shown_rows((*LEFT_OUT, *self.rows), figures)


LEFT_OUT = (  # of a part, and of its scores
    Row("left_out", "left out", kind="words"),
    Row("not_scored", "not scored", kind="words"),
)


def to_numpy(x: Tensor) -> np.ndarray:
    """Return a tensor as an array of doubles, for figures."""
    return x.detach().cpu().double().numpy()
