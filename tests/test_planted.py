"""A mistake that is planted in the library fails the tests that are named for it."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from anatomy import ROOT
from planted import CHECKS, PLANTED, STORED, copied, environment, planted
from test_mistakes import MISTAKES, ROWS

# Runs the tests of each line that it reads, in a process of its own that has imported nothing of the library yet, and
# prints what each test raised, None for nothing. What takes long to import is imported once.
SERVE = """
import json, os, pathlib, sys
import hypothesis, matplotlib.pyplot, pytest, torch.distributions, torch.testing

class Watch:
    raised = {}

    def pytest_runtest_makereport(self, item, call):
        if call.when == "call" or call.excinfo:
            self.raised[item.nodeid] = call.excinfo and f"{call.when}: {call.excinfo.typename}"

def run(tests):
    pytest.main(["-q", "-o", "addopts=", "-p", "no:cacheprovider", *tests], plugins=[Watch()])
    files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "cvae_lib"]
    here = pathlib.Path.cwd().resolve()
    assert files and all(pathlib.Path(file).resolve().is_relative_to(here) for file in files), files
    print(json.dumps(Watch.raised), flush=True)

assert not any(name.startswith("cvae_lib") for name in sys.modules)
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            run(json.loads(line))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    print("ENDED", flush=True)
"""
# What a test raises that fails because of what the library does, and not because it cannot be run.
OF_THE_TEST = {"call: AssertionError", "call: Failed"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    copy = copied(tmp_path_factory.mktemp("copy"), "cvae_lib", "tests")
    for file in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / file, copy / file)
    return copy


@pytest.fixture(scope="module")
def server(copy):
    env = environment(copy) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVE], cwd=copy, env=env, **pipes) as process:
        yield process
        process.stdin.close()


def run(server, tests):
    """Of each test: what its cases raised, None for nothing."""
    print(json.dumps(tests), file=server.stdin, flush=True)
    said = []
    for line in server.stdout:
        if line == "ENDED\n":
            break
        said.append(line)
    assert said and said[-1].startswith("{"), "".join(said)
    raised = json.loads(said[-1])
    found = {test: {what for case, what in raised.items() if case.split("[")[0] == test} for test in tests}
    assert all(found.values()), f"not every test was run: {found}\n{''.join(said)}"
    return found


def test_every_mistake_is_planted_or_has_a_check_and_the_table_of_14_names_nothing_else():
    assert {form.name[:-1] for form in PLANTED} | set(CHECKS) == set(MISTAKES)
    assert len({form.name for form in PLANTED}) == len(PLANTED)
    for number, row in ROWS.items():
        tests = {test for form in PLANTED if form.name[:-1] == number for test in form.tests}
        assert set(re.findall(r"`(tests/\w+\.py::\w+)`", row)) <= tests, f"mistake {number}: no form for a test"
        assert f"`{CHECKS[number]}`" in row if number in CHECKS else tests, f"mistake {number}: {row}"


def test_what_the_bands_say_is_stored_for_the_forms_of_this_list():
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    made = {name: (tuple(entry["tests"]), entry["notebook"]) for name, entry in stored.items()}
    assert made == {form.name: (form.tests, form.notebook) for form in PLANTED if form.notebook}


@pytest.mark.slow
def test_the_named_tests_pass_where_nothing_is_planted(server):
    found = run(server, sorted({test for form in PLANTED for test in form.tests}))
    assert set().union(*found.values()) == {None}, found


@pytest.mark.slow
@pytest.mark.parametrize("form", PLANTED, ids=lambda form: f"{form.name} {form.what}")
def test_a_planted_mistake_fails_the_tests_named_for_it(copy, server, form):
    with planted(copy, form):
        found = run(server, form.tests)
    for test, raised in found.items():
        assert raised - {None}, f"{test} passes with the mistake {form.name}, {form.what}"
        assert raised - {None} <= OF_THE_TEST, f"{test}: {raised}"
