"""Settings on the same images, under the name that programs outside use; see `significance`."""

from pyro_vae.evaluation.significance import (
    Difference,
    all_differences,
    confidence_set,
    paired_difference,
)

__all__ = ["Difference", "all_differences", "confidence_set", "paired_difference"]
