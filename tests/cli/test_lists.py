"""The commands that list names."""

from pyro_vae.cli.lists import CHOICE, GROUPS
from pyro_vae.cli.main import main
from pyro_vae.likelihoods import base, families
from pyro_vae.names import DATASETS, LIKELIHOODS
from tests.support.house import ROOT


def first_words(text):
    return [line.split()[0] for line in text.splitlines()]


def test_likelihoods(capsys):
    assert main(["likelihoods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed, choice = (
        lines[: lines.index("Which to choose")],
        lines[lines.index("Which to choose") :],
    )
    shown = {line.split()[0]: line for line in listed if line.startswith("  ")}
    assert len(listed) == len(shown) + len(GROUPS)
    assert shown.keys() == LIKELIHOODS.keys()
    assert all(shown[name].endswith(f" {text}") for name, text in LIKELIHOODS.items())
    assert 4 <= len(choice) <= 8
    assert max(map(len, lines)) <= 80


def test_groups_say_what_the_families_are():
    for heading, names in GROUPS.items():
        for name in names:
            family = families.LIKELIHOODS[name]
            assert (family.scored_on("density", False) == "none") == (heading == "Binary images")
            assert issubclass(family, base.LevelMass) == ("probability" in heading), name


def test_the_bits_of_families_are_those_of_the_notebook():
    table = (ROOT / "notebooks" / "README.md").read_text()
    for figures in ("| categorical | 1.30 |", "| five logistics | 1.33 |", "| Beta | 1.41 |"):
        assert figures in table and figures.split("|")[2].strip() in CHOICE
    assert "eight families on the whole line | 1.51 to 1.55" in table and "1.51 to 1.55" in CHOICE


def test_datasets(capsys):
    assert main(["datasets"]) == 0
    out = capsys.readouterr().out
    assert first_words(out) == list(DATASETS)
    assert all(line.endswith(text) for line, text in zip(out.splitlines(), DATASETS.values()))


def test_a_data_set_that_is_there(capsys):
    assert main(["datasets", "digits"]) == 0
    expected = "digits is complete: 1437 training and 360 test images 1x8x8\n"
    assert capsys.readouterr().out == expected
