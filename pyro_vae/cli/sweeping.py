"""The command that trains every combination of settings, and how it shows progress."""

from argparse import Namespace

from tqdm import tqdm

from pyro_vae.cli.output import say
from pyro_vae.cli.progress import epochs_bar
from pyro_vae.cli.training import elbo_line
from pyro_vae.comparison.page import write_comparison
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.sweeps.folder import Member
from pyro_vae.sweeps.observer import SweepObserver
from pyro_vae.sweeps.sweep import sweep
from pyro_vae.training.epochs import Record


def run_sweep(parsed: Namespace, interrupts: Interrupts) -> None:
    """Train every combination of settings."""
    progress = _SweepProgress(interrupts, parsed.out)
    try:
        places = {"ray": parsed.ray, "gpu_share": parsed.gpu_share}
        sweep(parsed.settings, parsed.out, **places, observer=progress)
    finally:
        progress.close()
    failed = [str(member.path) for member in progress.members if member.failed]
    finished = [member.path for member in progress.members if not member.failed]
    page = write_comparison(finished, parsed.out)[0] if len(finished) > 1 else None
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise RuntimeError(
            f"{len(failed)} of {len(progress.members)} runs failed, as failed.txt in their folders"
            f" says: {', '.join(failed[:3])}{more}; delete a folder to try its run again"
        )
    say(f"All {len(finished)} runs are finished: look at {page or finished[0] / 'report.html'}")


class _SweepProgress(SweepObserver):
    """A bar over the epochs of all runs, and a line for each run that ends."""

    def __init__(self, interrupts: Interrupts, out: str):
        super().__init__(interrupts)
        self.out, self.bar = out, None
        self.members: list[Member] = []
        self.epochs: dict[str, int] = {}  # finished epochs of each run

    def started(self, members: list[Member]) -> None:
        self.members = members
        self.left = {m.name for m in members if not m.ended}
        self.failures = sum(m.failed for m in members)
        say(f"{len(members)} runs in {self.out}, {len(self.left)} of them to train")
        done = sum(m.config.epochs for m in members if m.ended)
        total = sum(m.config.epochs for m in members)
        self.bar = epochs_bar(total, done, postfix=self._counts())

    def _counts(self) -> str:
        failed = f", {self.failures} failed" if self.failures else ""
        done = len(self.members) - len(self.left) - self.failures
        return f"{done} of {len(self.members)} runs done{failed}"

    def epoch(self, name: str, record: Record, last: bool) -> None:
        before = self.epochs.get(name)
        if before is None:  # an earlier process trained these
            before = record.epoch - 1
            self._skip(before)
        self.bar.update(max(0, record.epoch - before))
        self.epochs[name] = max(before, record.epoch)

    def ended(self, member: Member) -> None:
        self.left.discard(member.name)
        self.failures += member.failed
        self._skip(member.config.epochs - self.epochs.get(member.name, 0))
        self.bar.set_postfix_str(self._counts())
        with tqdm.external_write_mode():
            say(f"{member.name}: {_outcome(member)} ({self._counts()})")

    def _skip(self, epochs: int) -> None:
        """Count epochs as done, but leave them out of the estimate of the time that remains."""
        if not self.bar.disable:
            self.bar.initial += epochs
            self.bar.n += epochs

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def _outcome(member: Member) -> str:
    if member.failed:
        return f"failed: {member.mark.read_text().strip()}"
    return elbo_line("test", member.summary()["test"])
