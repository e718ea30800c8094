"""`report.html`: a run on one page, which needs no other file."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pyro_vae.figures import one_run
from pyro_vae.files import replace_file
from pyro_vae.pages.frame import Drawing, Markup, Section, image, render, svg, video
from pyro_vae.pages.wording import Shown
from pyro_vae.runs.checkpoints import fingerprint
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.evaluation import load_evaluation
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.judgements import judgements
from pyro_vae.runs.parts import PARTS, Part
from pyro_vae.settings import setting_text

LOOK_AT_RECONSTRUCTIONS = {
    "vae": "Each row of originals stands over the row of its reconstructions. Look at whether the"
    " reconstructions tell the originals apart. If all are alike, there is too much regularisation:"
    " a smaller beta lets more through. If they are sharp and the samples below are bad, there is"
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
    " continues to rise (over-fitting), for a rate that stays near 0 (the decoder ignores the codes),"
    " and for curves that still climb at the end (train for longer).",
    "autoencoder": "The distortion should fall and level off.",
}
LOOK_AT_KL = (
    "What each latent component tells about an image. Look at how many stay near 0: these have"
    " collapsed, and a smaller latent space would do as well. If none has, a larger one may pay."
)
LOOK_AT_PROGRESS = (
    "The same images and codes during training. Look for shapes that settle early and for detail"
    " that comes late. Where all pictures are alike from the first, nothing was learned after it."
)


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
    video: Markup


def write_report(path: str | Path, summary: dict | None = None) -> Path:
    """Write `report.html` of the run folder `path` from its files, and return the page's path.

    Args:
        summary: that of the finished run (default: read from the folder).

    Raises:
        ValueError: a folder that is not a run folder, or one with damaged files.
        OSError: the page cannot be written.
    """
    folder = RunFolder(path)
    config = RunConfig.load(folder.config)
    if summary is None:
        summary = folder.current_summary(config)
    try:
        text = _page(folder, config, summary)
    except KeyError as error:
        raise ValueError(f"summary: {folder.summary} is no summary of a run: no {error}") from error
    replace_file(folder.report, text)
    return folder.report


def _page(folder: RunFolder, config: RunConfig, summary: dict | None) -> str:
    settings = ((name, setting_text(value)) for name, value in asdict(config).items())
    drawn = (_curves, _reconstructions, _samples, _kl, _progress)
    return render(
        "run.html",
        generator="pyro-vae",
        title=f"{config.data_name}: {config.likelihood} {_model_name(config)}",
        unfinished=_unfinished(folder, config) if summary is None else "",
        cards=[] if summary is None else _cards(summary, config),
        judgements=[] if summary is None else judgements(summary),
        words=_words(config, summary),
        command=f"pyro-vae train --config {folder.config}",
        settings=settings,
        sections=[part for draw in drawn if (part := draw(folder, config, summary))],
        measured=_measured(folder, config),
    )


def _model_name(config: RunConfig) -> str:
    return {"vae": "VAE", "autoencoder": "autoencoder"}[config.model]


def _unfinished(folder: RunFolder, config: RunConfig) -> str:
    done = len(folder.columns()["epoch"])
    return f"{done} of {config.epochs} epochs, and not measured."


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


def _curves(folder: RunFolder, config: RunConfig, summary: dict | None) -> Section | None:
    metrics = folder.columns()
    if not metrics["epoch"]:
        return None
    terms = one_run.TERMS if config.model == "vae" else ("distortion",)
    drawn = [Drawing(svg(one_run.learning_curve(metrics, t), f"{t} over epochs")) for t in terms]
    return Section("Learning curves", LOOK_AT_CURVES[config.model], drawn)


def _reconstructions(folder: RunFolder, config: RunConfig, summary: dict | None) -> Section | None:
    look = LOOK_AT_RECONSTRUCTIONS[config.model]
    return _picture(folder, "reconstructions", "Reconstructions", look)


def _samples(folder: RunFolder, config: RunConfig, summary: dict | None) -> Section | None:
    return _picture(folder, "samples", "Samples", LOOK_AT_SAMPLES[config.model])


def _picture(folder: RunFolder, name: str, title: str, look: str) -> Section | None:
    path = folder.figures / f"{name}.png"
    if not path.exists():
        return None
    return Section(title, look, [Drawing(image(path, title.lower()))], "single")


def _kl(folder: RunFolder, config: RunConfig, summary: dict | None) -> Section | None:
    rates = summary and summary["test"]["rate_per_component_nats"]
    if not rates:
        return None
    names = ("KL of each latent component", "histogram of the KL of components")
    drawn = [Drawing(svg(panel, name)) for panel, name in zip(one_run.kl_panels(rates), names)]
    return Section("KL per latent component", LOOK_AT_KL, drawn)


def _progress(folder: RunFolder, config: RunConfig, summary: dict | None) -> Section | None:
    pictures = sorted(folder.figures.glob("progress_*.png"))
    if not pictures:
        return None
    epochs = (int(path.stem.split("_")[1]) for path in pictures)
    drawn = [Drawing(image(p, f"after epoch {n}")) for p, n in zip(pictures, epochs)]
    return Section("Progress", LOOK_AT_PROGRESS, drawn, "strip")


# --- the results of the evaluation ------------------------------------------------------------------


def _measured(folder: RunFolder, config: RunConfig) -> list[Measured]:
    evaluation = load_evaluation(folder.evaluation)
    weights = folder.weights(config)
    current = fingerprint(weights) if evaluation and weights.exists() else None
    measured = []
    for name, part in PARTS.items():
        if figures := evaluation.get(name):
            rows = part.shown(figures)
            if current and figures.get("checkpoint", current) != current:
                rows.insert(0, EARLIER_CHECKPOINT)
            measured.append(Measured(_section(folder, part), rows, _video(folder, part)))
    return measured


def _section(folder: RunFolder, part: Part) -> Section:
    drawn = []
    for picture in part.pictures:
        path = folder.figures / f"{picture.name}.png"
        if path.exists():
            name = picture.name.replace("_", " ")
            drawn.append(Drawing(image(path, name), picture.look))
    return Section(part.title, part.look, drawn)


def _video(folder: RunFolder, part: Part) -> Markup:
    """Return the part's video, if it has one."""
    paths = (folder.figures / f"{picture.name}.mp4" for picture in part.pictures)
    return Markup("").join(video(path) for path in paths if path.exists())
