"""`RunConfig`: all settings of a run, for the command line, YAML files and run folders."""

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from pyro_vae.files import PART, check_path_name, exists, read_file, replace_file
from pyro_vae.names import DEVICES, check_name, shortened
from pyro_vae.own_parts import OWN, digest, file_of, short_name
from pyro_vae.settings import (
    PLACE,
    DataSettings,
    ModelSettings,
    TrainingSettings,
    meaning,
    setting,
)

LARGEST = 2**20  # bytes of a file of settings
SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, which is ten times as fast
DIGITS = r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
NUMBERS = {  # as YAML 1.2 reads them, but for 1e3, which is a word
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9]*)$"),
    "tag:yaml.org,2002:float": re.compile(rf"({DIGITS}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
}


class Loader(SAFE):
    """A loader that refuses a key given twice, and takes numbers as they are written.

    YAML 1.1 reads 010 as 8 and 1:30 as 90; here they are words, which each setting checks.
    """

    yaml_implicit_resolvers = {
        first: [pair for pair in known if pair[0] not in NUMBERS]
        for first, known in SAFE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        """Return a mapping as a dict."""
        counts = Counter(str(key.value) for key, _ in node.value)
        if counts and max(counts.values()) > 1:
            raise yaml.YAMLError(f"{shortened(counts.most_common(1)[0][0])} is given twice")
        return super().construct_mapping(node, deep)


for _tag, _pattern in NUMBERS.items():
    Loader.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


@dataclass(frozen=True)
class RunConfig(TrainingSettings, ModelSettings, DataSettings):
    """All settings of one run; the defaults train on the embedded digits.

    Args:
        {settings}

    Raises:
        ValueError: a value of the wrong type or out of range, an unknown name, or settings that
            contradict each other.

    Example:
        >>> RunConfig(dataset="mnist", likelihood="bernoulli", beta=4).beta
        4.0
    """

    device: str = setting("auto", "where to train; auto takes CUDA where there is one", DEVICES)
    init_from: str | None = setting(
        None, "folder of a run of the same architecture, with whose weights training begins"
    )

    def __repr__(self) -> str:
        chosen = [f"{name}={value!r}" for name, value in self.chosen.items()]
        return f"RunConfig({', '.join(chosen)})"

    @property
    def chosen(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}

    @property
    def kind(self) -> str:
        """Return the kind of model in one word: its likelihood, or `autoencoder`."""
        return short_name(self.likelihood) if self.model == "vae" else self.model

    @property
    def identity(self) -> tuple:
        """Return the values of `IDENTITY`, in which runs that repeat each other agree."""
        return tuple(getattr(self, name) for name in IDENTITY)

    @property
    def data_name(self) -> str:
        """Return the data set's name, without the folder and the suffix of a path."""
        return Path(self.dataset).stem

    @property
    def own_files(self) -> dict[str, Path]:
        """Return the files of the user's own parts, by the names of the settings."""
        files = {name: file_of(getattr(self, name)) for name in OWN}
        return {name: file for name, file in files.items() if file is not None}

    def parts_text(self) -> str:
        """Return a line for each file of the user's own parts: the digest of its text, and its path."""
        return "".join(f"{digest(file)}  {file}\n" for file in sorted(set(self.own_files.values())))

    def at(self, data_dir: str | None = None, dataset: str | Path | None = None) -> "RunConfig":
        """Return the settings with another place of the data where one is given."""
        given = {"data_dir": data_dir, "dataset": dataset}
        return dataclasses.replace(self, **{n: v for n, v in given.items() if v is not None})

    def save(self, path: str | Path) -> None:
        """Write the settings as YAML, which `load` reads."""
        content = dataclasses.asdict(self)
        content["hidden"] = None if self.hidden is None else list(self.hidden)
        replace_file(path, yaml.safe_dump(content, sort_keys=False))

    @classmethod
    def load(cls, path: str | Path, **flags) -> "RunConfig":
        """Return the settings in a YAML file; `flags` take precedence over them.

        Raises:
            ValueError: a file that is not a YAML mapping, an unknown key, or a value that does not
                fit.
        """
        settings = load_settings(path) | flags
        try:
            return cls(**settings)
        except ValueError as error:
            raise ValueError(str(error) if flags else f"{error}, in {path}") from error


IDENTITY = tuple(f.name for f in fields(RunConfig) if f.name not in PLACE)
"""The settings that results depend on. Runs that agree in them repeat each other to rounding: they
are no two seeds, whatever engine or device computed them."""

if RunConfig.__doc__:  # Python may run with -OO
    _explained = (f"        {f.name}: {meaning(f)}." for f in fields(RunConfig))
    RunConfig.__doc__ = RunConfig.__doc__.replace("        {settings}", "\n".join(_explained))


def load_settings(path: str | Path) -> dict:
    """Return the settings in a YAML file by field of `RunConfig`, with their values unchecked.

    Raises:
        ValueError: a file that is not a YAML mapping, or an unknown key.
    """
    try:
        content = yaml.load(read_file(path, LARGEST).decode(), Loader) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"config: {path} cannot be read: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"config: expected 'key: value' lines in {path}, got {shortened(content)}")
    for key in content:
        check_name(f"config: key in {path}", key, [f.name for f in fields(RunConfig)])
    return content


def check_run_folder(path: Path) -> None:
    """Raise a ValueError unless there is a run in a folder, which its settings tell."""
    if not (path / "config.yaml").exists():
        raise ValueError(f"run: {path} is no run folder: it has no config.yaml")


def check_free(folder: Path, overwrite: bool = False) -> None:
    """Check that a run may begin in a folder.

    Raises:
        ValueError: it exists already, unless it may be overwritten; it is not a run's; its name
            cannot be written into a file.
    """
    check_path_name("out", folder)
    if not exists(folder):
        return
    if not folder.is_dir():
        raise ValueError(f"out: {folder} is there already, and is not a folder")
    if not overwrite:
        raise ValueError(
            f"out: {folder} is there already; name another folder, resume its run with"
            " --resume, or replace it with --overwrite"
        )
    if visible_entries(folder) and not (folder / "config.yaml").exists():
        raise ValueError(f"out: {folder} is not a run folder: it has no config.yaml; left as it is")


def visible_entries(path: Path) -> list[Path]:
    """Return what lies in a folder, sorted, without locks and files that are being written."""
    if not exists(path):
        return []
    visible = (p for p in path.iterdir() if not p.name.startswith(".") and p.suffix != PART)
    return sorted(visible)
