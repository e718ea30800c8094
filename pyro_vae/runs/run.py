"""Runs: a run folder as one object, and the model of a configuration."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from markupsafe import Markup

from pyro_vae.checkpoints import MISFITS, check_fit, fingerprint, load_checkpoint
from pyro_vae.data import Dataset
from pyro_vae.devices import checked_device
from pyro_vae.files import RESTORE, mended_by, read_file
from pyro_vae.measures.part import VERSION
from pyro_vae.models.vae import VAE
from pyro_vae.notices import notice
from pyro_vae.own_parts import OWN, is_import_path
from pyro_vae.pages.frame import KINDS, address, can_be_shown
from pyro_vae.pages.wording import SUMMARY, shown_rows
from pyro_vae.randomness import one_at_a_time, seeded
from pyro_vae.runs.config import LARGEST, RunConfig, check_run_folder
from pyro_vae.runs.metrics import columns_of, read_records
from pyro_vae.runs.results import PerImage, load_evaluation, load_per_image, load_summary
from pyro_vae.runs.use import encode, impute, read, reconstruct, score
from pyro_vae.settings import DEFAULT_LEVELS, ModelSettings, by_name, setting_text
from pyro_vae.training.epochs import Record
from pyro_vae.training.fit import PRECISIONS

ON_CARD = tuple(row for row in SUMMARY if row.compared)  # in a notebook
ROW = Markup('<tr><th style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>')
PICTURE = Markup('<img alt="{}" style="width:22em;max-width:100%" src="{}">')
CARD = Markup(
    "<div><h4>{}</h4><table>{}</table>"
    '<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:start">{}</div></div>'
)


class Run:
    """A run folder: its settings, its metrics, its final figures and its trained model.

    Each file is read and checked once, when it is first asked for, so that a run shows its folder as
    it was then. After something has been written, make a new one. A damaged file raises a ValueError
    that names it.

    Args:
        folder: the run's folder.
        config: the run's settings (default: those in the folder).
        device: where the model computes, as in `"cuda"`.
    """

    read, encode, reconstruct, impute, score = read, encode, reconstruct, impute, score

    def __init__(
        self,
        folder: str | Path,
        config: RunConfig | None = None,
        device: torch.device | str = "cpu",
    ):
        self.folder, self.device, self._given = Path(folder), checked_device(device), config
        self.config_file = self.folder / "config.yaml"
        self.metrics_file = self.folder / "metrics.csv"
        self.summary_file = self.folder / "summary.json"
        self.evaluation_file = self.folder / "evaluation.json"
        self.per_image_file = self.folder / "per_image.npz"
        self.images_file = self.folder / "images.sha256"
        self.parts_file = self.folder / "parts.sha256"  # of files with the user's own parts
        self.measured = self.folder / "measured"  # by functions of the user's
        self.failure_file = self.folder / "failed.txt"  # which a sweep writes when a run fails
        self.report = self.folder / "report.html"
        self.explorer = self.folder / "explore.html"
        self.figures = self.folder / "figures"
        self.checkpoints = self.folder / "checkpoints"
        self.last, self.best = self.checkpoints / "last.pt", self.checkpoints / "best.pt"
        if config is not None:
            self.config = config

    @cached_property
    def config(self) -> RunConfig:
        """Return the settings that the run was trained with."""
        check_run_folder(self.folder)
        return RunConfig.load(self.config_file)

    @cached_property
    def metrics(self) -> dict[str, list[float | None]]:
        """Return the columns of `metrics.csv` by name, with None where nothing was measured."""
        return columns_of(self.records)

    @cached_property
    def records(self) -> list[Record]:
        """Return the rows of `metrics.csv` as the records of training."""
        return read_records(self.metrics_file)

    @cached_property
    def summary(self) -> dict | None:
        """Return the final figures; None until the training that `config` asks for is finished.

        A run that was finished and is resumed for more epochs keeps its earlier summary until the
        new one is written; that one is not current.
        """
        config = self.config
        with mended_by("delete it and resume the run, which writes it again"):
            summary = load_summary(self.summary_file, config.latent_dim)
        if summary is None:
            return None
        patient = config.patience is not None  # such a run may have ended before
        asked = summary.get("asked_epochs", config.epochs if patient else summary.get("epochs"))
        return summary if asked in (config.epochs, None) else None

    @cached_property
    def finished(self) -> bool:
        """Whether the run is complete, as `config` asks for it.

        The report is written before the summary, so that a current summary is the last thing that
        becomes true.
        """
        return self.report.exists() and self.summary is not None

    @property
    def name(self) -> str:
        """Return the name of the folder."""
        return self.folder.name

    def reread(self) -> "Run":
        """Return the run as its folder is now, with the settings that were given, if any were."""
        return Run(self.folder, self._given, self.device)

    @property
    def ended(self) -> bool:
        """Whether the run is finished or has failed."""
        return bool(self.failed) or self.finished

    @cached_property
    def failed(self) -> str | None:
        """Return why the run of a sweep failed; None if it did not."""
        reason = self._text(self.failure_file)
        return reason if reason is None else reason or "no reason given"

    def _text(self, path: Path) -> str | None:
        if not path.exists():
            return None
        return read_file(path, LARGEST, within=self.folder).decode(errors="replace").strip()

    @cached_property
    def evaluation(self) -> dict:
        """Return the figures of each part of the evaluation, by name; empty before there are any."""
        with mended_by("delete it and evaluate the run again"):
            return load_evaluation(self.evaluation_file)

    @cached_property
    def current_parts(self) -> dict:
        """Return the parts of the evaluation of the weights of today, by the measures of today."""
        parts = {n: p for n, p in self.evaluation.items() if p and p.get("measures") == VERSION}
        if not parts or self.fingerprint is None:
            return parts
        marks = (None, self.fingerprint)
        return {name: part for name, part in parts.items() if part.get("checkpoint") in marks}

    @cached_property
    def per_image(self) -> dict[str, PerImage]:
        """Return the final measures of each image, by split; empty before there are any."""
        return load_per_image(self.per_image_file)

    @cached_property
    def weights(self) -> Path:
        """Return the checkpoint that the run is known by: the best if it selects, else the last."""
        selects = self.config.patience is not None and self.best.exists()
        return self.best if selects else self.last

    @cached_property
    def fingerprint(self) -> str | None:
        """Return what tells the weights of today from any others; None before there are any."""
        return fingerprint(self.weights) if self.weights.exists() else None

    @cached_property
    def image_fingerprint(self) -> str | None:
        """Return what tells the run's images from others; None in runs of earlier versions."""
        return self._text(self.images_file)

    @cached_property
    @one_at_a_time()
    def vae(self) -> VAE:
        """Return the model in `eval` mode, a VAE or an autoencoder.

        The weights are those of the best epoch if the run selects by validation images, and else
        the last ones.
        """
        if not self.weights.exists():
            raise ValueError(f"run: {self.folder} has no checkpoint yet; train it first")
        content = self.checkpoint(self.weights)
        model = build_model(self.config, tuple(content["image_shape"]), content["levels"])
        model.to(self.device, PRECISIONS[self.config.precision]).eval()
        model.load_state_dict(content["model"])
        return model

    def checkpoint(self, path: Path) -> dict:
        """Return a checkpoint of the run; that it fits the settings is known before a model is built.

        Raises:
            OSError: there is no such file.
            ValueError: a file that is not a checkpoint, or that does not fit.
        """
        with mended_by(RESTORE):
            content = load_checkpoint(path)
        self.check_parts()
        try:
            shape, levels = tuple(content["image_shape"]), content["levels"]
            own = any(is_import_path(getattr(self.config, name)) for name in OWN)
            with torch.device("cpu" if own else "meta"):  # which has shapes without numbers
                check_fit(content, build_model(self.config, shape, levels))
        except MISFITS as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"checkpoint: {path} does not fit {self.config_file}: {reason}; {RESTORE}"
            ) from error
        return content

    def check_parts(self) -> None:
        """Tell of files of the user's own parts that have changed since the run began.

        Raises:
            ValueError: such a file lies in the run folder, whose code is never run, or is missing.
        """
        for name, file in self.config.own_files.items():
            if file.resolve().is_relative_to(self.folder.resolve()):
                raise ValueError(f"{name}: code in a run folder is not run; move {file} elsewhere")
            if not file.exists():
                raise ValueError(f"{name}: {file} is no longer there; put it back")
        known = self._text(self.parts_file)
        if known is not None and known != self.config.parts_text().strip():
            files = ", ".join(map(str, sorted(set(self.config.own_files.values()))))
            notice(f"parts: the text of {files} has changed since {self.folder} was trained")

    def picture(self, name: str) -> Path | None:
        """Return the file of a figure that a page shows best, or None where it was not drawn."""
        paths = (self.figures / f"{name}{ending}" for ending in (".svg", ".png"))
        return next((path for path in paths if can_be_shown(path, self.folder)), None)

    def __repr__(self) -> str:
        config, epochs = self.config, len(self.metrics["epoch"])
        settings = f"{config.data_name}, {config.kind}, beta {config.beta:g}"
        result = f"unfinished after {epochs} of {config.epochs} epochs"
        if self.summary is not None:
            elbo = self.summary["test"]["elbo_nats"]
            result = f"{epochs} epochs" + ("" if elbo is None else f", test ELBO {elbo:.2f}")
        return f"Run({str(self.folder)!r}, {settings}, {config.latent_dim} latents, {result})"

    def _repr_html_(self) -> str:
        main = {name: getattr(self.config, name) for name in ("dataset", "likelihood", "beta")}
        settings = main | {"latent_dim": self.config.latent_dim} | self.config.chosen
        rows = [(name, setting_text(value)) for name, value in settings.items()]
        for shown in shown_rows(ON_CARD, self.summary or {}):
            rows.append((shown.name, f"{shown.value} {shown.unit}"))
        table = Markup("").join(ROW.format(*row) for row in rows)
        paths = {name: self.picture(name) for name in ("reconstructions", "samples")}
        pictures = [
            PICTURE.format(name, address(read_file(path), KINDS[path.suffix]))
            for name, path in paths.items()
            if path
        ]
        return str(CARD.format(repr(self), table, Markup("").join(pictures)))


OneRun = Run | str | Path


def build_model(config: RunConfig, image_shape: tuple[int, int, int], levels: int | None) -> VAE:
    """Return the untrained model of a configuration, with weights drawn from `config.seed`."""
    settings = by_name(config, ModelSettings)
    del settings["model"]  # the posterior of an autoencoder is a point
    with seeded(config.seed):
        return VAE(image_shape, levels=levels or DEFAULT_LEVELS, **settings)


def cautions(config: RunConfig, data: Dataset, model: VAE) -> list[str]:
    """Return what a reader of the run's figures has to know first."""
    said = []
    if not model.likelihood.is_likelihood:
        said.append(
            f"{config.likelihood} is no likelihood of {data.levels or 'unknown'} grey levels:"
            " the ELBO is not comparable, bits per dimension are not reported"
        )
    if config.conditional:
        said.append(
            "all figures are of images given their labels: log P(x | y) is not comparable with the"
            " log P(x) of baselines and of runs without labels"
        )
    if data.levels is None:
        said.append(
            "pixels are floats on no known grid of grey levels: bits per dimension are not"
            " reported; --levels names the grid"
        )
    return said


def distinct(runs: Iterable[Run]) -> tuple[list[Run], dict[str, str]]:
    """Return the runs without those that repeat an earlier one, and why each of these is left out."""
    first: dict[tuple, Run] = {}
    repeated = {}
    for run in runs:
        if earlier := first.get(run.config.identity):
            repeated[str(run.folder)] = f"settings and seed are those of {earlier.folder}"
        else:
            first[run.config.identity] = run
    return list(first.values()), repeated


def take_weights(model: VAE, folder: str | Path) -> None:
    """Give a model the weights of the run in a folder, which may have had another objective.

    Raises:
        ValueError: there is no such run, or its weights do not fit the model.
    """
    weights = Run(folder).vae.state_dict()
    try:
        check_fit({"model": weights, "levels": None}, model)
    except ValueError as error:
        raise ValueError(f"init_from: the weights in {folder} do not fit: {error}") from error
    model.load_state_dict(weights)


def without_repeats(caller: str, runs: Iterable[Run]) -> list[Run]:
    """Return the runs that `distinct` keeps; a notice, opened by `caller`, names each of the others."""
    kept, repeated = distinct(runs)
    for folder, reason in repeated.items():
        notice(f"{caller}: {folder} is left out: {reason}")
    return kept


def runs_of(runs: OneRun | Iterable[OneRun]) -> list[Run]:
    """Return runs, each of which may be given as the path of its folder; errors as of `load_run`."""
    given = [runs] if isinstance(runs, (Run, str, Path)) else runs
    return [run if isinstance(run, Run) else load_run(run) for run in given]


def load_run(folder: str | Path, device: torch.device | str = "cpu") -> Run:
    """Return a run with a checkpoint, finished or not, with its files read and checked.

    Args:
        folder: the run's folder.
        device: where the model computes, as in `"cuda"`.

    Raises:
        ValueError: a folder without a run or a checkpoint, or with a file that cannot be read.
    """
    run = Run(folder, device=device)
    for name in ("config", "vae", "fingerprint", "metrics", "summary"):
        getattr(run, name)
    return run
