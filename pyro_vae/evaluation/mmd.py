"""The maximum mean discrepancy, and a test of whether two samples have the same distribution."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.randomness import seeded

MOST_POINTS = 2000  # of a sample whose kernel is computed: 0.4 GB


class MmdTest(NamedTuple):
    """The squared discrepancy of two samples, and the p-value for one common distribution."""

    statistic: float
    p_value: float
    bandwidth: float


def maximum_mean_discrepancy(x: Tensor, y: Tensor, bandwidth: float | None = None) -> float:
    """Return the unbiased squared MMD of two samples; it can be negative by chance.

    `mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)`, the first two over i != j, with
    `k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))`. It is not in nats, and is at most 2.

    Args:
        x: (m, dimensions), m >= 2.
        y: (n, dimensions), n >= 2.
        bandwidth: the bandwidth of the kernel (default: the median distance within the pooled
            sample).

    Raises:
        ValueError: if there are too few points, if dimensions differ, or if the bandwidth or the
            median distance is 0.

    Source: Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A kernel two-sample test", 2012,
    https://jmlr.org/papers/v13/gretton12a.html.
    """
    kernel, _ = _kernel(x, y, bandwidth)
    in_x = torch.arange(len(kernel), device=kernel.device) < len(x)
    return _discrepancies(kernel, in_x.unsqueeze(1)).item()


def squared_discrepancy(x: Tensor, y: Tensor, bandwidth: float) -> Estimate:
    """Return the unbiased squared MMD of two samples of equal size, with its standard error.

    Its expectation does not depend on the number of points. The error holds for equal distributions
    as well, where the terms of first order vanish.

    Args:
        x, y: (n, dimensions), 3 <= n, independent rows. Memory grows as the square of n.
        bandwidth: that of the Gaussian kernel of `maximum_mean_discrepancy`.

    Raises:
        ValueError: as for `maximum_mean_discrepancy`, or if the sizes differ.

    Source: Gretton and others, as above; Serfling, "Approximation theorems of mathematical
    statistics", 1980, for the variance.
    """
    n = len(x)
    if len(y) != n or n < 3:
        raise ValueError(f"x, y: expected at least 3 points each, equally many, got {n}, {len(y)}")
    kernel, _ = _kernel(x, y, bandwidth)
    h = kernel[:n, :n] + kernel[n:, n:] - kernel[:n, n:] - kernel[:n, n:].T
    pairs = h[~torch.eye(n, dtype=torch.bool, device=h.device)].view(n, n - 1)
    second = pairs.var()
    first = (pairs.mean(1).var() - second / (n - 1)).clamp_min(0)
    variance = 4 * (n - 2) / (n * (n - 1)) * first + 2 / (n * (n - 1)) * second
    return Estimate(pairs.mean().item(), variance.sqrt().item())


def mmd_permutation_test(
    x: Tensor,
    y: Tensor,
    num_permutations: int = 500,
    seed: int = 0,
    bandwidth: float | None = None,
) -> MmdTest:
    """Test whether two samples come from one distribution: squared MMD against random splits.

    `p = (1 + number of splits of the pooled sample with at least this MMD) / (1 + splits)`

    If the two distributions are equal, p is at most alpha with probability at most alpha. This
    holds for any distribution. The bandwidth depends on the pooled sample alone, so it is the same
    for every split.

    Args:
        x, y, bandwidth: as for `maximum_mean_discrepancy`, with points independent of one another.
        num_permutations: the number of random splits.
        seed: the seed of the splits.

    Raises:
        ValueError: as for `maximum_mean_discrepancy`, or if num_permutations is less than 1.

    Source: Gretton and others, as above; Phipson and Smyth, "Permutation p-values should never be
    zero", 2010, https://arxiv.org/abs/1603.05766.
    """
    if num_permutations < 1:
        raise ValueError(f"num_permutations: expected at least 1, got {num_permutations}")
    with seeded(seed, x.device):
        return permutation_test(x, y, num_permutations, bandwidth)


def permutation_test(
    x: Tensor, y: Tensor, num_permutations: int, bandwidth: float | None = None
) -> MmdTest:
    """Run the permutation test without a seed, on the current state of the random generator."""
    kernel, bandwidth = _kernel(x, y, bandwidth)
    shuffled = torch.rand(num_permutations, len(kernel), device=x.device).argsort(1)
    observed = torch.arange(len(kernel), device=x.device).unsqueeze(0)
    splits = _discrepancies(kernel, (torch.cat([observed, shuffled]) < len(x)).T)
    # equal splits can round differently, and ties count
    extreme = (splits[1:] >= splits[0] - 1e-12).sum().item()
    return MmdTest(splits[0].item(), (1 + extreme) / (1 + num_permutations), bandwidth)


def median_distance(x: Tensor) -> float:
    """Return the median distance of two of the points (n, dimensions), of the first 4,000."""
    return torch.pdist(x[: 2 * MOST_POINTS].double()).median().item()


def _kernel(x: Tensor, y: Tensor, bandwidth: float | None) -> tuple[Tensor, float]:
    """Return the kernel matrix of the pooled sample, with a diagonal of 0, and the bandwidth.

    The diagonal is 0 because a point does not form a pair with itself.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        got = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"x, y: expected at least 2 points each, of equal size, got shapes {got}")
    pooled = torch.cat([x, y]).double()
    if bandwidth is None:
        bandwidth = median_distance(pooled)
        if bandwidth == 0:
            raise ValueError("bandwidth: expected one, as the median distance is 0, got None")
    if not bandwidth > 0:
        raise ValueError(f"bandwidth: expected a positive number, got {bandwidth:g}")
    # With matrix products the distances of close points would lose half their digits.
    distances = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist")
    return (-((distances / bandwidth) ** 2) / 2).exp().fill_diagonal_(0), bandwidth


def _discrepancies(kernel: Tensor, in_x: Tensor) -> Tensor:
    """Return the squared MMD of each split of the pooled sample.

    Args:
        in_x: (points, splits), whether a point belongs to x.
    """
    in_x = in_x.to(kernel)
    m, n = in_x[:, 0].sum(), (1 - in_x[:, 0]).sum()
    xx = (in_x * (kernel @ in_x)).sum(0)
    x_any = kernel.sum(1) @ in_x
    yy = kernel.sum() - 2 * x_any + xx
    return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * (x_any - xx) / (m * n)
