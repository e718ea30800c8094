"""The parts of an evaluation: what each of them measures, and what its figures mean.

Each part declares its rows once, with their keys in `evaluation.json`, their names and how they are
compared. The functions that measure them are named here and imported when they are called, so that
this room is cheap to import.
"""

from pyro_vae.runs.parts.decoder import DECODER
from pyro_vae.runs.parts.factors import FACTORS
from pyro_vae.runs.parts.latents import LATENTS
from pyro_vae.runs.parts.likelihood import LIKELIHOOD
from pyro_vae.runs.parts.limit import LIMIT
from pyro_vae.runs.parts.part import EFFORT_KEYS, Part
from pyro_vae.runs.parts.posterior import POSTERIOR
from pyro_vae.runs.parts.samples import SAMPLES

__all__ = ["EFFORT_KEYS", "PARTS", "Part"]

PARTS: dict[str, Part] = {
    "likelihood": LIKELIHOOD,
    "decoder": DECODER,
    "posterior": POSTERIOR,
    "latents": LATENTS,
    "limit": LIMIT,
    "samples": SAMPLES,
    "factors": FACTORS,
}
