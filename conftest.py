"""How notebooks and tests run under pytest; nbval's kernels inherit this environment."""

import json
import os
import sys
from itertools import accumulate
from pathlib import Path

# Before torch is imported anywhere; another number of threads moves the last digits of a result.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
os.environ.setdefault("CVAE_PROFILE", "ci")  # nbval can be steered by the environment only
os.environ.setdefault("CVAE_STRICT", "1")  # a metric outside its band fails
os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parent / "notebooks"))  # run.py, render.py and results.py

import matplotlib
import pytest
import torch

torch.set_num_threads(1)  # of the tests' own small networks, where threads only wait; kernels keep theirs
matplotlib.use("Agg")  # figures of tests need no screen; notebooks keep their inline pictures


def pytest_collectstart(collector):
    """Leave stderr out of nbval's comparison: a warning carries a process id, which is never the same."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order():
    """What a test draws must not hang on which tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _environment_as_it_was():
    """What a test sets, as the `main` of render.py does, would steer the notebooks that nbval runs after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def pytest_collection_modifyitems(items):
    """While mutmut tries a mutant: quick tests first, as the first failure ends the trial, and 20 s of them at most."""
    noted = Path("mutmut-stats.json")
    if "__mutmut_" in os.environ.get("MUTANT_UNDER_TEST", "") and noted.exists():
        seconds = json.loads(noted.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0))
        sums = accumulate(seconds.get(item.nodeid, 0) for item in items)
        items[:] = [item for item, so_far in zip(items, sums, strict=True) if so_far <= 20]


@pytest.fixture(autouse=True)
def _nothing_cached_by_another_test():
    """While mutmut notes which test calls what: a kept result would hide a function from every test but the first."""
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":
        from cvae_lib.data import sources, splits, sprites, tables, words

        for module in (sources, splits, sprites, tables, words):
            for kept in (value for value in vars(module).values() if hasattr(value, "cache_clear")):
                kept.cache_clear()
