"""The maximum mean discrepancy, and a test of whether two samples have the same distribution.

The squared discrepancy is estimated without bias by `mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean
k(x_i, y_j)`, the first two over i != j, with `k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))`. It is not
in nats, it is at most 2, and it can be negative by chance.

Source: Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A kernel two-sample test", 2012,
https://jmlr.org/papers/v13/gretton12a.html.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evaluation.estimates import Estimate

MOST_POINTS = 2000  # of a sample whose kernel is computed: 0.4 GB


class MmdTest(NamedTuple):
    """The squared discrepancy of two samples, and the p-value for one common distribution."""

    statistic: float
    p_value: float


def squared_discrepancy(x: Tensor, y: Tensor, bandwidth: float) -> Estimate:
    """Return the squared MMD of two samples of equal size, with its standard error.

    The pairs (x_i, y_i) are left out as well, which keeps it unbiased. Its expectation does not
    depend on the number of points. The error holds for equal distributions as well, where the terms
    of first order vanish.

    Args:
        x, y: (n, dimensions), 3 <= n, independent rows. Memory grows as the square of n.
        bandwidth: that of the Gaussian kernel.

    Raises:
        ValueError: if there are too few points, if sizes or dimensions differ, or if the bandwidth
            is not positive.

    Source: Serfling, "Approximation theorems of mathematical statistics", 1980, for the variance.
    """
    n = len(x)
    if len(y) != n or n < 3:
        raise ValueError(f"x, y: expected at least 3 points each, equally many, got {n}, {len(y)}")
    kernel = _kernel(x, y, bandwidth)
    h = kernel[:n, :n] + kernel[n:, n:] - kernel[:n, n:] - kernel[:n, n:].T
    pairs = h[~torch.eye(n, dtype=torch.bool, device=h.device)].view(n, n - 1)
    second = pairs.var()
    first = (pairs.mean(1).var() - second / (n - 1)).clamp_min(0)
    variance = 4 * (n - 2) / (n * (n - 1)) * first + 2 / (n * (n - 1)) * second
    return Estimate(pairs.mean().item(), variance.sqrt().item())


def permutation_test(x: Tensor, y: Tensor, num_permutations: int = 500) -> MmdTest:
    """Test whether two samples come from one distribution: squared MMD against random splits.

    `p = (1 + number of splits of the pooled sample with at least this MMD) / (1 + splits)`

    If the two distributions are equal, p is at most alpha with probability at most alpha. This
    holds for any distribution. The bandwidth is the median distance within the pooled sample, so it
    is the same for every split. The splits are drawn by torch's generator as it stands.

    Args:
        x, y: (m, dimensions) and (n, dimensions), m and n >= 2, independent rows.
        num_permutations: the number of random splits.

    Raises:
        ValueError: if there are too few points, if dimensions differ, if the median distance is 0,
            or if num_permutations is less than 1.

    Source: Phipson and Smyth, "Permutation p-values should never be zero", 2010,
    https://arxiv.org/abs/1603.05766.
    """
    if num_permutations < 1:
        raise ValueError(f"num_permutations: expected at least 1, got {num_permutations}")
    kernel = _kernel(x, y)
    shuffled = torch.rand(num_permutations, len(kernel), device=x.device).argsort(1)
    observed = torch.arange(len(kernel), device=x.device).unsqueeze(0)
    splits = _discrepancies(kernel, (torch.cat([observed, shuffled]) < len(x)).T)
    # equal splits can round differently, and ties count
    extreme = (splits[1:] >= splits[0] - 1e-12).sum().item()
    return MmdTest(splits[0].item(), (1 + extreme) / (1 + num_permutations))


def median_distance(x: Tensor) -> float:
    """Return the median distance of two of the points (n, dimensions), of the first 4,000."""
    return torch.pdist(x[: 2 * MOST_POINTS].double()).median().item()


def _kernel(x: Tensor, y: Tensor, bandwidth: float | None = None) -> Tensor:
    """Return the kernel matrix of the pooled sample, with a diagonal of 0.

    The diagonal is 0 because a point does not form a pair with itself.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        got = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"x, y: expected at least 2 points each, of equal size, got shapes {got}")
    pooled = torch.cat([x, y]).double()
    bandwidth = median_distance(pooled) if bandwidth is None else bandwidth
    if not bandwidth > 0:
        raise ValueError(f"bandwidth: expected a positive one (default: median), got {bandwidth:g}")
    # With matrix products the distances of close points would lose half their digits.
    distances = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist")
    return (-((distances / bandwidth) ** 2) / 2).exp().fill_diagonal_(0)


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
