"""Each limit of a notebook's anatomy is crossed once, and seen."""

import copy

import anatomy
import pytest


def code(text, **more):
    return {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], **more}


def prose(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def report():
    return {"output_type": "display_data", "data": {"application/vnd.cvae.report+json": {}}, "metadata": {}}


@pytest.fixture
def good():
    cells = [
        prose("# Title\n\n![a picture](a.png)"),
        code("profile = 'ci'\nseed = 0", metadata={"tags": ["parameters"]}),
        prose("## Idea\n\n```python\nx = 1\n```"),
        code("x = 1", outputs=[report()]),
        prose("## Exercises\n\n## References"),
    ]
    for count, cell in enumerate((c for c in cells if c["cell_type"] == "code"), start=1):
        cell["execution_count"] = count
    return {"cells": cells, "metadata": {}}


def last(nb):
    return nb["cells"][3]


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": [text]}


def append(nb, *cells):
    for number, cell in enumerate(cells, start=3):
        nb["cells"].append({**cell, "execution_count": number})


CROSSED = {
    "a code cell has 41 lines": lambda nb: last(nb).update(source="x = 1\n" * 41),
    "the median code cell has": lambda nb: [c.update(source="seed = profile = 1\n" * 9) for c in nb["cells"][1::2]],
    "are over 25 lines": lambda nb: last(nb).update(source="x = 1\n" * 26),
    "lines of code; 450": lambda nb: append(nb, *[c for _ in range(60) for c in (code("x = 1\n" * 8), prose("p"))]),
    "4 code cells in a row": lambda nb: append(nb, *[code("x") for _ in range(4)]),
    "metadata.widgets": lambda nb: nb["metadata"].update(widgets={}),
    "execution counts are [1, 3]": lambda nb: last(nb).update(execution_count=3),
    "no outputs are stored": lambda nb: last(nb).update(outputs=[]),
    "no output holds a report": lambda nb: last(nb).update(outputs=[stream("hello")]),
    "the error KeyError": lambda nb: last(nb)["outputs"].append(
        {"output_type": "error", "ename": "KeyError", "evalue": "k", "traceback": []}
    ),
    "on stderr": lambda nb: last(nb)["outputs"].append(stream("a warning", "stderr")),
    "stored as SVG": lambda nb: last(nb)["outputs"].append({**report(), "data": {"image/svg+xml": "<svg/>"}}),
    "path or the name of one machine": lambda nb: last(nb)["outputs"].append(stream("in /ho" + "me/someone/file")),
    "0 code cells are tagged": lambda nb: nb["cells"][1].update(metadata={}),
    "does not set seed": lambda nb: nb["cells"][1].update(source="profile = 'ci'"),
    "not Markdown with the title": lambda nb: nb["cells"][0].update(source="no title"),
    "no heading says References": lambda nb: nb["cells"][4].update(source="## Exercises"),
    "no heading says Exercises": lambda nb: nb["cells"][4].update(source="## References"),
    "more than three lines": lambda nb: nb["cells"][2].update(source="```python\na\nb\nc\nd\n```"),
    "no alt text: ![](a.png)": lambda nb: nb["cells"][2].update(source="![](a.png)"),
    "no alt text: <img": lambda nb: nb["cells"][2].update(source='<img src="a.png">'),
}


def test_a_good_notebook_has_no_faults(good):
    assert anatomy.faults(good, size=1000) == []


@pytest.mark.parametrize("fault", CROSSED)
def test_each_fault_is_seen(good, fault):
    spoilt = copy.deepcopy(good)
    CROSSED[fault](spoilt)
    assert any(fault in found for found in anatomy.faults(spoilt, size=1000)), anatomy.faults(spoilt, size=1000)


def test_a_large_file_is_seen(good):
    assert any("400000" in found for found in anatomy.faults(good, size=400_000))


def test_a_cell_that_is_never_executed_needs_no_count(good):
    append(good, prose("p"), code("slider()", metadata={"tags": ["skip-execution", "nbval-skip"]}))
    good["cells"][-1]["execution_count"] = None
    assert anatomy.faults(good, size=1000) == []


def test_definitions_are_found_and_library_names_are_public():
    assert anatomy.definitions("def f():\n    def g(): ...\nclass C: ...\nx = 1") == {"f", "C"}
    assert {"load", "fit", "elbo_terms", "VAE"} <= anatomy.library_names()
    assert not any(name.startswith("_") for name in anatomy.library_names())
