"""What the latent components carry, and the aggregate posterior beside the prior."""

import torch
from torch import Tensor

from pyro_vae.evaluation.aggregate import aggregate_against_prior, decompose_rate
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.evaluation.terms import is_active, mean_variance_per_component
from pyro_vae.figures import one_run
from pyro_vae.measures.part import Figures, Measured, Part, Subject, to_numpy
from pyro_vae.pages.wording import NATS, Compared, Row

CODES = 5000  # of the aggregate posterior, at most


def measure_latents(subject: Subject) -> Measured:
    """Measure what the latent components carry, and compare the aggregate posterior with the prior."""
    model, seed = subject.model, subject.seed
    if not model.has_rate:
        return Measured()
    if not (model.diagonal and model.standard_prior):
        return Measured({"left_out": "it is about independent Normals beside the standard Normal"})
    loc, scale = subject.codes(subject.test[: min(subject.effort.images, CODES)])
    rate = decompose_rate(loc, scale, seed=seed)
    against = aggregate_against_prior(loc, scale, seed=seed)
    inactive = ~is_active(mean_variance_per_component(model, subject.test))
    figures = {
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
    }
    drawn = one_run.marginals(to_numpy(loc), to_numpy(scale))
    figures |= _cost_of_removing(subject, inactive)
    return Measured(figures, drawings={"aggregate_posterior": drawn})


def _cost_of_removing(subject: Subject, components: Tensor) -> Figures:
    """Return how much log P falls without these components, and what that rests on.

    It is None where there are none, or log P is not defined.
    """
    names = (
        "nll_change_without_inactive_nats",
        "nll_change_effective_samples",
        "nll_change_images",
    )
    if not (components.any() and subject.scores_levels):
        return dict.fromkeys(names)
    x, samples = subject.test[: subject.effort.few_images], subject.effort.bound_samples
    whole = importance_bound(subject.model, x, samples, subject.seed)
    without = importance_bound(subject.model, x, samples, subject.seed, removed=components)
    fewest = torch.minimum(whole.effective_sample_size, without.effective_sample_size)
    lost = estimate(whole.log_prob - without.log_prob)
    return dict(zip(names, (lost, estimate(fewest), len(x))))


LATENTS = Part(
    title="What do the latents do?",
    measure=measure_latents,
    needs=4,
    spends="codes of up to {images:,} images",
    look="The rate splits into three: what codes say about their image (mutual information, at most"
    " log N of N images), how much the components depend on each other (total correlation), and how"
    " far each is from its prior. The comparison with the prior cannot detect collapse, since a"
    " collapsed q equals the prior: read it beside the rate.",
    terms={
        "aggregate posterior": "the mean of q(z|x) over images. Where it is the prior, samples"
        " come from codes that images have.",
        "total correlation": "how far the components of the aggregate posterior depend on each"
        " other.",
        "MMD": "maximum mean discrepancy: a distance of two sets of draws, 0 if they have one"
        " distribution.",
    },
    rows=(
        Row("images", "test images"),
        Row("rate_nats", "rate", NATS),
        Row(
            "mutual_information_nats",
            "mutual information, low",
            NATS,
            kind="main",
            compared=Compared(
                "mutual information",
                NATS,
                "What codes say about which image they belong to. Look for where it levels off at"
                " the log of the number of images.",
            ),
        ),
        Row("mutual_information_upper_nats", "mutual information, high", NATS),
        Row("log_images", "log N, its limit", "nats"),
        Row("mutual_information_identified", "identified"),
        Row("total_correlation_nats", "total correlation", NATS, kind="main"),
        Row("dimension_wise_kl_nats", "KL of the components", NATS),
        Row("largest_mean", "largest mean of q(z)", "0 in the prior"),
        Row("smallest_variance", "smallest variance", "1 in the prior"),
        Row("largest_variance", "largest variance", "1 in the prior"),
        Row("largest_correlation", "largest correlation", "0 in the prior"),
        Row("mmd_p_value", "MMD to the prior, p-value", kind="main"),
        Row("inactive_units", "inactive components", kind="main"),
        Row("nll_change_without_inactive_nats", "log P lost without them", NATS, kind="main"),
        Row("nll_change_effective_samples", "effective draws of that"),
        Row("nll_change_images", "test images of that"),
    ),
    pictures={
        "aggregate_posterior": "Lines belong on the dashed one: holes and shoulders are codes that"
        " samples use and images do not.",
    },
)
