"""Figures that several notebooks draw: each function takes an `ax`, draws on it and returns it."""

from collections.abc import Sequence

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from cvae_lib.config import History


def grid(x: Tensor, columns: int) -> Tensor:
    """Lays images out row by row, ink dark on white paper, each with a white edge of one pixel.

    Args:
        x: (N, 1, H, W) in [0, 1]; N need not fill the last row.
        columns: Images in a row.

    Returns:
        (rows · (H + 2), columns · (W + 2)) in 16 shades, which the eye does not
        miss and which halve the stored picture.

    Raises:
        ValueError: If x is not a batch of one-channel images.
    """
    if x.ndim != 4 or x.shape[1] != 1:
        raise ValueError(f"x: got shape {tuple(x.shape)}, images (N, 1, H, W) are allowed")
    count, _, height, width = x.shape
    lines = -(-count // columns)
    canvas = torch.ones(lines * columns, height + 2, width + 2)
    canvas[:count, 1:-1, 1:-1] = 1 - x[:, 0].detach().cpu()
    canvas = (15 * canvas).round() / 15
    return canvas.unflatten(0, (lines, columns)).transpose(1, 2).flatten(2).flatten(0, 1)


def images(ax: Axes, x: Tensor, columns: int, title: str = "", rows: Sequence = (), heads: Sequence = ()) -> Axes:
    """Draws images as a grid, row by row, with labels along its left and upper edge.

    Args:
        ax: Axes to draw on.
        x: (N, 1, H, W) in [0, 1]; N need not fill the last row.
        columns: Images in a row.
        title: Of the axes.
        rows: One label for each row, or none.
        heads: One label for each column, or none.

    Raises:
        ValueError: If x is not a batch of one-channel images.
    """
    canvas = grid(x, columns)
    height, width = x.shape[2:]
    ax.imshow(canvas.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
    if len(rows):
        ax.set_yticks([(i + 0.5) * (height + 2) for i in range(len(rows))], rows)
    if len(heads):
        ax.set_xticks([(i + 0.5) * (width + 2) for i in range(len(heads))], heads)
        ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def history(ax: Axes, log: History, term: str = "total", label: str = "") -> Axes:
    """Draws one term of a `History` against the epoch, training dashed and validation solid.

    Args:
        ax: Axes to draw on.
        log: What `fit` returned.
        term: "distortion", "rate" or "total" (the −ELBO).
        label: Name of the run in the legend.
    """
    names = {"distortion": "distortion", "rate": "rate", "total": "−ELBO"}
    if term not in names:
        raise ValueError(f"term: got {term!r}, allowed are {', '.join(names)}")
    (line,) = ax.plot(log.epochs, log.train[term], "--", label=f"{label} training".strip())
    if log.validation[term]:
        ax.plot(log.epochs, log.validation[term], "-", color=line.get_color(), label=f"{label} validation".strip())
    ax.set(xlabel="epoch", ylabel=f"{names[term]} (nats per image)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax


def latents(ax: Axes, z: Tensor, labels: Tensor, most: int = 2000) -> Axes:
    """Scatters two-dimensional codes, one colour and one legend entry a class.

    Args:
        ax: Axes to draw on.
        z: (N, 2).
        labels: (N,), up to ten classes.
        most: Dots that are drawn, the first of N.
    """
    if z.ndim != 2 or z.shape[1] != 2:
        raise ValueError(f"z: got shape {tuple(z.shape)}, allowed is (N, 2)")
    colours = colormaps["tab10"].colors
    z, labels = z[:most], labels[:most]
    for k in labels.unique().tolist():
        some = z[labels == k]
        ax.scatter(some[:, 0], some[:, 1], s=3, alpha=0.6, color=colours[k % 10], label=str(k), rasterized=True)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    ax.legend(markerscale=4, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), title="class")
    return ax


def rate_distortion(
    ax: Axes, rate: Sequence[float], distortion: Sequence[float], betas: Sequence[float], label: str = ""
) -> Axes:
    """Draws models in the rate–distortion plane, each point named by its β.

    Args:
        ax: Axes to draw on.
        rate, distortion: Nats per image, one for each model.
        betas: One for each model.
        label: Of the curve in the legend.
    """
    ax.plot(rate, distortion, "o-", label=label or None)
    for r, d, beta in zip(rate, distortion, betas, strict=True):
        ax.annotate(f"β = {beta:g}", (r, d), textcoords="offset points", xytext=(6, 5), fontsize="small")
    ax.set(xlabel="rate (nats per image)", ylabel="distortion (nats per image)")
    return ax
