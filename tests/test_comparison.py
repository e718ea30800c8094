"""`compare`: rows and means against figures computed by hand, and a page that stands alone."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_report import Page

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.comparison import table as comparison
from pyro_vae.figures.many_runs import Curve, elbo_over_epochs, over_setting, rate_distortion
from pyro_vae.pages.wording import MEASURES

SMALL = {"hidden": (8,), "latent_dim": 3, "epochs": 1, "batch_size": 128}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def finished(path, bits=2.0, elbo=-10.0, rate=5.0, evaluation=None, **settings):
    """A run folder made up, with the files that `compare` reads."""
    path = Path(path)
    path.mkdir(parents=True)
    config = pv.RunConfig(**(SMALL | settings))
    config.save(path / "config.yaml")
    test = {"elbo_nats": elbo, "rate_nats": rate, "distortion_nats": None, "active_units": 2}
    if elbo is not None:
        test["distortion_nats"] = -elbo - rate
    summary = {
        "parameters": {"encoder": 10, "decoder": 20, "likelihood": 1},
        "seconds": 3.5,
        "test": test | {"bits_per_dim": bits, "bits_per_dim_samples": bits and 16},
    }
    (path / "summary.json").write_text(json.dumps(summary))
    if evaluation:
        (path / "evaluation.json").write_text(json.dumps(evaluation))


def study(root="study"):
    """Two families by three betas by two seeds, on a made-up surface."""
    for likelihood, offset in (("gaussian_shared_sigma", 0), ("discretized_logistic", 1)):
        for beta in (0.0, 1.0, 4.0):
            for seed in (0, 1):
                finished(
                    f"{root}/{likelihood}-{beta:g}-{seed}",
                    bits=2 + offset + abs(beta - 1) / 10 + seed / 5,
                    elbo=-10 - abs(beta - 1) - seed,
                    rate=9 - beta,
                    likelihood=likelihood, beta=beta, seed=seed,
                )  # fmt: skip
    return root


# --- rows ------------------------------------------------------------------------------------------


def test_rows_have_what_varies_and_what_was_measured():
    samples = {
        "frechet_distance_samples": {"mean": 7.0, "standard_error": 0.5},
        "verdict": {"word": "well regularised", "reason": "both are good"},
        "variance_ratio": 0.75,
        "images": 100,
        "quick": True,
    }
    finished("a", bits=1.5, beta=2.0, evaluation={"samples": samples, "latents": None})
    finished("b", bits=None, beta=0.5, likelihood="bernoulli")
    first, second = pv.compare(["a", "b"])
    assert list(first)[:3] == ["folder", "likelihood", "beta"] and list(first) == list(second)
    assert first["folder"] == "a" and first["beta"] == 2 and second["likelihood"] == "bernoulli"
    assert first["test.bits_per_dim"] == 1.5 and second["test.bits_per_dim"] is None
    assert first["test.distortion_nats"] == 5 and first["parameters"] == 31
    assert first["samples.frechet_distance_samples"] == 7
    assert first["samples.frechet_distance_samples.standard_error"] == 0.5
    assert first["samples.variance_ratio"] == 0.75
    assert first["samples.verdict.word"] == "well regularised" and first["samples.quick"]
    assert second["samples.verdict.word"] is None
    assert "likelihood.elbo_nats" not in first and "best_epoch" not in first  # no run has it


def test_the_table_is_the_rows():
    main(["compare", study()])
    with open("study/compare.csv", newline="") as file:
        table = list(csv.DictReader(file))
    rows = pv.compare("study")
    assert len(table) == len(rows) == 12
    for line, row in zip(table, rows):
        assert line == {k: "" if v is None else str(v) for k, v in row.items()}


def test_runs_are_found_once():
    study()
    names = sorted(p.name for p in Path("study").iterdir())
    one, *_ = names
    found = comparison.find_runs([f"study/{one}", "study", f"study/../study/{one}"])
    assert [folder.path.name for folder in found] == names


def test_settings_that_vary():
    for n, hidden in enumerate(((8,), (8, 4))):
        finished(str(n), seed=n, hidden=hidden)
    runs = comparison.read_runs(["0", "1"]).finished
    assert comparison.varying(runs) == ["hidden", "seed"]
    assert comparison.varying(runs[:1]) == []
    assert comparison.line_settings(runs, "beta") == ["hidden"]
    assert list(comparison.lines(runs, ["hidden"])) == ["hidden 8", "hidden 8,4"]


def test_means_over_seeds_with_their_standard_errors():
    for seed, bits in enumerate((1.0, 2.0, 6.0)):
        finished(f"x/a{seed}", bits=bits, seed=seed, beta=4.0)
    finished("x/b", bits=5.0, beta=0.0)
    finished("x/c", bits=None, beta=1.0)
    runs = comparison.read_runs("x").finished
    alone, several = comparison.points(runs, "beta", "test.bits_per_dim")
    assert alone[:2] == (0, 5) and math.isnan(alone.standard_error) and alone.seeds == 1
    assert several.x == 4 and several.mean == 3 and several.seeds == 3
    # deviations -2, -1, 3: variance 14 / 2, over 3 runs
    assert several.standard_error == pytest.approx(math.sqrt(7 / 3), rel=1e-12)  # rounding


@pytest.mark.parametrize("best, x", [("highest", 4), ("lowest", 0), ("nearest 1", 2), ("", None)])
def test_the_best_value_of_a_setting(best, x):
    curve = [comparison.Point(*p, 1) for p in ((0, 0.3, 0.1), (2, 1.2, 0.1), (4, 1.9, 0.1))]
    found = comparison.best_point(curve, best)
    assert x is None if found is None else found.x == x
    assert {m.best for m in MEASURES.values()} <= {"", *comparison.BEST}


def test_the_ranking_leaves_out_what_has_no_bits():
    finished("a", bits=3.0)
    finished("b", bits=None, likelihood="bernoulli", elbo=99.0)
    finished("c", bits=2.5, seed=1)
    runs = comparison.read_runs(["a", "b", "c"]).finished
    assert [(rank, run.folder.path.name) for rank, run in comparison.ranked(runs)] == [
        (1, "c"), (2, "a"), (None, "b")
    ]  # fmt: skip
    assert [run.scale for run in runs] == ["density", "none", "density"]


@pytest.mark.parametrize("images, column", [(9, "likelihood"), (8, "test")])
def test_the_tighter_bound_ranks_where_all_have_it_at_one_effort(images, column):
    """Two bounds with other numbers of draws, or on other images, are not compared."""
    for name, bits, count in (("a", 1.0, 9), ("b", 2.0, images)):
        bound = {"bits_per_dim": {"mean": bits, "standard_error": 0.1}, "images": count}
        part = bound | {"bits_per_dim_samples": 500, "quick": False}
        finished(name, bits=5 - bits, evaluation={"likelihood": part})
    runs = comparison.read_runs(["a", "b"]).finished
    assert comparison.bits_column(runs) == f"{column}.bits_per_dim"
    first = {"likelihood": "a", "test": "b"}[column]
    assert comparison.ranked(runs)[0][1].folder.path.name == first
    assert comparison.uneven_parts(runs) == ([] if images == 9 else ["likelihood"])


def test_scales_of_families():
    finished("a")
    finished("b")
    run, _ = comparison.read_runs(["a", "b"]).finished
    for likelihood, score, scale in [
        ("gaussian_shared_sigma", "density", "density"),
        ("gaussian_shared_sigma", "levels", "levels"),
        ("categorical", "density", "levels"),
        ("bernoulli", "density", "levels"),  # it has bits here: the images are binary
    ]:
        config = pv.RunConfig(likelihood=likelihood, score=score)
        assert replace(run, config=config).scale == scale


# --- figures ---------------------------------------------------------------------------------------


def test_a_measure_is_drawn_where_it_was_measured():
    curve = Curve("a", 0, 0, [0, 0.5, 1, 2], [1, 2, 3, 4.0], [0.1] * 4, best=3)
    figure = over_setting([curve], "t", "beta", "bits", level=1.5, level_label="floor")
    (axes,) = figure.axes
    line, between = axes.lines[0], axes.lines[-1]
    (ring,) = (line for line in axes.lines if line.get_label() == "_best")
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "beta"
    assert list(line.get_ydata()) == [1, 2, 3, 4] and list(line.get_xdata()[1:]) == [0.5, 1, 2]
    assert 0 < line.get_xdata()[0] < between.get_xdata()[0] < 0.5
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "0.5", "1", "2"]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 4)
    (bars,) = axes.collections
    assert bars.get_segments()[3][:, 1] == pytest.approx([3.9, 4.1])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "floor"]


def test_components_that_are_all_in_use_lie_on_the_dotted_line():
    curves = [Curve("a", 0, 0, [2, 8], [2, 5]), Curve("b", 1, 0, [2, 32], [2, 8])]
    (axes,) = over_setting(curves, "t", "size", "active", diagonal_label="all").axes
    (every,) = (line for line in axes.lines if line.get_label() == "all")
    assert list(every.get_xdata()) == list(every.get_ydata()) == [2, 8, 32]
    low, high = axes.get_xlim()
    assert 1 < low < 2 and 32 < high < 64  # nothing but the data
    drawn = [(c.get_color(), c.get_linestyle(), c.get_marker()) for c in axes.lines[:2]]
    assert drawn[0][0] != drawn[1][0] and drawn[0][2] != drawn[1][2]


def test_the_plane_names_the_ends_of_a_line():
    curve = Curve("a", 0, 0, [5, 3], [1, 2.0], ends=("0.5", "4"))
    (axes,) = rate_distortion([curve], "t").axes
    assert list(axes.lines[0].get_xdata()) == [5, 3] and list(axes.lines[0].get_ydata()) == [1, 2]
    assert [(t.get_text(), t.xy) for t in axes.texts] == [("0.5", (5, 1)), ("4", (3, 2))]


def test_the_start_of_training_does_not_squeeze_its_end():
    curve = Curve("a", 0, 0, range(1, 21), [-1e6, -1e3, *range(-18, 0)])
    (axes,) = elbo_over_epochs([curve], "t").axes
    low, high = axes.get_ylim()
    assert -20 < low < -18 and -1 < high < 0


# --- the page --------------------------------------------------------------------------------------


def test_the_page_needs_nothing_beside_it(capsys):
    assert main(["compare", study()]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "12 finished runs in study/compare.csv",
        "Look at study/report.html",
    ]
    text, page = Path("study/report.html").read_text(), Page("study/report.html")
    assert not [tag for tag, a in page.tags if tag in ("script", "link", "iframe", "img")]
    assert not [a for _, a in page.tags if "src" in a]
    addresses = re.findall(r'(?:href|url)[=(]"?([^")]+)', text)
    assert all(address.startswith("#") for address in addresses)
    for words in (
        "They differ in likelihood, beta, seed", "Ranked by bits per dimension (16 draws)",
        "Rate and distortion", "Over beta", "2 scales", "0 apart", "bars their standard errors",
        "Best (lowest) at beta 1 (gaussian_shared_sigma) and 1 (discretized_logistic).",
    ):  # fmt: skip
        assert words in page.text, words
    for words in ("Over latent size", "Learning curves", "Not finished", "Failed"):
        assert words not in page.text, words
    drawn = [a for tag, a in page.tags if tag == "svg"]
    # the plane, the ELBO and the distortion on each scale; rate, bits and active units once
    assert len(drawn) == 9 and all("aria-label" in a for a in drawn)
    assert len({a["aria-label"] for a in drawn}) == 9
    assert [tag for tag, _ in page.tags].count("figcaption") == 9


def test_a_plot_appears_only_where_its_setting_varies():
    finished("x/a", latent_dim=2)
    finished("x/b", latent_dim=8)
    main(["compare", "x"])
    page = Page("x/report.html")
    assert "Over latent size" in page.text
    assert "Over beta" not in page.text and "Rate and distortion" not in page.text


def test_runs_without_bits_are_marked():
    finished("x/a", likelihood="bernoulli", bits=None)
    finished("x/b")
    finished("x/c", model="autoencoder", bits=None, elbo=None, rate=None)
    main(["compare", "x"])
    text = Page("x/report.html").text
    assert "1 of bernoulli; their score is no likelihood of these grey levels." in text
    assert "1 of gaussian_shared_sigma; an autoencoder gives images no probability." in text
    assert "2 scales here (pixel densities; no likelihood)" in text


def test_other_data_are_kept_apart():
    finished("x/a", dataset="digits")
    finished("x/b", dataset="digits", seed=1)
    finished("x/c", dataset="sprites")
    main(["compare", "x"])
    text = Page("x/report.html").text
    assert "not on one scale" in text and text.count("All runs") == 2


def test_unfinished_and_failed_runs_are_listed(capsys):
    study("x")
    finished("x/going")
    finished("x/broken")  # measured, and then something else went wrong
    Path("x/going/summary.json").unlink()
    Path("x/broken/failed.txt").write_text("loss: not finite in epoch 3\n")
    assert main(["compare", "x"]) == 0
    out = capsys.readouterr().out
    assert "not finished: x/going: 0 of 1 epochs" in out
    assert "failed: x/broken: loss: not finite in epoch 3" in out
    text = Page("x/report.html").text
    assert "x/going: 0 of 1 epochs" in text and "x/broken: loss: not finite" in text
    assert len(pv.compare("x")) == 12


def test_where_it_goes():
    for name in ("a", "b"):
        finished(f"x/{name}")
    assert main(["compare", "x/a", "x/b"]) == 0
    assert sorted(p.name for p in Path("comparison").iterdir()) == ["compare.csv", "report.html"]
    Path("comparison/notes.txt").write_text("mine")
    assert main(["compare", "x", "--out", "comparison"]) == 0  # replaced, the rest left alone
    assert Path("comparison/notes.txt").read_text() == "mine"
    assert main(["compare", "x", "--out", "new/deep"]) == 0
    assert Path("new/deep/report.html").exists()


# --- refusals --------------------------------------------------------------------------------------


def spoil_nothing():
    pass


def spoil(path, text):
    def write():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)

    return write


@pytest.mark.parametrize(
    "prepare, arguments, message",
    [
        (spoil_nothing, ["nowhere"], "compare: there is no folder nowhere"),
        (spoil("empty/a.txt", ""), ["empty"], "compare: empty is no run folder, and holds none"),
        (spoil_nothing, ["x/a"], "compare: expected two finished runs or more, got 1"),
        (spoil("x/b/config.yaml", "beta: ["), ["x"], "config: x/b/config.yaml cannot be read"),
        (spoil("x/b/summary.json", "{"), ["x"], "summary: x/b/summary.json is not JSON"),
        (spoil("x/b/summary.json", "[]"), ["x"], "summary: x/b/summary.json is no summary of a run"),
        (spoil("x/b/summary.json", '{"parameters": {}, "test": {"bits_per_dim": "few"}}'), ["x"],
         "summary: test.bits_per_dim of x/b/summary.json is no number"),
        (spoil("x/b/evaluation.json", "}"), ["x"], "evaluation: x/b/evaluation.json is not JSON"),
        (spoil("x/b/evaluation.json", "[1]"), ["x"],
         "evaluation: x/b/evaluation.json is no evaluation of a run"),
        (spoil("x/b/metrics.csv", "epoch\n1\n"), ["x"], "metrics: x/b/metrics.csv is no table"),
        (spoil("file", ""), ["x", "--out", "file"], "out: file is not a folder"),
        (spoil_nothing, ["x", "--out", "x/a"], "out: x/a is a run folder; name another one"),
        (spoil("x/report.html", "mine"), ["x"],
         "out: x/report.html is there already, and no comparison's"),
        (spoil("x/compare.csv", "mine"), ["x"],
         "out: x/compare.csv is there already, and no comparison's"),
        (spoil_nothing, [], "the following arguments are required: RUN"),
    ],
)  # fmt: skip
def test_refusals_are_one_line_and_write_nothing(prepare, arguments, message, capsys):
    finished("x/a")
    finished("x/b", beta=2.0)
    prepare()
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before


def test_too_few_finished_runs_are_named():
    finished("x/a")
    finished("x/b")
    Path("x/b/summary.json").unlink()
    with pytest.raises(ValueError, match="got 1; unfinished: x/b"):
        pv.compare("x")


# --- real runs -------------------------------------------------------------------------------------


def test_a_small_comparison():
    configs = {
        f"{likelihood}-{beta:g}": pv.RunConfig(likelihood=likelihood, beta=beta, **SMALL)
        for likelihood in ("gaussian_shared_sigma", "discretized_logistic")
        for beta in (0.5, 2.0)
    }
    runs = {name: pv.train(config, f"runs/{name}") for name, config in configs.items()}
    assert main(["compare", "runs"]) == 0
    for row in pv.compare("runs"):
        run = runs[Path(row["folder"]).name]
        assert row["likelihood"] == run.config.likelihood and row["beta"] == run.config.beta
        assert row["test.elbo_nats"] == run.summary["test"]["elbo_nats"]
        assert row["parameters"] == sum(p.numel() for p in run.vae.parameters())
    page = Page("runs/report.html")
    assert "Learning curves" in page.text and "Over beta" in page.text
    best = min(r.summary["test"]["bits_per_dim"] for r in runs.values())
    assert page.text.index(f"{best:.3f}") > 0
    assert [tag for tag, _ in page.tags].count("svg") == 11
