"""The content of `summary.json`: a run's settings, its size, its speed, and its final figures."""

import math
from typing import NamedTuple

from torch import Tensor

from pyro_vae.data import Dataset, Split, draw_binary
from pyro_vae.data.mapped import MappedImages, spacing
from pyro_vae.evaluation.convergence import end_of_curve
from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.evaluation.exact import linear_optimum
from pyro_vae.evaluation.terms import means, per_image
from pyro_vae.measures.baselines import beside_baselines
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.models.vae import VAE
from pyro_vae.names import ELBOS
from pyro_vae.notices import Progress, no_progress
from pyro_vae.pages.wording import number_text
from pyro_vae.randomness import seeded
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.data import splits_of
from pyro_vae.runs.run import cautions
from pyro_vae.training.loop import Training

NUMBERS = 2**22  # pixels that are scored for bits per dimension: a second or a few
FEWEST_DRAWS, MOST_DRAWS = 16, 5000
TRAIN_DRAWS = 2**17


class Scored(NamedTuple):
    """A split, and the measures of each of its images, with the draws of z for its log P."""

    split: Split
    columns: dict[str, Tensor]
    num_samples: int


def score(data: Dataset, training: Training, progress: Progress = no_progress) -> dict[str, Scored]:
    """Measure each test image and, where some are held out, each validation image.

    The bound takes as many draws of z as a second or a few allow. Their number depends on the test
    images alone, so that runs on the same data are measured alike.
    """
    model, images = training.model, training.images
    splits = splits_of(model, data, True).to(images.device, images.dtype)
    num_samples = min(max(NUMBERS // splits.test.images.numel(), FEWEST_DRAWS), MOST_DRAWS)
    scored = {}
    for name in ("test", "validation") if data.validation else ("test",):
        split = getattr(splits, name)
        vae = model.given(split.labels)
        columns = per_image(vae, split.images, data.levels, num_samples, progress=progress)
        scored[name] = Scored(split, columns, num_samples)
    return scored


def summarise(
    config: RunConfig,
    data: Dataset,
    training: Training,
    scored: dict[str, Scored],
    metrics: dict[str, list[float | None]],
    progress: Progress = no_progress,
) -> dict:
    """Return the summary of a finished run, measured with the weights that its model has now.

    Args:
        scored: what `score` returned.
        metrics: the columns of `metrics.csv`.
        progress: a function that receives how many of what are done.
    """
    model = training.model
    optimum = _linear_optimum(config, model, data)
    train = _train_summary(model, data, training.splits.train, optimum)
    splits = {name: _means(model, split) for name, split in scored.items()}
    return {
        "dataset": config.dataset,
        "likelihood": config.likelihood,
        "scored_on": model.likelihood.scored_on(config.score),
        "beta": config.beta,
        "latent_dim": config.latent_dim,
        "network": config.network,
        "seed": config.seed,
        "device": str(training.images.device),
        "engine": training.engine.name,
        "parameters": parameter_counts(model),
        "epochs": training.epoch,
        "asked_epochs": config.epochs,
        "best_epoch": training.best_epoch,
        "steps": training.step,
        "seconds": training.seconds,
        "steps_per_second": training.step / training.seconds,
        "train": train,
        **splits,
        "generalisation": _generalisation(model, train, data, scored),
        "cautions": cautions(config, data, model),
        "linear_optimum": optimum,
        "baselines": _beside_baselines(config, data, scored["test"], progress),
        "convergence": _convergence(config, training, metrics, data),
    }


def _generalisation(model: VAE, train: dict, data: Dataset, scored: dict[str, Scored]) -> dict:
    """Return by how much the ELBO of training images exceeds that of test images, nats.

    An autoencoder has none; there it is minus the distortion. The errors cover both sets of images.
    Over-fitting is a part of this gap, and how test images differ from training images is another.
    Validation images that were drawn at random from the training images differ by chance only, so
    that their gap, `drawn_gap_nats`, is over-fitting alone.
    """
    sign, name = (1, "elbo_nats") if model.has_rate else (-1, "distortion_nats")
    found = {}
    splits = {"gap": "test"} | ({"drawn_gap": "validation"} if data.drawn_validation else {})
    for key, split in splits.items():
        mean, error = estimate(scored[split].columns[name])
        gap = sign * (train[name] - mean)
        found[f"{key}_nats"] = gap
        found[f"{key}_error"] = math.hypot(train["standard_error_nats"], error)
        found[f"{key}_bits_per_dim"] = gap / math.prod(model.image_shape) / math.log(2)
    return found


def _beside_baselines(
    config: RunConfig, data: Dataset, test: Scored, progress: Progress
) -> dict | None:
    if "log_prob_nats" not in test.columns:
        return None
    log_prob = test.columns["log_prob_nats"]
    return beside_baselines(data, log_prob, config.latent_dim, test.num_samples, progress)


def _convergence(
    config: RunConfig, training: Training, metrics: dict[str, list[float | None]], data: Dataset
) -> dict:
    """Return where the curve of the test ELBO ends: a word, its figures, and the reason.

    An autoencoder has none; there it is minus the distortion.
    """
    has_rate = training.model.has_rate
    what = "the test ELBO" if has_rate else "minus the test distortion"
    values = metrics["test_elbo" if has_rate else "test_distortion"]
    curve = [value if has_rate else -value for value in values if value is not None]
    end = end_of_curve(curve, math.prod(data.image_shape))
    if end is None:
        return {"word": "cannot tell", "reason": "it is shorter than 20 epochs"}
    word, moved, left = end
    figures = {"moved_nats": moved.mean, "moved_error": moved.standard_error}
    figures |= {"left_nats": left.mean, "left_error": left.standard_error}
    selects, stopped = config.patience is not None, training.epoch < config.epochs
    said = f"the last tenth moved {what} by {number_text(*moved, sign='+')} nats"
    if word != "past its best":
        said += f", and its trend leaves {number_text(*left, sign='+')} to gain"
    if word == "converged" and config.learning_rate_schedule == "cosine":
        word = "cannot tell"
        said += "; a cosine schedule is always flat at its end: judge by a run half as long"
    elif word == "still climbs":
        said += "; be more patient" if selects and stopped else "; train for longer"
    elif word == "past its best" and selects:
        said += f"; the weights kept are those of epoch {training.best_epoch}, before it fell"
    elif word == "past its best":
        said += "; it over-fits: train for less, or stop early with --patience"
    elif word == "cannot tell":
        said += ": the curve is too noisy, or too short"
    reason = f"stopped early by validation images; {said}" if selects and stopped else said
    return figures | {"word": word, "reason": reason}


def _means(model: VAE, scored: Scored) -> dict:
    """Return the means over images, without their errors."""
    split, columns, num_samples = scored
    measures = means(model.given(split.labels), split.images, columns, num_samples)
    return {k: v.mean if isinstance(v, Estimate) else v for k, v in measures.items()}


def _train_summary(model: VAE, data: Dataset, split: Split, optimum: dict | None) -> dict:
    """Return the figures of the model on its training images, or on those of a file looked at.

    Where a closed form gives the optimum, many draws of z average the noise out.
    """
    few = split[:: spacing(split.images)]
    with seeded(0, split.images.device):
        images = draw_binary(few.images) if data.dynamic else few.images
    num_samples = math.ceil(TRAIN_DRAWS / len(images)) if optimum else 1
    terms = elbo_terms(model.given(few.labels), images, num_samples)
    named = {"elbo": terms.elbo, "rate": terms.rate, "distortion": terms.distortion}
    means = {f"{name}_nats": values.mean().item() for name, values in named.items()}
    judged = terms.elbo if model.has_rate else terms.distortion
    means["standard_error_nats"] = estimate(judged).standard_error
    return means | {"elbo_samples": num_samples}


def _linear_optimum(config: RunConfig, model: VAE, data: Dataset) -> dict | None:
    """Return the optimum of the run in closed form, or None where there is no closed form."""
    family = model.likelihood
    plain = (
        config.network == "linear" and config.decoder_features is None and not config.conditional
    )
    normal = config.prior == "normal" and config.posterior in ("normal", "full_normal")
    linear = plain and normal and family.one_sigma
    elbo = config.objective in ELBOS and not config.free_bits
    closed = config.score == "density" and elbo and config.beta > 0
    if not (linear and closed) or data.dynamic or isinstance(data.train.images, MappedImages):
        return None
    sigma = float(family.sigma) if family.one_sigma == "given" else None
    optimum = linear_optimum(data.train.images, config.latent_dim, config.beta, sigma)
    return {
        "elbo_nats": optimum.elbo,
        "rate_nats": optimum.rate,
        "distortion_nats": optimum.distortion,
        "sigma": optimum.sigma,
        "active_units": optimum.active,
    }


def parameter_counts(model: VAE) -> dict[str, int]:
    """Return the numbers of trainable parameters of the encoder, the decoder and the likelihood."""
    parts = {"encoder": model.encoder, "decoder": model.decoder, "likelihood": model.likelihood}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
