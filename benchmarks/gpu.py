"""Ten minutes on a GPU: does everything work there, and how fast is it?

    python benchmarks/gpu.py --data-dir data --out runs/gpu

Every stage prints a line for each thing that it looked at: `held`, or `fell short` with the reason,
and then the next one begins. Figures are written to the folder as they come; `--stage` chooses
stages, each of which takes under four minutes. The data folder should hold MNIST; nothing is
downloaded. Needed: this package with the extra `test`; with the extra `bench`, other libraries stand
in the table of speeds. `--device cpu` runs what needs no GPU.
"""

import argparse
import importlib.util
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import pyro_vae as pv
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.randomness import seeded
from pyro_vae.runs.checkpoints import load_checkpoint
from pyro_vae.training.compiler import missing_compiler
from pyro_vae.training.replay import ReplayedSteps

HERE = Path(__file__).parent
ROUNDING = {"compiled": 1e-9, "graph": 1e-6}  # torch's fused Adam has its learning rate in float32
STEPS = 22  # of an epoch of the digits in minibatches of 64
LIMIT = 230  # seconds that a command of a stage may take
Said = Iterator[str]


@dataclass(frozen=True)
class Place:
    """Where and on what the stages work."""

    device: str
    data_dir: Path
    out: Path
    small: bool  # whether a test asks: a few seconds in all

    @property
    def on_gpu(self) -> bool:
        """Return whether there is a GPU to look at."""
        return self.device == "cuda"

    @property
    def dataset(self) -> str:
        """Return MNIST where it is there, or else the embedded digits."""
        there = (self.data_dir / "MNIST" / "raw").exists() and not self.small
        return "mnist" if there else "digits"

    def keep(self, name: str, figures: object) -> None:
        """Write figures as JSON."""
        (self.out / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


class Short(Exception):
    """What fell short; the message says by how much."""


def main(arguments: list[str] | None = None) -> int:
    """Go through the stages, and return 0 if all held."""
    asked = parse(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    place = Place(asked.device, asked.data_dir, asked.out, asked.small)
    fell = 0
    with (asked.out / "lines.txt").open("a") as lines:
        for name in asked.stage:
            for line in of_stage(name, place):
                fell += "fell short" in line
                print(line, flush=True)
                print(line, file=lines, flush=True)
    return int(fell > 0)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", nargs="+", metavar="NAME", choices=STAGES, default=list(STAGES))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--small", action="store_true", help="as little as possible, for a test")
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: torch sees no CUDA device; try --device cpu")
    return asked


def of_stage(name: str, place: Place) -> Said:
    """Return the lines of a stage, whatever becomes of it."""
    start = time.perf_counter()
    try:
        for line in STAGES[name](place):
            yield f"{name}: {line}"
    except Short as error:
        yield f"{name}: fell short: {error}"
    except Exception as error:
        yield f"{name}: fell short: {type(error).__name__}: {str(error).strip()[:300]}"
    yield f"{name}: {time.perf_counter() - start:.0f} s"


def environment(place: Place) -> Said:
    """What is installed, and what the GPU is."""
    yield f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    for package in ("triton", "pyro", "zuko", "numpyro", "jax", "pytest"):
        found = importlib.util.find_spec(package) is not None
        yield f"{package}: {'installed' if found else 'not installed'}"
    yield f"compiler: {missing_compiler(place.device) or 'held'}"
    if place.on_gpu:
        gpu = torch.cuda.get_device_properties(0)
        yield f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, compute {gpu.major}.{gpu.minor}"


def tests(place: Place) -> Said:
    """The tests that need a GPU, many at once."""
    if not place.on_gpu:
        yield "skipped: no CUDA device"
        return
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-q", "-n", "8", "tests", "--tb=line"]
    done = run(command, HERE.parent)
    (place.out / "tests.txt").write_text(done.stdout + done.stderr)
    last = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    if done.returncode:
        raise Short(last)
    yield f"held: {last}"


def graphs(place: Place) -> Said:
    """Every family and score: recorded steps are eager steps."""
    x = torch.randint(2, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    families = list(LIKELIHOODS.items())[: 2 if place.small else None]
    engines = [e for e in ROUNDING if place.on_gpu or e == "compiled"]
    for name, family in families:
        scores = ["density"] if family.always_mass or family.binary_only else ["density", "levels"]
        for score in scores:
            weights = partial(trained_weights, name, score, x, place.device)
            reference, found = weights("eager"), []
            for engine in engines[: 1 if name in SLOW_TO_COMPILE else None]:
                worst = (weights(engine) - reference).abs().max().item()
                found.append(f"{engine} {worst:.1e}")
                if worst > ROUNDING[engine]:
                    raise Short(f"{name}, {score}: {engine} is {worst:.1e} from eager")
            yield f"held: {name}, {score}: {', '.join(found)}"


SLOW_TO_COMPILE = {"beta"}


def trained_weights(name: str, score: str, x: torch.Tensor, device: str, engine: str):
    """Return all weights after 20 steps in float64."""
    with seeded(0):
        vae = pv.VAE((1, 4, 4), 2, name, hidden=(8,), levels=2, score=score)
    options = {"epochs": 10, "batch_size": 16, "precision": "float64", "device": device}
    for _ in pv.fit(vae, x, engine=engine, **options):
        pass
    return torch.cat([p.detach().flatten().cpu() for p in vae.parameters()])


def failure(place: Place) -> Said:
    """A recording that fails leaves a process in which another engine trains."""
    if not place.on_gpu:
        yield "skipped: no CUDA device"
        return
    take = ReplayedSteps._replayed
    x = pv.load_dataset("digits").train.images

    def waits(self) -> None:
        take(self)
        self.terms.sum().item()  # which a GPU refuses while it records

    ReplayedSteps._replayed = waits
    try:
        vae = pv.VAE((1, 8, 8), 2, levels=17)
        engine = pv.fit(vae, x, device="cuda", epochs=100)
        next(engine)
    finally:
        ReplayedSteps._replayed = take
    yield f"held: {engine.engine.name} instead, since {engine.choice.reason[:80]}"
    again = pv.fit(pv.VAE((1, 8, 8), 2, levels=17), x, device="cuda", epochs=2, engine="graph")
    yield f"held: then a graph again, loss {list(again)[-1].loss:.2f}"


def speed(place: Place) -> Said:
    """The table of speeds beside other libraries."""
    cases = ["digits"] if place.small else ["digits", "mnist", "mnist_epoch", "sweep"]
    cases = [c for c in cases if c in ("digits", "sweep") or place.dataset == "mnist"]
    rounds = "1" if place.small else "3"
    few = ["--peer", "handwritten_eager", "eager"] if place.small else []
    for case in cases:
        page = place.out / f"speed-{case}.md"
        command = [sys.executable, "speed.py", "--device", place.device, "--rounds", rounds]
        command += ["--data-dir", str(place.data_dir.resolve()), "--case", case, *few]
        done = run([*command, "--write", str(page.resolve())], HERE)
        yield f"{'held' if done.returncode == 0 else 'fell short'}: {case}, in {page.name}"


def profile(place: Place) -> Said:
    """Kernels (on a CPU: operators) and milliseconds of a step under each engine."""
    x, figures = pv.load_dataset("digits", binarize="threshold").train.images, {}
    activity = torch.profiler.ProfilerActivity
    watched = [activity.CUDA if place.on_gpu else activity.CPU]
    for engine in ("svi", "eager", "graph", "compiled") if place.on_gpu else ("svi", "eager"):
        vae = pv.VAE((1, 8, 8), 8, "bernoulli", hidden=(128,), levels=2)
        options = {"batch_size": 64, "epochs": 4, "engine": engine, "device": place.device}
        epochs = pv.fit(vae, x, **options)
        next(epochs)
        with torch.profiler.profile(activities=watched) as profiler:
            next(epochs)
        start = time.perf_counter()
        next(epochs)
        milliseconds = 1e3 * (time.perf_counter() - start) / STEPS
        events = [event for event in profiler.events() if "Memcpy" not in event.name]
        figures[engine] = {"events": len(events) / STEPS, "milliseconds": milliseconds}
        yield f"{engine}: {len(events) / STEPS:.0f} events and {milliseconds:.3f} ms a step"
    place.keep("profile", figures)


def training(place: Place) -> Said:
    """A run that is stopped and resumed has the weights of one that is not, bit for bit."""
    epochs = 3 if place.small else 8
    settings = ["--dataset", place.dataset, "--data-dir", place.data_dir]
    settings += ["--hidden", "64" if place.small else "400"]
    for engine in ("eager", "graph", "compiled") if place.on_gpu else ("eager",):
        whole, stopped = place.out / f"whole-{engine}", place.out / f"stopped-{engine}"
        train = ["train", *settings, "--engine", engine, "--device", place.device]
        train += ["--epochs", epochs]
        check(pyro_vae(*train, "--out", whole, "--overwrite"))
        interrupt([*train, "--out", stopped, "--overwrite"], stopped)
        check(pyro_vae(*train, "--out", stopped, "--resume"))
        weights = [
            load_checkpoint(f / "checkpoints" / "last.pt")["model"] for f in (whole, stopped)
        ]
        if not all(torch.equal(value, weights[1][name]) for name, value in weights[0].items()):
            raise Short(f"{engine}: a resumed run has other weights")
        seconds = json.loads((whole / "summary.json").read_text())["seconds"]
        yield f"held: {engine}, stopped and resumed; {seconds:.1f} s for {epochs} epochs"
    if place.on_gpu:
        for more, device in enumerate(("cpu", "cuda"), 1):
            moved = ["--device", device, "--epochs", epochs + more, "--out", stopped, "--resume"]
            check(pyro_vae("train", *settings, "--engine", "eager", *moved))
        yield "held: the checkpoint goes to the CPU and back"


def nccl(place: Place) -> Said:
    """torchrun with one process, over NCCL where there is a GPU."""
    out = place.out / "ranks"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "1", "-m", "pyro_vae", "train", "--epochs", "2"]
    done = run([*command, "--device", place.device, "--out", str(out), "--overwrite"], Path())
    check(done)
    yield "held: torchrun with one process"


def many(place: Place) -> Said:
    """Many models in one step: memory, and time per model."""
    x, figures = pv.load_dataset("digits").train.images, {}
    for count in (2,) if place.small else (16, 64, 256):
        models = []
        for seed in range(count):
            with seeded(seed):
                models.append(pv.VAE((1, 8, 8), 8, "bernoulli", hidden=(128,), levels=17))
        options = {"epochs": 6, "batch_size": 64, "device": place.device}
        ensemble = pv.fit_many(models, x, seeds=range(count), **options)
        next(ensemble)
        start = time.perf_counter()
        for _ in ensemble:
            pass
        step = 1e3 * (time.perf_counter() - start) / (5 * 22 * count)
        peak = torch.cuda.max_memory_allocated() / 2**30 if place.on_gpu else float("nan")
        figures[count] = {"ms_per_model_and_step": step, "peak_gib": peak}
        yield f"held: {count} models: {step:.4f} ms per model and step, {peak:.2f} GiB"
    place.keep("many", figures)


def evaluation(place: Place) -> Said:
    """An evaluation on the GPU and on the CPU agree within their standard errors."""
    out, part = place.out / "evaluated", "latents" if place.small else "likelihood"
    settings = ["--likelihood", "gaussian_shared_sigma", "--epochs", 2 if place.small else 60]
    check(pyro_vae("train", *settings, "--device", place.device, "--out", out, "--overwrite"))
    found = []
    for device in (place.device, "cpu"):
        start = time.perf_counter()
        check(pyro_vae("evaluate", out, "--only", part, "--quick", "--device", device))
        figures = json.loads((out / "evaluation.json").read_text())[part]
        figure = figures["rate_nats"] if place.small else figures["ladder"]["log_prob_nats"]
        seconds = time.perf_counter() - start
        found.append((figure["mean"], figure["standard_error"]))
        yield f"{device}: {figure['mean']:.3f} nats, {seconds:.0f} s"
    apart, allowed = abs(found[0][0] - found[1][0]), max(error for _, error in found)
    if apart > allowed:
        raise Short(f"the devices differ by {apart:.3f} nats, a standard error is {allowed:.3f}")
    yield f"held: apart by {apart:.3f} nats, where a standard error is {allowed:.3f}"


STAGES: dict[str, Callable[[Place], Said]] = {
    stage.__name__: stage
    for stage in (
        environment, failure, training, graphs, profile, many, nccl, speed, evaluation, tests
    )
}  # fmt: skip


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Run a command with a limit on its time, and keep what it says."""
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise Short(f"{' '.join(command[:4])} ... took over {LIMIT} s") from None


def pyro_vae(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command line of this package."""
    return run([sys.executable, "-m", "pyro_vae", *map(str, arguments)], Path())


def check(done: subprocess.CompletedProcess) -> None:
    """Raise Short, with the command's own last words, if it failed."""
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise Short(f"status {done.returncode}: {said}")


def interrupt(arguments: list, folder: Path) -> None:
    """Begin a training, and send Ctrl-C once its first checkpoint is there."""
    command = [sys.executable, "-m", "pyro_vae", *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        until = time.monotonic() + LIMIT
        while process.poll() is None and time.monotonic() < until:
            if (folder / "checkpoints" / "last.pt").exists():
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.02)
        process.wait(LIMIT)


if __name__ == "__main__":
    sys.exit(main())
