"""The command line's flags and their help; this module does not import torch."""

import argparse
import difflib
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from importlib.metadata import version

from pyro_vae.names import BOUND_DRAWS, DEVICES, PARTS, QUICK_BOUND_DRAWS, check_name
from pyro_vae.runs.config import RunConfig
from pyro_vae.settings import setting_text

TRAIN_EXAMPLES = """examples:
  pyro-vae train
  pyro-vae train --likelihood discretized_logistic --latent-dim 4
  pyro-vae train --dataset mnist --network conv --epochs 20 --out runs/conv
  pyro-vae train --dataset pictures/ --patience 10 --out runs/pictures
  pyro-vae train --config runs/conv/config.yaml --beta 4 --out runs/conv-beta4
  pyro-vae train --out runs/conv-beta4 --resume
  torchrun --standalone --nproc-per-node 4 -m pyro_vae train --batch-size 1024"""
SWEEP_EXAMPLES = """Every combination of the values becomes a run folder in DIR, named by the
settings that vary, as in DIR/beta=4,seed=0. DIR/sweep.yaml keeps the values.
Runs that differ in beta, seed, learning rate and sigma only are trained in one
batched step where that pays for its compilation.

To resume a sweep that was stopped, give the same command again; more values add
their runs. A run that fails leaves the reason in failed.txt and is not tried
again unless its folder is deleted. The other runs continue, and the exit status
is 1.

With --ray the workers of a Ray cluster train the runs. Each machine of the
cluster needs pip install 'pyro_vae[cluster]', and DIR and the data must lie on
a file system that all of them share. A cluster that asks for a token, as those
of Ray 2.60 do, needs RAY_AUTH_MODE=token in the environment. When a worker is
lost, its runs resume on another; a run fails when it loses three workers in a
row without an epoch between.

examples:
  pyro-vae sweep --out runs/betas --beta 0.25 1 4 --seed 0 1
  pyro-vae sweep --out runs/sizes --hidden 128 400,200 --latent-dim 2 8 32
  pyro-vae sweep --out runs/families --dataset mnist --epochs 20 \\
      --likelihood bernoulli gaussian_shared_sigma discretized_logistic
  pyro-vae sweep --out runs/betas --beta 0.25 1 4 --ray local
  pyro-vae sweep --out runs/betas --config runs/betas/sweep.yaml --seed 0 1 2"""
EXAMPLES = """examples:
  pyro-vae train --out runs/first
  pyro-vae sweep --out runs/betas --beta 0.25 1 4
  pyro-vae evaluate runs/first
  pyro-vae explore runs/first
  pyro-vae sample runs/first --out samples.png
  pyro-vae compare runs --out comparison
  pyro-vae datasets mnist
  pyro-vae COMMAND --help"""
USAGES = {  # of commands with a flag for each setting
    "train": "pyro-vae train [-h] [--out DIR] [--config FILE] [--resume | --overwrite]\n"
    "                      [--SETTING VALUE ...]",
    "sweep": "pyro-vae sweep [-h] --out DIR [--config FILE] [--ray ADDRESS]\n"
    "                      [--SETTING VALUE [VALUE ...] ...]",
}
GROUPS = {  # the first setting of each group of flags
    "dataset": "data",
    "model": "model",
    "objective": "objective",
    "epochs": "training",
    "seed": "run",
}


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises a ValueError of one line for every error."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs | {"allow_abbrev": False})

    def error(self, message: str):
        raise ValueError(message)


def _whole(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            message = f"expected a whole number >= {low}, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return read


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a number over 0 and up to 1, got {text!r}")
    return share


def _parts(text: str) -> list[str]:
    try:
        names = [check_name("part", name.strip(), PARTS) for name in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("part: ")) from error
    return list(dict.fromkeys(names))


def _choice(known: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        try:
            return check_name("value", text, known)
        except ValueError as error:
            message = str(error).removeprefix("value: ")
            raise argparse.ArgumentTypeError(message) from error

    return read


def _help(f: Field) -> str:
    choices = f.metadata["choices"]
    one_of = f"; one of {', '.join(choices)}" if choices else ""
    default = "" if f.default is None else f" (default: {setting_text(f.default)})"
    return f"{f.metadata['help']}{one_of}{default}"


def _add_train(parser: _Parser) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="the run's folder, which must not exist unless --resume or --overwrite is given"
        " (default: a new one under runs/)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML with any of the settings below; flags win"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in --out, with the settings of its folder; start one where there is"
        " none, do nothing where it is finished",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the run in --out and start again"
    )
    _add_settings(parser)


def _add_settings(parser: _Parser, **kind) -> None:
    """Add a flag for each field of `RunConfig`."""
    for f in fields(RunConfig):
        if f.name in GROUPS:
            group = parser.add_argument_group(GROUPS[f.name])
        kind |= {"metavar": f.name.split("_")[-1].upper(), "default": argparse.SUPPRESS}
        group.add_argument("--" + f.name.replace("_", "-"), dest=f.name, help=_help(f), **kind)


def _add_sweep(parser: _Parser) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        required=True,
        help="the sweep's folder: a new one, or that of a sweep to resume",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML with any of the settings below, each a value or a list of values; flags win",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="train on the Ray cluster at this address, on its GPUs where it has some, else on its"
        " CPUs; 'auto' finds a cluster that runs on this machine, 'local' starts one for the sweep"
        " (default: train in this process)",
    )
    parser.add_argument(
        "--gpu-share",
        type=_share,
        default=1.0,
        metavar="PART",
        help="with --ray: the part of a GPU that a worker takes; 0.25 puts four on each (default: 1)",
    )
    _add_settings(parser, nargs="+")


def _add_run(parser: _Parser, measures: bool = True) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    if measures:
        parser.add_argument(
            "--seed", type=_whole(0), default=0, help="seed of the random draws (default: 0)"
        )
        parser.add_argument(
            "--device",
            type=_choice(DEVICES),
            default="auto",
            help="auto, cpu or cuda; auto takes CUDA where there is one (default: auto)",
        )


def _add_data_dir(parser: _Parser, run: str) -> None:
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help=f"folder of the published data sets (default: where {run} had them)",
    )


def _add_evaluate(parser: _Parser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--samples",
        type=_whole(1),
        metavar="K",
        help="draws of z per image for the importance bound; more make it tighter (default:"
        f" {BOUND_DRAWS:,}, with --quick {QUICK_BOUND_DRAWS:,})",
    )
    parser.add_argument(
        "--only",
        type=_parts,
        metavar="PARTS",
        help=f"measure these parts only, and keep what was measured before: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer images, draws and temperatures: under a minute on the digits",
    )
    _add_data_dir(parser, "the run")


def _add_sample(parser: _Parser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--count", type=_whole(1), default=64, metavar="N", help="images (default: 64)"
    )
    parser.add_argument(
        "--pixels",
        type=_choice(("expected", "drawn")),
        default="expected",
        help="expected: the mean of p(x|z); drawn: a draw from it, with its noise"
        " (default: expected)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="a .png picture, or an .npy array (N, C, H, W) of pixels in [0, 1] (default:"
        " samples_seedSEED.png among the run's figures)",
    )


def _add_compare(parser: _Parser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, and folders that hold run folders"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where compare.csv and report.html go (default: RUN, if that is a single folder of"
        " runs, else comparison/)",
    )


def _add_explore(parser: _Parser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folders of finished runs, of one data set"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the .html file to write (default: explore.html, in RUN for a single one and here for"
        " several)",
    )
    _add_data_dir(parser, "the first run")


def _add_datasets(parser: _Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="download this one now")
    parser.add_argument(
        "--data-dir", default="data", metavar="DIR", help="folder to download to (default: data)"
    )


def _add_report(parser: _Parser) -> None:
    _add_run(parser, measures=False)


def _add_nothing(parser: _Parser) -> None:
    """Add no flags, for commands without any."""


COMMANDS: dict[str, tuple[str, Callable[[_Parser], None]]] = {  # its summary, what adds its flags
    "train": ("train a model and leave a run folder", _add_train),
    "sweep": ("train every combination of settings", _add_sweep),
    "evaluate": ("measure a run, with standard errors", _add_evaluate),
    "sample": ("decode random codes into images", _add_sample),
    "report": ("write a run's report.html again", _add_report),
    "compare": ("put finished runs side by side: a table, and a page with plots", _add_compare),
    "explore": ("write a page that runs the model in a browser", _add_explore),
    "likelihoods": ("list the likelihood families", _add_nothing),
    "datasets": ("list the data sets, or download one", _add_datasets),
}


def parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser of the command line, and the parser of each command by its name."""
    parser = _Parser(
        prog="pyro-vae", description="A laboratory for variational autoencoders.", epilog=EXAMPLES
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--version", action="version", version=f"pyro-vae {version('pyro_vae')}")
    choices = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    each, epilogs = {}, {"train": TRAIN_EXAMPLES, "sweep": SWEEP_EXAMPLES}
    for name, (what, add) in COMMANDS.items():
        options = {"epilog": epilogs.get(name), "usage": USAGES.get(name)}
        each[name] = choices.add_parser(name, help=what, description=what, **options)
        add(each[name])
        hidden = {"action": "store_true", "default": argparse.SUPPRESS}
        each[name].add_argument("--debug", help="show tracebacks", **hidden)
    return parser, each


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command and the values of its flags.

    Raises:
        ValueError: an unknown command or flag, or a value that does not fit.
    """
    parser, each = parsers()
    words = [a for a in arguments if not a.startswith("-")]
    if words:
        check_name("command", words[0], COMMANDS)
    parsed, unknown = parser.parse_known_args(arguments)
    if parsed.command is None:
        raise ValueError(f"expected a command: {', '.join(COMMANDS)}; see pyro-vae --help")
    if unknown:
        known = [flag for a in each[parsed.command]._actions for flag in a.option_strings]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
        see = f"see pyro-vae {parsed.command} --help"
        raise ValueError(
            f"unknown argument {unknown[0]}; {f'did you mean {near[0]}?' if near else see}"
        )
    return parsed
