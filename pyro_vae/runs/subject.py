"""The subject of an evaluation: a run with its data."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.progress import Progress
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.runs.effort import Effort
from pyro_vae.runs.folder import RunFolder

Figures = dict[str, Any]  # of a part, by their keys in `evaluation.json`


@dataclass(frozen=True)
class Subject:
    """The run to be measured, with its data on the model's device."""

    run: Any  # a `Run`
    folder: RunFolder
    data: Dataset
    train: Tensor
    test: Tensor
    validation: Tensor | None  # images that were held out from training
    effort: Effort
    seed: int
    data_dir: str
    progress: Progress

    @property
    def model(self) -> LatentImageModel:
        """Return the model of the run."""
        return self.run.vae

    @property
    def scores_levels(self) -> bool:
        """Return whether log P of the grey levels is defined."""
        known = self.data.levels is not None and self.model.has_rate
        return known and self.model.likelihood.is_likelihood

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
