"""Classifiers of labelled images: a network whose features compare images, and a probe of codes."""

import math

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyro_vae.data import Split, check_unit_interval
from pyro_vae.data.mapped import looked_at
from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.models.elbo import chunks
from pyro_vae.models.networks import Shape
from pyro_vae.randomness import seeded

_BATCH_SIZE = 64
_PASSES = 60  # over the images at most: more of them only learn few images by heart


class FeatureNet(nn.Module):
    """A small convolutional classifier, whose last hidden layer gives the features of an image.

    `accuracy` is measured on `tested` labelled images that it was not trained on.
    """

    def __init__(self, image_shape: Shape, num_features: int, num_classes: int):
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < 4:
            raise ValueError(f"images: expected at least 4x4 pixels, got {height}x{width}")
        self.sizes = (image_shape, num_features, num_classes)
        self.accuracy, self.tested = Estimate(math.nan, math.nan), 0
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            nn.Linear(64 * (height // 4) * (width // 4), num_features),
            nn.SiLU(),  # with rectifiers some features die and become constant
        )
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, num_features) of images (N, C, H, W).

        Raises:
            ValueError: if the images have another shape than those of training.
        """
        if tuple(images.shape[1:]) != self.sizes[0]:
            raise ValueError(f"images: expected (N, *{self.sizes[0]}), got {tuple(images.shape)}")
        return torch.cat([self.body(x) for x in chunks(images)])


def feature_count(num_images: int) -> int:
    """Return 64, halved until the covariance has no more entries than there are images.

    The covariance of F features has F (F + 1) / 2 entries.
    """
    return next(f for f in (64, 32, 16, 8, 4, 2, 1) if f * (f + 1) // 2 <= num_images)


def held_out_count(num_images: int) -> int:
    """Return how many of the images test a classifier, which is trained on the others."""
    return max(1, num_images // 10)


def train_features(
    images: Tensor, labels: Tensor | None, num_features: int, seed: int = 0, num_steps: int = 1200
) -> FeatureNet:
    """Train a classifier on a random nine tenths of the images, and test it on the rest.

    Args:
        images: (N, C, H, W) in [0, 1].
        labels: (N,), of at least two classes.
        num_features: the number of features; `feature_count(N)` is a good choice.
        seed: the seed of the split, the weights and the minibatches. The same seed, device and
            number of threads give the same weights.
        num_steps: the number of minibatches; fewer where they would go through the images more than
            60 times.

    Raises:
        ValueError: if pixels are out of range, if the images are smaller than 4x4 pixels, or if
            labels are missing or name a single class.
    """
    check_unit_interval(looked_at(images))
    if labels is None or labels.shape != images.shape[:1] or len(labels.unique()) < 2:
        got = "none" if labels is None else f"{labels.unique().tolist()[:9]} for {len(labels)}"
        raise ValueError(f"labels: expected two or more for {len(images)} images, got {got}")
    classes, labels = labels.unique(return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    held_out, rows = order.tensor_split([held_out_count(len(images))])
    with seeded(seed):
        channels, height, width = images.shape[1:]
        net = FeatureNet((channels, height, width), num_features, len(classes)).to(images.device)
    passes = range(min(_PASSES, math.ceil(num_steps * _BATCH_SIZE / len(rows))))
    order = torch.cat([rows[torch.randperm(len(rows), generator=generator)] for _ in passes])
    _descend(net, images, labels, order.split(_BATCH_SIZE)[:num_steps])
    with torch.no_grad():
        kept_out = Split(images).subset(held_out).images
        predicted = torch.cat([net(x).argmax(1) for x in chunks(kept_out)])
    net.accuracy, net.tested = estimate(predicted == labels[held_out]), len(held_out)
    return net.eval()


@torch.enable_grad()
def _descend(net: FeatureNet, images: Tensor, labels: Tensor, batches: tuple[Tensor, ...]) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for rows in batches:
        optimizer.zero_grad()
        cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()


# --- a probe of codes -----------------------------------------------------------------------------


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
    """Raise a ValueError unless codes are a matrix (N, latent_dim) of finite numbers, not empty."""
    if codes.dim() != 2 or not codes.numel() or latent_dim not in (None, codes.shape[1]):
        wanted = f"(N, {latent_dim or 'latent_dim'})"
        raise ValueError(f"{name}: expected {wanted}, not empty, got {tuple(codes.shape)}")
    if not codes.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
