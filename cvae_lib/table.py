"""Small tables of words: as aligned text, and as HTML that a screen reader and a dark theme can show."""

from __future__ import annotations

import html
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def text(head: Sequence[str], rows: Rows) -> str:
    """A table as lines of text, each column as wide as its widest word.

    Args:
        head: the name of each column.
        rows: as many words in each as there are columns.
    """
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


def markup(caption: str, head: Sequence[str], rows: Rows) -> str:
    """A table as HTML: a caption, the first column naming each row, no colours of its own.

    Args:
        caption: what the table shows.
        head: the name of each column.
        rows: as many words in each as there are columns.
    """
    top = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in head)
    cells = [[html.escape(word) for word in row] for row in rows]
    body = "".join(f'<tr><th scope="row">{w[0]}</th><td>{"</td><td>".join(w[1:])}</td></tr>' for w in cells)
    top, body = f"<thead><tr>{top}</tr></thead>", f"<tbody>{body}</tbody>"
    return f"<table><caption>{html.escape(caption)}</caption>{top}{body}</table>"
