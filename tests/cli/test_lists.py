"""The commands that list names."""

from pyro_vae.cli.main import main
from pyro_vae.names import DATASETS, LIKELIHOODS


def first_words(text):
    return [line.split()[0] for line in text.splitlines()]


def test_likelihoods(capsys):
    assert main(["likelihoods"]) == 0
    out = capsys.readouterr().out
    assert first_words(out) == list(LIKELIHOODS)
    assert all(line.endswith(text) for line, text in zip(out.splitlines(), LIKELIHOODS.values()))


def test_datasets(capsys):
    assert main(["datasets"]) == 0
    out = capsys.readouterr().out
    assert first_words(out) == list(DATASETS)
    assert all(line.endswith(text) for line, text in zip(out.splitlines(), DATASETS.values()))


def test_a_data_set_that_is_there(capsys):
    assert main(["datasets", "digits"]) == 0
    expected = "digits is complete: 1437 training and 360 test images 1x8x8\n"
    assert capsys.readouterr().out == expected
