"""Sprites: binary pictures of one shape, drawn from five known factors."""

from pathlib import Path

import numpy as np

from pyro_vae.data.images import Dataset, random_test_rows, split_from_integers

SIDE = 32
FACTORS = {"shape": 3, "scale": 4, "rotation": 8, "x": 8, "y": 8}


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the inside of a triangle that points up and is taller than wide."""
    return (v < 0.8) & (np.abs(u) < 0.3 * (v + 1))


def _half_disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u * u + (v + 0.4) ** 2 < 1) & (v > -0.4)


def _hook(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the inside of a capital L."""
    inside = (np.abs(u) < 0.6) & (np.abs(v) < 0.9)
    return inside & ((u < -0.1) | (v > 0.3))


SHAPES = (_triangle, _half_disc, _hook)  # no shape is symmetric under rotation


def draw_sprites(factors: np.ndarray) -> np.ndarray:
    """Draw pictures (N, 32, 32) of zeros and ones.

    Args:
        factors: (N, 5), whole numbers from 0; `FACTORS` holds the number of values of each factor.
    """
    shape, scale, rotation, x, y = factors.T[:, :, None, None]
    size = 4 + scale
    angle = 2 * np.pi * rotation / FACTORS["rotation"]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    margin, room = 7.5, SIDE - 16
    right = (columns - margin - room * x / (FACTORS["x"] - 1)) / size
    down = (rows - margin - room * y / (FACTORS["y"] - 1)) / size
    u = np.cos(angle) * right + np.sin(angle) * down
    v = -np.sin(angle) * right + np.cos(angle) * down
    return np.select([shape == n for n in range(len(SHAPES))], [draw(u, v) for draw in SHAPES])


def load_sprites(root: Path, download: bool) -> Dataset:
    """Return all 6,144 combinations of the factors; a random tenth is the test set."""
    grid = np.indices(tuple(FACTORS.values())).reshape(len(FACTORS), -1).T
    pictures = np.concatenate([draw_sprites(part) for part in np.array_split(grid, 16)])
    train, test = (
        split_from_integers(pictures[rows].astype(np.uint8), grid[rows, 0], 1, grid[rows])
        for rows in random_test_rows(len(grid))
    )
    return Dataset("sprites", train, test, levels=2, factor_names=tuple(FACTORS))
