"""What every committed notebook must be like; `faults` returns one sentence for each thing that is not."""

from __future__ import annotations

import ast
import itertools
import re
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST_CELL, TYPICAL_CELL, USUAL_CELL = 40, 8, 25  # no cell over, the median up to, nine of ten up to
CODE_LINES, BYTES, IN_A_ROW = 450, 400_000, 3
EXERCISE, REPORT = "exercise", "application/vnd.cvae.report+json"
KINDS = ("predict, then run", "derive", "build")  # of exercises; each notebook has all three
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


def outputs(nb: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in code_cells(nb) if "skip-execution" not in tags(cell) for output in cell["outputs"]]


def checks(nb: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The cells that check an exercise, each with the exercise's name."""
    found = [(re.search(r"^(exercise_(\d+)) = check\(\2, ", source(cell), re.M), cell) for cell in code_cells(nb)]
    return [(match[1], cell) for match, cell in found if match]


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
    report = (
        []
        if any(REPORT in output.get("data", {}) for output in outputs(nb))
        else ["no output holds a report (run.report)"]
    )
    return [*of_cells(nb), *of_outputs(nb, size), *report, *of_parameters(nb), *of_prose(nb), *of_exercises(nb)]


def faults_of_solutions(nb: dict[str, Any], size: int, chapter: dict[str, Any]) -> list[str]:
    """Everything in which a notebook of solutions differs from what CONTRIBUTING.md says of them.

    Args:
        nb: the JSON of the solutions.
        size: their size in bytes.
        chapter: the JSON of the notebook whose exercises they solve.
    """
    return [*of_long_cells(nb), *of_outputs(nb, size), *of_solutions(nb, chapter)]


def of_long_cells(nb: dict[str, Any]) -> Iterator[str]:
    longest = max((len(source(cell).splitlines()) for cell in code_cells(nb)), default=0)
    if longest > LONGEST_CELL:
        yield f"a code cell has {longest} lines; {LONGEST_CELL} are allowed"
    kinds = "".join("c" if cell["cell_type"] == "code" else " " for cell in nb["cells"])
    row = max((len(run) for run in kinds.split()), default=0)
    if row > IN_A_ROW:
        yield f"{row} code cells in a row without prose; {IN_A_ROW} are allowed"


def of_cells(nb: dict[str, Any]) -> Iterator[str]:
    yield from of_long_cells(nb)
    lengths = [len(source(cell).splitlines()) for cell in code_cells(nb)] or [0]
    if statistics.median(lengths) > TYPICAL_CELL:
        yield f"the median code cell has {statistics.median(lengths)} lines; {TYPICAL_CELL} are allowed"
    long = sum(length > USUAL_CELL for length in lengths)
    if long > 0.1 * len(lengths):
        yield f"{long} of {len(lengths)} code cells are over {USUAL_CELL} lines; a tenth may be"
    lines = sum(len(source(cell).splitlines()) for cell in code_cells(nb) if EXERCISE not in tags(cell))
    if lines > CODE_LINES:
        yield f"{lines} lines of code beside the exercises; {CODE_LINES} are allowed"


def of_outputs(nb: dict[str, Any], size: int) -> Iterator[str]:
    if size >= BYTES:
        yield f"{size} bytes; fewer than {BYTES} are allowed"
    if "widgets" in nb["metadata"]:
        yield "metadata.widgets is stored; some hosts refuse to show such a notebook"
    ran = [cell for cell in code_cells(nb) if "skip-execution" not in tags(cell)]
    counts = [cell["execution_count"] for cell in ran]
    if counts != list(range(1, len(ran) + 1)):
        yield f"execution counts are {counts}, not 1 to {len(ran)}: render it (make render)"
    if not outputs(nb):
        yield "no outputs are stored: render it (make render)"
    for output in outputs(nb):
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


def of_exercises(nb: dict[str, Any]) -> Iterator[str]:
    code = code_cells(nb)
    last = max((number for number, cell in enumerate(code) if "run.report(" in source(cell)), default=-1)
    if early := [source(cell)[:40] for cell in code[: last + 1] if EXERCISE in tags(cell)]:
        yield f"an exercise stands before the last report: {early}"
    headings = re.findall(r"^### Exercise (\d+): .+ \((.+)\)$", prose(nb), re.M)
    if [number for number, _ in headings] != [str(k + 1) for k in range(len(headings))] or not 3 <= len(headings) <= 5:
        yield f"exercises {[number for number, _ in headings]}; three to five are wanted, from 1 on"
    if {kind for _, kind in headings} != set(KINDS):
        yield f"the exercises are of kinds {[kind for _, kind in headings]}; each of {KINDS} is wanted"
    named = [name for name, _ in checks(nb)]
    if named != [f"exercise_{number}" for number, _ in headings]:
        yield f"the checks are {named}, not one for each of {len(headings)} exercises"
    for _, cell in checks(nb):
        if EXERCISE not in tags(cell):
            yield f"a check is not tagged {EXERCISE!r}: {source(cell)[:60]!r}"
        printed = "".join(words(output) for output in cell["outputs"])
        if "NOT YET" not in printed:
            yield f"a check accepts the empty answer: {printed!r}"


def of_checks(code: str, nb: dict[str, Any]) -> Iterator[str]:
    """Faults of a notebook's file in `notebooks/checks/`."""
    wanted, sections = [name for name, _ in checks(nb)], re.findall(r"^# %% (\w+)$", code, re.M)
    functions = [name for name in definitions(code) if name.startswith("exercise_")]
    if sections != wanted or sorted(functions) != sorted(wanted):
        yield f"the notebook asks for {wanted}; the file of checks has sections {sections}, functions {functions}"
    mute = [node.lineno for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert) and not node.msg]
    if mute:
        yield f"an assert of a check does not say what is wrong: lines {mute}"


def of_solutions(nb: dict[str, Any], chapter: dict[str, Any]) -> Iterator[str]:
    wanted, found = ([source(cell) for _, cell in checks(one)] for one in (chapter, nb))
    if found != wanted:
        different = [a or b for a, b in itertools.zip_longest(wanted, found) if a != b]
        yield f"a check is not the notebook's own: {[(c or '').splitlines()[0] for c in different]}"
    for name, cell in checks(nb):
        if f"{name.replace('_', ' ')}: passed" not in "".join(words(output) for output in cell["outputs"]):
            yield f"{name}: its solution does not pass: render it (make render)"
        if not any(re.search(rf"^ *{name}\.refuses\(", source(other), re.M) for other in code_cells(nb)):
            yield f"{name}: no wrong answer is refused"


def definitions(code: str) -> set[str]:
    """The names of the functions and classes that a piece of code defines at its top."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.parse(code).body if isinstance(node, kinds)}


def library_names() -> set[str]:
    """The public functions and classes of cvae_lib."""
    files = (ROOT / "cvae_lib").rglob("*.py")
    names = set().union(*(definitions(path.read_text(encoding="utf-8")) for path in files))
    return {name for name in names if not name.startswith("_")} - {"main"}
