"""Sprites: every combination of factors once, each image its own."""

import math

import pytest
import torch

from cvae_lib.data import load
from cvae_lib.data.sprites import FACTORS, RADII, SHAPES, STEP, grid, render


def one(**factors):
    """The image (32, 32) of one sprite; factors that are not named are 0."""
    return render(torch.tensor([[factors.get(name, 0) for name in FACTORS]]))[0, 0]


def test_the_grid_holds_each_combination_once():
    data = load("sprites", "train")
    assert data.x.shape == (6144, 1, 32, 32) and data.y.dtype == torch.int64
    assert data.source == "sprites: rendered here"
    assert len(data.y.unique(dim=0)) == 6144
    assert (data.y.amax(0) + 1).tolist() == list(FACTORS.values()) and not data.y.amin(0).any()


def test_pixels_are_binary_and_no_two_images_are_equal():
    x = grid().x
    assert x.dtype == torch.float32 and set(x.unique().tolist()) == {0, 1}
    assert len(x.flatten(1).unique(dim=0)) == 6144


def test_every_sprite_lies_wholly_inside_the_frame():
    x = grid().x
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], -1)
    assert not border.any()


def test_labels_are_the_factors_that_the_image_was_drawn_with():
    data = grid()
    rows = torch.randperm(6144, generator=torch.Generator().manual_seed(0))[:50]
    assert render(data.y[rows]).equal(data.x[rows])


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_a_step_in_x_goes_right_and_a_step_in_y_goes_down(shape):
    start = one(shape=shape, scale=3, orientation=2)
    assert one(shape=shape, scale=3, orientation=2, x=1).equal(start.roll(STEP, 1))
    assert one(shape=shape, scale=3, orientation=2, y=1).equal(start.roll(STEP, 0))


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_scales_grow(shape):
    areas = [one(shape=shape, scale=k, x=3, y=3).sum() for k in range(FACTORS["scale"])]
    assert all(b > 1.2 * a for a, b in zip(areas, areas[1:], strict=False))


def test_orientations_turn_counterclockwise_by_an_eighth_of_a_right_angle():
    flat, turned = (one(shape=1, scale=3, orientation=k, x=3, y=3).nonzero().double() for k in (0, 4))
    for pixels, slope in ((flat, 0.0), (turned, 1.0)):  # the ellipse's long axis: 0, then 45 degrees upwards
        row, column = (pixels - pixels.mean(0)).unbind(1)
        covariance = torch.stack([column, -row]).cov()
        axis = torch.linalg.eigh(covariance).eigenvectors[:, 1]
        assert abs(axis[1] / axis[0] - slope) < 0.05


def test_shapes_are_what_they_are_called():
    square, ellipse, heart = (one(shape=k, scale=3, x=3, y=3) for k in range(3))
    box = square[square.any(1)][:, square.any(0)]
    assert box.all() and box.shape[0] == box.shape[1]
    height, width = int(ellipse.any(1).sum()), int(ellipse.any(0).sum())
    assert abs(width / height - 2) < 0.3
    rows = heart[heart.any(1)]
    assert heart.equal(heart.flip(1).roll(-STEP, 1))  # x = 3 lies half a step left of the middle
    assert rows[-1].sum() <= 2 and (rows[0].diff() > 0).sum() == 2  # a point below, two lobes above


@pytest.mark.parametrize("shape, area", [(0, 2), (1, math.pi / 2), (2, math.pi / 1.38**2)], ids=SHAPES)
def test_a_shape_has_its_area_and_reaches_the_edge_of_its_disc(shape, area):
    """Areas for radius 1: a shear of the unit disc is the heart, before it is shrunk."""
    image, radius, centre = one(shape=shape, scale=3, x=3, y=3), RADII[3], 31 / 2 - STEP / 2
    assert image.sum().item() == pytest.approx(area * radius**2, rel=0.05)
    assert radius - 1 < (image.nonzero() - centre).norm(dim=1).max() <= radius


@pytest.mark.parametrize(
    "factors, words",
    [
        (torch.zeros(3, 4).long(), "integers"),
        (torch.zeros(3, 5), "integers"),
        (torch.tensor([[3, 0, 0, 0, 0]]), "factor shape runs from 3 to 3; 0 to 2 is allowed"),
        (torch.tensor([[0, 0, 0, 0, -1]]), "factor y"),
    ],
)
def test_factors_outside_their_range_are_refused(factors, words):
    with pytest.raises(ValueError, match=words):
        render(factors)
