"""What `evaluate` reports, a file for each part: what it measures, what it draws, what its rows mean.

A part knows no run folder. It takes a `Subject` and returns what it found as `Measured`.
"""

from pyro_vae.measures.checks import CHECKS
from pyro_vae.measures.decoder import DECODER
from pyro_vae.measures.factors import FACTORS
from pyro_vae.measures.latents import LATENTS
from pyro_vae.measures.likelihood import LIKELIHOOD
from pyro_vae.measures.limit import LIMIT
from pyro_vae.measures.part import Part
from pyro_vae.measures.posterior import POSTERIOR
from pyro_vae.measures.samples import SAMPLES

PARTS: dict[str, Part] = {
    "likelihood": LIKELIHOOD,
    "decoder": DECODER,
    "posterior": POSTERIOR,
    "latents": LATENTS,
    "limit": LIMIT,
    "samples": SAMPLES,
    "checks": CHECKS,
    "factors": FACTORS,
}
