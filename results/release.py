"""Packs trained runs as release files: `python results/release.py --out releases`.

A run of the digits is trained and evaluated here, a few minutes. Runs of MNIST are those of seed 0 at
beta 1 that `results/run.py` has left under `--runs`. An archive holds a run folder without pictures:
the settings, the figures and the weights, the report, and the page that runs the model in a browser.
`pv.load_run` reads the folder in it.
"""

import argparse
import shutil
import tarfile
from pathlib import Path

import pyro_vae as pv
from pyro_vae.names import PARTS
from pyro_vae.runs.report import write_report

DIGITS = pv.RunConfig(
    likelihood="discretized_logistic", score="levels", latent_dim=8, epochs=2000, patience=50
)


def trained(runs: Path) -> list[Path]:
    """Return the folders of the runs to pack, with one of the digits that is trained if need be."""
    digits = pv.train(DIGITS, runs / "digits", resume=True)
    pv.evaluate_missing(digits, list(PARTS), quick=True)
    return [digits.folder, *sorted(runs.glob("mnist/*/beta=1,seed=0,*/run"))]


def pack(folder: Path, out: Path) -> Path:
    """Write the archive of a finished run, and return its path."""
    run = pv.load_run(folder)
    packed = out / f"{run.config.data_name}-{run.config.likelihood}"
    shutil.copytree(folder, packed)
    run.config.at(data_dir="data").save(packed / "config.yaml")  # not where they lay here
    write_report(packed)
    pv.explore(packed, data_dir=run.config.data_dir)
    shutil.rmtree(packed / "figures")  # pages have them inside
    if run.weights == run.best:
        (packed / "checkpoints" / "last.pt").unlink()  # which is three times as large
    (packed / ".lock").unlink(missing_ok=True)
    archive = Path(f"{packed}.tar.gz")
    with tarfile.open(archive, "w:gz") as file:
        file.add(packed, packed.name)
    shutil.rmtree(packed)
    return archive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("releases"))
    parsed = parser.parse_args()
    parsed.out.mkdir(parents=True, exist_ok=True)
    for folder in trained(parsed.runs):
        path = pack(folder, parsed.out)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
