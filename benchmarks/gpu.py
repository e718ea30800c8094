"""A quarter of an hour on a GPU: does everything work there, and how fast is it?

    python benchmarks/gpu.py --data-dir data --out runs/gpu

Every stage prints a line for each thing that it looked at: `held`, or `fell short` with the reason,
and goes on with the next one. Figures are written to the folder as they come; `--stage` chooses
stages, each of which is stopped after four minutes. The data folder should hold MNIST; nothing is
downloaded. Needed: this package with the extra `test`; with the extra `bench`, other libraries stand
in the table of speeds. `--device cpu` runs what needs no GPU.
"""

import argparse
import importlib.util
import json
import math
import platform
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from stages import HERE, Place, Said, Short, Stage, check, each, of_stage

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.compiling.compiler import missing_compiler
from pyro_vae.randomness import seeded
from pyro_vae.training.replay import ReplayedSteps

PEERS = ["numpyro", "handwritten_eager", "handwritten_compiled", "eager", "compiled", "fit_many"]
STEPS = 22  # of an epoch of the digits in minibatches of 64


def main(arguments: list[str] | None = None) -> int:
    """Go through the stages, and return 0 if all held."""
    asked = parse(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    place = Place(asked.device, asked.data_dir, asked.out, asked.small)
    fell = 0
    with (asked.out / "lines.txt").open("a") as lines:
        for name in asked.stage:
            for line in of_stage(name, STAGES[name], place):
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
    page = place.out / "tests.txt"
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "tests", "--tb=line", "-v"]
    command += ["-n", "8", "--dist", "load"]
    with page.open("w") as output:
        options = {"cwd": HERE.parent, "stdout": output, "stderr": subprocess.STDOUT}
        try:
            status = subprocess.run(command, timeout=place.left, **options).returncode
        except subprocess.TimeoutExpired:
            status = "no time was left"
    text = page.read_text()
    passed, failed = text.count(" PASSED "), text.count(" FAILED ")
    if status:
        raise Short(f"{passed} passed, {failed} failed ({status}), all in {page.name}")
    yield f"held: {passed} passed"


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
    cases = [place.dataset] if place.small else [place.dataset, "sweep"]
    rounds = "1" if place.small else "3"
    peers = ["handwritten_eager", "eager"] if place.small else PEERS
    looks = []
    for case in cases:
        page = place.out / f"speed-{case}.md"
        command = [sys.executable, "speed.py", "--device", place.device, "--rounds", rounds]
        command += ["--data-dir", str(place.data_dir.resolve()), "--case", case]
        command += ["--peer", *peers]
        looks.append(partial(speeds, place, [*command, "--write", str(page.resolve())], page))
    yield from each(looks)


def speeds(place: Place, command: list[str], page: Path) -> str:
    """Measure one case of the table."""
    try:
        check(place.run(command))
    except Short as error:
        raise Short(f"{page.name}: {error}") from error
    return f"in {page.name}"


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
    engines = ("eager", "graph", "compiled") if place.on_gpu else ("eager",)
    yield from each(partial(stop_and_resume, place, engine) for engine in engines)
    if place.on_gpu:
        yield from each([partial(move_and_return, place)])


def settings_of_training(place: Place) -> list:
    """Return the flags of the run that is stopped, resumed and moved."""
    hidden = "64" if place.small else "400"
    return ["--dataset", place.dataset, "--data-dir", place.data_dir, "--hidden", hidden]


def stop_and_resume(place: Place, engine: str) -> str:
    """Train a run whole, and another that is interrupted; compare their weights."""
    epochs = 3 if place.small else 8
    whole, stopped = place.out / f"whole-{engine}", place.out / f"stopped-{engine}"
    train = ["train", *settings_of_training(place), "--engine", engine, "--epochs", epochs]
    train += ["--device", place.device]
    place.pyro_vae(*train, "--out", whole, "--overwrite")
    interrupt(place, [*train, "--out", stopped, "--overwrite"], stopped)
    place.pyro_vae(*train, "--out", stopped, "--resume")
    one, other = (load_checkpoint(f / "checkpoints" / "last.pt")["model"] for f in (whole, stopped))
    if not all(torch.equal(value, other[name]) for name, value in one.items()):
        raise Short(f"{engine}: a resumed run has other weights")
    seconds = json.loads((whole / "summary.json").read_text())["seconds"]
    return f"{engine}, stopped and resumed; {seconds:.1f} s for {epochs} epochs"


def move_and_return(place: Place) -> str:
    """Train the run of `eager` on for an epoch on the CPU, and for another on the GPU."""
    run = ["--engine", "eager", "--out", place.out / "stopped-eager", "--resume"]
    for epochs, device in ((9, "cpu"), (10, "cuda")):
        moved = ["--device", device, "--epochs", epochs]
        place.pyro_vae("train", *settings_of_training(place), *run, *moved)
    return "the checkpoint goes to the CPU and back"


def many(place: Place) -> Said:
    """Many models in one step: memory, and time per model."""
    x, figures = pv.load_dataset("digits").train.images, {}
    for count in (2,) if place.small else (16, 64, 256):
        models = []
        for seed in range(count):
            with seeded(seed):
                models.append(pv.VAE((1, 8, 8), 8, "bernoulli", hidden=(128,), levels=17))
        epochs = 6
        options = {"epochs": epochs, "batch_size": 64, "device": place.device}
        ensemble = pv.fit_many(models, x, seeds=range(count), **options)
        next(ensemble)
        start = time.perf_counter()
        for _ in ensemble:
            pass
        step = 1e3 * (time.perf_counter() - start) / ((epochs - 1) * STEPS * count)
        peak = torch.cuda.max_memory_allocated() / 2**30 if place.on_gpu else float("nan")
        figures[count] = {"ms_per_model_and_step": step, "peak_gib": peak}
        yield f"held: {count} models: {step:.4f} ms per model and step, {peak:.2f} GiB"
    place.keep("many", figures)


def evaluation(place: Place) -> Said:
    """An evaluation of the same images on the GPU and on the CPU differs by its draws alone."""
    out = place.out / "evaluated"
    settings = ["--likelihood", "gaussian_shared_sigma", "--epochs", 2 if place.small else 60]
    place.pyro_vae("train", *settings, "--device", place.device, "--out", out, "--overwrite")
    means, errors = [], []
    for device in (place.device, "cpu"):
        start = time.perf_counter()
        mean, error = log_prob_and_error(place, out, device)
        means.append(mean)
        errors.append(error)
        yield f"{device}: {mean:.3f} nats, {time.perf_counter() - start:.0f} s"
    apart, allowed = abs(means[0] - means[1]), 5 * math.hypot(*errors)
    if not apart <= allowed:
        raise Short(f"the devices differ by {apart:.4f} nats, five errors are {allowed:.4f}")
    yield f"held: apart by {apart:.4f} nats, where five Monte Carlo errors are {allowed:.4f}"


def log_prob_and_error(place: Place, run: Path, device: str) -> tuple[float, float]:
    """Return the mean log P of the test images and its Monte Carlo error.

    In the small setting these are the rate, which has no draws, and what float32 rounds.
    """
    part = "latents" if place.small else "likelihood"
    place.pyro_vae("evaluate", run, "--only", part, "--quick", "--device", device)
    figures = json.loads((run / "evaluation.json").read_text())[part]
    if place.small:
        return figures["rate_nats"]["mean"], 1e-4
    ladder = figures["ladder"]
    return ladder["log_prob_nats"]["mean"], ladder["log_prob_monte_carlo_error"]


STAGES: dict[str, Stage] = {
    stage.__name__: stage
    for stage in (
        environment, failure, training, profile, many, speed, evaluation, tests
    )
}  # fmt: skip


def interrupt(place: Place, arguments: list, folder: Path) -> None:
    """Begin a training, and send Ctrl-C once its first checkpoint is there."""
    command = [sys.executable, "-m", "pyro_vae", *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        while process.poll() is None and place.left:
            if (folder / "checkpoints" / "last.pt").exists():
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.02)
        try:
            process.wait(place.left)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Short("Ctrl-C did not end the training in time") from None


if __name__ == "__main__":
    sys.exit(main())
