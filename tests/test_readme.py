"""The page of what the tests catch says what was stored, and names tests that exist."""

import json
import re
from collections import Counter

import environments
import insert
import mutants
import planted
import pytest
import results
import run
from anatomy import ROOT

PAGE = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
FAULTS = (ROOT / "tests" / "test_faults.py").read_text(encoding="utf-8")


def rows(name):
    """The rows of a table that a command wrote, each a list of words."""
    text = insert.part(PAGE, name)[2]
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]


def test_the_mistakes_are_the_planted_ones_with_what_they_moved():
    stored = json.loads(planted.STORED.read_text(encoding="utf-8"))
    assert insert.part(PAGE, "planted")[2] == planted.table(stored), "python tests/planted.py"
    assert f"plants {len(planted.PLANTED)} forms" in PAGE


def test_the_fresh_seeds_are_the_stored_ones():
    fresh = results.try_bands(run.find([]), "ci", run.HERE)
    assert insert.part(PAGE, "fresh")[2] == results.counted(fresh), "make fresh PROFILE=ci ARGS=--no-run"


def test_the_mutants_that_are_left_are_those_with_a_reason():
    left = json.loads(mutants.EXPLAINED.read_text(encoding="utf-8"))
    by_file = Counter(mutant["file"].removeprefix("cvae_lib/") for mutant in left)
    *files, (_, caught, tried, share, all_left) = rows("mutants")
    assert {file: int(number) for file, *_, number in files if number != "0"} == by_file
    assert int(all_left) == len(left) and "not tried" not in insert.part(PAGE, "mutants")[2]
    caught, tried = (int(number.replace(",", "")) for number in (caught, tried))
    assert tried - caught == len(left) and caught >= 0.9 * tried and share == f"{caught / tried:.1%}"
    for reason, number in Counter(mutant["why"] for mutant in left).items():
        assert f"\n- {number} × {reason}\n" in PAGE


def test_every_environment_has_a_row_and_nothing_failed_there():
    head = environments.HEAD
    found = [dict(zip(head, row)) for row in rows("versions")]
    assert [row["environment"] for row in found] == list(environments.ENVIRONMENTS)
    assert {row["failed"] for row in found} == {"0"} and all(int(row["passed"]) > 500 for row in found)


@pytest.mark.parametrize("name", re.findall(r"`(\w+)_…(?:\[.*?\])?`", PAGE))
def test_a_fault_names_a_test_that_exists(name):
    assert len(re.findall(rf"^def test_{name}\w+\(", FAULTS, re.M)) == 1
