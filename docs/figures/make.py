"""Makes the pictures of the README and of docs/.

`python docs/figures/make.py --data-dir data --out runs/gallery` trains the runs below, unless the folder
has them already, and writes the PNG files beside itself.
On two cores the training takes ten minutes. Pages are photographed by Chromium, which has to be on
the path. `--only report comparison` makes some of the pictures.
"""

import argparse
import io
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.figures.images import named_rows, tile
from pyro_vae.files import replace_file

HERE = Path(__file__).parent
COMMANDS = {  # what leaves each folder; `evaluate` and `compare` follow where a page needs them
    "plane": "train --resume --dataset mnist --binarize dynamic --likelihood bernoulli"
    " --hidden 400,200 --latent-dim 2 --epochs 60 --learning-rate-schedule cosine"
    " --engine compiled",
    "sharp": "train --resume --dataset mnist --binarize dynamic --likelihood bernoulli"
    " --hidden 400,200 --latent-dim 16 --epochs 30 --learning-rate-schedule cosine --engine compiled",
    "tutorial": "sweep --likelihood discretized_logistic --epochs 60 --beta 0.25 1 4 --seed 0 1 2",
    "course": "sweep --likelihood discretized_logistic --hidden 128 --latent-dim 8 --epochs 300"
    " --validation always --beta 0.01 0.25 1 2 4 10 64 --seed 0 1 2",
    "autoencoder": "train --resume --model autoencoder --likelihood discretized_logistic"
    " --hidden 128 --latent-dim 8 --epochs 300 --validation always",
    "betas": "sweep --dataset digits --likelihood gaussian_shared_sigma discretized_logistic"
    " --score levels --beta 0.25 1 4 --seed 0 1 --epochs 100",
}
ROWS, COLUMNS = 14, 30  # of the latent plane
ACROSS = 16  # images in a row
WIDTH, HEIGHT = 960, 720  # of a page's picture, in pixels
COLOURS = 128  # of a page's picture, so that its file stays small


def pyro_vae(command: str, *more: str) -> None:
    """Run a command of the package."""
    subprocess.run([sys.executable, "-m", "pyro_vae", *shlex.split(command), *more], check=True)


def save(name: str, picture: Image.Image) -> None:
    """Write a picture beside this script."""
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    replace_file(HERE / f"{name}.png", buffer.getvalue())
    print(f"{name}.png: {len(buffer.getvalue()) / 1000:.0f} kB")


def dark_on_light(images: torch.Tensor, columns: int, gap: int, scale: int = 1) -> Image.Image:
    """Return images (N, 1, H, W) in rows, with ink as black."""
    canvas = tile(1 - images.numpy(), columns, gap)[..., 0]
    grey = Image.fromarray((canvas * 255).round().astype(np.uint8))
    return grey.resize((grey.width * scale, grey.height * scale), Image.Resampling.NEAREST)


def latent_plane(runs: Path) -> Image.Image:
    """Return the images decoded from quantiles of the prior."""
    vae = pv.load_run(runs / "plane").vae
    across = [NormalDist().inv_cdf(share) for share in np.linspace(0.02, 0.98, COLUMNS)]
    down = [NormalDist().inv_cdf(share) for share in np.linspace(0.98, 0.02, ROWS)]
    codes = torch.tensor([[x, y] for y in down for x in across], dtype=torch.float32)
    return dark_on_light(vae.images(codes), COLUMNS, gap=0)


def reconstructions(runs: Path) -> Image.Image:
    """Return test images, with the reconstruction of each below it."""
    run = pv.load_run(runs / "sharp")
    data = pv.load_dataset("mnist", run.config.data_dir, binarize="dynamic")
    originals = data.test.images[: 4 * ACROSS]
    torch.manual_seed(0)
    decoded = run.vae.reconstruct(originals)
    pairs = zip(originals.split(ACROSS), decoded.split(ACROSS))
    return dark_on_light(torch.cat([torch.cat(pair) for pair in pairs]), ACROSS, gap=1, scale=2)


def samples(runs: Path) -> Image.Image:
    """Return expected images of codes drawn from the prior."""
    torch.manual_seed(0)
    vae = pv.load_run(runs / "sharp").vae
    return dark_on_light(vae.sample(8 * ACROSS), ACROSS, gap=1, scale=2)


def tutorial(runs: Path) -> Image.Image:
    """Return test images, and their reconstructions by the models of the tutorial."""
    images = pv.load_dataset("digits").test.images[:ACROSS]
    rows = {"image": images}
    for beta in (0.25, 1, 4):
        vae = pv.load_run(runs / "tutorial" / f"beta={beta:g},seed=0").vae
        torch.manual_seed(0)
        rows[f"beta {beta:g}"] = vae.reconstruct(images)
    return rows_of(rows)


def course(runs: Path) -> Image.Image:
    """Return reconstructions of test images and decoded codes of the prior, for the course's betas."""
    images = pv.load_dataset("digits").test.images[: ACROSS // 2]
    rows = {"image": torch.cat([images, torch.ones_like(images)])}
    betas = {
        f"beta {beta:g}": f"course/beta={beta:g},seed=0" for beta in (0.01, 0.25, 1, 2, 4, 10, 64)
    }
    for name, folder in {"autoencoder": "autoencoder", **betas}.items():
        vae = pv.load_run(runs / folder).vae
        torch.manual_seed(0)
        rows[name] = torch.cat([vae.reconstruct(images), vae.sample(len(images))])
    return rows_of(rows)


def rows_of(images: dict[str, torch.Tensor]) -> Image.Image:
    """Return rows of images (N, 1, H, W) with their names."""
    figure = named_rows({name: row.numpy() for name, row in images.items()}, "")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    return Image.open(buffer).convert("L")


def report(runs: Path) -> Image.Image:
    """Return the top of a run's page."""
    if not (runs / "sharp" / "evaluation.json").exists():
        pyro_vae("evaluate --quick", str(runs / "sharp"))
    pyro_vae("report", str(runs / "sharp"))
    return photograph(runs / "sharp" / "report.html")


def comparison(runs: Path) -> Image.Image:
    """Return the top of a sweep's page."""
    pyro_vae("compare", str(runs / "betas"))
    return photograph(runs / "betas" / "report.html")


def side_by_side(runs: Path) -> Image.Image:
    """Return the pictures of a sweep's page."""
    pyro_vae("compare", str(runs / "betas"))
    return photograph(runs / "betas" / "report.html", "side-by-side")


def explorer(runs: Path) -> Image.Image:
    """Return the top of the page that runs a model in the browser."""
    pyro_vae("explore", str(runs / "sharp"))
    return photograph(runs / "sharp" / "explore.html")


def photograph(page: Path, section: str = "") -> Image.Image:
    """Return the top of a page, or of the section of this name, as a browser shows it on a desktop."""
    with tempfile.TemporaryDirectory() as folder:
        picture, shown = Path(folder) / "page.png", Path(folder) / "page.html"
        shown.write_text(alone(page.read_text(), section) if section else page.read_text())
        browser = "chromium --headless --no-sandbox --disable-gpu --hide-scrollbars"
        place = [
            f"--screenshot={picture}",
            f"--window-size={WIDTH},{HEIGHT}",
            shown.as_uri(),
        ]
        subprocess.run([*browser.split(), *place], check=True, capture_output=True)
        colours = Image.open(picture).convert("RGB")
    return colours.quantize(COLOURS, dither=Image.Dither.NONE)


def alone(text: str, section: str) -> str:
    """Return a page with one of its sections only."""
    head, begin, rest = text.partition(f'<section id="{section}">')
    return head.partition("<h1>")[0] + begin + rest.partition("</section>")[0]


PICTURES: dict[str, tuple[str, Callable[[Path], Image.Image]]] = {  # each with its folders
    "latent_plane": ("plane", latent_plane),
    "reconstructions": ("sharp", reconstructions),
    "samples": ("sharp", samples),
    "tutorial": ("tutorial", tutorial),
    "course": ("course autoencoder", course),
    "report": ("sharp", report),
    "comparison": ("betas", comparison),
    "side_by_side": ("betas", side_by_side),
    "explorer": ("sharp", explorer),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default="data", help="folder of MNIST")
    parser.add_argument("--out", type=Path, default=Path("runs/gallery"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    asked = parser.parse_args()
    folders = " ".join(PICTURES[name][0] for name in asked.only)
    for folder in sorted(set(folders.split())):
        pyro_vae(COMMANDS[folder], "--data-dir", asked.data_dir, "--out", str(asked.out / folder))
    for name in asked.only:
        save(name, PICTURES[name][1](asked.out))


if __name__ == "__main__":
    main()
