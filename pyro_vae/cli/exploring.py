"""The command that writes a page on which finished runs are explored in the browser."""

from argparse import Namespace

from pyro_vae.explorer.page import explore
from pyro_vae.runs.interrupts import Interrupts


def run_explore(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write a page that runs the models of finished runs in the browser."""
    path = explore(parsed.runs, parsed.out, parsed.data_dir)
    print(f"Open {path} in a browser ({path.stat().st_size / 1e6:.1f} MB)")
