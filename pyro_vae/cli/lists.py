"""The commands that list names; torch is imported only to download a data set."""

from argparse import Namespace

from pyro_vae.names import DATASETS, LIKELIHOODS
from pyro_vae.runs.interrupts import Interrupts

GROUPS = {  # of families, by the data that they are for
    "Binary images": ("bernoulli",),
    "Images on grey levels: a probability for each level": (
        "categorical",
        "discretized_logistic",
        "discretized_logistic_mixture",
    ),
    "Grey and colour images: a density on the whole line": (
        "gaussian_fixed_sigma",
        "gaussian_shared_sigma",
        "gaussian_image_sigma",
        "gaussian_pixel_sigma",
        "gaussian_optimal_sigma",
        "laplace",
        "student_t",
    ),
    "Grey and colour images: a density on the unit interval": ("continuous_bernoulli", "beta"),
}
CHOICE = """Which to choose
  The plain default is gaussian_shared_sigma. Binary images need bernoulli; on
  grey ones its cross-entropy is no likelihood, and has no bits per dimension.
  Bits per dimension on MNIST after four epochs: categorical 1.30, a mixture of
  five logistics 1.33, beta 1.41, families on the whole line 1.51 to 1.55. That
  is with --score levels: densities cannot be ranked. Fewer bits are not better
  pictures. docs/likelihoods.md and notebooks/README.md have more."""


def run_likelihoods(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the likelihood families."""
    for heading, names in GROUPS.items():
        print(heading)
        for name in names:
            print(f"  {name:28s} {LIKELIHOODS[name]}")
    print(CHOICE)


def run_datasets(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the data sets, or download one and check it."""
    if parsed.name:
        _load(parsed.name, parsed.data_dir)
        return
    for name, description in DATASETS.items():
        print(f"{name:18s}{description}")


def _load(name: str, data_dir: str) -> None:
    from pyro_vae.data import load_dataset  # needs torch

    data = load_dataset(name, data_dir)
    shape = "x".join(map(str, data.image_shape))
    print(
        f"{data.name} is complete: {len(data.train)} training and {len(data.test)} test images"
        f" {shape}"
    )
