"""The commands that measure and show finished runs."""

import io
import math
from argparse import Namespace
from pathlib import Path
from textwrap import fill

import numpy as np
from tqdm import tqdm

from pyro_vae.figures.images import image_grid
from pyro_vae.files import replace_file
from pyro_vae.names import PICTURE_TYPES, check_name
from pyro_vae.randomness import seeded
from pyro_vae.runs.evaluate import evaluate
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.parts import PARTS
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import Run, load_run, resolve_device

STYLE = "{desc:11s} |{bar}| {percentage:3.0f}% {elapsed}"


def run_evaluate(parsed: Namespace, interrupts: Interrupts) -> None:
    """Measure a run on its test images, with standard errors."""
    device = resolve_device(parsed.device)
    run = load_run(parsed.run, device)
    options = {"disable": None, "dynamic_ncols": True, "leave": False}
    with tqdm(total=1.0, bar_format=STYLE, **options) as bar:

        def show(part: str, done: float) -> None:
            bar.desc, bar.n = part, done
            bar.refresh()

        figures = evaluate(
            run,
            only=parsed.only,
            quick=parsed.quick,
            num_samples=parsed.samples,
            seed=parsed.seed,
            device=device,
            data_dir=parsed.data_dir,
            progress=show,
        )
    print(f"{run.folder}: mean ± standard error over test images")
    for name in parsed.only or PARTS:
        if figures[name]:
            _print_part(name, figures[name])
    print(f"Look at {run.folder / 'report.html'}")


def _print_part(name: str, figures: dict) -> None:
    print(PARTS[name].title)
    for row in PARTS[name].shown(figures):
        line = f"{row.name:28s}{row.value}{f'  {row.unit}' if row.unit else ''}"
        print(fill(line, 79, initial_indent="  ", subsequent_indent=" " * 30))


def run_sample(parsed: Namespace, interrupts: Interrupts) -> None:
    """Decode codes drawn from the prior into a picture or an array."""
    out = Path(parsed.out or RunFolder(parsed.run).figures / f"samples_seed{parsed.seed}.png")
    check_name("out: type of file", out.suffix, PICTURE_TYPES)
    if not out.parent.is_dir():
        raise ValueError(f"out: there is no folder {out.parent}")
    run = load_run(parsed.run, resolve_device(parsed.device))
    images = _sampled(run, parsed)
    content = io.BytesIO()
    if out.suffix == ".npy":
        np.save(content, images)
    else:
        title = f"Samples, {parsed.pixels} pixels, seed {parsed.seed}"
        columns = min(16, math.ceil(math.sqrt(len(images))))
        image_grid(images, columns, title).savefig(content, dpi=150)
    replace_file(out, content.getvalue())
    print(f"{len(images)} images in {out}")


def _sampled(run: Run, parsed: Namespace) -> np.ndarray:
    with seeded(parsed.seed, resolve_device(parsed.device)):
        return run.vae.sample(parsed.count, draw=parsed.pixels == "drawn").cpu().numpy()


def run_report(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write a run's `report.html` again."""
    print(f"Look at {write_report(parsed.run)}")
