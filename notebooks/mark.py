#!/usr/bin/env python3
"""Mark handed-in notebooks: run each small, with this collection's own checks in place of those handed in.

    python notebooks/mark.py handed_in/*.ipynb                 # profile ci, seconds a notebook
    python notebooks/mark.py handed_in/*.ipynb --profile laptop

A notebook is known by the name in its `notebook.start(...)`. The executed copies are kept in build/marked/, each with
what the checks say of wrong answers. What is handed in is executed: run it where a stranger's program may run.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import nbformat
import render  # beside this file
import run

from cvae_lib import notebook, table

CHECK = re.compile(r"^(exercise_\d+) = check\(", re.M)
STARTED = re.compile(r"notebook\.start\(\s*[\"'](\w+)[\"']")


def checks(nb: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    """The cells that check an exercise, by the check's name."""
    found = {match[1]: cell for cell in nb.cells if (match := CHECK.search(cell.source)) and cell.cell_type == "code"}
    return dict(sorted(found.items()))


def with_our_checks(handed_in: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The handed-in notebook with the checks of the committed one; a ValueError where it is none of ours."""
    name = next((found[1] for cell in handed_in.cells if (found := STARTED.search(cell.source))), None)
    path = folder / f"{name}.ipynb"
    if name is None or not path.is_file():
        raise ValueError(f"it starts as {name or 'nothing'}, which is no notebook of this collection")
    theirs = checks(handed_in)
    for number, cell in checks(run.read(path)).items():
        if number in theirs:
            theirs[number].source = cell.source
        else:
            handed_in.cells.append(cell)  # deleted: it is run at the end, on whatever there is
    return handed_in


def mark(path: Path, build: Path, folder: Path) -> dict[str, str]:
    """Exercise to `passed`, `not yet` or `not reached`, where an error came first; the copy in `build` says why."""
    nb = render.execute(with_our_checks(run.read(path), folder), folder, allow_errors=True)
    build.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, build / path.name)
    marks = {}
    for name, cell in checks(nb).items():
        said = "".join(output.get("text", "") for output in cell.outputs)
        passed = f"{name.replace('_', ' ')}: passed" in said
        marks[name.replace("exercise_", "")] = "passed" if passed else "not yet" if said else "not reached"
    return marks


def main(argv: list[str] | None = None, folder: Path = run.HERE, build: Path = run.BUILD) -> int:
    """Mark each file and print a table; 1 if one could not be marked, 2 if the request was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("handed_in", type=Path, nargs="+", help="notebooks of students")
    parser.add_argument("--profile", default="ci", help="ci (default), laptop or full")
    given = parser.parse_args(argv)
    os.environ.update(CVAE_PROFILE=given.profile, CVAE_STRICT="0")  # neither a wrong answer nor a band ends the run
    missing = [str(path) for path in given.handed_in if not path.is_file()]
    if missing or given.profile not in notebook.PROFILES:
        print(
            f"refused: no file {', '.join(missing)}" if missing else f"refused: profile {given.profile!r}",
            file=sys.stderr,
        )
        return 2
    rows, failed = [], 0
    for path in given.handed_in:
        try:
            marks = mark(path, build / "marked" / path.parent.name, folder)
        except Exception as error:  # whatever was handed in, the others are marked
            marks, failed = {"": f"not marked: {type(error).__name__}: {error}"}, failed + 1
        done = sum(verdict == "passed" for verdict in marks.values())
        rows.append((str(path), f"{done} of {len(marks)}", ", ".join(f"{k}: {v}" for k, v in marks.items())))
    print(table.text(("handed in", "passed", "exercises"), rows))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
