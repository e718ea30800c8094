"""The benchmark of how a step grows."""

import sys

import pytest

from tests.support.house import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import floors
import growth


@pytest.mark.slow
def test_the_page_of_growth_has_a_row_and_a_point_for_each_size(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "ONE_MODEL", {"latent": (2, 3)})
    monkeypatch.setattr(growth, "BASE", growth.DIGITS)
    monkeypatch.setattr(floors, "products_per_second", lambda device: 1e11)
    page, figure = tmp_path / "page.md", tmp_path / "figure.png"
    command = f"--axis latent --rounds 1 --steps 1 --write {page} --figure {figure}"
    growth.main(command.split())
    *_, first, last = page.read_text().strip().splitlines()
    assert first.startswith("| latent size | 2 |") and last.startswith("| latent size | 3 |")
    assert figure.stat().st_size > 1000 and first.count("|") == 6
