"""The commands that measure and show finished runs."""

import io
import math
import shlex
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from textwrap import fill

import numpy as np

from pyro_vae.cli.progress import EvaluationProgress
from pyro_vae.figures.images import grid
from pyro_vae.files import replace_file
from pyro_vae.measures import PARTS
from pyro_vae.names import PICTURE_TYPES, check_name
from pyro_vae.pages.frame import png_bytes
from pyro_vae.randomness import seeded
from pyro_vae.runs.evaluate import evaluate
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import Run, load_run, resolve_device


def run_evaluate(parsed: Namespace, interrupts: Interrupts) -> None:
    """Measure a run on its test images, with standard errors."""
    device = resolve_device(parsed.device)
    run = load_run(parsed.run, device)
    names = parsed.only or list(PARTS)
    with closing(EvaluationProgress(names)) as progress:

        def measured(part: str, figures: dict | None) -> None:
            progress.measured(part, figures)
            interrupts.note = _note_of_what_is_kept(parsed, names, part)

        interrupts.note = "; no part was done yet"
        figures = evaluate(
            run,
            only=names,
            quick=parsed.quick,
            num_samples=parsed.samples,
            seed=parsed.seed,
            device=device,
            data_dir=parsed.data_dir,
            progress=progress.count,
            measured=measured,
        )
    interrupts.note = ""
    print(f"{run.folder}: mean ± standard error over test images")
    for name in names:
        if figures[name]:
            _print_part(name, figures[name])
    print(f"Look at {run.folder / 'report.html'}")


def _note_of_what_is_kept(parsed: Namespace, names: list[str], last: str) -> str:
    """Return the end of the message to a user who stops an evaluation after a part."""
    count = names.index(last) + 1
    kept, missing = names[:count], names[count:]
    if not missing:
        return f"; all {count} parts are kept"
    return f"; kept: {', '.join(kept)}. Measure the rest: {_command_for(parsed, missing)}"


def _command_for(parsed: Namespace, parts: list[str]) -> str:
    """Return the command that measures these parts as the given one would."""
    words = ["pyro-vae", "evaluate", str(parsed.run), "--only", ",".join(parts)]
    if parsed.quick:
        words.append("--quick")
    given = {"samples": None, "seed": 0, "device": "auto", "data_dir": None}
    for name, default in given.items():
        if getattr(parsed, name) != default:
            words += [f"--{name.replace('_', '-')}", str(getattr(parsed, name))]
    return shlex.join(words)


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
        columns = min(16, math.ceil(math.sqrt(len(images))))
        content.write(png_bytes(grid(images, columns)))
    replace_file(out, content.getvalue())
    print(f"{len(images)} images in {out}")


def _sampled(run: Run, parsed: Namespace) -> np.ndarray:
    with seeded(parsed.seed, resolve_device(parsed.device)):
        return run.vae.sample(parsed.count, draw=parsed.pixels == "drawn").cpu().numpy()


def run_report(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write a run's `report.html` again."""
    print(f"Look at {write_report(parsed.run)}")
