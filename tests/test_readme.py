"""The page of what the tests catch says what was stored, and names tests that exist."""

import json
import re
from collections import Counter

import environments
import insert
import mutants
import planted
import results
import run
from anatomy import ROOT

PAGE = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
FAULTS = (ROOT / "tests" / "test_faults.py").read_text(encoding="utf-8")


def rows(name):
    """The rows of a table that a command wrote, each a list of words."""
    lines = [line for line in insert.part(PAGE, name)[2].splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


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
    caught, tried = (int(number.replace(",", "")) for number in (caught, tried))
    assert tried - caught == len(left) == int(all_left) and caught >= 0.9 * tried and share == f"{caught / tried:.1%}"
    for reason, number in Counter(mutant["why"] for mutant in left).items():
        assert f"\n- {number} × {reason}\n" in PAGE


def test_every_environment_has_a_row_and_nothing_failed_there():
    found = [dict(zip(environments.HEAD, row)) for row in rows("versions")]
    assert [row["environment"] for row in found] == list(environments.ENVIRONMENTS)
    assert {row["failed"] for row in found} == {"0"} and all(int(row["passed"]) > 500 for row in found)


def test_the_table_of_faults_names_each_test_its_cases_and_whether_it_is_slow():
    named = re.findall(r"`(\w+)_…(?:\[(.+?)\])?`( \(slow\))?", PAGE)
    tests = {name: marks for marks, name in re.findall(r"((?:@pytest.+\n)*)def test_(\w+)\(", FAULTS)}
    for start, case, slow in named:
        [name] = [name for name in tests if name.startswith(f"{start}_")]
        assert ("mark.slow" in tests[name]) == bool(slow), name
        assert not case or f'"{case}"' in tests[name], f"{name} has no case {case}"
    unnamed = [name for name in tests if not any(name.startswith(f"{start}_") for start, *_ in named)]
    assert not unnamed, f"README.md has no row for {unnamed}"
