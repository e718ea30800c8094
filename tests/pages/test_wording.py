"""How figures are written and looked up."""

import math

import pytest

from pyro_vae.pages.wording import SUMMARY, Row, Shown, figure_text, lookup, number_text, shown_rows


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0.000"),
        (1.5, "1.500"),
        (123.456, "123.5"),
        (54321.0, "54321"),
        (1e-7, "1e-07"),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        ("word", "word"),
        ({"mean": -1.25, "standard_error": 0.5}, "-1.25 ± 0.50"),
        ({"mean": 2.0, "standard_error": None}, "2.000"),
    ],
)
def test_figures_as_text(value, text):
    assert figure_text(value) == text


def test_a_mean_has_as_many_digits_as_its_error_tells():
    found = [number_text(1234.5, 12.3), number_text(2.0, 0.5, sign="+"), number_text(2.0, 2e-6)]
    assert found == ["1,234 ± 12", "+2.00 ± 0.50", "2 ± 2e-06"]
    assert [number_text(2000.0, math.nan), number_text(0.25, 0.0)] == ["2,000", "0.25"]


def test_lookup_follows_dots():
    part = {"a": {"b": {"c": 1}}}
    assert lookup(part, "a.b.c") == 1 and lookup(part, "a.b") == {"c": 1}
    assert lookup(part, "a.x.c") is None and lookup(part, "a.b.c.d") is None


def test_rows_with_a_value_are_shown_in_their_order():
    rows = (
        Row("later", "second", "nats"),
        Row("first.of.all", "deep", kind="words"),
        Row("none", "without a value"),
        Row("absent", "not measured"),
    )
    figures = {"first": {"of": {"all": "text"}}, "later": 1.5, "none": None, "kept": [1, 2]}
    assert shown_rows(rows, figures) == [
        Shown("second", "1.500", "nats", "figure"),
        Shown("deep", "text", "", "words"),
    ]


def test_rows_of_the_summary_are_declared_once():
    keys = [row.key for row in SUMMARY]
    assert len(keys) == len(set(keys)) > 10
    assert all(row.name for row in SUMMARY)
