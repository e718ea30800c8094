"""Densities that are fitted to the codes of images after training, to take the place of the prior."""

import copy
import warnings

import numpy as np
import pyro.distributions as dist
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pyro_vae.models.elbo import chunks, each_given
from pyro_vae.models.priors import Prior
from pyro_vae.models.vae import VAE
from pyro_vae.names import check_name
from pyro_vae.randomness import seeded

FITTED = {"gaussian": 1, "mixture": 10}  # the number of Normals with full covariances
FEWEST_IMAGES = 10
REGULARISATION = 1e-6  # added to the variance of each component, so that codes may coincide


class FittedPrior(Prior):
    """A mixture of Normals with full covariances, which stays as it is.

    Args:
        weights: (K,), which sum to 1.
        loc: (K, latent_dim).
        covariance: (K, latent_dim, latent_dim).
    """

    logits: Tensor
    loc: Tensor
    scale_tril: Tensor

    def __init__(self, weights: np.ndarray, loc: np.ndarray, covariance: np.ndarray):
        super().__init__(loc.shape[-1])
        self.register_buffer("logits", torch.tensor(weights).log())
        self.register_buffer("loc", torch.tensor(loc))
        self.register_buffer("scale_tril", torch.linalg.cholesky(torch.tensor(covariance)))

    def forward(self):
        components = dist.MultivariateNormal(self.loc, scale_tril=self.scale_tril)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)


@torch.no_grad()
def fit_prior(model: VAE, images: Tensor, kind: str = "mixture", seed: int = 0) -> VAE:
    """Return a copy of a model whose prior is a density, fitted to the codes of images.

    A code is a draw of q(z|x), one for each image, or the point of an autoencoder. The prior that a
    model was trained with may cover codes that no image has, or, for an autoencoder, none that an
    image has; samples are then bad, however good the reconstructions. The copy shares nothing with
    the model. It is for `sample`, and for all that measures a model.

    Args:
        model: a VAE or an autoencoder in `eval` mode.
        images: (N, C, H, W), on the model's device, at least ten: those that it was trained on.
        kind: `gaussian`, the Normal with the mean and the covariance of the codes, or `mixture`, ten
            such Normals, fitted by expectation maximisation (default: mixture).
        seed: the seed of the draws and of the fit.

    Raises:
        ValueError: an unknown kind, or images of another shape or fewer than ten.

    Source: Ghosh, Sajjadi, Vergari, Black and Schölkopf, "From variational to deterministic
    autoencoders", 2020, https://arxiv.org/abs/1903.12436. The fit is scikit-learn's.

    Example:
        >>> autoencoder = VAE((1, 8, 8), latent_dim=2, posterior="point")
        >>> fit_prior(autoencoder, torch.rand(50, 1, 8, 8)).sample(3).shape
        torch.Size([3, 1, 8, 8])
    """
    components = FITTED[check_name("kind", kind, FITTED)]
    model.check_shape(images)
    if len(images) < FEWEST_IMAGES:
        raise ValueError(
            f"images: expected at least {FEWEST_IMAGES}, to fit a density to codes, got {len(images)}"
        )
    with seeded(seed, images.device):
        z = torch.cat([vae.encode(x).sample() for vae, x in each_given(model, chunks(images))])
    # scikit-learn takes seeds of 32 bits.
    fit = GaussianMixture(components, reg_covar=REGULARISATION, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where codes coincide
        fit.fit(z.double().cpu().numpy())
    fitted = copy.deepcopy(model)
    fitted.prior_module = FittedPrior(fit.weights_, fit.means_, fit.covariances_).to(z)
    return fitted
