"""The chapter of common mistakes has all of them, and the tests that its table names exist."""

import re

import anatomy
import run
from anatomy import ROOT

TEXT = anatomy.prose(run.read(ROOT / "notebooks" / "14_common_mistakes.ipynb"))
ROWS = dict(re.findall(r"^\| (\d+) \| .* \| (.*) \|$", TEXT, re.M))
MISTAKES = [str(n) for n in range(1, 25)]


def test_every_mistake_has_a_heading_and_a_row_in_the_table():
    assert re.findall(r"^### (\d+)\. ", TEXT, re.M) == MISTAKES
    assert re.findall(r"^\| (\d+) \|", TEXT, re.M) == MISTAKES


def test_what_the_table_names_exists():
    code = "\n".join(map(anatomy.source, anatomy.code_cells(run.read(ROOT / "notebooks" / "14_common_mistakes.ipynb"))))
    for number, catches in ROWS.items():
        tests, checks = re.findall(r"`(tests/\w+\.py)::(\w+)`", catches), re.findall(r"`(\w+)`", catches)
        assert tests or checks, f"mistake {number}: nothing catches it"
        for path, name in tests:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path} has no {name}"
        for name in checks:
            assert f"caught({name}," in code or f"caught(\n    {name}," in code, f"the notebook never runs {name}"
