"""The record of an epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """The record of an epoch, in nats per image.

    The training figures are means over the epoch's steps, with rate and distortion at beta = 1.
    `seconds` is the time spent on training since its start. The test figures are measured at the
    end of the epoch and are None without test images. The validation loss is distortion + final
    beta * rate, and None without validation images.
    """

    epoch: int
    step: int
    seconds: float
    beta: float
    loss: float
    train_elbo: float
    train_rate: float
    train_distortion: float
    test_elbo: float | None = None
    test_rate: float | None = None
    test_distortion: float | None = None
    validation_loss: float | None = None

    def __repr__(self) -> str:
        parts = [f"epoch {self.epoch}, step {self.step}"]
        for name in ("loss", "train_elbo", "test_elbo", "validation_loss"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name} {value:.2f}")
        return f"Record({', '.join(parts)})"
