"""What every committed notebook must be like; `faults` returns one sentence for each thing that is not."""

from __future__ import annotations

import ast
import re
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST_CELL, TYPICAL_CELL, USUAL_CELL = 40, 8, 25  # no cell over, the median up to, nine of ten up to
CODE_LINES, BYTES, IN_A_ROW = 450, 400_000, 3
# Written in two parts, so that this file does not hold what it forbids.
MACHINE_PATH = re.compile(
    "(?<![\\w./])/(?:" + "|".join(["ho" + "me", "ro" + "ot", "Us" + "ers", "tm" + "p", "wo" + "rk"]) + ")/\\w"
)


def tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags", [])


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code_cells(nb: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in nb["cells"] if cell["cell_type"] == "code"]


def prose(nb: dict[str, Any]) -> str:
    return "\n\n".join(source(cell) for cell in nb["cells"] if cell["cell_type"] == "markdown")


def words(output: dict[str, Any]) -> str:
    """Everything in an output but its pictures."""
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return "\n".join(str(part) for part in (output.get("text", ""), *data.values(), output.get("traceback", "")))


def faults(nb: dict[str, Any], size: int) -> list[str]:
    """Everything in which a notebook differs from the anatomy in CONTRIBUTING.md.

    Args:
        nb: the notebook's JSON.
        size: its size in bytes.
    """
    return [*of_cells(nb), *of_outputs(nb, size), *of_parameters(nb), *of_prose(nb)]


def of_cells(nb: dict[str, Any]) -> Iterator[str]:
    lengths = [len(source(cell).splitlines()) for cell in code_cells(nb)] or [0]
    if max(lengths) > LONGEST_CELL:
        yield f"a code cell has {max(lengths)} lines; {LONGEST_CELL} are allowed"
    if statistics.median(lengths) > TYPICAL_CELL:
        yield f"the median code cell has {statistics.median(lengths)} lines; {TYPICAL_CELL} are allowed"
    long = sum(length > USUAL_CELL for length in lengths)
    if long > 0.1 * len(lengths):
        yield f"{long} of {len(lengths)} code cells are over {USUAL_CELL} lines; a tenth may be"
    if sum(lengths) > CODE_LINES:
        yield f"{sum(lengths)} lines of code; {CODE_LINES} are allowed"
    kinds = "".join("c" if cell["cell_type"] == "code" else " " for cell in nb["cells"])
    row = max((len(run) for run in kinds.split()), default=0)
    if row > IN_A_ROW:
        yield f"{row} code cells in a row without prose; {IN_A_ROW} are allowed"


def of_outputs(nb: dict[str, Any], size: int) -> Iterator[str]:
    if size >= BYTES:
        yield f"{size} bytes; fewer than {BYTES} are allowed"
    if "widgets" in nb["metadata"]:
        yield "metadata.widgets is stored; some hosts refuse to show such a notebook"
    ran = [cell for cell in code_cells(nb) if "skip-execution" not in tags(cell)]
    counts = [cell["execution_count"] for cell in ran]
    if counts != list(range(1, len(ran) + 1)):
        yield f"execution counts are {counts}, not 1 to {len(ran)}: render it (make render)"
    outputs = [output for cell in ran for output in cell["outputs"]]
    if not outputs:
        yield "no outputs are stored: render it (make render)"
    for output in outputs:
        name = output["output_type"]
        if name == "error":
            yield f"an output is the error {output['ename']}: {output['evalue']}"
        if output.get("name") == "stderr":
            yield f"an output is on stderr: {words(output)[:80]!r}"
        if {"image/svg+xml", "application/pdf"} & set(output.get("data", {})):
            yield "a picture is stored as SVG or PDF; PNG is wanted"
        host = socket.gethostname()
        if MACHINE_PATH.search(words(output)) or (len(host) > 5 and host in words(output)):
            yield f"an output holds a path or the name of one machine: {words(output)[:200]!r}"
    if not any("application/vnd.cvae.report+json" in output.get("data", {}) for output in outputs):
        yield "no output holds a report (run.report)"


def of_parameters(nb: dict[str, Any]) -> Iterator[str]:
    tagged = [cell for cell in code_cells(nb) if "parameters" in tags(cell)]
    if len(tagged) != 1:
        yield f"{len(tagged)} code cells are tagged 'parameters'; exactly one must be"
    for cell in tagged:
        targets = [node.targets[0] for node in ast.parse(source(cell)).body if isinstance(node, ast.Assign)]
        missing = {"profile", "seed"} - {target.id for target in targets if isinstance(target, ast.Name)}
        if missing:
            yield f"the parameters cell does not set {', '.join(sorted(missing))}"


def of_prose(nb: dict[str, Any]) -> Iterator[str]:
    text = prose(nb)
    first = nb["cells"][0] if nb["cells"] else {"cell_type": "none"}
    if first["cell_type"] != "markdown" or not source(first).startswith("# "):
        yield "the first cell is not Markdown with the title"
    for heading in ("Exercises", "References"):
        if not re.search(rf"^#+ .*{heading}", text, re.M):
            yield f"no heading says {heading}"
    for fence in re.findall(r"^```\s*(?:python|py)\b.*?\n(.*?)^```", text, re.S | re.M):
        if len(fence.strip().splitlines()) > 3:
            yield f"Python in a Markdown fence is never tested; it has more than three lines: {fence[:60]!r}"
    for image in re.findall(r"!\[\s*\]\([^)]*\)|<img(?![^>]*\balt=\"[^\"]+)[^>]*>", text):
        yield f"a picture has no alt text: {image}"


def definitions(code: str) -> set[str]:
    """The names of the functions and classes that a piece of code defines at its top."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.parse(code).body if isinstance(node, kinds)}


def library_names() -> set[str]:
    """The public functions and classes of cvae_lib."""
    files = (ROOT / "cvae_lib").rglob("*.py")
    names = set().union(*(definitions(path.read_text(encoding="utf-8")) for path in files))
    return {name for name in names if not name.startswith("_")} - {"main"}
