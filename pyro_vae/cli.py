"""The command line: parse, call, print."""

import argparse
import difflib
import math
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path

from tqdm import tqdm

from pyro_vae.config import RunConfig
from pyro_vae.data import DATASETS, Dataset, load_dataset
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.runs import Run, parameter_counts, resolve_device, train
from pyro_vae.training import Record, choose_engine
from pyro_vae.vae import LatentImageModel

EXAMPLES = """examples:
  pyro-vae train
  pyro-vae train --likelihood discretized_logistic --latent-dim 8
  pyro-vae train --dataset mnist --network conv --epochs 20 --out runs/conv
  pyro-vae train --config runs/conv/config.yaml --beta 4 --out runs/conv-beta4"""


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line and name the nearest flag."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str):
        raise ValueError(message)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _help(f) -> str:
    choices = f.metadata["choices"]
    one_of = f"; {', '.join(choices)}" if choices else ""
    default = "" if f.default is None or f.default is MISSING else f" (default: {f.default})"
    return f"{f.metadata['help']}{one_of}{default}"


def _parser() -> _Parser:
    parser = _Parser(
        prog="pyro-vae", description="A laboratory for variational autoencoders.", epilog=EXAMPLES
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    what = "train a model and leave a run folder"
    trainer = commands.add_parser("train", help=what, description=what, epilog=EXAMPLES)
    trainer.add_argument(
        "--out",
        metavar="DIR",
        help="the run's folder, which must not exist (a new one under runs/ unless set)",
    )
    trainer.add_argument(
        "--config", metavar="FILE", help="YAML with any of the settings below; flags win"
    )
    trainer.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
    settings = trainer.add_argument_group("settings")
    for f in fields(RunConfig):
        kind = {"metavar": f.name.split("_")[-1].upper(), "default": argparse.SUPPRESS}
        settings.add_argument(_flag(f.name), dest=f.name, help=_help(f), **kind)
    trainer.set_defaults(run=_train)
    commands.add_parser("likelihoods", help="list the likelihood families").set_defaults(
        run=_likelihoods
    )
    datasets = commands.add_parser("datasets", help="list the data sets, or download one")
    datasets.add_argument("name", nargs="?", metavar="NAME", help="download this one")
    datasets.add_argument(
        "--data-dir", default="data", metavar="DIR", help="folder to download to (default: data)"
    )
    datasets.set_defaults(run=_datasets)
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parsed, unknown = _parser().parse_known_args(arguments)
    if unknown:
        known = ["--out", "--config", "--debug", "--help"]
        known += [_flag(f.name) for f in fields(RunConfig)]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; see --help"
        raise ValueError(f"unknown argument {unknown[0]}{hint}")
    if parsed.command is None:
        raise ValueError("expected a command: train, likelihoods or datasets; see --help")
    return parsed


# --- commands ------------------------------------------------------------------------------------


def _train(parsed: argparse.Namespace) -> None:
    names = {f.name for f in fields(RunConfig)}
    flags = {k: v for k, v in vars(parsed).items() if k in names}
    config = RunConfig.load(parsed.config, **flags) if parsed.config else RunConfig(**flags)
    style = "{n}/{total} epochs |{bar}| {remaining} left{postfix}"
    with tqdm(total=config.epochs, bar_format=style, disable=None, dynamic_ncols=True) as bar:
        bar.clear()

        def show(record: Record) -> None:
            bar.set_postfix_str(_terms(record), refresh=False)
            bar.update()
            if record.epoch == config.epochs:
                bar.close()
                print("Measuring the trained model ...", flush=True)

        run = train(config, parsed.out, announce=_announce, on_record=show)
    print(_results(run))
    print(f"Look at {run.folder / 'figures'}")


def _terms(record: Record) -> str:
    if math.isnan(record.train_rate):  # the posterior is a point
        return f"distortion {record.train_distortion:.2f}"
    return (
        f"ELBO {record.train_elbo:.2f} rate {record.train_rate:.2f}"
        f" distortion {record.train_distortion:.2f}"
    )


def _announce(folder: Path, config: RunConfig, model: LatentImageModel, data: Dataset) -> None:
    shape = "x".join(map(str, data.image_shape))
    print(
        f"{data.name}: {len(data.train)} training and {len(data.test)} test images {shape},"
        f" {data.levels} grey levels\n"
        f"{config.model}: {config.likelihood}, {config.network}, {config.latent_dim} latents,"
        f" {sum(parameter_counts(model).values())} parameters;"
        f" {choose_engine(config.engine)} on {resolve_device(config.device)}"
    )
    if not model.likelihood.is_likelihood:
        print(
            f"Notice: {config.likelihood} is no likelihood of {data.levels} grey levels:"
            " the ELBO is not comparable, bits per dimension are not reported"
        )


def _results(run: Run) -> str:
    lines = [_elbo_line(split, run.summary[split]) for split in ("train", "test")]
    test, exact = run.summary["test"], run.summary["linear_optimum"]
    if exact:
        lines.append(_elbo_line("exact", exact) + ", the optimum of a linear VAE")
    if test["bits_per_dim"] is not None:
        samples = test["bits_per_dim_samples"]
        lines.append(
            f"test  {test['bits_per_dim']:.4f} bits per dimension (bound, {samples} samples)"
        )
    if run.config.model == "vae":
        lines.append(
            f"test  {test['active_units']} active and {test['collapsed_units']} collapsed"
            f" of {run.config.latent_dim} components"
        )
    return "\n".join(lines)


def _elbo_line(split: str, terms: dict) -> str:
    if terms["elbo_nats"] is None:
        return f"{split:5s} distortion {terms['distortion_nats']:.4f} nats per image"
    return (
        f"{split:5s} ELBO {terms['elbo_nats']:.4f} = -(rate {terms['rate_nats']:.4f}"
        f" + distortion {terms['distortion_nats']:.4f}) nats per image"
    )


def _likelihoods(parsed: argparse.Namespace) -> None:
    for name, family in LIKELIHOODS.items():
        print(f"{name:30s}{_first_line(family)}")


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _datasets(parsed: argparse.Namespace) -> None:
    if parsed.name:
        data = load_dataset(parsed.name, parsed.data_dir)
        print(f"{data.name} is complete under {parsed.data_dir}")
        return
    for name, source in DATASETS.items():
        print(f"{name:18s}{source.description}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 the run failed, 2 a wrong argument, 130 Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = _parse(arguments)
        parsed.run(parsed)
        return 0
    except KeyboardInterrupt:
        print("pyro-vae: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if "--debug" in arguments:
            raise
        print(f"pyro-vae: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
