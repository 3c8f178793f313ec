"""Sprites with known factors: binary images of one shape, drawn from its equation.

Our own rendering, in the manner of dSprites (Matthey et al. 2017): its numbers are not dSprites' numbers.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from cvae_lib.data.dataset import Data

SIDE = 32
SHAPES = ("square", "ellipse", "heart")
FACTORS = {"shape": 3, "scale": 4, "orientation": 8, "x": 8, "y": 8}  # name -> number of values
RADII = (4.6, 5.9, 7.2, 8.5)  # pixels from a shape's centre to its farthest point
STEP = 2  # pixels between neighbouring positions, so that a step in x or y is an exact shift


def render(factors: Tensor) -> Tensor:
    """Sprites of given factors.

    A pixel is 1 where its centre lies in the shape. Orientations are 0 to 78.75 degrees, counterclockwise,
    in steps of 11.25: a square looks the same after 90 degrees and an ellipse after 180, so a wider range
    would hold images that are equal while their factors are not.

    Args:
        factors: integers (N, 5), columns in the order of `FACTORS`, each from 0 to its number of values - 1.

    Returns:
        float32 in {0, 1}, (N, 1, 32, 32).

    Raises:
        ValueError: for another shape or type, or a factor outside its range.
    """
    _check(factors)
    shape, scale, orientation, column, row = factors.long().unbind(1)
    pixel = torch.arange(SIDE, dtype=torch.float64)
    first = (SIDE - 1 - STEP * 7) / 2  # centre of the left- and topmost position
    across = pixel - (first + STEP * column)[:, None]
    up = (first + STEP * row)[:, None] - pixel
    angle = orientation * (torch.pi / 2 / FACTORS["orientation"])
    cos, sin = (f(angle)[:, None, None] for f in (torch.cos, torch.sin))
    radius = torch.tensor(RADII, dtype=torch.float64)[scale][:, None, None]
    u = (cos * across[:, None, :] + sin * up[:, :, None]) / radius
    v = (cos * up[:, :, None] - sin * across[:, None, :]) / radius
    inside = torch.empty(u.shape, dtype=torch.bool)
    for index, contains in enumerate((_square, _ellipse, _heart)):
        inside[shape == index] = contains(u[shape == index], v[shape == index])
    return inside.unsqueeze(1).float()


def grid() -> Data:
    """Every combination of factors once: 6,144 sprites, the last factor changing fastest.

    Returns:
        `Data`: x (6144, 1, 32, 32) in {0, 1}; y int64 factor indices (6144, 5), columns as `FACTORS`.
    """
    factors, images = _grid()
    return Data(images.clone(), factors.clone(), "sprites: rendered here")


@functools.lru_cache(maxsize=1)
def _grid() -> tuple[Tensor, Tensor]:
    factors = torch.cartesian_prod(*(torch.arange(size) for size in FACTORS.values()))
    return factors, render(factors)


def _check(factors: Tensor) -> None:
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS) or factors.is_floating_point():
        raise ValueError(f"factors is {factors.dtype} of shape {tuple(factors.shape)}; integers (N, 5) are needed")
    for values, (name, size) in zip(factors.unbind(1), FACTORS.items(), strict=True):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < size:
            raise ValueError(f"factor {name} runs from {values.min()} to {values.max()}; 0 to {size - 1} is allowed")


# The shapes, in coordinates whose unit is the radius: all lie in the unit disc and reach its edge.


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) <= 0.5**0.5


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return u**2 + (2 * v) ** 2 <= 1


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """a² + (b - √|a|)² <= 1, moved and scaled into the unit disc."""
    a, b = 1.38 * u, 1.38 * v + 0.38
    return a**2 + (b - a.abs().sqrt()) ** 2 <= 1
