"""The commands that use a trained model: `encode`, `reconstruct`, `score` and `export`.

Torch takes seconds to load, so each command imports it, and all that needs it, when it is called.
"""

import io
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_vae.cli.output import CountingBar, loading, show
from pyro_vae.files import exists, replace_file
from pyro_vae.names import PICTURE_TYPES, check_name
from pyro_vae.runs.config import check_run_folder
from pyro_vae.runs.interrupts import Interrupts

if TYPE_CHECKING:
    from pyro_vae.runs.data import Images
    from pyro_vae.runs.run import Run

MOST_SHOWN = 64  # images of a picture
TYPES = {
    "encode": (".npz",),
    "reconstruct": ("", *PICTURE_TYPES),
    "score": (".csv",),
    "export": ("",),
}


def check_use(parsed: Namespace) -> None:
    """Check the run's folder, and that `--out` can be written and is not there already."""
    check_run_folder(Path(parsed.run))
    out = Path(parsed.out)
    check_name("out: type of file", out.suffix, TYPES[parsed.command])
    if not out.parent.is_dir():
        raise ValueError(f"out: there is no folder {out.parent}")
    if exists(out):
        raise ValueError(f"out: {out} is there already; name another file, or delete it")


@contextmanager
def _using(
    parsed: Namespace, interrupts: Interrupts
) -> Iterator[tuple["Run", "Images", CountingBar]]:
    """Yield the run, the images and a bar that shows how many are done."""
    with loading("torch"):
        from pyro_vae.devices import computing_on, resolve_device
        from pyro_vae.runs.run import load_run

    device = resolve_device(parsed.device)
    run = load_run(parsed.run, device)
    images = run.read(parsed.images, parsed.data_dir)
    interrupts.note = "; nothing was written"
    bar = CountingBar(parsed.command)
    try:
        with computing_on(device):
            yield run, images, bar
    finally:
        bar.close()


def run_encode(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write the codes of images."""
    import numpy as np

    with _using(parsed, interrupts) as (run, images, bar):
        codes = run.encode(images, bar.count)
        arrays = {name: x.numpy() for name, x in codes._asdict().items() if x is not None}
    if images.labels is not None:
        arrays["labels"] = images.labels.numpy()
    if images.names:
        arrays["names"] = np.array(images.names)
    content = io.BytesIO()
    np.savez(content, **arrays)
    replace_file(parsed.out, content.getvalue())
    show(f"{len(images.images)} images: {', '.join(arrays)} in {parsed.out}")
    if codes.scale is None:
        show("There is no scale: the posterior of this run is a point.")


def run_reconstruct(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write reconstructions as a picture beside the originals, as an array, or as pictures."""
    import numpy as np

    from pyro_vae.figures.images import reconstruction_grid
    from pyro_vae.pages.frame import png_bytes

    out, shown = Path(parsed.out), None
    with _using(parsed, interrupts) as (run, images, bar):
        shown = images.first(MOST_SHOWN) if out.suffix == ".png" else images
        found = run.reconstruct(shown, parsed.seed, bar.count).numpy()
    if out.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, found)
        replace_file(out, content.getvalue())
    elif out.suffix == ".png":
        originals = shown.images.nan_to_num(0.5).numpy()  # missing pixels are grey
        replace_file(out, png_bytes(reconstruction_grid(originals, found)))
    else:
        out.mkdir()
        for n, image in enumerate(found):
            name = f"{n:05d}_{Path(images.names[n]).stem}" if images.names else f"{n:05d}"
            pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            replace_file(out / f"{name}.png", png_bytes(pixels), lasting=False)
    show(f"{len(found)} of {len(images.images)} images in {out}")


def run_score(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write how likely images are, and their ranks among the run's test images."""
    with _using(parsed, interrupts) as (run, images, bar):
        from pyro_vae.runs.writer import save_columns

        scores = run.score(
            images,
            parsed.samples,
            parsed.seed,
            parsed.data_dir,
            parsed.dataset,
            bar.count,
        )
    named = {
        "log_prob_nats": scores.log_prob,
        "effective_sample_size": scores.effective_sample_size,
        "bits_per_dim": scores.bits_per_dim,
        "rank": scores.rank,
    }
    columns = {name: values.tolist() for name, values in named.items() if values is not None}
    save_columns(Path(parsed.out), columns, images.names)
    rare = int((scores.rank <= 0.05).sum())
    show(f"{len(images.images)} images in {parsed.out}")
    show(f"{rare} of them are less likely than 95% of the run's test images")


def run_export(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write a trained model for other programs."""
    with loading("torch"):
        from pyro_vae.runs.export import export
        from pyro_vae.runs.run import load_run

    files = export(load_run(parsed.run), parsed.out)
    show(f"{', '.join(file.name for file in files)} in {parsed.out}")
