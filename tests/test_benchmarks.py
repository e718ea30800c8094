"""The benchmark's peers train the same, and its page says what was measured."""

import sys
import time
from dataclasses import replace
from functools import cache

import pytest
from scipy.stats import binomtest

from pyro_vae.cli.main import main
from tests.support.house import ROOT
from tests.support.processes import PROCESSES

sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu
import speed
import stages
import statements
from cases import CASES, betas
from peers import PEERS, Unavailable, set_up
from peers.handwritten import Handwritten
from tables import Measured, number, quartiles, spread, table
from workers import Slice, Worker

SLOW = {"handwritten_compiled", "compiled", "fit_many"}  # inductor compiles
EPOCHS = 10
TOLERANCE = 1.1  # Monte Carlo: 5 standard errors of a difference; between seeds, 0.16 nats


@pytest.fixture(scope="module")
def task():
    """What is trained: the embedded digits."""
    return CASES["digits"].task("data")


@pytest.fixture(scope="module")
def references(task):
    """Hand-written losses by epoch, with the rate of the drawn z or in closed form."""

    @cache
    def losses(closed_form):
        peer = Handwritten(replace(task, seed=1), closed_form=closed_form)
        return [peer.epoch() for _ in range(EPOCHS)]

    return losses


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in PEERS if name not in SLOW])
def test_everybody_trains_the_same(name, task, references):
    try:
        peer = set_up(name, task)
    except Unavailable as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        pytest.skip(f"{name}: {error}")
    losses = [peer.epoch() for _ in range(EPOCHS)]
    assert peer.steps == 1437 // 64
    assert losses[-1] == pytest.approx(references(name == "pythae")[-1], abs=TOLERANCE)


@pytest.mark.long
def test_half_the_training_is_told_apart(references):
    losses = references(False)
    assert losses[EPOCHS // 2 - 1] - losses[-1] > TOLERANCE


def test_a_missing_package_is_named(monkeypatch, task):
    monkeypatch.setitem(PEERS, "pythae", "a_missing_package:Thing")
    with pytest.raises(Unavailable, match=r"^No module named 'a_missing_package'$"):
        set_up("pythae", task)


def test_a_peer_that_fails_gives_its_error_in_one_line(monkeypatch, task):
    monkeypatch.setitem(PEERS, "pythae", "peers.base:Minibatches")
    with pytest.raises(Unavailable, match=r"^ValueError: too many\.$"):
        monkeypatch.setattr("peers.base.Minibatches.__init__", _fail)
        set_up("pythae", task)


def _fail(*_):
    raise ValueError("too many.\nAnd more.")


@pytest.mark.long
def test_a_worker_answers_with_slices_or_the_reason_of_its_end(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_context", lambda way: PROCESSES)
    with Worker("digits", "handwritten_eager", 1, "data", "cpu") as worker:
        assert worker.receive() == 22
        first, last = worker.run(1), worker.run(3)
        assert first.seconds > 0 and last.loss < first.loss < 64
        with pytest.raises(Unavailable, match=r"^TypeError: 'str' object cannot be interpreted"):
            worker.run("many")
        with pytest.raises(Unavailable, match="its process ended with exit code 0"):
            worker.receive()
    assert not worker.process.is_alive()


ROWS = [
    Measured("stock_pyro", 1, [2.0, 4.0, 6.0, 8.0, 10.0], 1.5, 20.0),
    Measured("eager", 1, [1.0, 1.0, 3.0, 2.0, 4.0], 0.25, 20.125),
]


def test_ratios_are_formed_within_rounds():
    """Ratios 0.5, 0.25, 0.5, 0.25, 0.4 by hand; the ratio of the medians would be 1/3."""
    *_, stock, ours = table(ROWS).splitlines()
    assert stock == "| stock_pyro | 6.00 [4.00, 8.00] | 1 |  |  | 1.50 | 20.00 |"
    times, ratios = "2.00 [1.00, 3.00]", "0.400 [0.250, 0.500]"
    assert ours == f"| eager | {times} | {ratios} |  |  | 0.250 | 20.12 |"


def test_references_are_those_with_as_many_models_or_with_one():
    many = [
        Measured("numpyro", 1, [1.0], 1.0, 20.0),
        Measured("numpyro", 4, [0.5], 1.0, 20.0),
        Measured("fit_many", 4, [0.25], 1.0, 20.0),
    ]
    lines = table([*ROWS, *many]).splitlines()
    assert lines[0].startswith("| peer | models | ms per step | ratio to stock_pyro |")
    assert "| 0.125 [0.125, 0.125] |  | 0.500 [0.500, 0.500] |" in lines[-1]
    assert len({line.count("|") for line in lines}) == 1


def test_quartiles_and_numbers():
    assert quartiles([4.0, 1.0, 2.0, 3.0]) == [1.75, 2.5, 3.25]
    assert spread([0.07]) == "0.0700 [0.0700, 0.0700]"
    assert [number(x) for x in (0.0123, 1.5, 123.4, 999.7, 12345.0)] == [
        *("0.0123", "1.50", "123", "1000", "12345"),
    ]


def test_everybody_has_a_turn_in_every_round_and_two_alternate():
    assert [speed.turn(["a", "b"], n) for n in range(4)] == [[*"ab"], [*"ba"], [*"ba"], [*"ab"]]
    assert all(sorted(speed.turn([*"abcde"], n)) == [*"abcde"] for n in range(12))
    assert len({speed.turn([*"abcde"], n)[0] for n in range(10)}) == 5


def test_betas_lie_about_one():
    assert betas(1) == (1.0,)
    assert betas(4) == pytest.approx((2**-0.75, 2**-0.25, 2**0.25, 2**0.75))


class MadeUp:
    """In place of a worker: an epoch takes `seconds` for each model, and one peer is missing."""

    seconds = {"stock_pyro": 0.2, "handwritten_eager": 0.05, "numpyro": 0.01}

    def __init__(self, case, peer, models, data_dir, device):
        self.peer, self.models = peer, models

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def receive(self):
        if self.peer not in self.seconds:
            raise Unavailable(f"No module named '{self.peer}'")
        return 10

    def run(self, epochs):
        return Slice(epochs * self.models * self.seconds[self.peer], 20.0)


@pytest.mark.long
def test_the_page_shows_ratios_and_names_who_was_skipped(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(speed, "Worker", MadeUp)
    page = tmp_path / "page.md"
    command = "--case digits sweep --peer stock_pyro numpyro pythae fit_many --rounds 2"
    speed.main([*command.split(), "--data-dir", str(tmp_path), "--write", str(page)])
    text = page.read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert f"`python benchmarks/speed.py --device cpu --rounds 2 {command[:-11]}`" in text
    assert str(tmp_path) not in text
    digits, sweep = text.split("## ")[1:]
    assert "| stock_pyro | 20.0 [20.0, 20.0] | 1 |" in digits
    assert "| numpyro | 1.00 [1.00, 1.00] | 0.0500 [0.0500, 0.0500] |" in digits
    assert "- pythae: skipped, No module named 'pythae'" in digits and "fit_many" not in digits
    assert "| numpyro | 64 | 1.00 [1.00, 1.00] |" in sweep and sweep.count("skipped") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "digit"], "argument --case: invalid choice: 'digit'"),
        (["--peer", "pyro"], "argument --peer: invalid choice: 'pyro'"),
        (["--rounds", "0"], "argument --rounds: expected at least 1, got 0"),
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        speed.parse(arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_missing_mnist_is_one_line_with_the_folder(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        speed.parse(["--case", "mnist", "--data-dir", str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"expected its published files in {tmp_path / 'MNIST' / 'raw'}" in line
    assert not list(tmp_path.iterdir())


# --- statements on pages --------------------------------------------------------------------------


def no_more_than_stated(wrong, repeats, level=0.05):
    """Whether something is wrong as often as the level allows; the p-value is one-sided."""
    return binomtest(round(wrong), repeats, level, alternative="greater").pvalue > 1e-3


@pytest.mark.long
@pytest.mark.parametrize("name", statements.EQUAL)
def test_equal_settings_are_told_apart_as_rarely_as_stated(name):
    wrong = 300 * statements.share(statements.framed, 300, *statements.EQUAL[name])
    assert no_more_than_stated(wrong, 300)


def test_three_seeds_tell_a_gap_of_ten_errors_and_two_do_not():
    framed = [
        statements.share(statements.framed, 50, *statements.EQUAL[name], True)
        for name in ("6 x 2", "6 x 3")
    ]
    assert framed[0] < 0.6 and framed[1] > 0.95


@pytest.mark.long
@pytest.mark.parametrize("name", statements.SETS)
def test_the_best_is_left_out_of_its_set_as_rarely_as_stated(name):
    wrong = 400 * statements.share(statements.left_out, 400, *statements.SETS[name])
    assert no_more_than_stated(wrong, 400)


RIGHT = {
    "flat": "converged",
    "climbs by 0.5 an epoch": "still climbs",
    "falls by 0.5 an epoch": "past its best",
    "flat, falls in the last 20": "past its best",
    "like 1 / epoch, 10 nats left": "still climbs",
}


@pytest.mark.long
@pytest.mark.parametrize("epochs", statements.LENGTHS)
@pytest.mark.parametrize("name", statements.CURVES)
def test_the_end_of_a_curve_is_called_wrong_as_rarely_as_stated(name, epochs):
    """White noise of 1 nat is no hindrance over 200 epochs; other noise may leave it open."""
    for correlation in statements.CORRELATIONS:
        said = statements.words(statements.CURVES[name], epochs, correlation, 200)
        wrong = 200 - said[RIGHT[name]] - said["cannot tell"]
        assert no_more_than_stated(wrong, 200), correlation
        if epochs == 200 and correlation == 0:
            assert said[RIGHT[name]] > 190


def test_the_page_of_statements_has_a_row_for_each_case(tmp_path, capsys):
    statements.main(["--repeats", "2", "--write", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert page.strip() == capsys.readouterr().out.strip()
    for cases in (statements.EQUAL, statements.SETS, statements.CURVES):
        assert all(f"| {name} |" in page for name in cases)
    assert page.count("\n## ") == len(statements.SECTIONS)


# --- a look at a GPU ------------------------------------------------------------------------------


@pytest.mark.long
def test_the_ten_minutes_run_without_a_gpu_too(tmp_path, capsys, no_pictures, monkeypatch):
    """What needs one is named as skipped, what does not is done, and figures are kept."""
    monkeypatch.setattr(gpu.Place, "pyro_vae", lambda place, *words: main([*map(str, words)]))
    stages = ["--stage", "environment", "failure", "profile", "evaluation", "tests"]
    arguments = ["--device", "cpu", "--small", "--out", str(tmp_path), *stages]
    assert gpu.main([*arguments, "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "failure: skipped: no CUDA device" in said and "tests: skipped: no CUDA device" in said
    assert "evaluation: held: apart by 0.0000 nats" in said and "fell short" not in said
    assert (tmp_path / "profile.json").exists()
    assert set((tmp_path / "lines.txt").read_text().splitlines()) <= set(said.splitlines())


def test_a_stage_that_falls_short_stops_no_other(tmp_path, capsys, monkeypatch):
    def short(place):
        yield "held: this"
        raise gpu.Short("that, by 3 nats")

    def breaks():
        raise RuntimeError("out of order")

    looks = [breaks, lambda: "all"]
    known = {"one": short, "two": lambda place: breaks(), "three": lambda place: stages.each(looks)}
    monkeypatch.setattr(gpu, "STAGES", known)
    arguments = ["--device", "cpu", "--out", str(tmp_path / "x"), "--stage", *known]
    assert gpu.main(arguments) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if not line.endswith(" s")]
    assert said == [
        "one: held: this",
        "one: fell short: that, by 3 nats",
        "two: fell short: RuntimeError: out of order",
        "three: fell short: RuntimeError: out of order",
        "three: held: all",
    ]


@pytest.mark.long
def test_a_stage_ends_when_its_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "LIMIT", 0.5)

    def endless(place):
        yield "held: this"
        place.run([sys.executable, "-c", "import time; time.sleep(60)"])

    def slow(place):
        time.sleep(0.6)
        yield "held: that"
        yield "held: what comes too late"

    place = stages.Place("cpu", tmp_path, tmp_path, small=True)
    said = [*stages.of_stage("one", endless, place), *stages.of_stage("two", slow, place)]
    assert said[0] == "one: held: this" and "no time was left" in said[1]
    assert said[3] == "two: held: that" and "fell short: stopped after 0.5 s" in said[4]
    assert not any("too late" in line for line in said)


def test_a_gpu_that_is_not_there_is_named(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as end:
        gpu.main([])
    assert end.value.code == 2 and "torch sees no CUDA device" in capsys.readouterr().err


@pytest.mark.long
def test_fewer_kernels_from_engine_to_engine():
    """A graph has more than eager, whose waits it saves; compiled has the fewest.

    The bound on the log scales of q is a dozen of a graph's, and none of its own when compiled.
    """
    import kernels  # which imports inductor

    found = kernels.counts()
    assert found["compiled"] < found["eager"] < found["graph"] < found["svi"]
    assert found["compiled"] < 50 and found["graph"] < 160
