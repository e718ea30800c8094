"""The commands that read finished runs, and those that list names.

Torch takes seconds to load, so each command imports it, and all that needs it, when it is called.
"""

import io
import math
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from textwrap import fill

from pyro_vae.cli.output import EvaluationProgress, loading, show
from pyro_vae.files import replace_file
from pyro_vae.names import DATASETS, LIKELIHOODS, PARTS, PICTURE_TYPES, check_name
from pyro_vae.notices import notice
from pyro_vae.pages.wording import Shown
from pyro_vae.runs.interrupts import Interrupts


def run_evaluate(parsed: Namespace, interrupts: Interrupts) -> None:
    """Measure a run on its test images, with standard errors."""
    with loading("torch"):
        from pyro_vae import measures
        from pyro_vae.devices import resolve_device
        from pyro_vae.runs.evaluate import evaluate
        from pyro_vae.runs.run import load_run

    device = resolve_device(parsed.device)
    run = load_run(parsed.run, device)
    names = parsed.only or list(PARTS)
    with closing(EvaluationProgress(names)) as progress:

        def measured(part: str, figures: dict | None) -> None:
            progress.measured(part, figures)
            done = names.index(part) + 1
            rest = " ".join(names[done:])
            interrupts.note = f"; kept: {', '.join(names[:done])}"
            interrupts.note += f"; the same command with --only {rest} goes on" if rest else ""

        interrupts.note = "; no part was done yet"
        figures = evaluate(
            run,
            only=names,
            quick=parsed.quick,
            num_samples=parsed.samples,
            seed=parsed.seed,
            device=device,
            data_dir=parsed.data_dir,
            dataset=parsed.dataset,
            progress=progress.count,
            measured=measured,
        )
    interrupts.note = ""
    show(f"{run.folder}: mean ± standard error over test images")
    for name in names:
        if figures[name]:
            part = measures.PARTS[name]
            _print_rows(part.title, part.shown(figures[name]))
    show(f"Look at {run.folder / 'report.html'}")


def _print_rows(title: str, rows: list[Shown]) -> None:
    show(title)
    for row in rows:
        name = f"{row.name} "
        line = f"{name:28s}{row.value}{f'  {row.unit}' if row.unit else ''}"
        show(fill(line, 79, initial_indent="  ", subsequent_indent=" " * 30))


def run_sample(parsed: Namespace, interrupts: Interrupts) -> None:
    """Decode codes, of the prior or of a density fitted to codes, into a picture or an array."""
    codes = "" if parsed.codes == "prior" else f"{parsed.codes}_"
    name = f"samples_{codes}seed{parsed.seed}.png"
    out = Path(parsed.out or Path(parsed.run, "figures", name))
    check_name("out: type of file", out.suffix, PICTURE_TYPES)
    if not out.parent.is_dir():
        raise ValueError(f"out: there is no folder {out.parent}")
    with loading("torch"):
        import numpy as np

        from pyro_vae.devices import resolve_device
        from pyro_vae.figures.images import grid
        from pyro_vae.models.labels import rows_of_classes
        from pyro_vae.pages.frame import png_bytes
        from pyro_vae.randomness import seeded
        from pyro_vae.runs.data import load_data_again
        from pyro_vae.runs.evaluate import subject_of
        from pyro_vae.runs.run import load_run

    device = resolve_device(parsed.device)
    run = load_run(parsed.run, device)
    model = run.vae
    if parsed.codes != "prior":
        config = run.config.at(parsed.data_dir, parsed.dataset)
        subject = subject_of(run, load_data_again(run, config), config, seed=parsed.seed)
        model = subject.with_fitted_prior(parsed.codes)
    count, columns = parsed.count, min(16, math.ceil(math.sqrt(parsed.count)))
    if model.classes:  # a row for each
        columns = math.ceil(count / model.classes)
        count = columns * model.classes
        model = model.given(rows_of_classes(model.classes, columns))
    with seeded(parsed.seed, device):
        images = model.sample(count, draw=parsed.pixels == "drawn").cpu().numpy()
    if out.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, images)
        replace_file(out, content.getvalue())
    else:
        replace_file(out, png_bytes(grid(images, columns)))
    show(f"{len(images)} images in {out}")


def run_report(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write a run's `report.html` again."""
    with loading("torch"):
        from pyro_vae.runs.data import OtherImages, load_data_again
        from pyro_vae.runs.report import write_report
        from pyro_vae.runs.run import Run

    run = Run(parsed.run)
    config = run.config.at(dataset=parsed.dataset)
    if parsed.dataset or run.image_fingerprint:
        try:
            load_data_again(run, config)
        except OSError as error:  # a report needs no images
            if parsed.dataset:
                raise
            if isinstance(error, OtherImages):
                notice(str(error))
    show(f"Look at {write_report(Run(run.folder, config))}")


def run_compare(parsed: Namespace, interrupts: Interrupts) -> None:
    """Compare finished runs in a table and on a page."""
    with loading("torch"):
        from pyro_vae.comparison.page import write_comparison

    path, found = write_comparison(parsed.runs, parsed.out)
    show(f"{len(found.finished)} finished runs in {path.with_name('compare.csv')}")
    for word, runs in found.others.items():
        for folder, why in runs.items():
            show(f"{word}: {folder}: {why}")
    show(f"Look at {path}")


def run_explore(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write a page that runs the models of finished runs in the browser."""
    with loading("torch"):
        from pyro_vae.explorer.page import explore

    path = explore(parsed.runs, parsed.out, parsed.data_dir, parsed.dataset)
    show(f"Open {path} in a browser ({path.stat().st_size / 1e6:.1f} MB)")


# --- lists ----------------------------------------------------------------------------------------

GROUPS = {  # of families, by the data that they are for
    "Binary images": ("bernoulli",),
    "Images on grey levels: a probability for each level": (
        "beta_binomial",
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
  Bits per dimension on the digits, trained until they converged, each with an
  error of 0.01: discretized_logistic, laplace, beta, the mixture and student_t
  1.95 to 1.96, Normals 1.97 to 1.99, categorical 1.99, continuous_bernoulli
  2.05. That is with --score levels: densities cannot be ranked. Fewer bits are
  not better pictures. docs/likelihoods.md and results/README.md have more."""


def run_likelihoods(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the likelihood families."""
    for heading, names in GROUPS.items():
        show(heading)
        for name in names:
            show(f"  {name:28s} {LIKELIHOODS[name]}")
    show(CHOICE)


def run_datasets(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the data sets, or download one and check it."""
    if not parsed.name:
        for name, description in DATASETS.items():
            show(f"{name:18s}{description}")
        return
    with loading("torch"):
        from pyro_vae.data import load_dataset

    data = load_dataset(parsed.name, parsed.data_dir)
    shape = "x".join(map(str, data.image_shape))
    show(
        f"{data.name} is complete: {len(data.train)} training and {len(data.test)} test images"
        f" {shape}"
    )
