"""What an evaluation measures: a run with its data, where its model is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.runs.effort import Effort
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.run import Run


@dataclass(frozen=True)
class Subject:
    """The run to be measured, with its data where the model is."""

    run: Run
    folder: RunFolder
    data: Dataset
    train: Tensor
    test: Tensor
    effort: Effort
    seed: int
    data_dir: str
    progress: Callable[[float], None]

    @property
    def model(self) -> LatentImageModel:
        """The model."""
        return self.run.vae

    @property
    def scores_levels(self) -> bool:
        """Whether log P of the grey levels is defined."""
        known = self.data.levels is not None and self.model.has_rate
        return known and self.model.likelihood.is_likelihood

    @torch.no_grad()
    def codes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and scales of q(z|x) of images (N, C, H, W), (N, latent_dim) each."""
        posteriors = [self.model.encode(x) for x in chunks(images)]
        scales = torch.cat([q.variance.sqrt() for q in posteriors])
        return torch.cat([q.mean for q in posteriors]), scales
