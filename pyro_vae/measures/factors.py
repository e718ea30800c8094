"""Whether components mean something: labels, true factors."""

import torch
from torch import Tensor

from pyro_vae.evaluation.disentanglement import disentanglement
from pyro_vae.evaluation.features import linear_probe
from pyro_vae.measures.part import Figures, Measured, Part, Subject
from pyro_vae.pages.wording import Compared, Row

MOST_VALUES = 100  # of a factor; the trees of DCI take seconds for each value


def measure_factors(subject: Subject) -> Measured:
    """Measure whether components have a meaning, by labels and true factors."""
    data, labels = subject.data, subject.data.train.labels
    figures: Figures = {}
    if labels is not None and data.test.labels is not None:
        figures |= _probe_figures(subject)
    if data.train.factors is not None and data.factor_names:
        figures |= _factor_figures(subject, data.train.factors)
    return Measured(figures)


def _rows(count: int, most: int) -> Tensor:
    """Return at most `most` random rows of `count`, always the same; images may be sorted by class."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _probe_figures(subject: Subject) -> Figures:
    numbers = []
    for split in (subject.data.train, subject.data.test):
        rows = _rows(len(split), subject.effort.rows)
        numbers += [subject.codes(split.images[rows])[0].cpu(), split.labels[rows]]
    if len(numbers[1].unique()) < 2:
        return {}
    counts = numbers[-1].unique(return_counts=True)[1]
    return {
        "label_accuracy": linear_probe(*numbers),
        "label_chance": counts.max().item() / counts.sum().item(),
    }


def _factor_figures(subject: Subject, factors: Tensor) -> Figures:
    """Return the scores that the factors allow, and what is left out with the reasons."""
    rows = _rows(len(factors), subject.effort.rows)
    codes, factors = subject.codes(subject.train[rows])[0].cpu(), factors[rows]
    reasons = {name: _unfit(v) for name, v in zip(subject.data.factor_names, factors.T)}
    fit = [j for j, reason in enumerate(reasons.values()) if not reason]
    left_out = {name: reason for name, reason in reasons.items() if reason}
    figures: Figures = {"factor_names": [subject.data.factor_names[j] for j in fit]}
    if fit:
        scores = disentanglement(codes, factors[:, fit].long(), subject.seed)
        left_out |= scores.pop("not_scored", {})
        figures |= scores
    if left_out:
        said = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        figures["not_scored"] = said
    return figures


def _unfit(values: Tensor) -> str:
    """Return why a factor cannot be scored, or nothing."""
    if (values % 1 != 0).any():
        return "no whole numbers"
    different = len(values.unique())
    if different > MOST_VALUES:
        return f"more than {MOST_VALUES} values"
    return "a single value" if different == 1 else ""


FACTORS = Part(
    title="Do components mean something?",
    measure=measure_factors,
    needs=8,
    spends="codes of up to {rows:,} images",
    look="A linear classifier reads labels off the mean codes, and its accuracy stands beside that of"
    " guessing the most common label. If the data have true factors, scores say how far each has a"
    " component of its own. A score of 1 is perfect. Rotating the codes keeps the ELBO and lowers them.",
    terms={
        "MIG": "mutual information gap: how far one component tells more of a factor than the next"
        " one.",
        "DCI": "disentanglement, completeness and informativeness of a classifier of factors.",
        "SAP": "separated attribute predictability: the same idea as MIG, with linear predictors.",
    },
    rows=(
        Row(
            "label_accuracy",
            "accuracy of a linear probe",
            compared=Compared(
                "accuracy of a linear probe",
                "share",
                "How well labels are read off the codes. Look at whether it falls as components"
                " collapse.",
                best="highest",
                floor="factors.label_chance",
            ),
        ),
        Row("label_chance", "by guessing"),
        Row(
            "mutual_information_gap",
            "MIG",
            compared=Compared(
                "MIG",
                "0 to 1",
                "1 where each true factor has a component of its own. Look for a beta that raises"
                " it.",
                best="highest",
            ),
        ),
        Row("disentanglement", "DCI disentanglement"),
        Row("completeness", "DCI completeness"),
        Row("informativeness", "DCI informativeness"),
        Row("separated_attribute_predictability", "SAP"),
        Row("beta_vae_score", "beta-VAE score"),
        Row("factor_vae_score", "FactorVAE score"),
    ),
)
