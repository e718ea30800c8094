"""The words of the page: its title, the runs' titles, and what rounding changed."""

import pandas as pd

from pyro_vae.comparison.table import label, varying
from pyro_vae.explorer.weights import Change
from pyro_vae.runs.run import Run
from pyro_vae.settings import PLACE

KINDS = {"vae": "VAE", "autoencoder": "autoencoder"}


def page_title(runs: list[Run]) -> str:
    """Return the title of the page."""
    config = runs[0].config
    one = f"{config.likelihood} {KINDS[config.model]}"
    return f"Explore {config.data_name}: {one if len(runs) == 1 else f'{len(runs)} runs'}"


def differing(runs: list[Run]) -> list[str]:
    """Return the settings in which runs differ, but for those that change no result."""
    settings = pd.DataFrame([vars(run.config) for run in runs], dtype=object)
    return [name for name in varying(settings) if name not in PLACE]


def run_titles(runs: list[Run]) -> list[str]:
    """Return a title for each run: its values of the settings that differ, or else its folder."""
    names = differing(runs)
    found = [label(vars(run.config), names) for run in runs]
    return found if names and len(set(found)) == len(runs) else [str(run.folder) for run in runs]


def about_runs(runs: list[Run]) -> str:
    """Return a sentence on what the runs are."""
    if len(runs) == 1:
        config = runs[0].config
        components = "component" if config.latent_dim == 1 else "components"
        return f"Network {config.network} with {config.latent_dim} latent {components}."
    names = [name.replace("_", " ") for name in differing(runs)]
    return f"{len(runs)} runs, which differ in {', '.join(names) or 'no setting'}."


def about_map(shown: int, count: int) -> str:
    """Return a sentence on how many of the test images are on the map."""
    which = f"all {count:,}" if shown == count else f"{shown:,} of {count:,}"
    return f"The map shows {which} test images."


def about_rounding(changes: list[Change], images: int) -> str:
    """Return a sentence on what the rounding of the weights changes, at most over runs."""
    worst = Change(*(max(values) for values in zip(*changes)))
    return (
        f"The weights are rounded to 16 bits. On {images} test images this changes expected pixels"
        f" by at most {worst.largest_pixel:.1g} ({worst.root_mean_square:.1g} in the root mean"
        f" square), where white is 1, and posterior means by at most {worst.largest_code:.1g}."
    )
