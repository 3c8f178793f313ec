"""Sliders and buttons that redraw images in JupyterLab, outside the executed path of a notebook."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from matplotlib.image import imsave
from torch import Tensor

from cvae_lib import plot

if TYPE_CHECKING:
    import ipywidgets


def png(x: Tensor, columns: int, zoom: int = 3) -> bytes:
    """A grid of images as a PNG file, for a widget that is redrawn many times a second.

    Args:
        x: (N, 1, H, W) in [0, 1].
        columns: Images in a row.
        zoom: Screen pixels for each pixel, each way.

    Raises:
        ValueError: If x is not a batch of one-channel images.
    """
    canvas = plot.grid(x, columns).repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)
    file = io.BytesIO()
    imsave(file, canvas.numpy(), cmap="gray", vmin=0, vmax=1, format="png")
    return file.getvalue()


def panel(draw: Callable[..., tuple[Tensor, str]], columns: int = 1, zoom: int = 3, **controls: Any) -> ipywidgets.VBox:
    """Controls above a picture and a sentence that follow them.

    Args:
        draw: Called with the value of every control under its name; returns images (N, 1, H, W) in [0, 1] and a
            sentence about them.
        columns: Images in a row.
        zoom: Screen pixels for each pixel, each way.
        controls: A number pair `(low, high)` makes a slider that starts in the middle, a list makes buttons, one for
            each value; or any ipywidgets control.

    Raises:
        ValueError: For a call without controls, or a control of another kind.
    """
    import ipywidgets  # here only: the library itself needs no widgets

    if not controls:
        raise ValueError("controls: got none; give at least one, such as z1=(-3, 3)")
    made = {name: _control(name, control) for name, control in controls.items()}
    picture, words = ipywidgets.Image(format="png"), ipywidgets.Label()
    picture.layout.object_fit, picture.layout.align_self = "none", "flex-start"

    def redraw(_: Any = None) -> None:
        x, sentence = draw(**{name: control.value for name, control in made.items()})
        picture.value, words.value = png(x, columns, zoom), sentence

    for control in made.values():
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([*made.values(), words, picture])


def _control(name: str, wanted: Any) -> ipywidgets.Widget:
    import ipywidgets

    if isinstance(wanted, ipywidgets.ValueWidget):
        return wanted
    if isinstance(wanted, list) and wanted:
        return ipywidgets.ToggleButtons(options=wanted, description=name, style={"button_width": "auto"})
    if isinstance(wanted, tuple) and len(wanted) == 2:
        low, high = map(float, wanted)
        step = (high - low) / 100
        return ipywidgets.FloatSlider(value=(low + high) / 2, min=low, max=high, step=step, description=name)
    raise ValueError(f"{name}: got {wanted!r}; allowed are (low, high), a list of values, or a control of ipywidgets")
