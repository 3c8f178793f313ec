"""Tables that a command writes into a Markdown page, between `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cvae_lib.data import files


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, each line ended; a bar within a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def part(text: str, name: str) -> re.Match[str] | None:
    """Of a page: the marker that begins a part, the part, and the marker that ends it; None where they are not."""
    return re.search(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", text, re.S)


def put(path: Path, name: str, content: str) -> None:
    """Replace a part of a page in one step; where the page has no such part, say so and change nothing."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if found := part(old, name):
        files.keep(path, f"{old[: found.start(2)]}{content}{old[found.end(2) :]}".encode())
    else:
        print(f"{path.name} has no <!-- {name}:begin --> ... <!-- {name}:end -->: no table was written")
