"""The attacks."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.campaign.hostile import hostile_inputs
from tests.campaign.promises import difference, killed, sweep_difference
from tests.campaign.trial import (
    SMALL,
    SWEEP,
    TRAIN,
    Child,
    Ended,
    draw_nothing,
    intact,
    limit_files,
    quick_measures,
    run,
    stacked,
    stacked_arguments,
    vanished_reader,
)


class Campaign:
    """All attacks, in a folder of their own.

    Args:
        scale: how many trials of each attack, 1 for those of a few minutes.
    """

    def __init__(self, folder: Path, seed: int, scale: float):
        self.folder, self.rng, self.scale = folder, random.Random(seed), scale
        self.table: dict[str, list[float]] = {}  # trials, failures, seconds
        self.complaints: Counter[str] = Counter()
        self.counter = 0

    def new(self) -> Path:
        """A path for a trial."""
        self.counter += 1
        return self.folder / f"t{self.counter}"

    def trials(self, count: int) -> range:
        """How many trials there are to be, at least one."""
        return range(max(1, round(count * self.scale)))

    def note(self, attack: str, complaint: str, start: float) -> None:
        """Count a trial."""
        row = self.table.setdefault(attack, [0, 0, 0.0])
        row[0] += 1
        row[1] += bool(complaint)
        row[2] += time.monotonic() - start
        if complaint:
            self.complaints[f"{attack}: {complaint[:160]}"] += 1

    # --- kills and pairs

    def kills_of_train(self) -> None:
        """SIGKILL and SIGTERM at random moments; the run resumes to the same bits."""
        expected, start = self.new(), time.monotonic()
        assert run([*TRAIN, "--out", str(expected)], draw_nothing).status == 0
        whole = time.monotonic() - start
        for name, numbers, count in (
            ("train: SIGKILL", (signal.SIGKILL,), 12),
            ("train: SIGTERM, SIGINT", (signal.SIGTERM, signal.SIGINT), 6),
        ):
            for _ in self.trials(count):
                out, start = self.new(), time.monotonic()
                command = [*TRAIN, "--resume"]
                complaint = killed(command, out, self.rng, whole, draw_nothing, numbers)
                self.note(name, complaint or difference(out, expected), start)
                shutil.rmtree(out, ignore_errors=True)

    def kills_of_sweeps(self) -> None:
        """The same of sweeps, whose runs are trained one by one or in one batched step."""
        for name, arguments, setup in (
            ("sweep: SIGKILL", SWEEP, draw_nothing),
            ("stacked sweep: SIGKILL", stacked_arguments(), stacked),
        ):
            expected, start = self.new(), time.monotonic()
            assert run([*arguments, "--out", str(expected)], setup).status == 0
            whole = time.monotonic() - start
            for _ in self.trials(4):
                out, start = self.new(), time.monotonic()
                complaint = killed(arguments, out, self.rng, whole, setup)
                self.note(name, complaint or sweep_difference(out, expected), start)
                shutil.rmtree(out, ignore_errors=True)

    def pairs(self) -> None:
        """Two processes in one folder: one works, the other says who does."""
        alone, together = self.new(), self.new()
        assert run([*TRAIN, "--out", str(alone)], draw_nothing).status == 0
        assert run([*SWEEP, "--out", str(together)], draw_nothing).status == 0
        for name, arguments, expected, compared, count in (
            ("pair of train", [*TRAIN, "--resume"], alone, difference, 4),
            ("pair of sweep", SWEEP, together, sweep_difference, 2),
        ):
            for _ in self.trials(count):
                out, start = self.new(), time.monotonic()
                command = [*arguments, "--out", str(out)]
                first = Child(command, draw_nothing)
                time.sleep(self.rng.choice([0, 0.01, 0.1, 0.4]))
                both = [Child(command, draw_nothing), first]
                complaint = self._pair_complaint([child.wait() for child in both])
                if not complaint and (again := run(command, draw_nothing)).status != 0:
                    complaint = f"afterwards: {again.err[:200]}"
                self.note(name, complaint or compared(out, expected), start)
                shutil.rmtree(out, ignore_errors=True)
        self._readers_beside_a_training(alone)

    def _pair_complaint(self, ends: list[Ended]) -> str:
        statuses = sorted(ended.status for ended in ends)
        for ended in ends:
            if ended.complaint():
                return ended.complaint()
            if ended.status == 2 and f"{os.uname().nodename}" not in ended.err:
                return f"the second does not say who is there: {ended.err[:200]}"
        return "" if statuses in ([0, 2], [0, 0]) else f"statuses {statuses}"

    def _readers_beside_a_training(self, expected: Path) -> None:
        for _ in self.trials(2):
            out, start = self.new(), time.monotonic()
            command = [*TRAIN, "--epochs", "300", "--resume", "--out", str(out)]
            child = Child(command, draw_nothing)
            time.sleep(self.rng.uniform(0.4, 0.8))
            complaints = []
            for command in (["report", str(out)], ["compare", str(out), str(expected)]):
                complaints.append(run(command).complaint())
            ended = run(["evaluate", str(out), "--only", "latents", "--quick"])
            still = os.waitpid(child.pid, os.WNOHANG)[0] == 0
            if still and ended.status != 2:
                complaints.append(f"evaluate beside a training ended with {ended.status}")
            if still:
                child.kill()
                child.wait()
            self.note("readers beside a training", "; ".join(filter(None, complaints)), start)
            shutil.rmtree(out, ignore_errors=True)

    # --- files

    def mutated_files(self) -> None:
        """Files of a run folder with bytes changed, cut off, or replaced; every command on them."""
        original = self.new()
        assert run([*TRAIN, "--out", str(original)]).status == 0
        run(["evaluate", str(original), "--quick", "--only", "latents,limit"])
        names = ["config.yaml", "metrics.csv", "summary.json", "evaluation.json"]
        names += ["checkpoints/last.pt"]
        commands = {
            "report": lambda out: ["report", str(out)],
            "compare": lambda out: ["compare", str(out), str(original), "--out", str(out) + "-c"],
            "resume": lambda out: [*TRAIN, "--resume", "--out", str(out)],
            "resume for longer": lambda out: ["train", "--resume", "--out", str(out), "--epochs=7"],
            "sample": lambda out: ["sample", str(out), "--count", "2", "--out", str(out) + ".png"],
            "evaluate": lambda out: ["evaluate", str(out), "--quick", "--only", "latents"],
        }
        for _ in self.trials(60):
            out, start = self.new(), time.monotonic()
            shutil.copytree(original, out)
            path = out / self.rng.choice(names)
            mutation = self._mutate(path)
            name = self.rng.choice(list(commands))
            ended = run(commands[name](out))
            complaint = ended.complaint()
            if complaint:
                complaint = f"{name}, {path.name} {mutation}: {complaint}"
            elif ended.status == 2 and name.startswith("resume"):
                kept = all((out / n).exists() for n in names)
                complaint = "" if kept else f"{name}, {path.name} {mutation}: results were deleted"
            self.note(f"mutated file: {name}", complaint, start)
            shutil.rmtree(out, ignore_errors=True)

    def _mutate(self, path: Path) -> str:
        content = bytearray(path.read_bytes())
        foreign = [b"[]", b"{}", b"null", b"3", b'"text"', b"\xff\xfe\x00", b"[" * 100_000]
        foreign += [json.dumps({"test": [], "parameters": "x"}).encode(), b"a: &a [*a]\n"]
        how = self.rng.choice(["flipped", "cut off", "replaced", "doubled", "emptied", "words"])
        if how == "flipped":
            for _ in range(self.rng.randint(1, 8)):
                content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        elif how == "cut off":
            content = content[: self.rng.randrange(len(content))]
        elif how == "replaced":
            content = self.rng.choice(foreign)
        elif how == "doubled":
            content = content + content
        elif how == "emptied":
            content = b""
        else:  # words where numbers belong
            digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
            for place in self.rng.sample(digits, min(len(digits), 5)):
                content[place] = ord("x")
        path.write_bytes(bytes(content))
        return how

    def hostile_files(self) -> None:
        """Bombs, pipes and devices where files are expected."""
        folder = self.new()
        folder.mkdir()
        for name, arguments in hostile_inputs(folder):
            start = time.monotonic()
            ended = run([*arguments, "--out", str(self.new())] if "--out" not in arguments
                        else arguments)  # fmt: skip
            complaint = ended.complaint()
            if not complaint and ended.status == 0:
                complaint = "was accepted"
            self.note(f"hostile: {name}", complaint, start)

    def small_sets(self) -> None:
        """`evaluate` on two to seven test images."""
        for count in range(2, 8):
            start, path, out = time.monotonic(), self.new(), self.new()
            rng = np.random.default_rng(count)
            np.savez(
                f"{path}.npz",
                train_images=rng.integers(256, size=(40, 8, 8), dtype=np.uint8),
                train_labels=np.arange(40) % 2,
                test_images=rng.integers(256, size=(count, 8, 8), dtype=np.uint8),
                test_labels=np.arange(count) % 2,
            )
            data = ["--hidden", "8", "--latent-dim", "2", "--epochs", "1"]
            ended = run(["train", "--dataset", f"{path}.npz", *data, "--out", str(out)])
            if not (complaint := ended.complaint()):
                ended = run(["evaluate", str(out), "--quick"], quick_measures)
                complaint = ended.complaint() or ("" if ended.status == 0 else ended.err[:160])
            self.note("evaluate on few images", complaint, start)

    # --- the machine

    def full_disks(self) -> None:
        """Files that cannot grow: every command ends with one line, and old files stay."""
        original = self.new()
        assert run([*TRAIN, "--out", str(original)]).status == 0
        for size in [500, 1000, 5000, 20_000, 60_000, 200_000]:  # the error fits into the first
            for name in ("train", "sample", "evaluate", "compare", "report"):
                start, out = time.monotonic(), self.new()
                shutil.copytree(original, out)
                array = out / "old.npy"
                array.write_bytes(b"old")
                arguments = {
                    "train": [*TRAIN, "--out", str(out) + "-new"],
                    "sample": ["sample", str(out), "--out", str(array)],
                    "evaluate": ["evaluate", str(out), "--quick", "--only", "limit"],
                    "compare": ["compare", str(out), str(original), "--out", str(out) + "-c"],
                    "report": ["report", str(out)],
                }[name]
                before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
                ended = run(arguments, lambda size=size: limit_files(size))
                complaint = ended.complaint()
                if not complaint and ended.status == 1:
                    torn = [p.name for p, b in before.items() if not p.exists() or not intact(p, b)]
                    complaint = f"{name} tore {torn[:3]}" if torn else ""
                self.note(f"full disk: {name}", complaint, start)
                shutil.rmtree(out, ignore_errors=True)

    def streams(self) -> None:
        """Closed or vanished standard output."""
        start, out = time.monotonic(), self.new()
        words = " ".join([*TRAIN, "--out", str(out)])
        done = subprocess.run(
            f"{sys.executable} -m pyro_vae {words} >&-", shell=True, capture_output=True, text=True
        )
        complaint = "" if done.returncode == 0 else f"status {done.returncode}: {done.stderr[:100]}"
        self.note("closed standard output", complaint, start)
        start, out = time.monotonic(), self.new()
        ended = run([*TRAIN, "--out", str(out)], vanished_reader)
        finished = (out / "summary.json").exists()
        complaint = "" if finished or ended.status == 141 else f"status {ended.status}"
        self.note("train | head -1", complaint or ended.complaint(), start)

    def few_descriptors(self) -> None:
        """A sweep of many runs with few file descriptors."""
        start, out = time.monotonic(), self.new()
        seeds = [str(n) for n in range(15)]
        arguments = [*SWEEP[: SWEEP.index("--beta")], "--epochs", "1", "--seed", *seeds]
        setup = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))  # noqa: E731
        ended = run([*arguments, "--out", str(out)], lambda: (stacked(), setup()))
        complaint = ended.complaint() or ("" if ended.status == 0 else ended.err[:160])
        self.note("fifteen runs, 48 descriptors", complaint, start)

    def strange_names(self) -> None:
        """Names with dollars, markup, quotes and line breaks go through pictures and pages."""
        for name in (
            "a$b$c",
            "$\\frac{1}{0}$",
            "<b>&amp;",
            'it\'s "so"',
            "two\nlines",
            "ünï",
            "%s",
        ):
            start, folder = time.monotonic(), self.new() / name
            complaint = ""
            for seed in ("0", "1"):
                out = folder / f"{name}{seed}"
                arguments = ["train", *SMALL[:-4], "--epochs", "1", "--seed", seed]
                ended = run([*arguments, "--out", str(out)])
                complaint = complaint or ended.complaint() or ended.err[:160] * (ended.status != 0)
            ended = run(["compare", str(folder)])
            complaint = complaint or ended.complaint() or ended.err[:160] * (ended.status != 0)
            self.note("strange names", complaint, start)

    def wrong_words(self) -> None:
        """Values that no setting takes: one line and status 2."""
        for arguments in (
            ["train", "--epochs", "99999999999999999999"],
            ["train", "--seed", str(2**70)],
            ["train", "--num-particles", "100000"],
            ["train", "--dataset", "absent.npy"],
            ["train", "--data-dir", "/", "--dataset", "mnist"],
            ["train", "--out", "x" * 300],
            ["evaluate", "/dev/null"],
            ["report", "/"],
            ["compare", "/proc"],
            ["sample", "absent"],
            ["sweep", "--out", "/dev/null", "--beta", "1", "2"],
        ):
            start = time.monotonic()
            out = [] if "--out" in arguments or arguments[0] != "train" else ["--out", self.new()]
            ended = run([*arguments, *map(str, out)])
            complaint = ended.complaint() or ("was accepted" if ended.status == 0 else "")
            self.note("wrong words", f"{arguments[1:3]}: {complaint}" if complaint else "", start)
