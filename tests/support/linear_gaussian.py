"""The one scenario whose log p(x) and posterior are known: a linear Gaussian VAE, right or spoilt."""

import torch

import pyro_vae as pv
from pyro_vae.evaluation.exact import LinearGaussian
from pyro_vae.randomness import seeded

ORTHOGONAL, OBLIQUE = False, True
REJECTED, ACCEPTED = 1e-6, 1e-3  # p-values of what is wrong and of what is right


def linear_gaussian_vae(oblique=False, spoil=0.0, sigma=0.5, latent_dim=3, seed=3):
    """A linear VAE in float64 whose log p(x) and posterior are known, with the best encoder.

    With orthogonal decoder columns the encoder's diagonal q is the posterior; with oblique ones it
    is the best diagonal q. `spoil` moves its means and widens its scales.
    """
    generator = torch.Generator().manual_seed(seed)
    vae = pv.VAE((1, 4, 4), latent_dim, "gaussian_fixed_sigma", "linear", sigma=sigma).double()
    vae.eval()
    weight = torch.randn(16, latent_dim, generator=generator, dtype=torch.float64)
    if not oblique:
        weight = torch.linalg.qr(weight).Q * torch.linspace(0.5, 1.5, latent_dim).double()
    encoder, decoder = linear_layers(vae)
    with torch.no_grad():
        decoder.weight.copy_(weight)
        decoder.bias.copy_(torch.randn(16, generator=generator))
        exact = LinearGaussian.of(vae)
        gain = torch.linalg.solve(exact.precision, weight.T) / sigma**2
        encoder.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
        encoder.bias[:latent_dim] = -gain @ decoder.bias + spoil
        encoder.bias[latent_dim:] = -exact.precision.diagonal().log() / 2 + spoil
    return vae, exact


def linear_layers(vae):
    """The encoder's only layer and the decoder's."""
    (encoder,) = (m for m in vae.encoder.modules() if isinstance(m, torch.nn.Linear))
    (decoder,) = (m for m in vae.decoder.modules() if isinstance(m, torch.nn.Linear))
    return encoder, decoder


def approximation_gap(exact):
    """KL(q || p(z|x)) of the best diagonal Normal q, nats, from the posterior's precision."""
    precision = exact.precision
    return (precision.diagonal().log().sum() - torch.logdet(precision)).item() / 2


def drawn_images(vae, count, seed=1):
    """Images that the model itself draws, on its own continuous scale."""
    with seeded(seed), torch.no_grad():
        return vae.decode(vae.prior.sample((count,))).sample()


def overconfident(vae):
    """The same model with a q that is too narrow by the factor exp(-0.4)."""
    with torch.no_grad():
        linear_layers(vae)[0].bias[vae.latent_dim :] -= 0.4
    return vae


def collapsed(vae):
    """The same model with q = prior."""
    encoder, _ = linear_layers(vae)
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.zero_()
    return vae


EXACT = linear_gaussian_vae()[0]
WRONG = {
    "biased": linear_gaussian_vae(spoil=0.2)[0],
    "overconfident": overconfident(linear_gaussian_vae()[0]),
    "the prior": collapsed(linear_gaussian_vae()[0]),
}


def assert_within(value, truth, error):
    """Each image within 5 standard errors or 1e-6, their mean so too, and within 0.05 nats."""
    apart, count = value - truth, len(value)
    assert (apart.abs() <= torch.clamp(5 * error, min=1e-6)).all()
    mean_error = error.square().sum().sqrt() / count
    assert apart.mean().abs() <= min(0.05, max(5 * mean_error, 1e-6))


def correlated(count, levels, seed=0):
    """Images of 2 x 2 pixels that share a factor, far from both ends of the grid."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    x = 0.5 + 0.06 * factor * torch.tensor([1.0, 1.0, -1.0, 0.5]) + 0.03 * noise
    return ((x.clamp(0, 1) * (levels - 1)).round() / (levels - 1)).view(count, 1, 2, 2)
