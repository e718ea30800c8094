"""`report.html`: a run on one page, which needs no other file."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pyro_vae.figures import one_run
from pyro_vae.figures.codes import component_panels
from pyro_vae.files import replace_file
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import Part
from pyro_vae.pages.frame import Drawing, Section, drawn, image, render, video
from pyro_vae.pages.wording import Shown, lookup
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.judgements import HELD, LOOK, OPEN, WRONG, judgements
from pyro_vae.runs.run import Run
from pyro_vae.settings import setting_text

LOOK_AT_RECONSTRUCTIONS = {
    "vae": "Each row of originals stands over the row of its reconstructions. Look at whether the"
    " reconstructions tell the originals apart. If all are alike, there is too much regularisation:"
    " a smaller beta lets more through. If they are sharp and the samples are bad, there is"
    " too little.",
    "autoencoder": "Each row of originals stands over the row of its reconstructions. Look at how"
    " much sharper they are than a VAE's: nothing makes an autoencoder share codes between images.",
}
LOOK_AT_SAMPLES = {
    "vae": "Codes drawn from the prior, decoded to expected images. Look at whether they could pass"
    " for data. Bad samples beside good reconstructions mean too little regularisation, since the"
    " codes of real images then leave parts of the prior empty. Blurred ones are averages over what"
    " a code leaves open.",
    "autoencoder": "Codes drawn from a standard Normal, decoded. An autoencoder was never trained to"
    " match that prior: expect images that look like nothing, and compare them with a VAE's.",
}
LOOK_AT_CURVES = {
    "vae": "The ELBO should rise and level off. Look for a test curve that turns down while training"
    " continues to rise (over-fitting), for a rate that stays near 0 (the decoder ignores the"
    " codes),"
    " and for curves that still climb at the end (train for longer).",
    "autoencoder": "The distortion should fall and level off.",
}
LOOK_AT_PICTURES = (
    "All are expected values of the pixels, without the likelihood's noise. Images of under 28 pixels"
    " are drawn larger, by interpolation."
)
LOOK_AT_CODES = (
    "What the mean codes of test images tell about them, and what the decoder makes of codes."
)
CODES = {
    "latent_map": "Mean codes of test images, coloured by label. Labels that lie apart are told apart"
    " by the codes, though the model never saw a label.",
    "traversals": "Each row moves one component of a code from -3 to 3. A row that changes nothing"
    " belongs to an idle component; one that changes several things together is entangled.",
    "interpolation": "From one image to another: on a line in the upper four rows, on an arc in the"
    " lower four. Every picture on the way should be a possible image. Ghosts of two overlaid images"
    " mean holes in the latent space.",
}
LOOK_AT_COMPONENTS = (
    "What each latent component tells about an image. Look at how many carry nothing: a smaller"
    " latent space would do as well. If all carry much, a larger one may pay."
)
LOOK_AT_RATES = "Dotted: the rate under which a component counts as collapsed."
LOOK_AT_STATES = (
    "A component is active where its mean varies, to the right of the dotted line; collapsed where"
    " it has no rate, under the other one; idle in between."
)
LOOK_AT_PROGRESS = (
    "Originals over reconstructions, and samples, of the same images and codes after 1, 2, 4, 8, ..."
    " epochs. Look for shapes that settle early and for detail that comes late. Where all pictures"
    " are alike from the first, nothing was learned after it."
)
LOOK_AT_VIDEO = "The chains step by step; the first steps are shown slowly."
MARKS = {HELD: "held", LOOK: "look-at", WRONG: "wrong", OPEN: "open"}  # to classes of the style


EARLIER_CHECKPOINT = Shown(
    "Measured earlier", "the run has been trained on since then; evaluate it again", "", "words"
)


class Card(NamedTuple):
    """A number at the top of the page, with its name."""

    value: str
    name: str


class Measured(NamedTuple):
    """A part of the evaluation as the page shows it."""

    section: Section
    rows: list[Shown]
    terms: tuple[tuple[str, str], ...]


def write_report(path: str | Path, summary: dict | None = None) -> Path:
    """Write `report.html` of the run folder `path` from its files, and return the page's path.

    Args:
        summary: that of the finished run (default: read from the folder).

    Raises:
        ValueError: a folder that is not a run folder, or one with damaged files.
        OSError: the page cannot be written.
    """
    run = Run(path)
    if summary is not None:
        run.summary = summary
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
    sections = (_pictures, _codes, _curves, _components, _progress)
    answers = [] if summary is None else judgements(summary, run.current_parts)
    unanswered = any(judgement.mark == OPEN for judgement in answers)
    return render(
        "run.html",
        generator="pyro-vae",
        title=f"{config.data_name}: {config.likelihood} {_model_name(config)}",
        unfinished=_unfinished(run) if summary is None else "",
        cautions=[] if summary is None else _cautions(run, summary),
        judgements=answers,
        marks=MARKS,
        still_open=f"pyro-vae evaluate {run.folder} --quick" if unanswered else "",
        cards=[] if summary is None else _cards(summary, config),
        words=_words(config, summary),
        command=f"pyro-vae train --config {run.config_file}",
        settings=settings,
        sections=[part for draw in sections if (part := draw(run))],
        measured=_measured(run),
    )


def _model_name(config: RunConfig) -> str:
    return {"vae": "VAE", "autoencoder": "autoencoder"}[config.model]


def _unfinished(run: Run) -> str:
    return f"{len(run.records)} of {run.config.epochs} epochs, and not measured."


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
    cards = [
        Card(_number(test["elbo_nats"]), "test ELBO, nats per image"),
        Card(_number(test["rate_nats"]), "rate, nats per image"),
        Card(_number(test["distortion_nats"]), "distortion, nats per image"),
        Card(_number(test["bits_per_dim"], 3), bits),
        Card(f"{test['active_units']} of {config.latent_dim}", "latent components active"),
        Card(f"{sum(sizes.values()):,}", "parameters"),
        Card(_number(summary["seconds"], 1), f"seconds of training on {summary['device']}"),
    ]
    return [card for card in cards if card.value]


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _words(config: RunConfig, summary: dict | None) -> str:
    epochs = config.epochs if summary is None else summary["epochs"]
    words = (
        f"Network {config.network} with {config.latent_dim} latent components, trained for"
        f" {epochs} epochs on {config.data_name} with Adam at"
        f" {config.learning_rate:g}, {config.batch_size} images a step, {_loss(config)},"
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


def _curves(run: Run) -> Section | None:
    if not run.records:
        return None
    terms = one_run.TERMS if run.config.model == "vae" else ("distortion",)
    drawings = [
        Drawing(drawn(one_run.learning_curve(run.metrics, term), f"{term} over epochs"))
        for term in terms
    ]
    return Section("Learning curves", LOOK_AT_CURVES[run.config.model], drawings)


def _pictures(run: Run) -> Section | None:
    look = {"reconstructions": LOOK_AT_RECONSTRUCTIONS, "samples": LOOK_AT_SAMPLES}
    captions = {name: words[run.config.model] for name, words in look.items()}
    return _section_of("Reconstructions and samples", LOOK_AT_PICTURES, run, captions)


def _codes(run: Run) -> Section | None:
    return _section_of("What codes mean", LOOK_AT_CODES, run, CODES)


def _section_of(title: str, look: str, run: Run, captions: dict[str, str]) -> Section | None:
    """Return a section with those of the figures that are there, by name with their captions."""
    drawings = []
    for name, caption in captions.items():
        if path := run.picture(name):
            drawings.append(Drawing(image(path, name.replace("_", " ")), caption))
    return Section(title, look, drawings) if drawings else None


def _components(run: Run) -> Section | None:
    test = run.summary["test"] if run.summary else {}
    rates, variances = (
        test.get(name) for name in ("rate_per_component_nats", "mean_variance_per_component")
    )
    if not rates or not variances:
        return None
    bars, plane = component_panels(rates, variances)
    drawings = [
        Drawing(drawn(bars, "rate of each latent component"), LOOK_AT_RATES),
        Drawing(drawn(plane, "rate over variance of each component"), LOOK_AT_STATES),
    ]
    return Section("Latent components", LOOK_AT_COMPONENTS, drawings)


def _progress(run: Run) -> Section | None:
    epochs = sorted(int(p.stem.split("_")[1]) for p in run.figures.glob("progress_*.png"))
    paths = {epoch: run.picture(f"progress_{epoch:04d}") for epoch in epochs}
    drawings = [
        Drawing(image(path, f"after epoch {n}"), f"after epoch {n}")
        for n, path in paths.items()
        if path
    ]
    return Section("Progress", LOOK_AT_PROGRESS, drawings, "strip") if drawings else None


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
    for picture in part.pictures:
        if path := run.picture(picture.name):
            name = picture.name.replace("_", " ")
            drawings.append(Drawing(image(path, name), picture.look))
        drawings += _video(run, picture.name)
    return Section(part.title, part.look, drawings)


def _video(run: Run, name: str) -> list[Drawing]:
    path, poster = run.figures / f"{name}.mp4", run.figures / f"{name}_poster.png"
    if not path.exists():
        return []
    return [Drawing(video(path, poster if poster.exists() else None), LOOK_AT_VIDEO)]
