"""Whether components mean something: labels, true factors."""

from pyro_vae.evaluation.disentanglement import disentanglement
from pyro_vae.evaluation.features import linear_probe
from pyro_vae.measures.part import Figures, Measured, Part, Subject
from pyro_vae.pages.wording import Compared, Row


def measure_factors(subject: Subject) -> Measured:
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
    return Measured(figures)


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


FACTORS = Part(
    title="Do components mean something?",
    measure=measure_factors,
    needs=8,
    look="How well a linear classifier reads labels off the mean codes, beside guessing the most"
    " common one. For data with true factors, how far each factor has a component of its own. Scores"
    " of 1 are perfect; a rotated code keeps its ELBO and loses these.",
    terms=(
        (
            "MIG",
            "mutual information gap: how far one component tells more of a factor than the next"
            " one.",
        ),
        (
            "DCI",
            "disentanglement, completeness and informativeness of a classifier of factors.",
        ),
        (
            "SAP",
            "separated attribute predictability: the same idea as MIG, with linear predictors.",
        ),
    ),
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
