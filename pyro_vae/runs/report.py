"""`report.html`: a run on one page that opens anywhere and needs nothing beside it."""

import base64
from dataclasses import asdict
from html import escape
from pathlib import Path

from pyro_vae.figures import one_run as figures
from pyro_vae.files import replace_file
from pyro_vae.pages.frame import image, page, plots, section, svg
from pyro_vae.pages.wording import SECTIONS, Section, rows_of
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder

LOOK_AT_RECONSTRUCTIONS = {
    "vae": "Each row of originals stands over the row of its reconstructions. Look whether the"
    " reconstructions tell the originals apart: all alike means too much regularisation (a smaller"
    " beta lets more through); sharp ones beside bad samples below mean too little.",
    "autoencoder": "Each row of originals stands over the row of its reconstructions. Look how much"
    " sharper they are than a VAE's: nothing makes an autoencoder share codes between images.",
}
LOOK_AT_SAMPLES = {
    "vae": "Codes drawn from the prior, decoded to expected images. Look whether they could pass for"
    " data: bad samples beside good reconstructions mean too little regularisation, since the"
    " codes of real images then leave parts of the prior empty; blurred ones are averages over"
    " what a code leaves open.",
    "autoencoder": "Codes drawn from a standard Normal, decoded. An autoencoder never heard of that"
    " prior: expect images that look like nothing, and compare them with a VAE's.",
}
LOOK_AT_CURVES = (
    "The ELBO should rise and level off. Look for a test curve that turns down while training goes"
    " on up (over-fitting), for a rate that stays near 0 (the decoder ignores the codes), and for"
    " curves that still climb at the end (train for longer)."
)
LOOK_AT_KL = (
    "What each latent component tells about an image. Look how many stay near 0: these are"
    " collapsed, and a smaller latent space would do as well; if none is, a larger one may pay."
)
LOOK_AT_PROGRESS = (
    "The same images and codes as training went on. Look for shapes that settle early and for"
    " detail that comes late; where all pictures are alike from the first, nothing was learned"
    " after it."
)


def write_report(path: str | Path) -> Path:
    """Write `report.html` of the run folder `path` from its files; gives the page's path.

    Raises:
        ValueError: not a run folder, or one with damaged files.
        OSError: the page cannot be written.
    """
    folder = RunFolder(path)
    config = RunConfig.load(folder.config)
    title = f"{Path(config.dataset).stem}: {_kind(config)}"
    parts = [
        _numbers,
        _settings,
        _curves,
        _reconstructions,
        _samples,
        _kl,
        _progress,
        _evaluation,
    ]
    body = "\n".join(found for part in parts if (found := part(folder, config)))
    replace_file(folder.report, page(title, body))
    return folder.report


def _kind(config: RunConfig) -> str:
    return f"{config.likelihood} {'VAE' if config.model == 'vae' else 'autoencoder'}"


def _numbers(folder: RunFolder, config: RunConfig) -> str:
    summary = folder.load_json(folder.summary)
    if summary is None:
        done = len(folder.columns()["epoch"])
        return f"<p><b>Not finished:</b> {done} of {config.epochs} epochs, and not measured.</p>"
    test, sizes = summary["test"], summary["parameters"]
    cards = [
        (_number(test["elbo_nats"]), "test ELBO, nats per image"),
        (_number(test["rate_nats"]), "rate, nats per image"),
        (_number(test["distortion_nats"]), "distortion, nats per image"),
        (
            _number(test["bits_per_dim"], 3),
            f"bits per dimension, an upper bound ({test['bits_per_dim_samples']} samples)",
        ),
        (f"{test['active_units']} of {config.latent_dim}", "latent components active"),
        (f"{sum(sizes.values()):,}", "parameters"),
        (_number(summary["seconds"], 1), f"seconds of training on {summary['device']}"),
    ]
    inner = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for value, name in cards
        if value
    )
    return f'<div class="numbers">{inner}</div>'


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _settings(folder: RunFolder, config: RunConfig) -> str:
    summary = folder.load_json(folder.summary)
    epochs = config.epochs if summary is None else summary["epochs"]
    words = (
        f"Network {config.network} with {config.latent_dim} latent components, trained for"
        f" {epochs} epochs on {Path(config.dataset).stem} with Adam at"
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
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(_setting(value))}</td></tr>"
        for key, value in asdict(config).items()
    )
    return (
        f"<p>{escape(words)}</p>\n"
        "<details><summary>All settings, and the command that repeats the run</summary>"
        f"<pre>pyro-vae train --config {escape(str(folder.config))}</pre>"
        f"<table>{rows}</table></details>"
    )


def _loss(config: RunConfig) -> str:
    if config.model == "autoencoder":
        return "distortion alone"
    return f"beta {config.beta:g} ({config.beta_schedule}), objective {config.objective}"


def _setting(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _evaluation(folder: RunFolder, config: RunConfig) -> str:
    found = folder.load_json(folder.evaluation) or {}
    parts = ((name, about) for name, about in SECTIONS.items() if found.get(name))
    return "\n".join(_part(folder, about, rows_of(name, found[name])) for name, about in parts)


def _part(folder: RunFolder, about: Section, rows: list[tuple[str, str, str]]) -> str:
    words = "".join(
        f"<p><b>{escape(name)}:</b> {escape(value)}</p>"
        for name, value, _ in rows
        if value[0].isalpha()
    )
    table = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{escape(value)}</td>'
        f"<td>{escape(unit)}</td></tr>"
        for name, value, unit in rows
        if not value[0].isalpha()
    )
    pictures = (_shown(folder.figures / f"{p.name}.png", p.look) for p in about.pictures)
    content = f'{words}<table>{table}</table>\n<div class="plots">{"".join(pictures)}</div>'
    return section(about.title, about.look, content) + _video(folder, about)


def _shown(path: Path, look: str) -> str:
    if not path.exists():
        return ""
    name = path.stem.replace("_", " ")
    return f"<figure>{image(path, name)}<figcaption>{escape(look)}</figcaption></figure>"


def _video(folder: RunFolder, about: Section) -> str:
    """The section's moving picture, if it has one: embedded like everything else."""
    for picture in about.pictures:
        path = folder.figures / f"{picture.name}.mp4"
        if path.exists():
            data = base64.b64encode(path.read_bytes()).decode()
            source = f"data:video/mp4;base64,{data}"
            return f'\n<video controls loop muted playsinline src="{source}"></video>'
    return ""


def _curves(folder: RunFolder, config: RunConfig) -> str:
    metrics = folder.columns()
    if not metrics["epoch"]:
        return ""
    terms = figures.TERMS if config.model == "vae" else ("distortion",)
    drawn = [svg(figures.learning_curve(metrics, t), f"{t} over epochs") for t in terms]
    look = LOOK_AT_CURVES if config.model == "vae" else "The distortion should fall and level off."
    return section("Learning curves", look, plots(drawn))


def _reconstructions(folder: RunFolder, config: RunConfig) -> str:
    return _picture(
        folder, "reconstructions", "Reconstructions", LOOK_AT_RECONSTRUCTIONS[config.model]
    )


def _samples(folder: RunFolder, config: RunConfig) -> str:
    return _picture(folder, "samples", "Samples", LOOK_AT_SAMPLES[config.model])


def _kl(folder: RunFolder, config: RunConfig) -> str:
    summary = folder.load_json(folder.summary)
    rates = summary and summary["test"]["rate_per_component_nats"]
    if not rates:
        return ""
    names = ("KL of each latent component", "histogram of the KL of components")
    drawn = [svg(*panel) for panel in zip(figures.kl_panels(rates), names)]
    return section("KL per latent component", LOOK_AT_KL, plots(drawn))


def _progress(folder: RunFolder, config: RunConfig) -> str:
    pictures = sorted(folder.figures.glob("progress_*.png"))
    if not pictures:
        return ""
    strip = "".join(image(p, f"after epoch {int(p.stem.split('_')[1])}") for p in pictures)
    return section("Progress", LOOK_AT_PROGRESS, f'<div class="strip" tabindex="0">{strip}</div>')


def _picture(folder: RunFolder, name: str, title: str, look: str) -> str:
    path = folder.figures / f"{name}.png"
    return section(title, look, image(path, title.lower())) if path.exists() else ""
