"""Machines with little left, and words that no command takes."""

import locale
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign.campaign import Campaign
from tests.campaign.promises import difference
from tests.campaign.trial import (
    SMALL,
    SWEEP,
    TRAIN,
    intact,
    limit_files,
    run,
    stacked,
    vanished_reader,
)

COMMAS = "de_DE.UTF-8"


def full_disks(campaign: Campaign) -> None:
    """Files that cannot grow: every command ends with one line, and old files stay."""
    original = campaign.new()
    assert run([*TRAIN, "--out", str(original)]).status == 0
    for size in [500, 1000, 5000, 20_000, 60_000, 200_000]:  # the error fits into the first
        for name in ("train", "sample", "evaluate", "compare", "report"):
            start, out = time.monotonic(), campaign.new()
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
            campaign.note(f"full disk: {name}", complaint, start)
            shutil.rmtree(out, ignore_errors=True)


def streams(campaign: Campaign) -> None:
    """Closed or vanished standard output."""
    start, out = time.monotonic(), campaign.new()
    words = " ".join([*TRAIN, "--out", str(out)])
    done = subprocess.run(
        f"{sys.executable} -m pyro_vae {words} >&-", shell=True, capture_output=True, text=True
    )
    complaint = "" if done.returncode == 0 else f"status {done.returncode}: {done.stderr[:100]}"
    campaign.note("closed standard output", complaint, start)
    start, out = time.monotonic(), campaign.new()
    ended = run([*TRAIN, "--out", str(out)], vanished_reader)
    finished = (out / "summary.json").exists()
    complaint = "" if finished or ended.status == 141 else f"status {ended.status}"
    campaign.note("train | head -1", complaint or ended.complaint(), start)


def few_descriptors(campaign: Campaign) -> None:
    """A sweep of many runs with few file descriptors."""
    start, out = time.monotonic(), campaign.new()
    seeds = [str(n) for n in range(15)]
    arguments = [*SWEEP[: SWEEP.index("--beta")], "--epochs", "1", "--seed", *seeds]
    setup = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))  # noqa: E731
    ended = run([*arguments, "--out", str(out)], lambda: (stacked(), setup()))
    complaint = ended.complaint() or ("" if ended.status == 0 else ended.err[:160])
    campaign.note("fifteen runs, 48 descriptors", complaint, start)


def full_temporary_folder(campaign: Campaign) -> None:
    """A temporary folder without a byte left; needs root, who can mount one."""
    start, folder, out = time.monotonic(), campaign.new(), campaign.new()
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        print("full temporary folder: left out, nothing can be mounted here", file=sys.stderr)
        return
    try:
        (folder / "all").write_bytes(bytes(4096))
        setup = lambda: _temporary(folder)  # noqa: E731
        compiled = [*TRAIN[: TRAIN.index("--engine")], "--engine", "auto", *TRAIN[-4:]]
        for words in (
            [*TRAIN, "--out", str(out)],
            [*compiled, "--epochs", "2000", "--out", str(out) + "-compiled"],
            ["sample", str(out), "--out", str(out) + ".png"],
            ["evaluate", str(out), "--quick", "--only", "limit"],
            ["report", str(out)],
            ["compare", str(out), str(out) + "-compiled", "--out", str(out) + "-c"],
        ):
            ended = run(words, setup)
            complaint = ended.complaint() or ended.err[:160] * (ended.status != 0)
            campaign.note("full temporary folder", complaint and f"{words[0]}: {complaint}", start)
            start = time.monotonic()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _temporary(folder: Path) -> None:
    tempfile.tempdir = None
    os.environ |= {"TMPDIR": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}


def decimal_commas(campaign: Campaign) -> None:
    """A locale whose decimal point is a comma changes no number."""
    expected, out, start = campaign.new(), campaign.new(), time.monotonic()
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, COMMAS)
    except locale.Error:
        print(f"decimal commas: left out, there is no locale {COMMAS} here", file=sys.stderr)
        return
    locale.setlocale(locale.LC_ALL, before)
    setup = lambda: locale.setlocale(locale.LC_ALL, COMMAS)  # noqa: E731
    assert run([*TRAIN, "--out", str(expected)]).status == 0
    ended = run([*TRAIN, "--out", str(out)], setup)
    complaint = ended.complaint() or difference(out, expected)
    for words in (
        ["evaluate", str(out), "--quick", "--only", "latents,limit"],
        ["compare", str(out), str(expected), "--out", str(out) + "-c"],
        ["report", str(out)],
    ):
        ended = run(words, setup)
        complaint = complaint or ended.complaint() or ended.err[:160] * (ended.status != 0)
    campaign.note("decimal commas", complaint, start)


def folders_of_others(campaign: Campaign) -> None:
    """A user who is not root, and folders that may be read only or not at all."""
    if os.geteuid() != 0:
        print("folders of others: left out, since only root can become nobody", file=sys.stderr)
        return
    campaign.folder.chmod(0o755)
    original = campaign.new()
    assert run([*TRAIN, "--out", str(original)]).status == 0
    for mode in (0o555, 0o111, 0o000):
        for name, words in {
            "a new run inside": [*TRAIN, "--out", "{}/new"],
            "resume": ["train", "--resume", "--epochs", "9", "--out", "{}"],
            "evaluate": ["evaluate", "{}", "--quick", "--only", "latents"],
            "report": ["report", "{}"],
            "sample": ["sample", "{}", "--out", "{}/x.png"],
            "compare": ["compare", "{}"],
            "a sweep": [*SWEEP, "--out", "{}"],
        }.items():
            start, out = time.monotonic(), campaign.new()
            shutil.copytree(original, out)
            out.chmod(mode)
            ended = run([word.format(out) for word in words], lambda: os.setuid(65534))
            complaint = ended.complaint() or ("was done" if ended.status == 0 else "")
            complaint = complaint and f"{name}, mode {mode:o}: {complaint}"
            campaign.note("folders without permission", complaint, start)


def strange_names(campaign: Campaign) -> None:
    """Names with dollars, markup, quotes and line breaks go through pictures and pages."""
    for name in (
        "a$b$c",
        "$\\nosuch{$",
        "<b>&amp;",
        'it\'s "so"',
        "two\nlines",
        "ünï",
        "%s",
    ):
        start, folder = time.monotonic(), campaign.new() / name
        complaint = ""
        for seed in ("0", "1"):
            out = folder / f"{name}{seed}"
            arguments = ["train", *SMALL[:-4], "--epochs", "1", "--seed", seed]
            ended = run([*arguments, "--out", str(out)])
            complaint = complaint or ended.complaint() or ended.err[:160] * (ended.status != 0)
        ended = run(["compare", str(folder)])
        complaint = complaint or ended.complaint() or ended.err[:160] * (ended.status != 0)
        shutil.copytree(
            folder / f"{name}0", folder / f"again {name}"
        )  # only names tell these apart
        ended = run(["compare", str(folder / f"{name}0"), str(folder / f"again {name}")])
        complaint = complaint or ended.complaint() or ended.err[:160] * (ended.status == 1)
        campaign.note("strange names", complaint, start)


def wrong_words(campaign: Campaign) -> None:
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
        out = [] if "--out" in arguments or arguments[0] != "train" else ["--out", campaign.new()]
        ended = run([*arguments, *map(str, out)])
        complaint = ended.complaint() or ("was accepted" if ended.status == 0 else "")
        campaign.note("wrong words", f"{arguments[1:3]}: {complaint}" if complaint else "", start)
