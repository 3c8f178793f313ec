"""Figures: what is drawn where, not how it looks."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cvae_lib import plot
from cvae_lib.config import History


@pytest.fixture
def ax():
    yield plt.subplots()[1]
    plt.close("all")


def test_images_stand_row_by_row_with_dark_ink(ax):
    x = torch.zeros(5, 1, 3, 3)
    x[1] = 1.0  # the second image of the first row
    drawn = np.asarray(plot.images(ax, x, columns=3, rows=["a", "b"], heads=["u", "v", "w"]).images[0].get_array())
    assert drawn.shape == (2 * 5, 3 * 5)
    assert (drawn[1:4, 6:9] == 0).all() and drawn.sum() == drawn.size - 9
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_history_has_both_curves_and_units(ax):
    log = History({k: [2.0, 1.0] for k in ("distortion", "rate", "total")})
    log.validation["total"] = [3.0, 2.5]
    plot.history(ax, log, label="VAE")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[2.0, 1.0], [3.0, 2.5]]
    assert "nats" in ax.get_ylabel() and ax.get_xlabel() == "epoch"


def test_latents_are_grouped_by_class(ax):
    plot.latents(ax, torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]), torch.tensor([1, 0, 1]))
    assert [len(c.get_offsets()) for c in ax.collections] == [1, 2]
    ax.clear()
    assert len(plot.latents(ax, torch.zeros(30, 2), torch.zeros(30).long(), most=20).collections[0].get_offsets()) == 20


def test_rate_distortion_names_each_beta(ax):
    plot.rate_distortion(ax, [3.0, 1.0], [5.0, 9.0], [1, 4])
    assert [t.get_text() for t in ax.texts] == ["β = 1", "β = 4"]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda ax: plot.images(ax, torch.zeros(3, 784), 3), "x: got shape"),
        (lambda ax: plot.latents(ax, torch.zeros(3, 4), torch.zeros(3)), "z: got shape"),
        (lambda ax: plot.history(ax, History(), "loss"), "term: got 'loss'"),
    ],
)
def test_bad_input_is_refused(ax, call, words):
    with pytest.raises(ValueError, match=words):
        call(ax)
