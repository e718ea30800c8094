"""Builds the site: `python docs/build.py`, and with `--with-results` what takes computing too."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILT = ROOT / "docs" / "_build"
RUNS = BUILT / "runs"
COMMANDS = (  # what the example pages are made of
    f"train --resume --likelihood discretized_logistic --score levels --epochs 200 --out {RUNS}/run",
    f"evaluate {RUNS}/run --quick",
    f"explore {RUNS}/run",
    f"sweep --beta 0.25 1 4 --seed 0 1 2 --likelihood gaussian_shared_sigma discretized_logistic"
    f" --score levels --out {RUNS}/sweep",
    f"compare {RUNS}/sweep",
)
PAGES = {  # of the folder examples/, and the page that is copied there
    "report": RUNS / "run" / "report.html",
    "explorer": RUNS / "run" / "explore.html",
    "comparison": RUNS / "sweep" / "report.html",
}


def make_examples() -> None:
    """Train the runs of the example pages and copy their pages to where the site takes them."""
    for command in COMMANDS:
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
    parser.add_argument(
        "--with-results", action="store_true", help="run notebooks and train the example runs"
    )
    if parser.parse_args().with_results:
        os.environ["PYRO_VAE_NOTEBOOKS"] = "small"
        make_examples()
    build()
    print(f"built {BUILT / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
