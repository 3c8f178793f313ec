"""Small notebooks for the tests of run.py, render.py and results.py; none of them imports torch."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import v4

REPORT = """from IPython.display import display
report = {"notebook": "NAME", "profile": profile, "seed": seed, "source": "none", "metrics": {"nll": 97.5}}
_ = display({"application/vnd.cvae.report+json": report, "text/plain": "a report"}, raw=True)"""
PICTURE = """from IPython.display import Image
Image(data=bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010100000000376ef924"
                         "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"))"""


def write(folder: Path, name: str, *cells: str, parameters: bool = True) -> Path:
    """A notebook of these cells, Markdown where a cell starts with `#`, after a parameters cell."""
    made = [v4.new_markdown_cell(f"# {name}"), v4.new_code_cell('profile = "laptop"\nseed = 0')]
    made[1].metadata["tags"] = ["parameters"] if parameters else []
    for cell in cells:
        kind = v4.new_markdown_cell if cell.startswith("#") else v4.new_code_cell
        made.append(kind(cell.replace("NAME", name)))
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(v4.new_notebook(cells=made, metadata=metadata), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"
