"""Plant every small mistake that mutmut knows, one at a time, and count those that the fast tests catch.

    make mutants                                # all; an hour of two cores, resumed where it stopped
    make mutants ARGS="cvae_lib.objectives*"    # mutants whose names fit; the others keep their verdicts

The mutants live in build/mutants/, in a copy of the library and its tests. What no test catches is printed with its
line, unless mutants.json, beside this file, says why. Exit code 1 if one is left, or if a reason there belongs to none.
Once all are tried and explained, the counts and reasons go into README.md, beside this file.

A verdict stays until the function changes, or the mutant is named: after a change of the tests, name what they test,
or delete build/mutants/ and try all anew.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))
import insert  # noqa: E402

from cvae_lib import table  # noqa: E402

PLACE = ROOT / "build" / "mutants"
EXPLAINED = Path(__file__).with_name("mutants.json")
COPIED = ["cvae_lib", "tests", "notebooks", "conftest.py", "pyproject.toml"]
HEAD = ("file", "caught", "tried", "share", "left")
CAUGHT = {1, 3, 24, 36, 152, 255, -24, -9, -11}  # mutmut's codes: a test failed, ran into the time limit, or crashed


def refresh() -> None:
    """Bring the copy up to date; files that did not change keep their times, and so their verdicts."""
    for name in COPIED:
        for source in [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*")):
            target = PLACE / source.relative_to(ROOT)
            if source.is_file() and source.suffix not in (".pyc", ".ipynb"):
                if not target.exists() or target.read_bytes() != source.read_bytes():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)


def run(names: list[str]) -> int:
    """Let mutmut make and try the mutants; not 0 where it could not."""
    environment = {"CVAE_DATA": str(ROOT / "data"), **os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1), *names]
    return subprocess.run(command, cwd=PLACE, env=environment, check=False).returncode


def functions(path: Path) -> dict[str, list[str]]:
    """Name to lines, of every function and method of a file, the first of a name standing."""
    text = path.read_text(encoding="utf-8")
    lines, found = text.splitlines(), {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, lines[node.lineno - 1 : node.end_lineno])
    return found


def change(code: dict[str, list[str]], key: str) -> tuple[str, str, str]:
    """Of a mutant: its function, what stood there, and what it was changed to."""
    name = key.rpartition(".")[2]
    stem = name.rpartition("__mutmut_")[0]
    before, after = ([line.replace(n, stem) for line in code[n]] for n in (f"{stem}__mutmut_orig", name))
    differ = list(difflib.ndiff(before, after))
    old, new = (" ".join(line[2:].strip() for line in differ if line.startswith(sign)) for sign in "-+")
    return stem.removeprefix("x").strip("_ǁ").replace("ǁ", "."), old, new


def verdicts() -> tuple[dict[str, Counter], list[dict[str, str]]]:
    """File to how many mutants were caught and not; and those that were not, each with its change."""
    counts, left = {}, []
    for meta in sorted((PLACE / "mutants" / "cvae_lib").rglob("*.meta")):
        name, codes = meta.stem, json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        if not codes:
            continue
        file = str(meta.relative_to(PLACE / "mutants").with_name(name))
        code = functions(meta.with_name(name))
        counts[file] = Counter(
            "caught" if c in CAUGHT else "not tried" if c is None else "left" for c in codes.values()
        )
        for key in (key for key, c in codes.items() if c is not None and c not in CAUGHT):
            function, old, new = change(code, key)
            left.append({"file": file, "function": function, "old": old, "new": new})
    return counts, left


def numbers(counts: dict[str, Counter]) -> list[tuple[str, ...]]:
    """Of each file and of all: the row of a table."""
    rows = []
    for file, of in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        tried = of["caught"] + of["left"]
        share = f"{of['caught'] / max(tried, 1):.1%}"
        rows.append((file.removeprefix("cvae_lib/"), f"{of['caught']:,}", f"{tried:,}", share, f"{of['left']:,}"))
    return rows


def page(rows: list[tuple[str, ...]], reasons: list[str]) -> str:
    """The rows and the reasons, how often each, in Markdown."""
    listed = "".join(f"- {number} × {why}\n" for why, number in Counter(reasons).most_common())
    left = "Those that are left stand in [mutants.json](mutants.json), each with the reason why no test catches it:"
    return f"{insert.table(HEAD, rows)}\n{left}\n\n{listed}"


def main(names: list[str]) -> int:
    """Try, count, and print what is left without an explanation."""
    refresh()
    if names != ["--no-run"] and run(names):
        return 1
    counts, left = verdicts()
    explained = json.loads(EXPLAINED.read_text(encoding="utf-8"))
    reasons = {tuple(e[k] for k in ("file", "function", "old", "new")): e["why"] for e in explained}
    unexplained = [mutant for mutant in left if tuple(mutant.values()) not in reasons]
    whole, rows = sum(counts.values(), Counter()), numbers(counts)
    print(table.text(HEAD, rows))
    if whole["not tried"]:
        print(f"{whole['not tried']} were not tried")
    keys = {tuple(mutant.values()) for mutant in left}
    stale = [] if whole["not tried"] else [e for e, key in zip(explained, reasons, strict=True) if key not in keys]
    for words, mutants in (("left, without a reason", unexplained), ("caught, and a reason says it is not", stale)):
        for mutant in mutants:
            print(f"\n{mutant['file']}, {mutant['function']}: {words}\n  - {mutant['old']}\n  + {mutant['new']}")
    if whole and not (whole["not tried"] or unexplained or stale):
        why = [reasons[tuple(mutant.values())] for mutant in left]
        insert.put(Path(__file__).with_name("README.md"), "mutants", page(rows, why))
    print(f"\n{len(left) - len(unexplained)} left are explained in {EXPLAINED.name}, {len(unexplained)} are not")
    return int(bool(unexplained or stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
