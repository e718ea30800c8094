"""Whether components mean something: labels, true factors."""

from pyro_vae.pages.wording import Compared, Row
from pyro_vae.runs.parts.part import Part, data_rows

FACTORS = Part(
    title="Do components mean something?",
    summary="a linear probe; MIG, DCI, SAP, beta-VAE and FactorVAE scores",
    measured_by="pyro_vae.runs.measuring.factors:measure_factors",
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
        *data_rows(
            "components_by_spread", "factor_names", "mutual_information_nats", "importances"
        ),
    ),
    pictures=(),
)
