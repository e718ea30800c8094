"""How likely the test images are: the ELBO, a ladder of bounds, and the gaps between them."""

from pyro_vae.evaluation.thresholds import FEW_CHAINS
from pyro_vae.pages.wording import NATS, Compared, Picture, Row, under
from pyro_vae.runs.parts.part import Part, data_rows

LIKELIHOOD = Part(
    title="How likely are the data?",
    summary="ELBO, importance bound, annealed importance sampling, and the gaps between them",
    measured_by="pyro_vae.runs.measuring.likelihood:measure_likelihood",
    needs=2,
    look="Lower bounds on log P(x), at beta = 1. The estimate of log P(x) is AIS from q(z|x), whichever"
    " bound is largest. Look at how far the ELBO lies under it. The amortization gap is the price of an"
    " encoder that has to guess q; the approximation gap is the price of a diagonal Normal, in two"
    " parts: what a full covariance closes, and the shape that no Normal has. A"
    " bracket gap of more than a nat or two means that the chains are too short, even for images that"
    " the model drew itself; for real data it is only indicative.",
    terms=(
        (
            "AIS",
            "annealed importance sampling: chains that lead from a start to the posterior in"
            " many small steps. Their weights give log P(x).",
        ),
        (
            "effective draws, chains",
            "how many equally weighted ones the weighted ones are worth. Near 1, a single one"
            " has all the weight, and the bound is loose.",
        ),
        (
            "amortization gap",
            "what the encoder loses against the best diagonal Normal for each image.",
        ),
        (
            "approximation gap",
            "what the best diagonal Normal loses against the posterior.",
        ),
        (
            "bracket gap",
            "for images that the model drew, the distance of a lower and an upper bound on log"
            " P(x) by the same chains.",
        ),
    ),
    rows=(
        *under(
            "As trained, by the run's own score",
            Row("elbo_nats", "ELBO", NATS),
            Row("rate_nats", "rate", NATS),
            Row("distortion_nats", "distortion", NATS),
            Row("active_units", "active components"),
            Row("collapsed_units", "collapsed components"),
        ),
        *under(
            "Probabilities of the grey levels",
            Row("bits_per_dim", "bits per dimension", "importance bound"),
            Row("ladder.nats.elbo", "ELBO", NATS),
            Row("ladder.nats.importance_bound", "importance bound", NATS),
            Row("ladder.bound_effective_sample_size", "its effective draws"),
            Row("ladder.nats.ais_from_prior", "AIS from the prior", NATS),
            Row("ladder.nats.ais_from_posterior", "AIS from q(z|x)", NATS),
            Row(
                "ladder.log_prob_nats",
                "log P(x): AIS from q",
                NATS,
                in_table="result",
                compared=Compared(
                    "log P(x), by AIS from q(z|x)",
                    NATS,
                    "Higher is better. Chains lead from q to the posterior, so a poor encoder costs"
                    " little here.",
                    best="highest",
                ),
            ),
            Row("ladder.log_prob_monte_carlo_error", "its Monte Carlo error", NATS),
            Row("validation_log_prob_nats", "log P(x), validation", NATS),
            Row("ladder.ais_effective_sample_size", "effective chains", "of AIS from q(z|x)"),
            Row("ladder.ais_of_few_chains", "images of few chains", f"under {FEW_CHAINS}"),
        ),
        *under(
            "Gaps under log P(x), paired over images",
            Row("ladder.amortization_gap_nats", "amortization gap", NATS),
            Row("ladder.approximation_gap_nats", "approximation gap", NATS),
            Row("ladder.correlation_gap_nats", "of it, correlation", NATS),
            Row("ladder.shape_gap_nats", "of it, shape", NATS),
            Row("ladder.closed_by_flow_nats", "closed by a flow", NATS),
            Row("ladder.failed_fits", "failed fits", "images"),
            Row("ladder.bracket_gap_nats", "bracket gap, simulated", NATS),
        ),
        Row("ladder.warning", "warning", kind="words"),
        *data_rows("images", "bits_per_dim_samples", "rate_per_component_nats", "ladder.images"),
        *data_rows("mean_variance_per_component"),
        *data_rows("ladder.nats.elbo_refitted", "ladder.log_prob_source", "ladder.acceptance"),
        *data_rows("ladder.nats.elbo_full_covariance", "ladder.nats.elbo_flow"),
        *data_rows("ladder.bits_per_dim", "bits_per_dim_effective_samples"),
    ),
    pictures=(
        Picture(
            "ladder",
            "How far each bound lies under log P(x) on the same images, with standard errors of these"
            " paired differences. An importance bound far from 0 is not to be trusted.",
        ),
    ),
)
