"""Whether components mean something: labels, true factors."""

from pyro_vae.evaluation.disentanglement import disentanglement
from pyro_vae.evaluation.features import linear_probe
from pyro_vae.runs.subject import Figures, Subject


def measure_factors(subject: Subject) -> Figures:
    """Measure whether components have a meaning, by labels and true factors."""
    data, size = subject.data, subject.effort.rows
    spread = subject.codes(subject.test[:1000])[0].var(0)
    moving = spread.argsort(descending=True)[:10].tolist()
    figures: Figures = {"components_by_spread": moving}
    if data.train.labels is not None and len(data.train.labels.unique()) > 1:
        figures |= _probe_figures(subject)
    if data.train.factors is not None and data.factor_names:
        codes = subject.codes(subject.train[:size])[0].cpu()
        figures["factor_names"] = list(data.factor_names)
        figures |= disentanglement(codes, data.train.factors[:size], subject.seed)
    return figures


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
