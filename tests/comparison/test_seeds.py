"""Tables summed up over seeds, against closed forms."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyro_vae.comparison.seeds import best_settings, differences, over_seeds, with_errors
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.significance import paired_difference, two_way_mean
from pyro_vae.notices import Notice
from pyro_vae.settings import setting_text

NUMBERS = pd.DataFrame(
    {
        "beta": [1, 1, 4, 4, 8],
        "seed": [0, 1, 0, 1, 0],
        "bits": [1.0, 2.0, 5.0, 9.0, 3.0],
        "bits.standard_error": [0.1, 0.2, 0.3, 0.4, 0.5],
        "word": ["a", "b", "c", "d", "e"],
    }
)


def of_images(seeds=3, images=30, means=(0.0, 0.0, 3.0), random_state=0):
    """Nats of each image for three betas: images differ by 5 nats, seeds by 0.1, values by 0.5."""
    rng = np.random.default_rng(random_state)
    common = 5 * rng.normal(size=images)
    rows = []
    for beta, mean in enumerate(means, 1):
        for seed in range(seeds):
            values = common + mean + 0.1 * rng.normal() + 0.5 * rng.normal(size=images)
            rows.append({"data": "d", "beta": beta, "seed": seed, "nats": values})
    return pd.DataFrame(rows)


def stack(table, beta):
    return np.stack(list(table[table["beta"] == beta]["nats"]))


def test_means_of_numbers_have_the_error_over_seeds():
    means = over_seeds(NUMBERS, "beta", "bits")
    assert means.index.tolist() == [1, 4, 8] and means.index.name == "beta"
    assert means["bits"].tolist() == [1.5, 7.0, 3.0]
    # of two values, half their distance; a single seed has none
    errors = means["bits.standard_error"].tolist()
    assert errors == pytest.approx([0.5, 2.0, math.nan], rel=1e-12, nan_ok=True)
    means = over_seeds(NUMBERS, "beta", "bits", over_images=True)
    assert means["bits.standard_error"].tolist() == pytest.approx([0.5, 2.0, 0.5], rel=1e-12)


def test_means_of_images_have_the_error_over_seeds_and_images():
    table = of_images()
    means = over_seeds(table, ["data", "beta"], ["nats"])
    for beta in (1, 2, 3):
        found = means.loc[("d", beta)]
        assert Estimate(*found) == two_way_mean(stack(table, beta))
    single = table[table["seed"] == 0]
    assert over_seeds(single, "beta", "nats")["nats.standard_error"].isna().all()
    found = over_seeds(single, "beta", "nats", over_images=True)
    exact = stack(single, 1)[0].std(ddof=1) / math.sqrt(30)
    assert found["nats.standard_error"].loc[1] == pytest.approx(exact, rel=1e-12)


def test_a_value_of_a_single_image_is_a_number_of_each_seed():
    one = NUMBERS.assign(bits=[np.array([value]) for value in NUMBERS["bits"]])
    for table in (over_seeds(one, "beta", "bits"), over_seeds(NUMBERS, "beta", "bits")):
        assert table["bits"].tolist() == [1.5, 7.0, 3.0]
    assert differences(one, "bits", "beta", 4, 1).equals(differences(NUMBERS, "bits", "beta", 4, 1))


def test_a_figure_that_no_run_has_is_missing():
    table = NUMBERS.assign(bits=[None, None, 1.0, None, None])
    means = over_seeds(table, "beta", "bits")
    assert math.isnan(means.loc[1, "bits"]) and means.loc[4, "bits"] == 1.0
    assert with_errors(means)["bits"].tolist() == ["-", "1", "-"]


def test_figures_as_text_have_two_digits_of_their_error():
    means = pd.DataFrame(
        {
            "a": [1234.567, 0.12345, 5.0, math.nan],
            "a.standard_error": [12.3, 0.0123, math.nan, 1.0],
            "b": [3.14159, 2, None, 1.0],
            "c": ["word", "w", "x", "y"],
        }
    )
    text = with_errors(means)
    assert list(text.columns) == ["a", "b", "c"]
    assert text["a"].tolist() == ["1,235 ± 12", "0.123 ± 0.012", "5", "-"]
    assert text["b"].tolist() == ["3.142", "2", "-", "1"] and text["c"].tolist()[0] == "word"


def test_small_errors_have_an_exponent_and_figures_of_folders_their_names():
    means = pd.DataFrame({"p": [1.7e-76], "p.standard_error": [1.7e-76], "test.elbo_nats": [-5.0]})
    text = with_errors(means.assign(count=73112.0))
    assert text.pop("count").tolist() == ["73,112"]
    assert list(text.columns) == ["p", "test ELBO (nats per image)"]
    assert text["p"].tolist() == ["1.7e-76 ± 2e-76"]


def test_a_difference_is_that_of_its_closed_form():
    table = of_images()
    found = differences(table, "nats", "beta", 3, 1, "data").loc["d"]
    exact = paired_difference(stack(table, 3), stack(table, 1))
    assert found["difference"] == exact.mean and found["p-value"] == exact.p_value
    assert found["difference.standard_error"] == exact.standard_error
    assert found["error over"] == "images and seeds"


def test_a_difference_of_one_seed_is_over_images():
    table = of_images(seeds=1)
    found = differences(table, "nats", "beta", 3, 1).iloc[0]
    gains = stack(table, 3)[0] - stack(table, 1)[0]
    assert found["difference"] == pytest.approx(gains.mean(), rel=1e-12)  # rounding
    error = gains.std(ddof=1) / math.sqrt(len(gains))
    assert found["difference.standard_error"] == pytest.approx(error, rel=1e-12)
    p_value = stats.ttest_1samp(gains, 0).pvalue
    assert found["error over"] == "images" and found["p-value"] < 1e-6
    assert found["p-value"] == pytest.approx(p_value, rel=1e-6, abs=0)


def test_a_difference_of_numbers_holds_whatever_the_variances_of_seeds():
    found = differences(NUMBERS, "bits", "beta", 4, 1).iloc[0]
    assert found["difference"] == 5.5 and found["error over"] == "seeds"
    error = math.sqrt(4.25)  # errors of 2 and a half; two seeds have one degree of freedom
    assert found["difference.standard_error"] == pytest.approx(error, rel=1e-12)
    assert found["p-value"] == pytest.approx(2 * stats.t.sf(5.5 / error, 1), rel=1e-9)


def test_a_difference_of_single_numbers_has_no_error():
    found = differences(NUMBERS, "bits", "beta", 8, 1).iloc[0]
    assert found["difference"] == 1.5 and found["error over"] == "nothing"
    assert math.isnan(found["difference.standard_error"])


def test_the_best_value_and_those_that_can_be_best():
    table = of_images(means=(3.0, 3.0, 0.0))
    found = best_settings(table, "nats", "beta", "data").loc["d"]
    assert found["best"] in (1, 2) and found["can be best"] == "1, 2"
    assert Estimate(found["value"], found["value.standard_error"]) == two_way_mean(
        stack(table, found["best"])
    )
    lowest = best_settings(table, "nats", "beta", "data", best="lowest").loc["d"]
    assert lowest["best"] == 3 and lowest["can be best"] == "3"


def test_one_seed_does_not_tell_which_can_be_best():
    found = best_settings(NUMBERS, "bits", "beta", best="lowest").iloc[0]
    assert found["best"] == 1 and found["can be best"] == "unknown: one seed"
    two = best_settings(NUMBERS[NUMBERS["beta"] < 8], "bits", "beta", best="lowest").iloc[0]
    assert two["can be best"] == "1, 4", "two seeds of each that lie far apart"


@pytest.mark.parametrize(
    "setting, values, words",
    [
        ("patience", [None, 5], "unset, 5"),
        ("sigma", [0.5, None], "unset, 0.5"),
        ("hidden", [(8,), None], "unset, 8"),
        ("hidden", [(8, 4), (16, 8)], "8,4, 16,8"),
        ("beta_schedule", ["linear", "cyclical"], "cyclical, linear"),
    ],
)
def test_a_value_that_is_unset_is_one_of_the_values(setting, values, words):
    """Pandas drops it from groups, and takes hidden sizes for several values."""
    rows = [
        {setting: value, "seed": seed, "bits": 10.0 * place + seed}
        for place, value in enumerate(values)
        for seed in range(3)
    ]
    for table in (pd.DataFrame(rows), pd.DataFrame(rows).infer_objects()):
        found = best_settings(table, "bits", setting, best="lowest").iloc[0]
        best = found["best"]
        assert (best if best == best else None) == values[0] and found["value"] == 1
        assert found["can be best"] == setting_text(values[0])
        difference = differences(table, "bits", setting, values[1], values[0]).iloc[0]
        assert difference["difference"] == 10 and difference["error over"] == "seeds"
        near = table.assign(bits=table["bits"] % 10)
        assert best_settings(near, "bits", setting)["can be best"].tolist() == [words]


def test_a_single_value_is_not_called_a_single_seed():
    found = best_settings(NUMBERS[NUMBERS["beta"] == 1], "bits", "beta").iloc[0]
    assert found["best"] == 1 and found["can be best"] == "unknown: one value"


def test_groups_without_the_measure_have_no_best():
    table = NUMBERS.assign(family=["a", "a", "a", "b", "b"])
    table.loc[table["family"] == "b", "bits"] = math.nan
    assert best_settings(table, "bits", "beta", "family").index.tolist() == ["a"]


# --- a seed that is repeated ----------------------------------------------------------------------


@pytest.fixture
def one_seed_twice():
    """The same runs under two engines: to rounding, the numbers of one seed."""
    rows = [
        {"beta": beta, "seed": 0, "engine": engine, "patience": None, "nats": beta + rounding}
        for beta in (1.0, 4.0)
        for engine, rounding in (("svi", 0.0), ("eager", 1e-9))
    ]
    return pd.DataFrame(rows, index=pd.Index(["a", "b", "c", "d"], name="folder"))


def test_a_repeated_seed_is_no_second_one(one_seed_twice):
    """Else a mean over seeds is 1 with an error of 5e-10, and differences have p = 1e-19."""
    with pytest.warns(Notice, match="left out, as another row has their settings and seed: b, d"):
        means = over_seeds(one_seed_twice, "beta", "nats")
    assert means["nats"].tolist() == [1, 4] and means["nats.standard_error"].isna().all()
    with pytest.warns(Notice, match="b, d"):
        found = differences(one_seed_twice, "nats", "beta", 4.0, 1.0).iloc[0]
    assert found["error over"] == "nothing" and math.isnan(found["p-value"])
    with pytest.warns(Notice, match="b, d"):
        best = best_settings(one_seed_twice, "nats", "beta").iloc[0]
    assert best["can be best"].startswith("unknown")


def test_rows_that_differ_in_what_is_asked_for_are_no_repeats(one_seed_twice):
    means = over_seeds(one_seed_twice, ["beta", "engine"], "nats")
    assert len(means) == 4
    found = differences(one_seed_twice, "nats", "engine", "eager", "svi", "beta")
    assert found["difference"].tolist() == pytest.approx([1e-9, 1e-9], rel=1e-6)  # rounding
    noisy = pd.concat([NUMBERS.assign(noise=noise) for noise in (0.0, 0.1)])
    assert over_seeds(noisy, ["noise", "beta"], "bits")["bits"].tolist() == [1.5, 7.0, 3.0] * 2


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: over_seeds(NUMBERS, "beta", "bit"), "column: unknown name 'bit'; did you mean"),
        (lambda: over_seeds(NUMBERS, "betas", "bits"), "column: unknown name 'betas'"),
        (lambda: differences(NUMBERS, "bits", "beta", 1, 2), "beta: expected runs of 1 and 2"),
        (lambda: best_settings(NUMBERS, "bits", "beta", best="top"), "best: unknown name 'top'"),
        (lambda: best_settings(NUMBERS, "bits", "bet"), "column: unknown name 'bet'"),
    ],
)
def test_what_the_table_does_not_have_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
