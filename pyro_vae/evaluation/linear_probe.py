"""How well a linear classifier reads labels off codes."""

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pyro_vae.evaluation.estimates import Estimate, estimate


def linear_probe(
    train_codes: Tensor, train_labels: Tensor, test_codes: Tensor, test_labels: Tensor
) -> Estimate:
    """Return the accuracy of multinomial logistic regression on codes, with its standard error.

    Components are standardized over the training rows. The standard error is binomial. The penalty
    is scikit-learn's default, `1/2 ||w||^2` beside the summed negative log likelihood.

    Args:
        train_codes, test_codes: (N, latent_dim) and (M, latent_dim).
        train_labels, test_labels: (N,) and (M,), whole numbers.

    Raises:
        ValueError: if shapes do not fit, codes are not finite, or there is a single training label.

    Source: Alain and Bengio, "Understanding intermediate layers using linear classifier probes",
    2016, https://arxiv.org/abs/1610.01644.
    """
    train, test = (train_codes, train_labels), (test_codes, test_labels)
    for split, (codes, labels) in {"train": train, "test": test}.items():
        check_codes(codes, f"{split}_codes", train_codes.shape[-1])
        if labels.shape != codes.shape[:1]:
            raise ValueError(f"{split}_labels: expected ({len(codes)},), got {tuple(labels.shape)}")
    if len(train_labels.unique()) < 2:
        raise ValueError("train_labels: expected at least 2 different ones, got 1")
    numbers = [t.detach().double().cpu().numpy() for t in (*train, *test)]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    guesses = classifier.fit(*numbers[:2]).predict(numbers[2])
    return estimate(torch.from_numpy(guesses == numbers[3]))


def check_codes(codes: Tensor, name: str, latent_dim: int | None = None) -> None:
    """Check that codes are a finite matrix.

    Raises:
        ValueError: another shape than (N, latent_dim), no rows, or numbers that are not finite.
    """
    if codes.dim() != 2 or not codes.numel() or latent_dim not in (None, codes.shape[1]):
        wanted = f"(N, {latent_dim or 'latent_dim'})"
        raise ValueError(f"{name}: expected {wanted}, not empty, got {tuple(codes.shape)}")
    if not codes.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
