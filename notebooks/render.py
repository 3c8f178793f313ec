#!/usr/bin/env python3
"""Execute the committed notebooks and store their outputs: the only way in which those change.

    python notebooks/render.py             # all of them with their solutions, profile laptop, seed 0
    python notebooks/render.py --nb 04     # one

Solutions are rendered after their notebook, which they run; --solutions renders them alone. A notebook is
replaced in one step once it has run to its end; one that fails stays as it was. Outputs made from the bundled
digits or rows, where a notebook asks for more, are not stored unless --allow-bundled is given.
"""

from __future__ import annotations

import argparse
import base64
import copy
import os
import sys
import time
from pathlib import Path

import nbclient
import nbformat
import run

from cvae_lib import notebook
from cvae_lib.data import files

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(source: nbformat.NotebookNode, folder: Path, allow_errors: bool = False) -> nbformat.NotebookNode:
    """A copy of the notebook with new outputs, and without what would differ from machine to machine."""
    rendered = copy.deepcopy(source)
    for cell in rendered.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    client = nbclient.NotebookClient(
        rendered,
        timeout=None,
        allow_errors=allow_errors,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        extra_arguments=run.QUIET_KERNEL,
        on_cell_execute=lambda cell, **_: cell.update(execution_count=-1),  # begun, should the kernel die at once
    )
    try:
        client.execute()
    except Exception as error:
        raise RuntimeError(run.failing_cell(rendered.cells, error)) from error
    rendered.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python", "file_extension": ".py"}}
    return rendered


def render(path: Path, allow_bundled: bool) -> str:
    """Render one notebook; an empty word, or why it was not stored."""
    try:
        rendered = execute(run.read(path), path.parent)
    except RuntimeError as error:
        return str(error)
    report = run.report_of(rendered)
    if report and notebook.bundled(report) and not allow_bundled:
        return "its data was the bundled digits or rows; the committed outputs are the full set's"
    try:
        files.keep(path, f"{nbformat.writes(rendered)}\n".encode())
        if picture := front_picture(rendered):
            files.keep(path.with_suffix(".png"), picture)
    except OSError as error:
        return f"{error.filename} cannot be written: {error.strerror}"
    return ""


def front_picture(rendered: nbformat.NotebookNode) -> bytes | None:
    """The PNG of the cell tagged `front-picture`, which README shows; None where no cell has the tag."""
    for cell in rendered.cells:
        if "front-picture" in cell.metadata.get("tags", []):
            return next(base64.b64decode(o.data["image/png"]) for o in cell.outputs if "image/png" in o.get("data", {}))
    return None


def main(argv: list[str] | None = None, folder: Path = run.HERE) -> int:
    """Render what was asked for, solutions last; 1 if any notebook was not stored, 2 if the request was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nb", action="append", default=[], metavar="NN", help="only this notebook; repeatable")
    parser.add_argument("--solutions", action="store_true", help="the solutions alone")
    parser.add_argument("--allow-bundled", action="store_true", help="store outputs of the bundled digits too")
    given = parser.parse_args(argv)
    os.environ.update(CVAE_PROFILE="laptop", CVAE_STRICT="0")  # an expected band may be what is to change
    try:
        paths = run.find(given.nb, folder)
    except ValueError as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    solved = [found for path in paths if (found := run.solution(path)).exists()]
    jobs, failed = ([] if given.solutions else paths) + solved, []
    for number, path in enumerate(jobs, start=1):
        print(f"[{number}/{len(jobs)}] {path.relative_to(folder).with_suffix('')!s:<30}", end=" ", flush=True)
        begun = time.perf_counter()
        why_not = "its notebook was not" if path.stem in failed else render(path, given.allow_bundled)
        print(f"{time.perf_counter() - begun:6.1f} s  {why_not and 'NOT STORED: '}{why_not or 'stored'}", flush=True)
        failed += [path.stem] if why_not else []
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
