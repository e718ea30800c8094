"""What the latent components carry, and the aggregate posterior beside the prior."""

import torch
from torch import Tensor

from pyro_vae.evaluation.aggregate import aggregate_against_prior, decompose_rate
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.evaluation.thresholds import ACTIVE_VARIANCE
from pyro_vae.figures import codes
from pyro_vae.runs.effort import CODES
from pyro_vae.runs.folder import to_numpy
from pyro_vae.runs.subject import Figures, Subject


def measure_latents(subject: Subject) -> Figures:
    """Measure what the latent components carry, and compare the aggregate posterior with the prior."""
    model, seed = subject.model, subject.seed
    if not model.has_rate:
        return {}
    loc, scale = subject.codes(subject.test[: min(subject.effort.images, CODES)])
    rate = decompose_rate(loc, scale, seed=seed)
    against = aggregate_against_prior(loc, scale, seed=seed)
    inactive = loc.var(0, correction=0) <= ACTIVE_VARIANCE
    figure = codes.marginals(to_numpy(loc), to_numpy(scale))
    subject.folder.save_figure("aggregate_posterior", figure)
    return {
        "images": len(loc),
        "rate_nats": rate.rate,
        "mutual_information_nats": rate.mutual_information,
        "mutual_information_upper_nats": rate.mutual_information_upper,
        "total_correlation_nats": rate.total_correlation,
        "dimension_wise_kl_nats": rate.dimension_wise_kl,
        "log_images": rate.log_images,
        "mutual_information_identified": rate.identified,
        "largest_mean": against.moments.largest_mean,
        "smallest_variance": against.moments.smallest_variance,
        "largest_variance": against.moments.largest_variance,
        "largest_correlation": against.moments.largest_correlation,
        "marginal_distances": against.marginal_distances.tolist(),
        "mmd_squared": against.mmd.statistic,
        "mmd_p_value": against.mmd.p_value,
        "inactive_units": int(inactive.sum()),
    } | _cost_of_removing(subject, inactive)


def _cost_of_removing(subject: Subject, components: Tensor) -> Figures:
    """Return how much log P falls without these components, and what that rests on.

    It is None where there are none, or log P is not defined.
    """
    names = ("nll_change_without_inactive_nats", "nll_change_effective_samples")
    if not (components.any() and subject.scores_levels):
        return dict.fromkeys(names)
    x, samples = subject.test[: subject.effort.few_images], subject.effort.bound_samples
    whole = importance_bound(subject.model, x, samples, subject.seed)
    without = importance_bound(subject.model, x, samples, subject.seed, removed=components)
    fewest = torch.minimum(whole.effective_sample_size, without.effective_sample_size)
    return dict(zip(names, (estimate(whole.log_prob - without.log_prob), estimate(fewest))))
