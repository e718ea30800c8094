"""JSON that people have edited, or that disks have spoilt, is refused with the name of its file."""

import json
from pathlib import Path

import pytest

from pyro_vae.runs.results import load_evaluation, load_summary, save_json

pytestmark = pytest.mark.usefixtures("elsewhere")

SUMMARY = {"test": {"elbo_nats": 1.0}, "parameters": {"encoder": 1, "decoder": 1, "likelihood": 1}}
FOREIGN = ["[]", "{}", "null", "3", '"text"', "[" * 100_000, "{", '{"test": [], "parameters": {}}']


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: text[:12])
def test_a_foreign_summary_is_refused(text):
    Path("summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"^summary: summary\.json is"):
        load_summary(Path("summary.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"test": {"elbo_nats": "many"}},
        {"test": {"rate_per_component_nats": ["x"]}},
        {"test": {"rate_per_component_nats": []}},
        {"test": {"rate_per_component_nats": [True, None]}},
        {"test": {"mean_variance_per_component": [1.0]}},
        {"parameters": {"encoder": "x"}},
        {"seconds": "long"},
        {"epochs": True},
        {"linear_optimum": 3},
        {"latent_dim": "two"},
        {"dataset": []},
        {"baselines": {"ppca": {}}},
    ],
    ids=str,
)
def test_words_where_numbers_belong_are_refused(change):
    save_json(Path("summary.json"), SUMMARY)
    assert load_summary(Path("summary.json"), 2) == SUMMARY
    save_json(Path("summary.json"), SUMMARY | change)
    with pytest.raises(ValueError, match=r"summary\.json is no summary of a run"):
        load_summary(Path("summary.json"), 2)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 400])
def test_numbers_that_json_does_not_have_are_refused(number):
    Path("a.json").write_text(json.dumps(SUMMARY).replace("1.0", number))
    for load in (load_summary, load_evaluation):
        with pytest.raises(ValueError, match=r"a\.json is not JSON"):
            load(Path("a.json"))


@pytest.mark.parametrize(
    "text",
    ["[]", "[" * 100_000, '{"limit": 3}', '{"limit": {"p_value": "small"}}',
     '{"latents": {"images": []}}', '{"samples": {"verdict": {"word": 7}}}',
     '{"samples": {"recall_samples": {"mean": "x"}}}'],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_a_foreign_evaluation_is_refused(text):
    Path("evaluation.json").write_text(text)
    with pytest.raises(ValueError, match=r"^evaluation: evaluation\.json is"):
        load_evaluation(Path("evaluation.json"))


def test_what_is_not_there_yet_is_nothing():
    assert load_summary(Path("summary.json")) is None
    assert load_evaluation(Path("evaluation.json")) == {}
