"""The commands, in one table: their flags, what checks these, and what carries them out.

This module does not import torch. The functions that need it import it when they are called, so
that a wrong flag, `--help` and the lists answer at once.
"""

from argparse import Namespace
from pathlib import Path

from pyro_vae.cli import finished, losses, use
from pyro_vae.cli.output import loading
from pyro_vae.cli.parser import (
    Command,
    Flag,
    checked,
    one_of,
    settings_flags,
    switch,
    value,
    whole,
)
from pyro_vae.names import BOUND_DRAWS, CODES, DEVICES, PARTS, QUICK_BOUND_DRAWS, check_name
from pyro_vae.runs.config import RunConfig, check_free, check_run_folder, load_settings
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.settings import COSTS_ONLY, FIRST_RUN
from pyro_vae.sweeps.grid import combinations, read_grid

TRAIN_USAGE = """pyro-vae train [-h] [--out DIR] [--config FILE] [--resume | --overwrite]
                      [--SETTING VALUE ...]"""
TRAIN_EXAMPLES = """examples:
  pyro-vae train
  pyro-vae train --likelihood discretized_logistic --latent-dim 4
  pyro-vae train --dataset mnist --network conv --epochs 20 --out runs/conv
  pyro-vae train --dataset pictures/ --patience 10 --out runs/pictures
  pyro-vae train --config runs/conv/config.yaml --beta 4 --out runs/conv-beta4
  pyro-vae train --out runs/conv-beta4 --resume"""
SWEEP_USAGE = """pyro-vae sweep [-h] --out DIR [--config FILE]
                      [--SETTING VALUE [VALUE ...] ...]"""
SWEEP_EXAMPLES = """Every combination of the values becomes a run folder in DIR, named by the
settings that vary, as in DIR/beta=4,seed=0. Runs that differ only in beta,
seed, learning rate and sigma are trained together if that saves time.

To resume a sweep that was stopped, give the same command again. If it has more
values, their runs are added. A run that fails leaves the reason in failed.txt,
and is not tried again unless its folder is deleted. The other runs continue,
and the exit status is 1.

The same command in several processes, also on several machines that share
DIR, trains the sweep together. Each takes runs that no other process has; runs
of one batched step are taken together, and --engine graph trains them one by
one. On a node with two GPUs, for example:

  CUDA_VISIBLE_DEVICES=0 pyro-vae sweep --out b --beta 1 4 --engine graph &
  CUDA_VISIBLE_DEVICES=1 pyro-vae sweep --out b --beta 1 4 --engine graph

examples:
  pyro-vae sweep --out runs/betas --beta 0.25 1 4 --seed 0 1 2
  pyro-vae sweep --out runs/sizes --hidden 128 400,200 --latent-dim 2 8 32
  pyro-vae sweep --out runs/families --dataset mnist --epochs 20 \\
      --likelihood bernoulli gaussian_shared_sigma discretized_logistic
  pyro-vae sweep --out runs/betas --config runs/betas/sweep.yaml --seed 0 1 2 3"""


# --- checks: what is wrong with the arguments is found before torch is loaded ---------------------


def _settings(parsed: Namespace) -> dict:
    """Return the settings that the command line names, in its order."""
    known = RunConfig.__dataclass_fields__
    return {name: given for name, given in vars(parsed).items() if name in known}


def _check_train(parsed: Namespace) -> None:
    """Make the configuration from the flags and a file: the one given, or that of a run to resume."""
    given, file = _settings(parsed), parsed.config
    if not file and parsed.resume and parsed.out:
        own = Path(parsed.out, "config.yaml")
        file = own if own.exists() else None
    if parsed.out:
        check_free(Path(parsed.out), parsed.resume or parsed.overwrite)
    parsed.first_run = not file and given.keys() <= COSTS_ONLY
    if file:
        parsed.settings = RunConfig.load(file, **given)
    else:
        parsed.settings = RunConfig(**(FIRST_RUN | given if parsed.first_run else given))


def _check_sweep(parsed: Namespace) -> None:
    """Collect the values of each setting, and check every combination of them."""
    parsed.settings = (load_settings(parsed.config) if parsed.config else {}) | _settings(parsed)
    combinations(read_grid(parsed.settings))


def _check_runs(parsed: Namespace) -> None:
    for run in getattr(parsed, "runs", None) or [parsed.run]:
        check_run_folder(Path(run))


# --- the commands that train, which import torch with their classes -------------------------------


def _train(parsed: Namespace, interrupts: Interrupts) -> None:
    with loading("torch"):
        from pyro_vae.cli.training import run_train

    run_train(parsed, interrupts)


def _sweep(parsed: Namespace, interrupts: Interrupts) -> None:
    with loading("torch"):
        from pyro_vae.cli.training import run_sweep

    run_sweep(parsed, interrupts)


# --- flags ----------------------------------------------------------------------------------------


@checked
def _parts(text: str) -> list[str]:
    names = [check_name("value", name.strip(), PARTS) for name in text.strip(",").split(",")]
    return list(dict.fromkeys(names))


def _data_dir(run: str) -> Flag:
    where = f"folder of the published data sets (default: where {run} had them)"
    return value("--data-dir DIR", where)


def _dataset(run: str) -> Flag:
    where = f"path of your own images, if they have moved (default: where {run} had them)"
    return value("--dataset PATH", where)


RUN = value("run", "a run's folder")
SEED = value("--seed", "seed of the random draws (default: 0)", type=whole(0), default=0)
DEVICE = value(
    "--device",
    "auto, cpu or cuda; auto takes CUDA where there is one (default: auto)",
    type=one_of(DEVICES),
    default="auto",
)
TRAIN = [
    value(
        "--out DIR",
        "the run's folder, which must not exist unless --resume or --overwrite is given"
        " (default: a new one under runs/)",
    ),
    value("--config FILE", "a YAML file with any of the settings below; flags override it"),
    switch(
        "--resume",
        "resume the run in --out with the settings of its folder; a run that does not exist is"
        " started, and one that is finished stays as it is",
    ),
    switch("--overwrite", "delete the run in --out and start again"),
    *settings_flags(),
]
SWEEP = [
    value(
        "--out DIR", "the sweep's folder, which is new or that of a sweep to resume", required=True
    ),
    value(
        "--config FILE",
        "a YAML file with any of the settings below, each a value or a list; flags override it",
    ),
    *settings_flags(nargs="+"),
]
EVALUATE = [
    *(RUN, SEED, DEVICE),
    value(
        "--samples K",
        "draws of z per image for the importance bound; more make it tighter (default:"
        f" {BOUND_DRAWS:,}, with --quick {QUICK_BOUND_DRAWS:,})",
        type=whole(1),
    ),
    value(
        "--only PARTS",
        "measure only these parts, and keep the earlier results of the others; the parts are"
        f" {', '.join(PARTS)}",
        type=_parts,
    ),
    switch("--quick", "take fewer images, draws and steps, about a minute on the digits"),
    _data_dir("the run"),
    _dataset("the run"),
]
SAMPLE = [
    *(RUN, SEED, DEVICE),
    value("--count N", "number of images (default: 64)", type=whole(1), default=64),
    value(
        "--codes",
        "where codes come from: prior, the model's own; or a density fitted to the codes of training"
        " images, gaussian, a Normal with full covariance, or mixture, ten of them (default: prior)",
        type=one_of(CODES),
        default=CODES[0],
    ),
    value(
        "--pixels",
        "expected: the mean of p(x|z); drawn: a draw from it, with its noise (default: expected)",
        type=one_of(("expected", "drawn")),
        default="expected",
    ),
    value(
        "--out FILE",
        "a .png picture, or an .npy array (N, C, H, W) of pixels in [0, 1] (default:"
        " samples_seedSEED.png among the run's figures, or samples_CODES_seedSEED.png)",
    ),
    _data_dir("the run"),
    _dataset("the run"),
]
IMAGES = value(
    "images",
    "a file or a folder of images, as train --dataset takes them, all of which are taken in their"
    " order; or a split of a data set, as in mnist:test",
)
ENCODE = [
    *(RUN, IMAGES),
    value(
        "--out FILE",
        "the .npz archive to write: mean, scale and, where they are known, labels and names",
        required=True,
    ),
    DEVICE,
    _data_dir("the run"),
]
RECONSTRUCT = [
    *(RUN, IMAGES),
    value(
        "--out PATH",
        "a .png picture of the first 64 images over their reconstructions, an .npy array (N, C, H, W)"
        " of all, or a new folder with a picture of each",
        required=True,
    ),
    *(SEED, DEVICE),
    _data_dir("the run"),
]
SCORE = [
    *(RUN, IMAGES),
    value(
        "--out FILE",
        "the .csv table to write, with a row for each image: log P(x), the effective draws of its"
        " bound, bits per dimension, and the rank among the run's test images",
        required=True,
    ),
    value(
        "--samples K",
        f"draws of z per image; more make the bound tighter (default: {QUICK_BOUND_DRAWS})",
        type=whole(1),
        default=QUICK_BOUND_DRAWS,
    ),
    *(SEED, DEVICE),
    _data_dir("the run"),
    _dataset("the run"),
]
COMPARE = [
    value("runs RUN", "run folders, and folders that hold run folders", nargs="+"),
    value(
        "--out DIR",
        "the folder for compare.csv and report.html (default: RUN, if that is a single folder of"
        " runs, else comparison/)",
    ),
]
EXPORT = [RUN, value("--out DIR", "the folder to write, which must be new", required=True)]
EXPLORE = [
    value("runs RUN", "folders of finished runs, of one data set", nargs="+"),
    value(
        "--out FILE",
        "the .html file to write (default: explore.html, in RUN for a single run and in the"
        " working directory for several)",
    ),
    _data_dir("the first run"),
    _dataset("the first run"),
]
LISTED = [
    value("name", "the data set to download now", nargs="?"),
    value("--data-dir DIR", "folder to download to (default: data)", default="data"),
]

# --- the table ------------------------------------------------------------------------------------

COMMANDS = {  # in the order of the help
    "train": Command(
        "train a model and leave a run folder",
        TRAIN, _train, _check_train, TRAIN_USAGE, TRAIN_EXAMPLES,
    ),
    "sweep": Command(
        "train every combination of settings",
        SWEEP, _sweep, _check_sweep, SWEEP_USAGE, SWEEP_EXAMPLES,
    ),
    "evaluate": Command(
        "measure a run, with standard errors", EVALUATE, finished.run_evaluate, _check_runs
    ),
    "sample": Command(
        "decode random codes into images", SAMPLE, finished.run_sample, _check_runs
    ),
    "encode": Command("write the codes of images", ENCODE, use.run_encode, use.check_use),
    "reconstruct": Command(
        "write the reconstructions of images",
        RECONSTRUCT, use.run_reconstruct, use.check_use,
    ),
    "score": Command(
        "write how likely images are, to find unusual ones",
        SCORE, use.run_score, use.check_use,
    ),
    "export": Command(
        "write the weights for safetensors, and encoder and decoder for ONNX",
        EXPORT, use.run_export, use.check_use,
    ),
    "report": Command(
        "write a run's report.html again",
        [RUN, _dataset("the run")], finished.run_report, _check_runs,
    ),
    "compare": Command(
        "put finished runs side by side: a table, and a page with plots",
        COMPARE, finished.run_compare,
    ),
    "explore": Command(
        "write a page that runs the model in a browser", EXPLORE, finished.run_explore, _check_runs
    ),
    "explain-loss": Command(
        "say which sigma and beta the loss of another VAE means",
        losses.FLAGS, losses.run_explain_loss, losses.check_loss,
    ),
    "likelihoods": Command("list the likelihood families", [], finished.run_likelihoods),
    "datasets": Command("list the data sets, or download one", LISTED, finished.run_datasets),
}  # fmt: skip
