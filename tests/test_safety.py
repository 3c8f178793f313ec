"""Nothing that comes from outside runs code or writes where it likes; notebooks say what they start; no secrets."""

import ast
import io
import os
import re
import tarfile
import zipfile

import anatomy
import pytest
import torch
from anatomy import ROOT
from test_repo import CHAPTERS, NOTEBOOKS, for_each, load, tracked, without_pictures

from cvae_lib.checkpoint import load_checkpoint
from cvae_lib.data import registry

FOLDERS = ("cvae_lib", "notebooks", "site", "tests")
SCRIPTS = [ROOT / "conftest.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
# The only notebook that starts a program, and its words for that.
STARTS = {"13_scaling_up": "starts it as a command"}
REACHING_OUT = {
    "subprocess",
    "multiprocessing",
    "socket",
    "urllib",
    "http",
    "requests",
    "ftplib",
    "asyncio",
    "ctypes",
    "pty",
}
# In parts, so that this file does not hold what it forbids.
SECRETS = re.compile(
    "|".join(
        ["-----BEGIN [A-Z ]*PRIVATE" + " KEY", r"\bAKIA[0-9A-Z]{16}\b", r"\bgh[pousr]_\w{30,}", r"\bxox[abp]-\w{10,}"]
        + [
            r"(?i:\b(?:password|secret|api_?key|token)\s*[=:]\s*['\"][^'\"\s]{8,})",
            r"https?://[^/\s:@]+:[^/\s:@]+@",
        ]
    )
)


def calls(tree):
    """Every call in a file, as (dotted name, node)."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def faults(source):
    """What a file must not do: unpickle, start a shell, unpack an archive where its members say."""
    for name, node in calls(ast.parse(source)):
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        last = name.rpartition(".")[2]
        if name == "torch.load" and given.get("weights_only") != "True":
            yield f"line {node.lineno}: torch.load without weights_only=True runs code from the file"
        if given.get("shell", "False") != "False" or name in ("os.system", "os.popen", "subprocess.getoutput"):
            yield f"line {node.lineno}: {name} starts a shell"
        if last in ("extract", "extractall", "unpack_archive"):
            yield f"line {node.lineno}: {name} lets an archive choose where it writes"
        if (
            name.split(".")[0] in ("pickle", "marshal", "shelve", "dill", "joblib")
            or given.get("allow_pickle") == "True"
        ):
            yield f"line {node.lineno}: {name} runs code from a file"


def reaching(source):
    """What a file uses that starts programs or opens connections."""
    tree = ast.parse(source)
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    started = {name for name, _ in calls(tree) if re.match(r"os\.(exec|spawn|posix_spawn|fork|startfile)", name)}
    return {name.split(".")[0] for name in named} & REACHING_OUT | started


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_unpickles_starts_a_shell_or_unpacks_where_an_archive_says(path):
    assert not list(faults(path.read_text(encoding="utf-8")))


@for_each(NOTEBOOKS)
def test_a_notebook_starts_no_program_and_reaches_for_no_network_without_saying_so(path):
    code = [anatomy.source(cell) for cell in anatomy.code_cells(load(path))]
    shell = [
        line for cell in code for line in cell.splitlines() if re.match(r"\s*(!|%%?(?:sx|system|bash|sh|script))", line)
    ]
    assert not shell, f"shell commands: {shell}"
    for cell in code:
        cell = re.sub(r"^%.*$", "", cell, flags=re.M)
        assert not list(faults(cell))
        if reached := reaching(cell):
            assert path.stem in STARTS and path in CHAPTERS, f"{path.stem} uses {reached}"
            assert STARTS[path.stem] in " ".join(anatomy.prose(load(path)).split())


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "checks").glob("*.py")), ids=lambda path: path.stem)
def test_the_check_of_an_exercise_starts_no_program_and_reaches_for_no_network(path):
    assert not reaching(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line", ["import subprocess as s", "from urllib.request import urlopen", "os.execvp('ls', [])"]
)
def test_a_way_out_is_seen(line):
    assert reaching(line) and not reaching("import os\nos.environ.get('HOME')")


@pytest.mark.parametrize(
    "line, words",
    [
        ("torch.load(p)", "weights_only"),
        ("torch.load(p, weights_only=False)", "weights_only"),
        ("subprocess.run('ls', shell=True)", "shell"),
        ("tar.extractall('.')", "archive"),
        ("pickle.loads(b)", "runs code"),
        ("np.load(p, allow_pickle=True)", "runs code"),
    ],
)
def test_what_must_not_be_done_is_seen(line, words):
    assert words in next(faults(line))


def test_a_checkpoint_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"owner": "cvae_lib", "model": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ValueError, match="checkpoint: .*trap.pt is not a whole checkpoint"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()
    with zipfile.ZipFile(tmp_path / "trap.pt") as saved:
        assert b"mkdir" in saved.read("trap/data.pkl")  # the trap was set


def test_an_archive_writes_nothing_and_a_link_is_not_followed(tmp_path):
    place, secret, elsewhere = tmp_path / "place", tmp_path / "secret", str(tmp_path / "elsewhere")
    place.mkdir(), secret.write_text("mine")
    with tarfile.open(place / "a.tgz", "w:gz") as tar:
        for name in ("../up", elsewhere, "good"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("wanted")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    found = registry._members(place / "a.tgz", {name: name for name in ("../up", elsewhere, "good", "wanted")})
    assert found == {"../up": b"abc", elsewhere: b"abc", "good": b"abc"}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tgz", "place", "secret"]


def test_no_file_holds_a_secret():
    found = []
    for path in tracked():
        for number, line in enumerate((without_pictures(path) or "").splitlines(), start=1):
            if SECRETS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["api_" + "key = 'abcdefgh1234'", "-----BEGIN RSA PRIVATE" + " KEY-----", "AKIA" + "A" * 16]
)
def test_a_secret_is_seen(line):
    assert SECRETS.search(line)
