"""The verdict on models whose regularisation is known: ten seeds, four sizes, three families.

    python benchmarks/verdict.py --write benchmarks/verdict.md

It trains on the embedded digits. A model should be called by the same word whatever the seed and
the number of images, or else the verdict should say that it is near a border.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

import pyro_vae as pv
from pyro_vae.evaluation.features import FeatureNet
from pyro_vae.evaluation.verdict import Verdict, explained_share, judge, mismatch
from pyro_vae.measures.samples import classifier_for
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

FAMILIES = {"gaussian_shared_sigma": "none", "bernoulli": "static", "discretized_logistic": "none"}
KINDS = {  # what is trained, and the word that it deserves where that is known
    "beta 1/8": None,
    "beta 1": "well regularised",
    "beta 2": None,
    "beta 4": None,
    "beta 8": None,
    "beta 16": "over-regularised",
    "beta 64": "over-regularised",
    "autoencoder": "under-regularised",
}
SIZES = (45, 90, 180, 700)
PREFACE = """\
Models of the digits with 8 components, {epochs} epochs, {seeds} seeds each. Up to 180 images are
test images; 700 are training images. Each cell counts seeds by word: o(ver), w(ell) or
u(nder-regularised), with a star if the verdict says that it is near a border. The ranges are those
of the two figures behind it, over seeds and sizes.
"""


class Case(NamedTuple):
    """A model, judged on a number of images."""

    size: int
    explained: float
    mismatch: float
    verdict: Verdict


def main(arguments: list[str] | None = None) -> None:
    """Train and judge what the command line asks for, and print the page as it grows."""
    asked = parse(arguments)
    page = "# The verdict on models that deserve one\n\n" + PREFACE.format(**vars(asked))
    for family in asked.family:
        page += f"\n## {family}\n\n{head()}\n"
        data = pv.load_dataset("digits", binarize=FAMILIES[family])
        net = classifier_for(data)
        for kind in KINDS:
            models = trained(kind, family, data, asked.seeds, asked.epochs)
            cases = [c for seed, model in enumerate(models) for c in judged(model, net, data, seed)]
            page += row(kind, cases) + "\n"
            print(row(kind, cases), flush=True)
            if asked.write:
                asked.write.write_text(page)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page, as Markdown")
    return parser.parse_args(arguments)


def trained(kind: str, family: str, data: pv.Dataset, seeds: int, epochs: int) -> list[VAE]:
    """Return a model per seed, trained side by side."""
    make = pv.Autoencoder if kind == "autoencoder" else pv.VAE
    models = []
    for seed in range(seeds):
        with seeded(seed):
            models.append(make(data.image_shape, 8, family, levels=data.levels))
    numerator, _, denominator = kind.removeprefix("beta ").partition("/")
    beta = 1.0 if make is pv.Autoencoder else int(numerator) / int(denominator or 1)
    numbers = {"betas": [beta] * seeds, "seeds": list(range(seeds))}
    for _ in pv.fit_many(models, data.train.images, **numbers, epochs=epochs):
        pass
    return models


def judged(model: VAE, net: FeatureNet, data: pv.Dataset, seed: int) -> list[Case]:
    """Return the verdicts on one model, as an evaluation gives them."""
    cases = []
    for size in SIZES:
        images = (data.train if size > 180 else data.test).images
        with seeded(seed):
            real, other = images[torch.randperm(len(images))[: 2 * size]].split(size)
            pictures = model.sample(size), model.reconstruct(other)
        explained = explained_share(model, real, seed)
        apart = mismatch(net, real, *pictures)
        cases.append(Case(size, explained, apart.mean, judge(explained, apart)))
    return cases


def head() -> str:
    """Return the head of a table."""
    names = ["trained with", "deserves", *(f"{size} images" for size in SIZES), "structure", "MMD²"]
    return f"| {' | '.join(names)} |\n{'| --- ' * len(names)}|"


def row(kind: str, cases: list[Case]) -> str:
    """Return the line of a table for one kind of model."""
    words = [counted([c.verdict for c in cases if c.size == size]) for size in SIZES]
    ranges = [span([c.explained for c in cases], 2), span([c.mismatch for c in cases], 3)]
    return f"| {' | '.join([kind, KINDS[kind] or '', *words, *ranges])} |"


def counted(verdicts: list[Verdict]) -> str:
    """Return the first letters of verdicts with their numbers, such as `9 w, 1 u*`."""
    letters = Counter(v.word[0] + "*" * v.borderline for v in verdicts)
    return ", ".join(f"{count} {letter}" for letter, count in letters.most_common())


def span(values: list[float], digits: int) -> str:
    """Return the smallest and the largest value."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


if __name__ == "__main__":
    main()
