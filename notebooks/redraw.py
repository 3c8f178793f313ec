"""How long a slider of the notebooks takes to redraw its picture, without a browser: what `make bench` prints of it."""

from __future__ import annotations

import statistics
import time

import torch

from cvae_lib import judges
from cvae_lib.data import one_hot
from cvae_lib.explore import panel
from cvae_lib.models import CVAE

MOVES = 200


def redraws() -> dict[str, float]:
    """Milliseconds from a slider's new value to the new PNG: decoder and judge of 04, untrained weights, on the CPU."""
    cvae, judge, moved = CVAE((1, 28, 28), c_dim=10, latent=16, hidden=(512, 256)), judges.load("mnist"), []
    with torch.no_grad():
        cvae.decoder.head.weight *= 30  # untrained pixels are all of one grey otherwise

    def draw(c: int, first: float) -> tuple[torch.Tensor, str]:
        z = torch.zeros(1, 16)
        z[0, 0] = first
        with torch.no_grad():
            image = cvae.decode(z, 8 * one_hot(torch.tensor([c]), 10)).mean
            return image, f"the judge sees a {judge(image).argmax().item()}"

    box = panel(draw, zoom=8, c=list(range(10)), first=(-3, 3))
    slider, before = box.children[1], box.children[-1].value
    for number in range(MOVES):
        start = time.perf_counter()
        slider.value = -3 + 6 * (number + 0.5) / MOVES
        moved.append(1000 * (time.perf_counter() - start))
    assert box.children[-1].value != before, "the picture did not change"
    return {"median, ms": statistics.median(moved), "19 of 20 within, ms": statistics.quantiles(moved, n=20)[-1]}
