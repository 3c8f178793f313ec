"""Sliders and buttons: what they draw when they move."""

import io

import matplotlib.image
import numpy as np
import pytest
import torch

from cvae_lib import explore, plot


def read(png):
    return matplotlib.image.imread(io.BytesIO(png))[..., 0]


def test_a_png_shows_the_grid_enlarged():
    x = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    shown, wanted = read(explore.png(x, columns=2, zoom=3)), plot.grid(x, 2).numpy()
    assert shown.shape == (3 * 2 * 6, 3 * 2 * 7)
    np.testing.assert_allclose(shown[1::3, 1::3], wanted, atol=1 / 255)
    np.testing.assert_allclose(shown[2::3, ::3], wanted, atol=1 / 255)


def at(level, digit=0):
    return torch.full((1, 1, 2, 2), level), f"level {level:g}, digit {digit}"


def test_a_control_redraws_picture_and_sentence():
    box = explore.panel(at, zoom=1, level=(0, 1), digit=[3, 7])
    slider, buttons, words, picture = box.children
    assert (slider.value, buttons.value, words.value) == (0.5, 3, "level 0.5, digit 3")
    assert read(picture.value)[1, 1] == pytest.approx(8 / 15, abs=1 / 255)  # half ink, in 16 shades
    slider.value = 1.0
    assert words.value == "level 1, digit 3" and read(picture.value)[1, 1] == 0
    buttons.value = 7
    assert words.value == "level 1, digit 7"


def test_a_control_of_ipywidgets_is_taken_as_it_is():
    import ipywidgets

    sweep = ipywidgets.SelectionSlider(options=(0.25, 1.0))
    box = explore.panel(at, level=sweep)
    sweep.value = 1.0
    assert box.children[0] is sweep and box.children[1].value == "level 1, digit 0"


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({}, "controls: got none"),
        ({"level": (0, 1, 2)}, "level: got"),
        ({"level": []}, "level: got"),
        ({"level": 1}, "level"),
    ],
)
def test_other_controls_are_refused(controls, message):
    with pytest.raises(ValueError, match=message):
        explore.panel(at, **controls)
