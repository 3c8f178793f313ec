#!/usr/bin/env python3
"""Execute the notebooks with papermill; write executed copies and one summary page to build/<profile>/.

    python notebooks/run.py                              # all of them, profile laptop
    python notebooks/run.py --nb 04 --profile ci         # one, small, in seconds
    python notebooks/run.py --nb 04 -p seed 3            # any parameter of a notebook's parameters cell

A notebook that fails does not stop the others. Exit code: 1 if any failed, 2 if the request was refused.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Another number of threads moves the last digits of a result; a notebook that nobody watches needs no progress bar.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
os.environ.setdefault("TQDM_DISABLE", "1")
if folder := os.environ.get("CVAE_DATA"):  # a kernel works in the folder of its notebook
    os.environ["CVAE_DATA"] = os.path.abspath(folder)

import nbformat
import page  # beside this file
import papermill

from cvae_lib import notebook, table
from cvae_lib.data import files

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
# The kernel warns of its transport at every start, which says nothing of the notebook.
QUIET_KERNEL = ["--IPKernelApp.log_level=50"]
ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # cells that papermill puts into a copy


@dataclass
class Outcome:
    """What became of one notebook."""

    name: str
    copy: Path | None = None  # the executed copy, complete or up to the failure
    seconds: float = 0.0
    error: str = ""  # empty, or the failing cell and its error
    report: dict[str, Any] = field(default_factory=dict)  # as cvae_lib.notebook stores it; empty without one

    @property
    def rows(self) -> list[notebook.Row]:
        """The reported metrics beside their bands."""
        return notebook.compare(self.report) if self.report else []

    @property
    def source(self) -> str:
        """The dataset's name."""
        return self.report.get("source", "–")

    @property
    def verdict(self) -> str:
        """`ok` or `FAILED`."""
        return "FAILED" if self.error else "ok"


def find(numbers: list[str], folder: Path = HERE) -> list[Path]:
    """The notebooks of a folder in order, or those that the numbers or names pick (`4`, `04`, `04_cvae`)."""
    known = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not known:
        raise ValueError(f"notebook: there is none in {folder.name}/")
    if not numbers:
        return known
    keys = {str(int(n)).zfill(2) if n.isdecimal() else n.removesuffix(".ipynb") for n in numbers}
    unknown = keys - {key for path in known for key in (path.stem, path.stem[:2])}
    if unknown:
        allowed = ", ".join(path.stem for path in known)
        raise ValueError(f"notebook: got {', '.join(sorted(unknown))}; allowed are {allowed}")
    return [path for path in known if path.stem in keys or path.stem[:2] in keys]


def solution(path: Path) -> Path:
    """Where the solutions to a notebook's exercises stand."""
    return path.parent / "solutions" / path.name


def check_parameters(path: Path, parameters: dict[str, Any]) -> None:
    """Refuse a parameter that the notebook does not have: papermill itself would only log it."""
    known = papermill.inspect_notebook(str(path))
    if not known:
        raise ValueError(f"{path.name}: no cell is tagged 'parameters', so that none can be set")
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ValueError(f"parameter: got {', '.join(unknown)}; {path.stem} has {', '.join(known)}")


def execute(path: Path, copy: Path, parameters: dict[str, Any]) -> Outcome:
    """Run one notebook in its own folder; keep the executed copy also where it failed."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    files.sweep(copy.parent, ".*.ipynb")  # of runs that were killed
    growing = copy.with_name(f".{copy.stem}.{os.getpid()}.ipynb")  # two runs at once never share a file
    outcome, begun = Outcome(path.stem), time.perf_counter()
    try:
        papermill.execute_notebook(
            str(path),
            str(growing),
            parameters,
            cwd=str(path.parent),
            progress_bar=False,
            start_timeout=180,
            extra_arguments=QUIET_KERNEL,
        )
    except Exception as error:  # whatever it was, the other notebooks still run
        if isinstance(error, OSError) and str(error.filename or growing) == str(growing):
            outcome.error = f"{copy} cannot be written: {error.strerror}"
        else:
            outcome.error = failing_cell(read(growing).cells if growing.exists() else [], error)
    finally:
        outcome.seconds = time.perf_counter() - begun
        with contextlib.suppress(OSError, ValueError):  # there is none, or half of one on a full disk
            outcome.report = report_of(read(growing))
            os.replace(growing, copy)
            outcome.copy = copy
        growing.unlink(missing_ok=True)
    return outcome


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook from its file."""
    return nbformat.read(path, as_version=4)


def failing_cell(cells: list[nbformat.NotebookNode], error: Exception) -> str:
    """The cell in which execution ended and its error, cells counted as in the committed notebook."""
    what = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}".strip()
    what = next((line for line in what.splitlines() if line.strip()), what)
    number, last = 0, ""
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        number += not ADDED & set(tags)
        begun = cell.metadata.get("papermill", {}).get("start_time") or cell.get("execution_count")
        if cell.cell_type == "code" and begun:
            line = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
            last = f"{'injected parameters' if ADDED & set(tags) else f'cell {number}'}, `{line}`: "
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            break
    return last + what  # without an error output, a kernel that died: in the last cell that was begun


def report_of(executed: nbformat.NotebookNode) -> dict[str, Any]:
    """The report in an executed notebook; several are merged, a later value of a metric standing."""
    merged: dict[str, Any] = {}
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(notebook.REPORT_MIME)
            if found:
                merged = {**found, "metrics": {**merged.get("metrics", {}), **found["metrics"]}}
    return merged


def run_all(paths: list[Path], build: Path, parameters: dict[str, Any]) -> list[Outcome]:
    """Run notebooks one after another, with a line for each."""
    for path in paths:
        check_parameters(path, parameters)
    try:
        build.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=build).close()
    except OSError as error:
        raise ValueError(f"{build} cannot be written: {error.strerror}") from None
    outcomes = []
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem:<20}", end=" ", flush=True)
        outcome = execute(path, build / path.name, parameters)
        print(f"{outcome.seconds:6.1f} s  {outcome.verdict}", flush=True)
        if outcome.error:
            print(f"      {outcome.error}", flush=True)
        outcomes.append(outcome)
    return outcomes


def summary(outcomes: list[Outcome]) -> str:
    """A table of notebooks and, below, of every reported metric beside its band."""
    overview = [(o.name, o.verdict, f"{o.seconds:.1f}", o.source) for o in outcomes]
    metrics = [(o.name, *row.cells) for o in outcomes for row in o.rows]
    below = [table.text(("notebook", *notebook.HEAD), metrics)] if metrics else []
    return "\n\n".join([table.text(page.HEAD, overview), *below, "\n".join(remarks(outcomes))])


def remarks(outcomes: list[Outcome]) -> list[str]:
    """What a reader of the summary must know beside the numbers."""
    failed = [f"{o.name} failed in {o.error}" for o in outcomes if o.error]
    bundled = [o.name for o in outcomes if "mnist_5k" in o.source.split("+")]
    if bundled:
        always = all(o.report["profile"] == "ci" for o in outcomes if o.name in bundled)
        why = "profile ci always uses them" if always else "the full set could not be had"
        failed.append(f"Data of {', '.join(bundled)}: the 5,000 bundled digits ({why}).")
    good = sum(not o.error for o in outcomes)
    return [*failed, f"{good} of {len(outcomes)} notebooks ran without an error."]


def literal(word: str) -> Any:
    """A parameter's value as Python would read it, else the word itself."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nb", action="append", default=[], metavar="NN", help="only this notebook; repeatable")
    parser.add_argument("--profile", help="ci, laptop or full; default: CVAE_PROFILE, else laptop")
    parser.add_argument("--seed", help="a non-negative integer; default: the notebook's own, 0")
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], dest="more", metavar=("NAME", "VALUE"), help="a parameter"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, folder: Path = HERE, build: Path = BUILD) -> int:
    """Check the request, run the notebooks, write and print the summary."""
    given = arguments(argv)
    try:
        parameters = {name: literal(value) for name, value in given.more}
        parameters |= {"seed": literal(given.seed)} if given.seed else {}
        notebook.known_seed(parameters.get("seed", 0))
        profile = notebook.known_profile(given.profile or parameters.get("profile") or notebook.profile())
        parameters |= {"profile": profile}
        paths = find(given.nb, folder)
        print(f"{len(paths)} notebooks, profile {profile}, {os.environ['OMP_NUM_THREADS']} threads")
        outcomes = run_all(paths, build / profile, parameters)
    except ValueError as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the executed copies so far are in build/", file=sys.stderr)
        return 130
    why_not = page.write(build / profile / "index.html", f"Notebooks, profile {profile}", outcomes, remarks(outcomes))
    print(f"\n{summary(outcomes)}\n{why_not or f'Summary with pictures: build/{profile}/index.html'}")
    return int(bool(why_not) or any(o.error for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
