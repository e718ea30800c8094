"""Whether components mean something: paths, labels, true factors."""

import torch

from pyro_vae.evaluation.disentanglement import disentanglement
from pyro_vae.evaluation.linear_probe import linear_probe
from pyro_vae.evaluation.paths import PATHS, interpolate, traverse
from pyro_vae.figures import one_run
from pyro_vae.runs.folder import to_numpy
from pyro_vae.runs.subject import Figures, Subject


def measure_factors(subject: Subject) -> Figures:
    """Measure whether components have a meaning, by labels, true factors and paths between codes."""
    data, size = subject.data, subject.effort.rows
    spread = subject.codes(subject.test[:1000])[0].var(0)
    moving = spread.argsort(descending=True)[:10].tolist()
    _show_paths(subject, moving)
    figures: Figures = {"components_by_spread": moving}
    if data.train.labels is not None and len(data.train.labels.unique()) > 1:
        figures |= _probe_figures(subject)
    if data.train.factors is not None and data.factor_names:
        codes = subject.codes(subject.train[:size])[0].cpu()
        figures["factor_names"] = list(data.factor_names)
        figures |= disentanglement(codes, data.train.factors[:size], subject.seed)
    return figures


def _show_paths(subject: Subject, moving: list[int]) -> None:
    model, test, save = subject.model, subject.test, subject.folder.save_figure
    rows = traverse(model, test[0], moving).flatten(0, 1)
    title = "Each row moves one component from -3 to 3"
    save("traversals", one_run.image_grid(to_numpy(rows), 8, title))
    ways = [interpolate(model, test[:4], test[4:8], path=path) for path in PATHS]
    title = "Between two images each: linear (upper four), slerp (lower four)"
    pictures = to_numpy(torch.cat(ways).flatten(0, 1))
    save("interpolation", one_run.image_grid(pictures, 8, title))


def _probe_figures(subject: Subject) -> Figures:
    data, size = subject.data, subject.effort.rows
    train_codes = subject.codes(subject.train[:size])[0].cpu()
    test_codes = subject.codes(subject.test[:size])[0].cpu()
    train_labels, test_labels = data.train.labels[:size], data.test.labels[:size]
    counts = test_labels.unique(return_counts=True)[1]
    return {
        "label_accuracy": linear_probe(train_codes, train_labels, test_codes, test_labels),
        "label_chance": counts.max().item() / counts.sum().item(),
    }
