#!/usr/bin/env python3
"""The library's tests on the oldest and on the newest versions that pyproject.toml admits, and on newer Pythons.

    python tests/environments.py                                 # all of them: `make environments`
    python tests/environments.py oldest newer                    # those whose names start so
    python tests/environments.py --python path/to/python3.13     # a Python that is not on PATH; repeatable

`oldest` has every direct dependency at its lower bound, `newest` and Python 3.13 the newest that the registry has, and
Python 3.12 keeps to constraints.txt where that installs. Each is a venv in build/envs/ that uv fills, and brings up to
date where it is there already. One takes 5 to 8 GB: torch brings its CUDA libraries. Left out are tests that are
slow, execute the notebooks, or need the site or a browser. A Python that is not found is reported, and is no failure.

Where all were made and no test failed, README.md, beside this file, gets the table.

Exit code: 1 if a test failed or an environment could not be made, 2 if a name or a Python was refused.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from cvae_lib import table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))
import insert  # noqa: E402

ENVS = ROOT / "build" / "envs"
PACKAGES = ["torch", "numpy", "matplotlib"]
NEWEST, PINNED = ("newest", []), ("constraints.txt", ["-c", "constraints.txt"])
ENVIRONMENTS = {  # its Python, and what to try in turn: a word for the table with options of uv
    "oldest": ("3.11", [("lower bounds", ["--resolution", "lowest-direct"])]),
    "newest": ("3.11", [NEWEST]),
    "newer-python-3.12": ("3.12", [PINNED, NEWEST]),
    "newer-python-3.13": ("3.13", [NEWEST]),
}
# They execute whole notebooks, or need the site's packages, a browser, or what this script writes.
LEFT_OUT = ["test_readme", "test_lab", "test_mark", "test_notebooks", "test_render", "test_run", "test_site"]
HEAD = ("environment", "versions", "python", *PACKAGES, "passed", "failed", "skipped")


def version(python: str) -> str:
    """`3.13` of an interpreter; empty where it does not start, as a version manager's stand-in may not."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def uv(*arguments: object) -> bool:
    """Run uv, from PATH or else from a small venv of its own; whether it succeeded."""
    program = shutil.which("uv") or ENVS / ".uv" / "bin" / "uv"
    if not Path(program).exists():
        subprocess.run([sys.executable, "-m", "venv", ENVS / ".uv"], check=True)
        subprocess.run([ENVS / ".uv" / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    return subprocess.run([program, *map(str, arguments)], cwd=ROOT).returncode == 0


def make(name: str, given: list[str]) -> str:
    """Make an environment, or bring an old one up to date; what it holds. A ValueError says why there is none."""
    folder, (wanted, tries) = ENVS / name, ENVIRONMENTS[name]
    if not (folder / "bin" / "python").exists():
        known = [*given, shutil.which(f"python{wanted}") or "", sys.executable]
        python = next((path for path in known if path and version(path) == wanted), None)
        if python is None:
            raise ValueError(f"Python {wanted} not had")
        if not uv("venv", "--clear", "--python", python, folder):
            raise ValueError("not made")
    for word, options in tries:
        if uv("pip", "install", "--python", folder, "--upgrade", *options, "-e", ".[notebooks,dev]"):
            return word
    raise ValueError("not installed")


def tested(name: str) -> tuple[list[str], list[str]]:
    """Run the tests in an environment: its versions and the counts of outcomes, then the names of what failed."""
    python, found = ENVS / name / "bin" / "python", ENVS / name / "tests.xml"
    found.unlink(missing_ok=True)
    code = f"import importlib.metadata as m, platform; print(platform.python_version(), *map(m.version, {PACKAGES}))"
    versions = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", f"--junitxml={found}"]
    options += [f"--ignore=tests/{stem}.py" for stem in LEFT_OUT]
    options += ["--deselect=tests/test_repo.py::test_ruff_finds_nothing"]  # lint is a matter of the pinned ruff
    print(f"\n{name}", flush=True)
    code = subprocess.run([python, "-m", "pytest", "tests", *options], cwd=ROOT).returncode
    early = [f"pytest ended early, with code {code}: the counts are not of all tests"] * (code not in (0, 1))
    if not found.exists():
        return [*versions, "–", "–", "–"], early or ["no report"]
    cases = list(ElementTree.parse(found).iter("testcase"))
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = [len(cases) - len(failed) - skipped, len(failed), skipped]
    return [*versions, *map(str, counts)], [*early, *(f"{c.get('classname')}::{c.get('name')}" for c in failed)]


def main() -> int:
    """Make the environments, run the tests in each, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"the start of one of {', '.join(ENVIRONMENTS)}")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="an interpreter to use")
    given = parser.parse_args()
    for word in [n for n in given.names if not any(name.startswith(n) for name in ENVIRONMENTS)]:
        parser.error(f"environment: got {word}; allowed are {', '.join(ENVIRONMENTS)}")
    for path in [path for path in given.python if not version(path)]:
        parser.error(f"--python: {path} does not start")
    rows, failures = [], []
    for name in [name for name in ENVIRONMENTS if name.startswith(tuple(given.names) or "")]:
        try:
            word = make(name, given.python)
            cells, failed = tested(name)
        except ValueError as why:
            word, cells, failed = str(why), ["–"] * (len(HEAD) - 2), [str(why)] * ("not had" not in str(why))
        rows.append([name, word, *cells])
        failures += [f"{name}: {what}" for what in failed]
    if len(rows) == len(ENVIRONMENTS) and not failures and "–" not in sum(rows, []):
        insert.put(Path(__file__).with_name("README.md"), "versions", insert.table(HEAD, rows))
    print(f"\n{table.text(HEAD, rows)}", *failures, sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
