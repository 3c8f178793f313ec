"""Each limit of a notebook's anatomy is crossed once, and seen."""

import copy

import anatomy
import pytest


def code(text, **more):
    return {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], **more}


def prose(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def check(number, said, tags=("exercise",), answer="a=a"):
    """A check of an exercise, and what it printed."""
    text = f"exercise_{number} = check({number}, {answer})"
    said = [stream(f"exercise {number}: {said}")]
    return code(text, metadata={"tags": list(tags)}, execution_count=None, outputs=said)


def exercises():
    """Three exercises with empty answers."""
    for number, kind in enumerate(anatomy.KINDS, start=1):
        yield from (prose(f"### Exercise {number}: a title ({kind})"), check(number, "NOT YET: `a` is empty"))


def report():
    return {"output_type": "display_data", "data": {"application/vnd.cvae.report+json": {}}, "metadata": {}}


@pytest.fixture
def good():
    cells = [
        prose("# Title\n\n![a picture](a.png)"),
        code("profile = 'ci'\nseed = 0", metadata={"tags": ["parameters"]}),
        prose("## Idea\n\n```python\nx = 1\n```"),
        code("run.report(x=1)", outputs=[report()]),
        prose("## Exercises\n\n## References"),
        *exercises(),
    ]
    return numbered(cells)


@pytest.fixture
def solved():
    """The solutions to the exercises of `good`."""
    cells = [prose("# Solutions"), code("%run ../notebook.ipynb")]
    for number in (1, 2, 3):
        cells += [prose("answer"), code("a = 2"), check(number, "passed"), code(f"exercise_{number}.refuses(a=0)")]
    return numbered(cells)


def numbered(cells):
    for count, cell in enumerate((c for c in cells if c["cell_type"] == "code"), start=1):
        cell["execution_count"] = count
    return {"cells": cells, "metadata": {}}


def last(nb):
    return nb["cells"][3]


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": [text]}


def append(nb, *cells):
    nb["cells"] += [dict(cell) for cell in cells]
    numbered(nb["cells"])


CROSSED = {
    "a code cell has 41 lines": lambda nb: last(nb).update(source="x = 1\n" * 41),
    "the median code cell has": lambda nb: [
        c.update(source="seed = profile = 1\n" * 9) for c in anatomy.code_cells(nb)
    ],
    "are over 25 lines": lambda nb: last(nb).update(source="x = 1\n" * 26),
    "lines of code beside": lambda nb: append(nb, *[c for _ in range(60) for c in (code("x = 1\n" * 8), prose("p"))]),
    "code cells in a row": lambda nb: append(nb, *[code("x", execution_count=None) for _ in range(4)]),
    "metadata.widgets": lambda nb: nb["metadata"].update(widgets={}),
    "execution counts are [1, 3": lambda nb: last(nb).update(execution_count=3),
    "no outputs are stored": lambda nb: [c.update(outputs=[]) for c in anatomy.code_cells(nb)],
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
    "stands before the last report": lambda nb: nb["cells"].insert(3, check(1, "NOT YET")),
    "exercises ['1', '2']; three": lambda nb: nb["cells"].__delitem__(slice(-2, None)),
    "each of ('predict": lambda nb: nb["cells"][-2].update(source="### Exercise 3: a title (derive)"),
    "not one for each": lambda nb: nb["cells"].pop(),
    "a check is not tagged": lambda nb: nb["cells"][-1].update(metadata={}),
    "accepts the empty answer": lambda nb: nb["cells"][-1].update(outputs=[stream("exercise 3: passed")]),
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


UNSOLVED = {
    "not the notebook's own: ['exercise_1 = check(1, a=a)']": lambda nb: nb["cells"][4].update(
        source=check(1, "", answer="a=b")["source"]
    ),
    "not the notebook's own": lambda nb: nb["cells"].pop(4),
    "exercise_1: its solution does not pass": lambda nb: nb["cells"][4].update(outputs=[stream("exercise 1: NOT YET")]),
    "exercise_2: no wrong answer is refused": lambda nb: nb["cells"][9].update(source="exercise_22.refuses(a=0)"),
    "execution counts": lambda nb: nb["cells"].pop(1),
    "metadata.widgets": lambda nb: nb["metadata"].update(widgets={}),
}


def test_good_solutions_have_no_faults(good, solved):
    assert anatomy.faults_of_solutions(solved, 1000, good) == []


@pytest.mark.parametrize("fault", UNSOLVED)
def test_each_fault_of_solutions_is_seen(good, solved, fault):
    UNSOLVED[fault](solved)
    found = anatomy.faults_of_solutions(solved, 1000, good)
    assert any(fault in one for one in found), found


CHECKS = "\n".join(f"# %% exercise_{k}\ndef exercise_{k}(a):\n    assert a > {k}, 'too small'" for k in (1, 2, 3))


def test_good_checks_have_no_faults(good):
    assert [*anatomy.of_checks(CHECKS, good)] == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("a > 2, 'too small'", "a > 2", "does not say what is wrong: lines [6]"),
        ("# %% exercise_2", "# %% exercise_5", "has sections ['exercise_1', 'exercise_5', 'exercise_3']"),
        ("def exercise_3", "def other", "the file of checks has sections"),
    ],
)
def test_each_fault_of_checks_is_seen(good, old, new, fault):
    assert old in CHECKS
    found = [*anatomy.of_checks(CHECKS.replace(old, new), good)]
    assert any(fault in one for one in found), found


def test_a_large_file_is_seen(good):
    assert any("400000" in found for found in anatomy.faults(good, size=400_000))


def test_a_cell_that_is_never_executed_needs_no_count(good):
    good["cells"] += [prose("p"), code("slider()", metadata={"tags": ["skip-execution", "nbval-skip"]})]
    good["cells"][-1]["execution_count"] = None
    assert anatomy.faults(good, size=1000) == []


def test_definitions_are_found_and_library_names_are_public():
    assert anatomy.definitions("def f():\n    def g(): ...\nclass C: ...\nx = 1") == {"f", "C"}
    assert {"load", "fit", "elbo_terms", "VAE"} <= anatomy.library_names()
    assert not any(name.startswith("_") for name in anatomy.library_names())
