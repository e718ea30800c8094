"""Attacks on runs and sweeps, with a table of what withstood them.

`python -m tests.campaign` takes some minutes, `--short` a few less and `--full` an hour or two. Each
trial is a process of its own, forked after the imports, with a limit of 60 s and 4 GB of resident
memory. The random seed is printed; `--seed` repeats it.

A trial fails where it breaks one of the package's promises:

- a run that was killed resumes to the same weights and metrics, bit for bit;
- of two processes in one run folder one works, and the other ends with status 2 and one line that
  names the first; two sweeps in one folder share its runs;
- whatever a file holds, a command ends with a status that it knows and at most one line of error.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.campaign import files, kills, machine
from tests.campaign.campaign import Campaign


def show(campaign: Campaign, seconds: float) -> None:
    """Print the table."""
    print(f"\n{'attack':36s}{'trials':>8s}{'failures':>10s}{'seconds':>9s}")
    for name, (trials, failures, spent) in campaign.table.items():
        print(f"{name:36s}{trials:8.0f}{failures:10.0f}{spent:9.1f}")
    columns = list(zip(*campaign.table.values()))
    print(f"{'all':36s}{sum(columns[0]):8.0f}{sum(columns[1]):10.0f}{seconds:9.1f}")
    for complaint, count in campaign.complaints.most_common():
        print(f"{count:4d} x {complaint}")


ATTACKS = {
    "kills": kills.kills_of_train,
    "sweeps": kills.kills_of_sweeps,
    "pairs": kills.pairs,
    "compiling": kills.signals_while_compiling,
    "mutated": files.mutated_files,
    "hostile": files.hostile_files,
    "disks": machine.full_disks,
    "temporary": machine.full_temporary_folder,
    "descriptors": machine.few_descriptors,
    "commas": machine.decimal_commas,
    "permissions": machine.folders_of_others,
    "names": machine.strange_names,
}


def campaign(seed: int, scale: float, attacks: list[str]) -> Campaign:
    """Make the attacks, and return what came of them."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        here = os.getcwd()
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))  # and not the user's
        try:
            whole = Campaign(Path(folder), seed, scale)
            for name in attacks:
                print(f"{name} ...", file=sys.stderr, flush=True)
                ATTACKS[name](whole)
        finally:
            os.chdir(here)
    return whole


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="ten times as many trials")
    parser.add_argument("--short", action="store_true", help="a quarter of the trials")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parsed = parser.parse_args()
    scale = 10 if parsed.full else 0.25 if parsed.short else 1
    print(f"seed {parsed.seed}")
    start = time.monotonic()
    whole = campaign(parsed.seed, scale, parsed.only)
    show(whole, time.monotonic() - start)
    return int(any(failures for _, failures, _ in whole.table.values()))


if __name__ == "__main__":
    sys.exit(_main())
