"""The command that puts finished runs side by side."""

from argparse import Namespace

from pyro_vae.comparison.page import write_comparison
from pyro_vae.runs.interrupts import Interrupts


def run_compare(parsed: Namespace, interrupts: Interrupts) -> None:
    """Compare finished runs in a table and on a page."""
    path, found = write_comparison(parsed.runs, parsed.out)
    print(f"{len(found.finished)} finished runs in {path.with_name('compare.csv')}")
    others = {"not finished": found.unfinished, "failed": found.failed}
    for word, runs in (others | {"left out": found.repeated}).items():
        for folder, why in runs.items():
            print(f"{word}: {folder}: {why}")
    print(f"Look at {path}")
