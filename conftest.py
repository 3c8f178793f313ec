"""How notebooks and tests run under pytest; nbval's kernels inherit this environment."""

import os
import sys
from pathlib import Path

# Before torch is imported anywhere: bands hold for this number of threads.
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
def _environment_as_it_was():
    """What a test sets, as the `main` of render.py does, would steer the notebooks that nbval runs after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
