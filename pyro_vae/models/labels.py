"""What a model is given with its images: labels, as a conditional VAE takes them, or missing pixels."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from pyro_vae.own_parts import reason_of

Shape = tuple[int, int, int]


class OneHot(nn.Module):
    """The embedding of labels (N,) as unit vectors (N, classes)."""

    rows: Tensor

    def __init__(self, classes: int):
        super().__init__()
        self.register_buffer("rows", torch.eye(classes), persistent=False)

    def forward(self, labels: Tensor) -> Tensor:
        return self.rows[labels]

    def extra_repr(self) -> str:
        return f"{len(self.rows)} classes"


class Conditional(nn.Module):
    """What a model knows of its images: their labels with the module that embeds them, and holes."""

    embedding: nn.Module | None
    labels: Tensor | None = None
    missing = False  # whether pixels of its images may be NaN
    name: str

    def given(self, labels: Tensor | None = None, missing: bool = False) -> Self:
        """Return the model of images with labels, or of images with missing pixels, which are NaN.

        It shares all parts with this one. Its programs and densities are those given the labels, as
        log p(x | y), and all that takes a model and images takes it as such.

        With missing pixels, log p(x | z) is that of the others, and the encoder reads zeros in place
        of missing ones (Nazabal, Olmos, Ghahramani and Valera, "Handling incomplete heterogeneous
        data using VAEs", 2020, https://arxiv.org/abs/1807.03653).

        Args:
            labels: (N,), one for each image, or (1,), the same for all; None keeps those it has.
            missing: whether pixels may be missing.

        Raises:
            ValueError: the model takes no labels.
        """
        if labels is None and not missing:
            return self
        if labels is not None and self.embedding is None:
            raise ValueError("labels: the model takes none; make it with conditional=")
        vae = copy.copy(self)
        vae.name, vae.missing = self.name, missing or self.missing
        vae.labels = self.labels if labels is None else labels.to(next(self.parameters()).device)
        return vae

    @property
    def classes(self) -> int | None:
        """Return the number of classes, None if it is not known or there are no labels."""
        return len(self.embedding.rows) if isinstance(self.embedding, OneHot) else None

    def of_first_class(self) -> Self:
        """Return the model of images whose label is 0, or this one if it takes no labels."""
        return self if self.embedding is None else self.given(torch.zeros(1, dtype=torch.long))

    def features(self, batch_shape: torch.Size) -> Tensor:
        """Return the features (..., N, F) of the labels of images (..., N).

        Raises:
            ValueError: there are no labels, or another number of them.
        """
        if self.embedding is None or self.labels is None:
            raise ValueError("labels: the model is conditional; give them, as in vae.given(labels)")
        if len(self.labels) not in (1, *batch_shape[-1:]):
            raise ValueError(
                f"labels: expected one for each of {batch_shape[-1]} images, got {len(self.labels)}"
            )
        return self.embedding(self.labels).expand(*batch_shape, -1)


def embedding_of(conditional: int | nn.Module | None) -> tuple[nn.Module | None, int]:
    """Return the module that embeds labels, None without labels, and how many features it gives.

    Raises:
        ValueError: fewer than one class, or a module that gives no features (N, F) of labels (N,).
    """
    if conditional is None:
        return None, 0
    if isinstance(conditional, int) and conditional < 1:
        raise ValueError(f"conditional: expected at least 1 class, got {conditional}")
    embedding = OneHot(conditional) if isinstance(conditional, int) else conditional
    features = _embedded(embedding, torch.zeros(2, dtype=torch.long), "conditional")
    if features.shape[:-1] != (2,):
        raise ValueError(
            f"conditional: expected features (N, F) of labels (N,), got {tuple(features.shape)} for 2"
        )
    return embedding, features.shape[1]


def check_labels(
    embedding: nn.Module | None, labels: Tensor | None, images: Tensor, argument: str = "labels"
) -> None:
    """Check that there is a label for each image if a model takes labels, and none else.

    Args:
        embedding: the model's.
        images: (N, C, H, W).
        argument: what the labels were given as; it opens the message.

    Raises:
        ValueError: labels that are missing, of another number or kind, or of no known class; labels
            for a model that takes none.
    """
    if embedding is None:
        if labels is not None:
            raise ValueError(f"{argument}: the model takes none; make it with conditional=")
        return
    got = "none"
    if isinstance(labels, Tensor):
        got = f"{tuple(labels.shape)} of {labels.dtype} from {labels.min().item():g}"
        if labels.dtype == torch.long and labels.shape == images.shape[:1] and labels.min() >= 0:
            _embedded(copy.deepcopy(embedding).cpu(), labels.unique().cpu(), argument)
            return
    raise ValueError(
        f"{argument}: the model is conditional; expected torch.int64 from 0, ({len(images)},), one for"
        f" each image, got {got}"
    )


def _embedded(embedding: nn.Module, labels: Tensor, argument: str) -> Tensor:
    try:
        return embedding(labels)
    except Exception as error:  # whatever a user's module raises
        shown = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"{argument}: {shown} cannot be embedded: {reason_of(error)}") from error


def joined_shape(image_shape: Shape, features: int, flat: bool) -> Shape:
    """Return the shape of what `beside_pixels` returns for an image; a vector's is (size, 1, 1)."""
    channels, height, width = image_shape
    return (
        (channels * height * width + features, 1, 1)
        if flat
        else (channels + features, height, width)
    )


def beside_pixels(x: Tensor, features: Tensor, flat: bool) -> Tensor:
    """Return images (..., C, H, W) together with features (..., F) of their labels.

    They are constant channels, (..., C + F, H, W), or, if `flat`, follow the pixels in one vector.
    """
    if flat:
        return torch.cat([x.flatten(-3), features], -1)
    channels = features[..., None, None].expand(*features.shape, *x.shape[-2:])
    return torch.cat([x, channels], -3)


def rows_of_classes(classes: int, columns: int) -> Tensor:
    """Return labels of a picture with a row for each class, (classes * columns,)."""
    return torch.arange(classes).repeat_interleave(columns)
