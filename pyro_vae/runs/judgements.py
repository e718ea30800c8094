"""What a report answers first: a line for each question about a run."""

from typing import Any, NamedTuple

from pyro_vae.runs.baselines import NAMES, not_beaten


class Judgement(NamedTuple):
    """A question and its answer in words."""

    question: str
    answer: str


def judgements(summary: dict[str, Any]) -> list[Judgement]:
    """Return the questions that the summary of a run can answer, with their answers."""
    found = []
    if convergence := summary.get("convergence"):
        answer = f"{convergence['word'].capitalize()}: {convergence['reason']}"
        found.append(Judgement("Is it converged?", answer))
    if baselines := summary.get("baselines"):
        found.append(Judgement("Is it better than trivial models?", _beside(baselines)))
    return found


def _beside(baselines: dict[str, dict[str, float]]) -> str:
    listed = ", ".join(
        f"{NAMES[name]} {figures['bits_per_dim']:.3f}"
        for name, figures in baselines.items()
        if name in NAMES
    )
    least = min(figures["gain_nats"] for figures in baselines.values())
    said = f"Fitted to the training images, their bits per dimension of test images are: {listed}"
    if worse := not_beaten(baselines):
        names = " and ".join(", ".join(worse).rsplit(", ", 1))
        return (
            f"No: it is not trained far enough, or worse than {names}. Its log P(x) is"
            f" {least:+.1f} nats per image beside the best of them. {said}"
        )
    return f"Yes, by {least:.1f} nats per image or more. {said}"
