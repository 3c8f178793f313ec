"""The classifiers that judge samples: small committed weights, trained apart from every model.

A judge is trained on real grey images of the training split (`python -m cvae_lib.judges.train`), so it
reads grey images and decoder means in [0, 1] alike. Its own test accuracy bounds what a share of
recognised samples can say.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent
NAMES = ("mnist", "fashion_mnist")
CHUNK = 250  # images at a time: what the first layer makes of them, 100 kB each, should stay near the processor


class JudgeError(RuntimeError):
    """A judge's weights are missing, or are not the ones that its accuracy was measured with."""


class Judge(nn.Module):
    """A convolutional classifier of 28 x 28 grey images in ten classes.

    Three blocks of convolution, pooling, batch normalisation and ReLU, a hidden layer of `width` units
    whose activations are the features, and a linear layer.
    """

    accuracy: float = float("nan")  # share of the 10,000 test images; `load` sets it

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        sizes = (1, 32, 64, 96)
        blocks = [_block(before, after) for before, after in zip(sizes, sizes[1:], strict=False)]
        self.trunk = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(96 * 9, width), nn.ReLU())
        self.head = nn.Linear(width, 10)
        self.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    def features(self, x: Tensor) -> Tensor:
        """Activations of the last hidden layer.

        Args:
            x: grey images or decoder means in [0, 1], (N, 1, 28, 28) or (N, 784).

        Returns:
            (N, F), non-negative.

        Raises:
            ValueError: for another shape, or values outside [0, 1].
        """
        if x.shape[1:] not in ((1, 28, 28), (784,)):
            raise ValueError(f"x has shape {tuple(x.shape)}; (N, 1, 28, 28) or (N, 784) is needed")
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise ValueError("x has values outside [0, 1] (or not a number); grey images are needed")
        return torch.cat([self.trunk(part) for part in x.reshape(-1, 1, 28, 28).split(CHUNK)])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 28, 28) or (N, 784) in [0, 1]."""
        return self.head(self.features(x))

    def predict(self, x: Tensor) -> Tensor:
        """The most probable label of each image: int64 (N,)."""
        return self(x).argmax(1)


def load(name: str) -> Judge:
    """A trained judge, in evaluation mode, its weights fixed, on the CPU.

    Args:
        name: "mnist" or "fashion_mnist".

    Returns:
        `Judge` with `accuracy`, measured once on the 10,000 test images with these very weights.

    Raises:
        ValueError: for an unknown name.
        JudgeError: if the weights are missing or their sha256 is not the recorded one.
    """
    if name not in NAMES:
        raise ValueError(f"name is {name!r}; allowed are {', '.join(NAMES)}")
    fact, path = facts().get(name), FOLDER / f"{name}.pt"
    if fact is None or not path.exists():
        raise JudgeError(f"the judge {path.name} is missing; `python -m cvae_lib.judges.train {name}` makes it")
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != fact["sha256"]:
        raise JudgeError(
            f"the judge {path.name} is cut short or altered: sha256 {found}, expected {fact['sha256']}; "
            f"restore it, or `python -m cvae_lib.judges.train {name}` makes another"
        )
    judge = Judge()
    judge.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
    judge.accuracy = fact["accuracy"]
    return judge.eval().requires_grad_(False)


def facts() -> dict[str, dict]:
    """What is recorded about each judge: sha256, accuracy, parameters, how it was trained."""
    path = FOLDER / "judges.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _block(before: int, after: int) -> nn.Sequential:
    """3 x 3 convolution, half the height and width, batch normalisation, ReLU: pooled first, for speed."""
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.ReLU())
