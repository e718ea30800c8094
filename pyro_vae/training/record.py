"""The record of an epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """The record of an epoch, in nats per image.

    Args:
        epoch: the number of the epoch, from 1.
        step: the number of steps taken since training began.
        seconds: the time spent on training since it began.
        beta: the factor on the KL in the epoch's last step.
        loss: what training minimises, a mean over the epoch's steps.
        train_elbo: the ELBO at beta = 1, a mean over the epoch's steps.
        train_rate: KL(q(z|x) || p(z)), a mean over the epoch's steps.
        train_distortion: -E_q log p(x|z), a mean over the epoch's steps.
        test_elbo: the ELBO of the test images at the end of the epoch, or None without them.
        test_rate: their rate.
        test_distortion: their distortion.
        validation_loss: distortion + final beta * rate of the validation images, or None without
            them.
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
