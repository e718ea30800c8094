"""`report.html`: a run on one page, which needs no other file."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from pyro_vae.figures import one_run
from pyro_vae.figures.one_run import component_panels
from pyro_vae.files import replace_file
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import Part
from pyro_vae.names import command
from pyro_vae.pages.frame import Drawing, Section, can_be_shown, drawn, image, render, video
from pyro_vae.pages.wording import Shown, lookup
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.judgements import NOT_MEASURED, judgements
from pyro_vae.runs.run import Run
from pyro_vae.settings import setting_text

FILES = ("reconstructions", "samples", "latent_map", "traversals", "interpolation")
LOOK_AT_VIDEO = "The chains step by step; the first steps are shown slowly."

EARLIER_CHECKPOINT = Shown(
    "Measured earlier",
    "of other weights, since it was trained on since then, or by an earlier version of the measures;"
    " evaluate it again",
    "",
    "words",
)


class Card(NamedTuple):
    """A number at the top of the page, with its name."""

    value: str
    name: str


class Measured(NamedTuple):
    """A part of the evaluation as the page shows it."""

    section: Section
    rows: list[Shown]
    terms: dict[str, str]


def write_report(run: Run | str | Path) -> Path:
    """Write `report.html` into a run folder, and return the page's path.

    Args:
        run: the run, or its folder.

    Raises:
        ValueError: a folder that is not a run folder, or one with damaged files.
        OSError: the page cannot be written.
    """
    if not isinstance(run, Run):
        run = Run(run)
    try:
        text = _page(run)
    except KeyError as error:
        raise ValueError(
            f"summary: {run.summary_file} is no summary of a run: no {error}"
        ) from error
    replace_file(run.report, text)
    return run.report


def _page(run: Run) -> str:
    config, summary = run.config, run.summary
    settings = ((name, setting_text(value)) for name, value in asdict(config).items())
    answers = [] if summary is None else judgements(summary, run.current_parts)
    model = "VAE" if config.model == "vae" else config.model
    so_far = f"{len(run.records)} of {config.epochs} epochs, and not measured."
    unanswered = any(judgement.mark == NOT_MEASURED for judgement in answers)
    return render(
        "run.html",
        generator="pyro-vae",
        title=f"{config.data_name}: {config.likelihood} {model}",
        unfinished=so_far if summary is None else "",
        cautions=[] if summary is None else _cautions(run, summary),
        judgements=answers,
        still_open=command("evaluate", run.folder, "--quick") if unanswered else "",
        cards=[] if summary is None else _cards(summary, config),
        words=_words(config, summary),
        command=command("train", "--config", run.config_file),
        settings=settings,
        autoencoder=config.model == "autoencoder",
        figures=_files(run) | _curves(run) | components(run),
        progress=_progress(run),
        measured=_measured(run),
    )


def _cautions(run: Run, summary: dict) -> list[str]:
    """Return what to know before reading any figure, from the training and from the evaluation."""
    said = [f"{caution[:1].upper()}{caution[1:]}." for caution in summary.get("cautions", [])]
    for part in run.current_parts.values():
        if warning := lookup(part, "ladder.warning"):
            said.append(f"{warning[:1].upper()}{warning[1:]}.")
    return said


def _cards(summary: dict, config: RunConfig) -> list[Card]:
    test, sizes = summary["test"], summary["parameters"]
    effective = test.get("bits_per_dim_effective_samples")
    of_them = "" if effective is None else f", {effective:.1f} effective"
    draws = f"{test['bits_per_dim_samples']} draws{of_them}"
    bits = f"bits per dimension, an upper bound ({draws})"
    of = "" if test.get("images") is None else f", {test['images']:,} test images"
    cards = [
        Card(_number(test["elbo_nats"]), f"test ELBO, nats per image{of}"),
        Card(_number(test["rate_nats"]), f"rate, nats per image{of}"),
        Card(_number(test["distortion_nats"]), f"distortion, nats per image{of}"),
        Card(_number(test["bits_per_dim"], 3), f"{bits}{of}"),
        Card(f"{test['active_units']} of {config.latent_dim}", "latent components active"),
        Card(f"{sum(sizes.values()):,}", "parameters"),
        Card(_number(summary["seconds"], 1), f"seconds of training on {summary['device']}"),
    ]
    return [card for card in cards if card.value]


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _words(config: RunConfig, summary: dict | None) -> str:
    trained = "to be trained" if summary is None else "trained"
    epochs = config.epochs if summary is None else summary["epochs"]
    images = "" if config.batch_size is None else f" {config.batch_size} images a step,"
    words = (
        f"Network {config.network} with {config.latent_dim} latent components, {trained} for"
        f" {epochs} epochs on {config.data_name} with Adam at"
        f" {config.learning_rate:g},{images} {_loss(config)},"
        f" seed {config.seed}."
    )
    if summary is not None:
        sizes = summary["parameters"]
        words += (
            f" Parameters: {sizes['encoder']:,} in the encoder, {sizes['decoder']:,} in the"
            f" decoder, {sizes['likelihood']:,} in the likelihood."
        )
        if summary["best_epoch"] is not None:
            words += f" The weights are those of epoch {summary['best_epoch']}, the best one."
    return words


def _loss(config: RunConfig) -> str:
    if config.model == "autoencoder":
        return "distortion alone"
    return f"beta {config.beta:g} ({config.beta_schedule}), objective {config.objective}"


# --- the results of training ------------------------------------------------------------------------


def _files(run: Run) -> dict[str, Markup]:
    """Return those of the pictures that were drawn, by name."""
    paths = {name: run.picture(name) for name in FILES}
    return {name: image(path, name.replace("_", " ")) for name, path in paths.items() if path}


def _curves(run: Run) -> dict[str, Markup]:
    if not run.records:
        return {}
    terms = one_run.TERMS if run.config.model == "vae" else ("distortion",)
    figures = {term: one_run.learning_curve(run.metrics, term) for term in terms}
    return {term: drawn(figure, f"{term} over epochs") for term, figure in figures.items()}


def components(run: Run) -> dict[str, Markup]:
    """Return the drawings of what each component carries, `rates` and `states`, if that is known."""
    test = run.summary["test"] if run.summary else {}
    rates, variances = (
        test.get(name) for name in ("rate_per_component_nats", "mean_variance_per_component")
    )
    if not rates or not variances:
        return {}
    bars, plane = component_panels(rates, variances)
    return {
        "rates": drawn(bars, "rate of each latent component"),
        "states": drawn(plane, "rate over variance of each component"),
    }


def _progress(run: Run) -> list[Drawing]:
    found = (re.fullmatch(r"progress_(\d+)\.png", p.name) for p in run.figures.glob("progress_*"))
    epochs = sorted(int(match[1]) for match in found if match)
    words = {f"progress_{epoch:04d}": f"after epoch {epoch}" for epoch in epochs}
    paths = {name: run.picture(name) for name in words}
    return [Drawing(image(path, words[n]), words[n]) for n, path in paths.items() if path]


# --- the results of the evaluation ------------------------------------------------------------------


def _measured(run: Run) -> list[Measured]:
    measured = []
    for name, part in PARTS.items():
        if figures := run.evaluation.get(name):
            rows = part.shown(figures)
            if name not in run.current_parts:
                rows.insert(0, EARLIER_CHECKPOINT)
            measured.append(Measured(_section(run, part), rows, part.terms))
    return measured


def _section(run: Run, part: Part) -> Section:
    drawings = []
    for name, caption in part.pictures.items():
        if path := run.picture(name):
            drawings.append(Drawing(image(path, name.replace("_", " ")), caption))
        drawings += [Drawing(shown, LOOK_AT_VIDEO) for shown in videos(run, name)]
    return Section(part.title, part.look, drawings)


def videos(run: Run, name: str) -> list[Markup]:
    """Return the video of this name in a run's folder, or nothing where there is none."""
    path, poster = run.figures / f"{name}.mp4", run.figures / f"{name}_poster.png"
    if not can_be_shown(path, run.folder):
        return []
    first = poster if can_be_shown(poster, run.folder) else None
    return [video(path, first)]
