"""Sprites: binary pictures of one shape, drawn from five known factors."""

from pathlib import Path

import numpy as np

from pyro_vae.data.images import Dataset, random_test_rows, split_from_integers

SIDE = 32
FACTORS = {"shape": 3, "scale": 4, "rotation": 8, "x": 8, "y": 8}


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Taller than wide, point up."""
    return (v < 0.8) & (np.abs(u) < 0.3 * (v + 1))


def _half_disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u * u + (v + 0.4) ** 2 < 1) & (v > -0.4)


def _hook(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A capital L."""
    inside = (np.abs(u) < 0.6) & (np.abs(v) < 0.9)
    return inside & ((u < -0.1) | (v > 0.3))


SHAPES = (_triangle, _half_disc, _hook)  # none looks the same after a part of a turn


def draw_sprites(factors: np.ndarray) -> np.ndarray:
    """Pictures (N, 32, 32) of zeros and ones, from whole numbers (N, 5) as `FACTORS` counts them."""
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


def load_sprites(root: Path) -> Dataset:
    """All 6,144 combinations of the factors; a tenth at random is the test set."""
    grid = np.indices(tuple(FACTORS.values())).reshape(len(FACTORS), -1).T
    pictures = np.concatenate([draw_sprites(part) for part in np.array_split(grid, 16)])
    splits = (
        split_from_integers(pictures[rows].astype(np.uint8), grid[rows, 0], 1, grid[rows])
        for rows in random_test_rows(len(grid))
    )
    return Dataset("sprites", *splits, levels=2, factor_names=tuple(FACTORS))
