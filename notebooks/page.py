"""The summary page of a run: one HTML file that holds everything it shows, pictures included."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from cvae_lib import notebook, table
from cvae_lib.data import files

if TYPE_CHECKING:
    from run import Outcome

HEAD = ("notebook", "result", "seconds", "data")
# The browser's own colours throughout, so that a dark theme stays readable; words carry every verdict.
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
caption { text-align: left; font-weight: bold; padding: .3rem 0; }
th, td { border: 1px solid; padding: .25rem .7rem; text-align: left; vertical-align: top; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 18rem; }
figure img { width: 100%; max-height: 14rem; object-fit: contain; object-position: left; }
figcaption { font-size: .85rem; }
"""


def write(target: Path, title: str, outcomes: list[Outcome], remarks: list[str]) -> str:
    """Write the page in one step, so that a reader never meets half of it; an empty word, or why it was not."""
    overview = [(o.name, o.verdict, f"{o.seconds:.1f}", o.source) for o in outcomes]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p>{html.escape(remark)}</p>" for remark in remarks),
        table.markup("All notebooks", HEAD, overview),
        *(section(o) for o in outcomes),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head += f"<style>{STYLE}</style>"
    body = "\n".join(parts)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'
    try:
        files.keep(target, page.encode())
    except OSError as error:
        return f"No summary page: {error.filename} cannot be written: {error.strerror}"
    return ""


def section(outcome: Outcome) -> str:
    """One notebook: its error if it has one, its metrics, its pictures."""
    parts = [f"<h2>{html.escape(outcome.name)}: {outcome.verdict}, {outcome.seconds:.1f} s</h2>"]
    if outcome.error:
        parts.append(f"<p>{html.escape(outcome.error)}</p>")
    if outcome.rows:
        seed = f"seed {outcome.report['seed']}, data {outcome.source}"
        parts.append(table.markup(f"Metrics, {seed}", notebook.HEAD, [row.cells for row in outcome.rows]))
    shown = "".join(
        f'<figure><img src="data:image/png;base64,{png}" alt="{html.escape(outcome.name)}, {number}: '
        f'{html.escape(heading)}"><figcaption>{html.escape(heading)}</figcaption></figure>'
        for number, (heading, png) in enumerate(pictures(outcome.copy), start=1)
    )
    return "\n".join([*parts, f'<div class="pictures">{shown}</div>'])


def pictures(copy: Path | None) -> list[tuple[str, str]]:
    """The PNG outputs of an executed notebook in base64, each with the heading that it stands under."""
    found, heading = [], "picture"
    for cell in nbformat.read(copy, as_version=4).cells if copy else []:
        if cell.cell_type == "markdown":
            heading = next(reversed(re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.M)), heading)
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png:
                found.append((heading, "".join(png.split())))
    return found
