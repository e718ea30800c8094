"""Observers of a sweep, which are called at its events."""

from pyro_vae.files import replace_file
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.observer import Listener, Observer
from pyro_vae.runs.run import Run
from pyro_vae.training.epochs import Record


class SweepObserver(Listener):
    """An observer of a sweep; override the methods of the events that you need.

    By default `notice` gives a warning, each reason for which runs have failed is a notice, and
    epochs are ignored.

    Args:
        interrupts: the signals that end training after the current step; its state is then saved
            (default: none).
    """

    def __init__(self, interrupts: Interrupts | None = None):
        super().__init__(interrupts)
        self.said: set[str] = set()  # what runs had to say, of which each is a notice once

    def started(self, runs: list[Run]) -> None:
        """Called once before the sweep of these runs begins or resumes."""
        for run in runs:
            self._tell_of_failure(run)

    def epoch(self, name: str, record: Record, last: bool) -> None:
        """Called after each epoch of a run; `last` says whether its training ends with it.

        There are no calls for runs that other processes train.
        """

    def ended(self, run: Run) -> None:
        """Called when a run is finished or has failed, here or in another process."""
        self._tell_of_failure(run)

    def _tell_of_failure(self, run: Run) -> None:
        if run.failed:
            self.notice_once(f"sweep: failed: {run.failed}; failed.txt in a run's folder says so")

    def notice_once(self, message: str) -> None:
        """Give a notice unless it was given before."""
        if message not in self.said:
            self.said.add(message)
            self.notice(message)


class MemberObserver(Observer):
    """An observer that reports a run to a sweep's observer, and marks the run if it fails."""

    def __init__(self, sweep: SweepObserver, run: Run):
        super().__init__(sweep.interrupts)
        self.sweep, self.run = sweep, run

    def notice(self, message: str) -> None:
        self.sweep.notice_once(message)

    def epoch(self, record: Record, last: bool) -> None:
        self.sweep.epoch(self.run.name, record, last)

    def failed(self, error: Exception) -> None:
        fail(self.run, error, self.sweep)

    def finished(self) -> None:
        self.sweep.ended(self.run.reread())


def fail(run: Run, error: Exception, observer: SweepObserver) -> None:
    """Write into a run's folder why it has failed, in one line, and tell the observer that it ended.

    Raises:
        OSError: the file cannot be written.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.config_file.exists():
        run.config.save(run.config_file)
    reason = " ".join(str(error).split()) or type(error).__name__
    replace_file(run.failure_file, f"{reason}\n")
    observer.ended(run.reread())
