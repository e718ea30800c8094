"""`explain-loss`: which sigma and beta the loss of a hand-written VAE means, and which loss these mean.

A loss of the mean (or sum) over images of

    error + kl_weight * KL

has the gradient of `distortion + beta * rate`, up to a factor, where the error is minus a log density
times some number, and beta is the weight of the KL times the same number.
"""

from argparse import Namespace

from pyro_vae.cli.output import show
from pyro_vae.cli.parser import checked, number_over_zero, one_of, value, whole
from pyro_vae.names import command
from pyro_vae.runs.interrupts import Interrupts

PLAIN = {
    "mse": 0.5**0.5,
    "l1": 1.0,
    "bce": 1.0,
}  # the scale whose -log p is the summed error itself
SCALES = {"mse": "sigma", "l1": "scale"}
DENSITIES = {"mse": "a Normal", "l1": "a Laplace", "bce": "a Bernoulli"}
REDUCTIONS = {
    "mean": "averaged over images and pixels",
    "batchmean": "summed over pixels, averaged over images",
    "sum": "summed over images and pixels",
}

FLAGS = [
    value("--loss", "mse, l1 or bce (default: mse)", type=one_of(tuple(PLAIN)), default="mse"),
    value(
        "--reduction",
        "of the error: mean, over images and pixels; batchmean, a sum over pixels and a mean over"
        " images; or sum. The KL is summed over components, and over images as the error is (default:"
        " mean)",
        type=one_of(tuple(REDUCTIONS)),
        default="mean",
    ),
    value("--pixels N", "numbers in an image, over its channels", type=whole(1), required=True),
    value("--kl-weight W", "the weight of the KL in the loss", type=checked(number_over_zero)),
    value(
        "--beta",
        "instead of the weight: the beta whose weight is asked for",
        type=checked(number_over_zero),
    ),
    value(
        "--sigma",
        "sigma of the Normal or scale of the Laplace (default: the one whose density is the error"
        " itself, 0.707107 for mse)",
        type=checked(number_over_zero),
    ),
]


def summed_error(loss: str, scale: float) -> float:
    """Return the summed error of an image over minus its log density, but for a constant.

    It is 2 sigma^2 for the squared error, and the scale b for the absolute error.
    """
    return {"mse": 2 * scale**2, "l1": scale, "bce": 1.0}[loss]


def beta_of(loss: str, reduction: str, kl_weight: float, pixels: int, scale: float) -> float:
    """Return the beta of the ELBO with this scale of which the loss is a multiple.

    Args:
        pixels: numbers in an image, over its channels.
    """
    return kl_weight * (pixels if reduction == "mean" else 1) / summed_error(loss, scale)


def kl_weight_of(loss: str, reduction: str, beta: float, pixels: int, scale: float) -> float:
    """Return the weight of the KL with which the loss is a multiple of the ELBO with this beta."""
    return beta * summed_error(loss, scale) / (pixels if reduction == "mean" else 1)


def check_loss(parsed: Namespace) -> None:
    """Check that the weight of the KL or beta is given, and a scale only where there is one."""
    if (parsed.kl_weight is None) == (parsed.beta is None):
        raise ValueError("explain-loss: give --kl-weight, or --beta to be told the weight")
    if parsed.sigma is not None and parsed.loss not in SCALES:
        raise ValueError(f"sigma: {parsed.loss} has none")


def run_explain_loss(parsed: Namespace, interrupts: Interrupts) -> None:
    """Print the ELBO that a loss is, or the loss that an ELBO is."""
    loss, reduction, pixels = parsed.loss, parsed.reduction, parsed.pixels
    scale = parsed.sigma or PLAIN[loss]
    weight = parsed.kl_weight
    if weight is None:
        weight = kl_weight_of(loss, reduction, parsed.beta, pixels, scale)
    beta = beta_of(loss, reduction, weight, pixels, scale)
    show(f"{loss} {REDUCTIONS[reduction]} + {weight:.6g} KL, for {pixels:,} pixels")
    show(f"is, up to a factor, minus the ELBO of {DENSITIES[loss]} with")
    show(f"  beta {beta:.6g}{f', {SCALES[loss]} {scale:.6g}' if loss in SCALES else ''}")
    if loss in SCALES:
        product = beta * summed_error(loss, scale)
        of_vae = (product / 2) ** 0.5 if loss == "mse" else product
        show(f"  beta 1, {SCALES[loss]} {of_vae:.6g}: as a VAE, with the same codes")
    if loss != "l1":  # whose scale is learned here
        family = "gaussian_fixed_sigma" if loss == "mse" else "bernoulli"
        sigma = ["--sigma", f"{scale:.6g}"] if loss == "mse" else []
        show(command("train", "--likelihood", family, *sigma, "--beta", f"{beta:.6g}"))
