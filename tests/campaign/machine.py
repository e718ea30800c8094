"""Machines with little left, and names that are no words."""

import locale
import os
import resource
import shutil
import subprocess
import tempfile
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
)

COMMAS = "de_DE.UTF-8"
NAMES = ("a$b$c", "$\\nosuch{$", "<b>&amp;", 'it\'s "so"', "two\nlines", "ünï", "%s")


def full_disks(campaign: Campaign) -> None:
    """Files that cannot grow: every command ends with one line, and old files stay."""
    original = campaign.made()
    commands = {
        "train": [*TRAIN, "--out", "{}-new"],
        "sample": ["sample", "{}", "--out", "{}/old.npy"],
        "evaluate": ["evaluate", "{}", "--quick", "--only", "limit"],
        "compare": ["compare", "{}", str(original), "--out", "{}-c"],
        "report": ["report", "{}"],
    }
    for size in [500, 1000, 5000, 20_000, 60_000, 200_000]:  # the error fits into the first
        for name, words in commands.items():
            with campaign.trial(f"full disk: {name}", copy_of=original) as trial:
                (trial.out / "old.npy").write_bytes(b"old")
                before = {p: p.read_bytes() for p in trial.out.rglob("*") if p.is_file()}
                ended = run(
                    [w.format(trial.out) for w in words], lambda size=size: limit_files(size)
                )
                trial.complaint = ended.complaint()
                if not trial.complaint and ended.status == 1:
                    torn = [p.name for p, b in before.items() if not p.exists() or not intact(p, b)]
                    trial.complaint = f"{name} tore {torn[:3]}" if torn else ""


def few_descriptors(campaign: Campaign) -> None:
    """A sweep of many runs with few file descriptors."""
    seeds = [str(n) for n in range(15)]
    arguments = [*SWEEP[: SWEEP.index("--beta")], "--epochs", "1", "--seed", *seeds]
    setup = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))  # noqa: E731
    with campaign.trial("fifteen runs, 48 descriptors") as trial:
        ended = run([*arguments, "--out", str(trial.out)], lambda: (stacked(), setup()))
        trial.complaint = ended.failure()


def full_temporary_folder(campaign: Campaign) -> None:
    """A temporary folder without a byte left; needs root, who can mount one."""
    folder, out = campaign.new(), campaign.new()
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        campaign.leave_out("full temporary folder", "nothing can be mounted here")
        return
    compiled = [*TRAIN[: TRAIN.index("--engine")], "--engine", "auto", *TRAIN[-4:]]
    try:
        (folder / "all").write_bytes(bytes(4096))
        for words in (
            [*TRAIN, "--out", str(out)],
            [*compiled, "--epochs", "2000", "--out", f"{out}-compiled"],
            ["sample", str(out), "--out", f"{out}.png"],
            ["evaluate", str(out), "--quick", "--only", "limit"],
            ["report", str(out)],
            ["compare", str(out), f"{out}-compiled", "--out", f"{out}-c"],
        ):
            with campaign.trial("full temporary folder") as trial:
                complaint = run(words, lambda: _temporary(folder)).failure()
                trial.complaint = complaint and f"{words[0]}: {complaint}"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _temporary(folder: Path) -> None:
    tempfile.tempdir = None
    os.environ |= {"TMPDIR": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}


def decimal_commas(campaign: Campaign) -> None:
    """A locale whose decimal point is a comma changes no number."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, COMMAS)
    except locale.Error:
        campaign.leave_out("decimal commas", f"there is no locale {COMMAS} here")
        return
    locale.setlocale(locale.LC_ALL, before)
    setup = lambda: locale.setlocale(locale.LC_ALL, COMMAS)  # noqa: E731
    expected = campaign.made()
    with campaign.trial("decimal commas") as trial:
        out = str(trial.out)
        ended = run([*TRAIN, "--out", out], setup)
        complaint = ended.complaint() or difference(trial.out, expected)
        for words in (
            ["evaluate", out, "--quick", "--only", "latents,limit"],
            ["compare", out, str(expected), "--out", f"{out}-c"],
            ["report", out],
        ):
            complaint = complaint or run(words, setup).failure()
        trial.complaint = complaint


def folders_of_others(campaign: Campaign) -> None:
    """A user who is not root, and folders that may be read only or not at all."""
    if os.geteuid() != 0:
        campaign.leave_out("folders of others", "since only root can become nobody")
        return
    campaign.folder.chmod(0o755)
    original = campaign.made()
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
            with campaign.trial("folders without permission", copy_of=original) as trial:
                trial.out.chmod(mode)
                ended = run([word.format(trial.out) for word in words], lambda: os.setuid(65534))
                complaint = ended.complaint() or ("was done" if ended.status == 0 else "")
                trial.complaint = complaint and f"{name}, mode {mode:o}: {complaint}"


def strange_names(campaign: Campaign) -> None:
    """Names with dollars, markup, quotes and line breaks go through pictures and pages."""
    for name in NAMES:
        with campaign.trial("strange names") as trial:
            folder = trial.out / name
            one, other, again = (
                folder / each for each in (f"{name}0", f"{name}1", f"again {name}")
            )
            for seed, out in (("0", one), ("1", other)):
                train = ["train", *SMALL[:-4], "--epochs", "1", "--seed", seed, "--out", str(out)]
                trial.complaint = trial.complaint or run(train).failure()
            trial.complaint = trial.complaint or run(["compare", str(folder)]).failure()
            shutil.copytree(one, again)  # only names tell these apart
            ended = run(["compare", str(one), str(again)])
            failed = ended.complaint() or ended.err[:160] * (ended.status == 1)
            trial.complaint = trial.complaint or failed
