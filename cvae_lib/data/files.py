"""The data folder: where it is, and files that are whole or are not used."""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import os
import re
import struct
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

STALE = 3600.0  # seconds after which another process's unfinished file is taken for abandoned


class DataError(RuntimeError):
    """A dataset cannot be had, or a file of it is not what it should be."""


def data_folder() -> Path:
    """Where datasets are kept: `CVAE_DATA` if set, else `data/` in the checkout.

    A package that is installed outside a checkout (no pyproject.toml beside it) has no folder of its own
    to write into: it keeps datasets in `.cache/cvae_lib` in the user's home.
    """
    if named := os.environ.get("CVAE_DATA"):
        return Path(named).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    return checkout / "data" if (checkout / "pyproject.toml").exists() else Path.home() / ".cache" / "cvae_lib"


def checksum(content: bytes) -> str:
    """md5 in hex: it guards against accidents, and is the one that these datasets are published with."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def came(content: bytes) -> str:
    """A word for a message where the content is a web page, as proxies and logins send; empty for any other."""
    return "; a web page came in its place" if re.search(rb"<!doctype|<html", content[:4000], re.I) else ""


def gunzip(content: bytes, label: str) -> bytes:
    """Decompressed content; a broken stream is a DataError that names `label`."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{label} is cut short or altered ({error}){came(content)}") from None


def verify(content: bytes, expected: str, label: str) -> bytes:
    """The content itself, if its md5 is the expected one.

    Raises:
        DataError: naming `label`, the checksum found and the one expected.
    """
    if (found := checksum(content)) != expected:
        raise DataError(f"{label} is cut short or altered: md5 {found}, expected {expected}{came(content)}")
    return content


def read(path: Path, expected: str) -> bytes | None:
    """A file of the data folder, plain or with .gz added to its name; None if there is neither.

    Raises:
        DataError: if its content is not what the checksum says.
    """
    packed = path.with_name(path.name + ".gz")
    if path.exists():
        return verify(path.read_bytes(), expected, str(path))
    if packed.exists():
        return verify(gunzip(packed.read_bytes(), str(packed)), expected, str(packed))
    return None


def keep(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file or none: other processes, and a kill half-way, never leave a part under `path`.

    Raises:
        OSError: If it cannot be written; names `path`.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, f".{glob.escape(path.name)}.*.part")
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's own 0600 would lock out others who share the folder
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk's own error names nothing
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def sweep(folder: Path, pattern: str) -> None:
    """Clear away unfinished files that a killed process left, once they are too old to be another's at work."""
    for left in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # another process may have finished with it
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def parse_idx(content: bytes) -> np.ndarray:
    """An idx file of unsigned bytes as an array: two zero bytes, type 8, the rank, the sizes, the values."""
    try:
        shape = struct.unpack_from(f">{content[3]}I", content, 4)
        values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (IndexError, struct.error, ValueError):
        values = None
    if content[:3] != b"\0\0\x08" or values is None:
        raise DataError("not an idx file of unsigned bytes")
    return values
