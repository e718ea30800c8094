"""Builds the site: `python docs/build.py`, and with `--with-results` the example pages too."""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from pyro_vae.names import PARTS

ROOT = Path(__file__).parent.parent
BUILT = ROOT / "docs" / "_build"
RUNS = BUILT / "runs"
PAGES = {  # of the folder examples/, and the page that is copied there
    "report": RUNS / "run" / "report.html",
    "explorer": RUNS / "run" / "explore.html",
    "comparison": RUNS / "sweep" / "report.html",
}


def commands(small: bool) -> list[str]:
    """Return the commands that the example pages are made of."""
    epochs, parts, seeds = (2, "latents", "0") if small else (200, " ".join(PARTS), "0 1 2")
    sizes = "--epochs 2" if small else ""
    return [
        "train --resume --likelihood discretized_logistic --score levels"
        f" --epochs {epochs} --out {RUNS}/run",
        f"evaluate {RUNS}/run --quick --only {parts}",
        f"explore {RUNS}/run",
        f"sweep --beta 0.25 1 4 --seed {seeds} --likelihood gaussian_shared_sigma"
        f" discretized_logistic --score levels {sizes} --out {RUNS}/sweep",
        f"compare {RUNS}/sweep",
    ]


def make_examples(small: bool) -> None:
    """Train the runs of the example pages and copy their pages to where the site takes them."""
    for command in commands(small):
        subprocess.run([sys.executable, "-m", "pyro_vae", *shlex.split(command)], check=True)
    folder = BUILT / "extra" / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        shutil.copyfile(page, folder / f"{name}.html")
    for report in (RUNS / "sweep").glob("*/report.html"):  # to which the comparison links
        (folder / report.parent.name).mkdir(exist_ok=True)
        shutil.copyfile(report, folder / report.parent.name / "report.html")


def build() -> None:
    """Build the site; a warning is an error."""
    options = ["-W", "--keep-going", "-q", "-c", ROOT / "docs", "-d", BUILT / "pages"]
    command = [sys.executable, "-m", "sphinx", *options, ROOT, BUILT / "html"]
    subprocess.run(list(map(str, command)), check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with-results", action="store_true", help="train the example runs")
    parser.add_argument("--small", action="store_true", help="train them for two epochs only")
    parsed = parser.parse_args()
    if parsed.with_results:
        make_examples(parsed.small)
    build()
    print(f"built {BUILT / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
