"""The names that a user can choose among are those of the dicts in the rooms."""

import pytest

from pyro_vae import names
from pyro_vae.data import LOADERS
from pyro_vae.evaluation.tempering import STARTS
from pyro_vae.figures.images import VIDEO_TYPES
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.measures import PARTS
from pyro_vae.models.fitted import FITTED
from pyro_vae.models.networks import ACTIVATIONS, INITIALISATIONS, NETWORKS
from pyro_vae.models.posteriors import POSTERIORS
from pyro_vae.models.priors import PRIORS
from pyro_vae.settings import TrainingSettings
from pyro_vae.training.engines import ENGINES
from pyro_vae.training.epochs import BETA_SCHEDULES, LEARNING_RATE_SCHEDULES
from pyro_vae.training.fit import PRECISIONS
from pyro_vae.training.objectives import OBJECTIVES

DICTS = {
    "DATASETS": LOADERS,
    "LIKELIHOODS": LIKELIHOODS,
    "OBJECTIVES": OBJECTIVES,
    "ENGINES": ENGINES,
    "NETWORKS": NETWORKS,
    "ACTIVATIONS": ACTIVATIONS,
    "INITIALISATIONS": INITIALISATIONS,
    "POSTERIORS": POSTERIORS,
    "PRIORS": PRIORS,
    "FITTED": FITTED,
    "BETA_SCHEDULES": BETA_SCHEDULES,
    "LEARNING_RATE_SCHEDULES": LEARNING_RATE_SCHEDULES,
    "PRECISIONS": PRECISIONS,
    "PARTS": PARTS,
}


def test_dicts_have_the_names_in_their_order():
    for name, choices in DICTS.items():
        assert list(choices) == list(getattr(names, name)), name


def test_names_are_different_words():
    for name in (n for n in vars(names) if n.isupper() and "DRAWS" not in n):
        words = list(getattr(names, name))
        assert len(words) == len(set(words)) > 1, name
        assert all(word == word.lower() and word.strip() for word in words), name


def test_names_with_a_line_about_them():
    for name in (
        "DATASETS",
        "LIKELIHOODS",
        "POSTERIORS",
        "PRIORS",
        "FITTED",
        "OBJECTIVES",
        "ENGINES",
        "PARTS",
    ):
        for word, text in getattr(names, name).items():
            assert text and "\n" not in text and text.strip() == text, word


def test_engines_know_their_names():
    assert [engine.name for engine in ENGINES.values()] == list(ENGINES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_for_one_beta_only_is_refused_with_others(name):
    """The settings refuse what the objective's own check refuses."""
    try:
        TrainingSettings(objective=name, beta=2)
        accepted = True
    except ValueError as error:
        assert "is a bound at beta 1 only" in str(error)
        accepted = False
    assert accepted == OBJECTIVES[name].any_beta == (name in names.ELBOS)


# --- checks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [STARTS, VIDEO_TYPES, names.NETWORKS])
def test_a_known_name_is_given_back(known):
    assert [names.check_name("what", name, known) for name in known] == list(known)


@pytest.mark.parametrize(
    "name, hint",
    [
        ("studen_t", "did you mean 'student_t'?"),
        ("student", "did you mean 'student_t'?"),
        ("logistic", "did you mean one of discretized_logistic, discretized_logistic_mixture?"),
        ("gaussian", "did you mean one of gaussian_fixed_sigma, gaussian_shared_sigma, gaussian_i"),
        ("ga", f"expected one of {', '.join(LIKELIHOODS)}"),
    ],
)
def test_an_unknown_name_comes_with_those_that_are_near_or_all(name, hint):
    with pytest.raises(ValueError) as error:
        names.check_name("likelihood", name, LIKELIHOODS)
    assert str(error.value).startswith(f"likelihood: unknown name '{name}'; {hint}")


def test_a_message_lists_no_more_than_twenty_names():
    with pytest.raises(ValueError, match=r"expected one of 99 names, such as 0, .*, 19$"):
        names.check_name("key", "x", map(str, range(99)))


def test_a_path_is_told_from_a_name(elsewhere, tmp_path):
    assert [names.is_path(text) for text in ("a.npy", "a.npz", "a/b", "a", "mnist")] == [
        *(True, True, True, False, False)
    ]
    (tmp_path / "a").mkdir()
    (tmp_path / "mnist").mkdir()
    assert names.is_path("a") and not names.is_path("mnist")
