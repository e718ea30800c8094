"""The chains that the benchmark of annealing compares have one density."""

import sys
from dataclasses import replace
from types import SimpleNamespace

from tests.support.house import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import chains
import evaluation


def test_all_chains_have_one_density_and_move():
    problem = replace(evaluation.NETWORKS["64-128-8"], images=2, chains=3)
    peers = [chains.Ours(problem), chains.Handwritten(problem)]
    expected = peers[0].log_joint()
    for peer in peers:
        before = peer.log_joint()
        assert abs(before - expected).max() < 0.05  # differences of probabilities cancel
        peer.move(2)
        assert (peer.log_joint() != before).any()


def test_ratios_of_annealing_are_formed_within_rounds():
    workers = [
        SimpleNamespace(name=n, microseconds=m) for n, m in (("ours", [2, 6]), ("other", [4, 3]))
    ]
    assert evaluation.table(workers)[-1] == "| `other` | 3.50 [3.25, 3.75] | 1.25 [0.875, 1.62] |"
