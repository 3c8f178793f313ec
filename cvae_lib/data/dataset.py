"""What a dataset is here, and what is done to it before training: conditions, binary or dequantised pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

MODES = ("dynamic", "fixed", "none")


@dataclass(frozen=True, eq=False)
class Data:
    """Examples held in memory.

    Args:
        x: (N, ...), as a rule float32 images in [0, 1], shape (N, 1, height, width).
        y: int64 labels (N,), or int64 factors (N, K), or None.
        source: "<dataset name>: <where it came from>", for example "mnist: data folder".
        c: what a conditional model is told about each row, float (N, C), or None.

    Raises:
        ValueError: if `y` or `c` has another number of rows than `x`, or `c` is not a float matrix.
    """

    x: Tensor
    y: Tensor | None
    source: str
    c: Tensor | None = None

    def __post_init__(self) -> None:
        for name, rows in (("y", self.y), ("c", self.c)):
            if rows is not None and (rows.ndim == 0 or len(rows) != len(self.x)):
                raise ValueError(f"{name} has shape {tuple(rows.shape)}; {len(self.x)} rows are needed, as in x")
        if self.c is not None and (self.c.ndim != 2 or not self.c.is_floating_point()):
            raise ValueError(f"c is {self.c.dtype} of shape {tuple(self.c.shape)}; a float (N, C) is needed")

    @property
    def name(self) -> str:
        """The dataset's name: what stands before the colon in `source`."""
        return self.source.split(":")[0]

    def __len__(self) -> int:
        return len(self.x)

    def given(self, c: Tensor | None) -> Data:
        """The same examples with the condition `c`, float (N, C); None takes a condition away."""
        return replace(self, c=c)

    def take(self, n: int) -> Data:
        """The first `n` rows, or all of them where there are fewer."""
        if n < 1:
            raise ValueError(f"n is {n}; at least 1 row has to be taken")
        return self._map(lambda rows: rows[:n])

    def to(self, device: torch.device | str) -> Data:
        """The same examples on `device`."""
        return self._map(lambda rows: rows.to(device))

    def _map(self, change) -> Data:
        parts = {k: None if (v := getattr(self, k)) is None else change(v) for k in ("x", "y", "c")}
        return replace(self, **parts)


def one_hot(y: Tensor, classes: int = 10) -> Tensor:
    """Labels as unit vectors, the condition that a class-conditional model sees.

    Args:
        y: integer labels (N,), each from 0 to classes - 1.
        classes: length of a vector.

    Returns:
        float32 (N, classes): a single 1 in each row, at the label.

    Raises:
        ValueError: if `y` is not one row of integers, or a label lies outside the range.
    """
    y = torch.as_tensor(y)
    if y.ndim != 1:
        raise ValueError(f"y has shape {tuple(y.shape)}; labels of shape (N,) are needed")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"y is {y.dtype}; integer labels are needed")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(f"y runs from {int(y.min())} to {int(y.max())}; labels from 0 to {classes - 1} are allowed")
    return torch.nn.functional.one_hot(y.long(), classes).float()


def binarize(x: Tensor, mode: str, seed: int = 0) -> Tensor:
    """Grey pixels to binary ones: each grey value is the probability that the pixel is 1.

    A Bernoulli likelihood is defined on {0, 1} alone, so the way from grey to binary is part of what is
    modelled; name the mode beside every number of nats. "fixed" is our own draw: it is not the
    binarised set that older papers share, and its nats are not comparable with theirs.

    Args:
        x: grey values in [0, 1], any shape.
        mode: "dynamic" draws anew at each call, from torch's global stream; "fixed" gives the same pixels
            for the same `x` and `seed` on every device (so binarise a whole set at once, not batch by
            batch); "none" gives `x` itself.
        seed: of the fixed draw.

    Returns:
        Shape, dtype and device of `x`; values in {0, 1} unless the mode is "none".

    Raises:
        ValueError: for an unknown mode, or values outside [0, 1].
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; allowed are {', '.join(MODES)}")
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(f"x runs from {x.min():.3g} to {x.max():.3g}; grey values in [0, 1] are needed")
    if mode == "none":
        return x
    if mode == "dynamic":
        return torch.bernoulli(x)
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return (uniform.to(x.device) < x).to(x.dtype)


def dequantize(x: Tensor, seed: int = 0) -> Tensor:
    """Grey levels k/255 to real numbers in [0, 1): `(k + u) / 256` with u uniform on [0, 1).

    Each of the 256 levels becomes an interval of that width, so that a density p on the real numbers speaks about the
    levels: `-log P(levels) <= E_u[-log p] + D log 256` for D pixels.

    Args:
        x: grey levels k/255, any shape.
        seed: of the draw, which is the same on every device; dequantise a whole set at once.

    Returns:
        Shape, dtype and device of `x`.

    Raises:
        ValueError: if a value is not one of the 256 levels.

    References:
        Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models, section 3.1.
    """
    levels = (255 * x).round()
    if not bool(((levels - 255 * x).abs() < 1e-3).all() & (levels >= 0).all() & (levels <= 255).all()):
        raise ValueError(f"x runs from {x.min():.3g} to {x.max():.3g}; grey levels k/255, k from 0 to 255, are needed")
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return (levels + uniform.clamp_max(1 - 2**-16).to(x)) / 256  # else rounding could reach the next level
