"""The comparison's page stands alone, and what it cannot compare is named."""

import re
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from tests.support.made_up import make_up_run, make_up_study
from tests.support.pages import Page
from tests.support.runs import contents

pytestmark = pytest.mark.usefixtures("elsewhere")
no_pictures = pytest.mark.usefixtures("no_pictures")


def page_of(folder="x"):
    """The page of the runs in a folder."""
    assert main(["compare", str(folder)]) == 0
    return Page(f"{folder}/report.html")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The page of twelve runs: two families by three betas by two seeds."""
    return page_of(make_up_study(tmp_path_factory.mktemp("runs") / "study"))


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it(study):
    assert [study.count(tag) for tag in ("script", "link", "iframe", "svg")] == [0] * 4
    sources = [attributes["src"] for _, attributes in study.tags if "src" in attributes]
    assert sources and all(source.startswith("data:image/") for source in sources)
    for drawn in study.figures.values():
        addresses = re.findall(r'(?:href|url)[=(]"?([^")]+)', drawn)
        assert addresses and all(address.startswith("#") for address in addresses)


@pytest.mark.slow
def test_the_page_says_what_was_compared(study):
    text = " ".join(study.text.split())
    assert any("0 apart" in drawn for drawn in study.figures.values())
    for words in (
        "They differ in likelihood, beta, seed, and agree in all other settings.",
        "Ranked by bits per dimension (16 draws)",
        "Rate and distortion",
        "Over beta",
        "2 scales",
        "bars their standard errors",
        "Best (lowest) at beta 1 (gaussian_shared_sigma) and 1 (discretized_logistic).",
    ):
        assert words in text, words
    for words in ("Over latent size", "Learning curves", "Not finished", "Failed"):
        assert words not in text, words


@pytest.mark.slow
def test_the_page_draws_each_measure_once_on_each_scale(study):
    """The plane, the ELBO and the distortion on both scales; rate, bits and active units once."""
    drawn = [attributes["alt"] for tag, attributes in study.tags if tag == "img"]
    assert len(drawn) == len(set(drawn)) == study.count("figcaption") == 9


@no_pictures
def test_a_plot_appears_only_where_its_setting_varies():
    make_up_run("x/a", latent_dim=2)
    make_up_run("x/b", latent_dim=8)
    page = page_of("x")
    assert "Over latent size" in page.text
    assert "Over beta" not in page.text and "Rate and distortion" not in page.text


@no_pictures
def test_runs_without_bits_are_marked():
    make_up_run("x/a", likelihood="bernoulli", bits=None)
    make_up_run("x/b")
    make_up_run("x/c", model="autoencoder", bits=None, elbo=None, rate=None)
    text = page_of("x").text
    assert "1 of bernoulli; their score is no likelihood of these grey levels." in text
    assert "1 of gaussian_shared_sigma; an autoencoder gives images no probability." in text
    assert "2 scales here (pixel densities; no likelihood)" in text


@no_pictures
def test_other_data_are_kept_apart():
    make_up_run("x/a", dataset="digits")
    make_up_run("x/b", dataset="digits", seed=1)
    make_up_run("x/c", dataset="sprites")
    page = page_of("x")
    assert "not on one scale" in page.text and page.count("h1") == 1 + 2, "a title, and two parts"


@no_pictures
def test_where_it_goes(capsys):
    for seed, name in enumerate("ab"):
        make_up_run(f"x/{name}", seed=seed)
    assert main(["compare", "x/a", "x/b"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 finished runs in comparison/compare.csv",
        "Look at comparison/report.html",
    ]
    assert sorted(p.name for p in Path("comparison").iterdir()) == ["compare.csv", "report.html"]
    Path("comparison/notes.txt").write_text("mine")
    assert main(["compare", "x", "--out", "comparison"]) == 0  # replaced, the rest left alone
    assert Path("comparison/notes.txt").read_text() == "mine"
    assert main(["compare", "x", "--out", "new/deep"]) == 0
    assert Path("new/deep/report.html").exists()


@no_pictures
def test_the_page_takes_names_as_text(capsys):
    """Of runs, of settings, and of what went wrong."""
    make_up_run("x/<b>&", likelihood="laplace", data_dir="<u>&")
    make_up_run("x/sound")
    make_up_run("x/<s>broken")
    Path("x/<s>broken/failed.txt").write_text("<em>not finite\n")
    make_up_run("x/<q>begun")
    Path("x/<q>begun/summary.json").unlink()
    page = page_of("x")
    out = capsys.readouterr().out
    assert "not finished: x/<q>begun: 0 of 1 epochs" in out
    assert "failed: x/<s>broken: <em>not finite" in out
    for words in ("<b>&", "<u>&", "x/<s>broken: <em>not finite", "x/<q>begun: 0 of 1 epochs"):
        assert words in page.text, words
    assert [page.count(tag) for tag in ("u", "s", "em", "q")] == [0] * 4
    assert page.count("b") == 2  # Not finished and Failed


# --- refusals -------------------------------------------------------------------------------------


@no_pictures
@pytest.mark.parametrize(
    "path, content, message",
    [
        ("x/b/config.yaml", "beta: [", "config: x/b/config.yaml cannot be read"),
        ("x/b/summary.json", "{", "summary: x/b/summary.json is not JSON"),
        ("x/b/evaluation.json", "[1]", "evaluation: x/b/evaluation.json is no evaluation of a run"),
        ("x/b/metrics.csv", "epoch\n1\n", "metrics: x/b/metrics.csv is no table"),
        ("x/report.html", "mine", "out: x/report.html is there already, and no comparison's"),
        ("x/compare.csv", "mine", "out: x/compare.csv is there already, and no comparison's"),
    ],
)
def test_files_that_are_something_else_are_left_alone(path, content, message, capsys):
    make_up_run("x/a")
    make_up_run("x/b", beta=2.0)
    Path(path).write_text(content)
    assert_refused(["x"], message, capsys)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "runs: there is no folder nowhere"),
        (["empty"], "runs: empty is no run folder, and holds none"),
        (["x/a"], "compare: expected two finished runs or more, got 1"),
        (["x", "--out", "file"], "out: file is not a folder"),
        (["x", "--out", "x/a"], "out: x/a is a run folder; name another one"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_wrong_arguments_are_one_line_and_write_nothing(arguments, message, capsys):
    make_up_run("x/a")
    make_up_run("x/b", beta=2.0)
    Path("empty").mkdir()
    Path("file").write_text("mine")
    assert_refused(arguments, message, capsys)


def assert_refused(arguments, message, capsys):
    before = contents(".")
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert contents(".") == before


# --- real runs ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_runs_are_compared(copy_run):
    for likelihood in ("gaussian_shared_sigma", "discretized_logistic"):
        for beta in (1.0, 4.0):
            copy_run(f"runs/{likelihood}-{beta:g}", likelihood=likelihood, beta=beta)
    page = page_of("runs")
    runs = {str(run.folder): run for run in pv.load_runs("runs")}
    for row in pv.compare("runs"):
        run = runs[row["folder"]]
        assert row["likelihood"] == run.config.likelihood and row["beta"] == run.config.beta
        assert row["test.elbo_nats"] == run.summary["test"]["elbo_nats"]
        assert row["parameters"] == sum(p.numel() for p in run.vae.parameters())
    assert "Learning curves" in page.text and "Over beta" in page.text
    bits = {name: run.summary["test"]["bits_per_dim"] for name, run in runs.items()}
    best, *others = sorted(bits, key=bits.get)
    places = [page.text.index(f"{bits[name]:.3f}") for name in (best, *others)]
    assert places == sorted(places)
    assert len(page.figures) == 12  # the bars of all runs have one name
