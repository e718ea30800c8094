"""Measures of how the components of codes relate to the true factors of the images.

Codes are posterior means (N, latent_dim), and factors are whole numbers (N, F). Each row is an
image of the full grid of factors, or of a random part of it. The values of a factor are categories
without order, so that shapes and angles are treated alike. All functions raise a ValueError if
shapes do not fit, codes are not finite, or factors are not whole numbers or never vary.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.random import Generator
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC
from torch import Tensor

from pyro_vae.evaluation.estimates import ACTIVE_VARIANCE, Estimate, estimate
from pyro_vae.evaluation.features import check_codes, linear_probe

_BINS = 20


def disentanglement(codes: Tensor, factors: Tensor, seed: int = 0) -> dict[str, Any]:
    """Return all measures of this file for codes and factors, at the default settings.

    Matrices are (latent_dim, F). Give 10,000 random rows of a large grid, because trees are slow.
    Measures that the factors do not allow are missing, and `not_scored` says why, by their names.

    Args:
        codes, factors: (N, latent_dim) and (N, F).
        seed: the seed of the split, the trees and the batches.
    """
    _checked(codes, factors)

    def of_trees() -> dict[str, Any]:
        parts = dci(codes, factors, seed)._asdict()
        return parts | {"importances": parts["importances"].tolist()}

    def of_information() -> dict[str, Any]:
        mig = mutual_information_gap(codes, factors)
        return {
            "mutual_information_gap": mig.gap,
            "mutual_information_nats": mig.scores.tolist(),
        }

    measures: dict[str, Callable[[], Any]] = {
        "mutual_information": of_information,
        "dci": of_trees,
        "separated_attribute_predictability": lambda: (
            separated_attribute_predictability(codes, factors, seed).gap
        ),
        "beta_vae_score": lambda: beta_vae_score(codes, factors, seed=seed),
        "factor_vae_score": lambda: factor_vae_score(codes, factors, seed=seed),
    }
    scores: dict[str, Any] = {}
    reasons = {}
    for name, measure in measures.items():
        try:
            found = measure()
        except ValueError as error:  # also scikit-learn's, where training rows have a single value
            reasons[name] = " ".join(str(error).split()).removeprefix("factors: ")
        else:
            scores |= found if isinstance(found, dict) else {name: found}
    if factors.shape[1] == 1 and "disentanglement" in scores:
        reasons["disentanglement"] = "1 for any codes of a single factor"
        del scores["disentanglement"]
    return scores | ({"not_scored": reasons} if reasons else {})


class BestTwo(NamedTuple):
    """The lead of the best component over the second best, mean over factors, and all scores."""

    gap: float
    scores: Tensor  # (latent_dim, F)


def mutual_information_gap(codes: Tensor, factors: Tensor) -> BestTwo:
    """Return the mutual information gap (MIG) between the two best components of a factor.

    `1/F sum_j (I(z_(1); v_j) - I(z_(2); v_j)) / H(v_j)`, I in nats, components cut into 20 bins of
    equal width as by Locatello et al. (Chen et al. integrate over q(z|x)). A component that hardly
    varies counts like any other. An independent one seems to tell 19 (k - 1) / 2N nats about k
    values. A factor of more than 20 values never reaches 1. A single component is compared with 0.

    Args:
        codes, factors: (N, latent_dim) and (N, F).

    Source: Chen, Li, Grosse and Duvenaud, "Isolating sources of disentanglement in variational
    autoencoders", 2018, https://arxiv.org/abs/1802.04942; bins: Locatello et al., "Challenging
    common assumptions in ... disentangled representations", 2018, https://arxiv.org/abs/1811.12359.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4))
        >>> round(mutual_information_gap(factors.double(), factors).gap, 6)
        1.0
    """
    codes, factors = (t.cpu() for t in _checked(codes, factors))
    low, high = codes.aminmax(dim=0)
    width = torch.where(high > low, high - low, 1)  # a constant component stays in one bin
    binned = ((codes - low) / width * _BINS).long().clamp_max(_BINS - 1)
    pairs = itertools.product(binned.T, factors.T)
    information = np.reshape([mutual_info_score(z, v) for z, v in pairs], (codes.shape[1], -1))
    entropies = torch.tensor([entropy(v.bincount()) for v in factors.T], dtype=torch.float64)
    scores = torch.from_numpy(information)
    gaps = _gap_of_the_best_two(scores, torch.zeros_like(entropies)) / entropies
    return BestTwo(gaps.mean().item(), scores)


def _gap_of_the_best_two(scores: Tensor, worthless: Tensor) -> Tensor:
    """Return best minus second best component (F,), none below the score of a `worthless` one (F,)."""
    scores = torch.cat([scores, worthless.unsqueeze(0)]).maximum(worthless)
    best, second = scores.topk(2, dim=0).values
    return best - second


def separated_attribute_predictability(codes: Tensor, factors: Tensor, seed: int = 0) -> BestTwo:
    """Return the lead of the best component in predicting a factor (SAP); scores are accuracies.

    `1/F sum_j (S_(1)j - S_(2)j)`, S_ij the accuracy of factor j from component i on held-out rows (a
    third), by a linear support vector machine with C = 0.01 and balanced classes, as in
    disentanglement_lib for discrete factors. One component cannot tell the inner ones of many values
    from all others by a line, so even a perfect code of such a factor scores under 1.

    Args:
        codes, factors: (N, latent_dim) and (N, F).
        seed: the seed of the split and of the machines.

    Source: Kumar, Sattigeri and Balakrishnan, "Variational inference of disentangled latent
    concepts from unlabeled observations", 2017, https://arxiv.org/abs/1711.00848; Locatello et al.,
    as above, for the classifier.
    """
    z, v = (t.cpu().numpy() for t in _checked(codes, factors))
    train, test = _split(len(z), seed)
    machine = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
    scores = np.zeros((z.shape[1], v.shape[1]))
    for (i, component), (j, values) in itertools.product(enumerate(z.T), enumerate(v.T)):
        column = component[:, None]
        machine.fit(column[train], values[train])
        scores[i, j] = (machine.predict(column[test]) == values[test]).mean()
    accuracies = torch.from_numpy(scores)
    return BestTwo(
        _gap_of_the_best_two(accuracies, torch.zeros(v.shape[1])).mean().item(), accuracies
    )


def _split(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of training and the held-out third, in random order."""
    test, train = np.split(np.random.default_rng(seed).permutation(rows), [max(1, rows // 3)])
    return train, test


class Dci(NamedTuple):
    """Disentanglement and completeness, from 0 to 1, and the accuracy of the predicted factors."""

    disentanglement: float
    completeness: float
    informativeness: Estimate  # accuracy on held-out rows, mean over factors
    importances: Tensor  # (latent_dim, F), each column adds up to 1


def dci(codes: Tensor, factors: Tensor, seed: int = 0) -> Dci:
    """Return disentanglement, completeness and informativeness (DCI) by gradient-boosted trees.

    R_ij is the importance of component i for factor j. Disentanglement is the mean over i of
    `1 - H(R_i. / sum_j R_ij) / log F`, weighted by sum_j R_ij. Completeness is the mean over j of
    `1 - H(R_.j / sum_i R_ij) / log latent_dim`, weighted by sum_i R_ij.

    The importances are scikit-learn's, of trees that predict the factor (100 for each value), as in
    disentanglement_lib. They come from training rows, so that a factor which the code lacks spreads
    over all components. The accuracy is that of held-out rows (a third). On a full grid these are
    not in the training set, so that a factor which the code lacks is predicted just below chance.

    Args:
        codes, factors: (N, latent_dim) and (N, F).
        seed: the seed of the split and of the trees.

    Source: Eastwood and Williams, "A framework for the quantitative evaluation of disentangled
    representations", 2018, https://openreview.net/forum?id=By-7dz-AZ; Locatello et al., as above,
    for the trees.
    """
    z, v = (t.cpu().numpy() for t in _checked(codes, factors))
    train, test = _split(len(z), seed)
    fitted = Parallel(n_jobs=-1, prefer="threads")(
        delayed(_trees)(z[train], w[train], seed) for w in v.T
    )
    hits = [trees.predict(z[test]) == w[test] for trees, w in zip(fitted, v.T)]
    columns = [np.abs(trees.feature_importances_) for trees in fitted]  # rounding may be negative
    matrix = torch.from_numpy(np.stack(columns, 1))
    informative = estimate(torch.from_numpy(np.mean(hits, 0)))
    return Dci(*concentrations(matrix), informative, matrix)


def _trees(codes: np.ndarray, values: np.ndarray, seed: int) -> GradientBoostingClassifier:
    return GradientBoostingClassifier(random_state=seed).fit(codes, values)


def concentrations(importances: Tensor) -> tuple[float, float]:
    """Return disentanglement and completeness of a matrix of importances (latent_dim, F).

    Example:
        >>> [round(share, 4) for share in concentrations(torch.tensor([[3.0, 1.0], [1.0, 3.0]]))]
        [0.1887, 0.1887]
    """
    r = importances.double()
    total = r.sum().clamp_min(torch.finfo(r.dtype).tiny)
    of_components, of_factors = r.sum(1) / total, r.sum(0) / total
    disentangled, complete = of_components @ _concentration(r), of_factors @ _concentration(r.T)
    return disentangled.item(), complete.item()


def _concentration(importances: Tensor) -> Tensor:
    """Return 1 - entropy of each row's shares over its largest value; 0 for a row of zeros."""
    total = importances.sum(1)
    shares = importances / torch.where(total > 0, total, 1).unsqueeze(1)
    largest = math.log(max(2, importances.shape[1]))  # with one column the entropy is 0 anyway
    return torch.where(total > 0, 1 + torch.special.xlogy(shares, shares).sum(1) / largest, 0)


def beta_vae_score(
    codes: Tensor, factors: Tensor, batch_size: int = 64, num_batches: int = 5000, seed: int = 0
) -> Estimate:
    """Return the accuracy of a linear classifier that tells which factor the pairs of a batch share.

    The features are `1/L sum_l |z_i(l) - z_i'(l)|` over L pairs of different rows that agree in one
    factor. Chance is 1/F. The standard error is that of the draws, given the rows. Many rotations
    of a perfect code pass too, because the metric only asks that factors leave different traces.

    Args:
        codes, factors: (N, latent_dim) and (N, F).
        batch_size: L, the number of pairs.
        num_batches: the number of batches to fit the classifier, and again to score it.
        seed: the seed of the batches.

    Raises:
        ValueError: for one factor, one without two rows that agree, and as at the top of the file.

    Source: Higgins et al., "beta-VAE: learning basic visual concepts with a constrained variational
    framework", 2017, https://openreview.net/forum?id=Sy2fzU9gl.
    """
    z, v = (t.cpu().numpy() for t in _checked(codes, factors))
    rng = np.random.default_rng(seed)

    def mean_differences(values: np.ndarray, number: int) -> np.ndarray:
        rows, partners = _agreeing_rows(values, (number, batch_size), 1, 2, rng)
        return np.abs(z[rows] - z[partners[..., 0]]).mean(1)

    train, test = (_batches(mean_differences, v, num_batches, rng) for _ in range(2))
    return linear_probe(*train, *test)


def factor_vae_score(
    codes: Tensor, factors: Tensor, batch_size: int = 64, num_batches: int = 5000, seed: int = 0
) -> Estimate:
    """Return the accuracy with which a batch's steadiest component tells the factor that rows share.

    A batch votes for `argmin_i Var_batch(z_i) / Var(z_i)` over the active components, those with
    Var(z_i) > 0.01. Each component then stands for the factor with most of its votes. Chance is
    1/F, even if no component is active. The standard error is that of the draws, given the rows.

    Args:
        codes, factors: (N, latent_dim) and (N, F).
        batch_size: the number of rows, drawn with replacement; values with fewer rows are left out.
        num_batches: the number of batches to count votes, and again to score them.
        seed: the seed of the batches.

    Raises:
        ValueError: for one factor, one with no value of enough rows, and as at the top of the file.

    Source: Kim and Mnih, "Disentangling by factorising", 2018, https://arxiv.org/abs/1802.05983.
    """
    z, v = (t.cpu().numpy() for t in _checked(codes, factors))
    rng, variances = np.random.default_rng(seed), z.var(0)
    variances[variances <= ACTIVE_VARIANCE] = np.nan

    def steadiest(values: np.ndarray, number: int) -> np.ndarray:
        _, rows = _agreeing_rows(values, (number,), batch_size, max(2, batch_size), rng)
        return np.nan_to_num(z[rows].var(1) / variances, nan=np.inf).argmin(1)

    train, (voted, shared) = (_batches(steadiest, v, num_batches, rng) for _ in range(2))
    votes = torch.zeros(z.shape[1], v.shape[1]).index_put_(train, torch.ones(()), accumulate=True)
    return estimate(votes.argmax(1)[voted] == shared)


def _batches(
    statistic: Callable[[np.ndarray, int], np.ndarray], v: np.ndarray, number: int, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Return the statistic of `number` batches, and the factors that they share, in order of factor."""
    if v.shape[1] < 2:
        raise ValueError("factors: expected at least 2 to tell apart, got 1")
    shared = np.sort(rng.integers(v.shape[1], size=number))
    drawn = [statistic(values, (shared == j).sum()) for j, values in enumerate(v.T)]
    return torch.from_numpy(np.concatenate(drawn)), torch.from_numpy(shared)


def _agreeing_rows(
    values: np.ndarray, shape: tuple[int, ...], number: int, needed: int, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows whose value `needed` rows have, and (*shape, number) others of that value for each."""
    order, counts = np.argsort(values), np.bincount(values)
    if (most := counts.max()) < needed:
        raise ValueError(f"factors: expected {needed} rows of some value of each, got {most}")
    starts, sizes = (a[values[order]] for a in (counts.cumsum() - counts, counts))
    places = rng.choice(np.flatnonzero(sizes >= needed), (*shape, 1))
    start, size = starts[places], sizes[places]
    steps = rng.integers(1, size, (*shape, number))  # cyclic, never back to the row itself
    return order[places[..., 0]], order[start + (places - start + steps) % size]


def _checked(codes: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes in float64, and factors whose values are renumbered without gaps."""
    check_codes(codes, "codes")
    fits = factors.dim() == 2 and len(factors) == len(codes) and factors.shape[1] > 0
    if factors.is_floating_point() or not fits:
        got = f"{tuple(factors.shape)} of {factors.dtype}"
        raise ValueError(f"factors: expected ({len(codes)}, F) whole numbers, got {got}")
    columns = factors.to(codes.device).T
    factors = torch.stack([v.unique(return_inverse=True)[1] for v in columns], 1)
    constant = (factors == 0).all(0).nonzero().flatten().tolist()
    if constant:
        raise ValueError(f"factors: expected each to vary, got one value in columns {constant}")
    return codes.detach().double(), factors
