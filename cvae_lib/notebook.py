"""What a notebook needs at run time: its profile, a reproducible start, its data, and its report."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from cvae_lib import data, table

# Seconds on bundled digits; the committed outputs; the published protocol.
PROFILES = ("ci", "laptop", "full")
# A type of its own: JupyterLab would show plain application/json in place of the table.
REPORT_MIME = "application/vnd.cvae.report+json"
# Okabe and Ito's palette: its colours differ also for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_FIGURES = {
    "figure.dpi": 80,
    "savefig.dpi": 80,
    "figure.facecolor": "white",  # opaque, so that black labels can be read in a dark theme
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
}
_BUNDLED = {"mnist": "mnist_5k", "fashion_mnist": "mnist_5k", "adult": "adult_5k"}
HEAD = ("metric", "value", "expected band", "verdict")


@dataclass(frozen=True)
class Row:
    """One metric of a report beside its expected band."""

    metric: str
    value: float
    band: tuple[float, float] | None  # lowest and highest value; None: nothing to compare with
    verdict: str  # "inside", "OUTSIDE", or why it was not compared

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The row as words: metric, value, band, verdict."""
        band = f"{self.band[0]:.5g} to {self.band[1]:.5g}" if self.band else "–"
        return self.metric, f"{self.value:.5g}", band, self.verdict


def profile() -> str:
    """The profile that the environment variable `CVAE_PROFILE` names, else `laptop`."""
    return known_profile(os.environ.get("CVAE_PROFILE") or "laptop")


def strict() -> bool:
    """Whether a value outside its band raises: `CVAE_STRICT` if it is set, else wherever `CI` is set."""
    value = os.environ.get("CVAE_STRICT") or os.environ.get("CI") or "0"
    return value.lower() not in ("0", "false", "no")


def start(name: str, profile: str, seed: int) -> Run:
    """Seed torch and numpy, set matplotlib's defaults and print one line that says what runs.

    Args:
        name: the notebook's file name without its ending, such as `04_cvae`; its bands are stored under it.
        profile: one of `PROFILES`.
        seed: a non-negative integer.

    Returns:
        The run, with its profile, seed and device.

    Raises:
        ValueError: for an unknown profile, or a seed that is not a non-negative integer below 2**32.
    """
    known_profile(profile), known_seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    mpl.rcParams.update(_FIGURES)
    run = Run(name, profile, seed, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    version, threads = torch.__version__.split("+")[0], torch.get_num_threads()
    print(f"{name}: profile {profile}, seed {seed}, {run.device}, {threads} threads, torch {version}")
    return run


@dataclass
class Run:
    """One run of one notebook. Made by `start`."""

    name: str
    profile: str
    seed: int
    device: torch.device
    _sources: set[str] = field(default_factory=set, repr=False)  # names of the datasets loaded so far
    _replaced: set[str] = field(default_factory=set, repr=False)  # names of those that bundled ones replaced

    def load(self, name: str, split: str) -> data.Data:
        """`data.load`, but 5,000 bundled examples stand in for a large set under `ci`, or where it cannot be had.

        The name of what is returned is remembered, since bands belong to a dataset.
        """
        why = "Profile ci" if self.profile == "ci" and name in _BUNDLED else ""
        try:
            loaded = data.load(_BUNDLED[name] if why else name, split)
        except data.DamagedError:
            raise
        except data.DataError as error:
            if name not in _BUNDLED:
                raise
            why, loaded = f"{error}\n  or go on as now", data.load(_BUNDLED[name], split)
        if why and name not in self._replaced:
            print(f"{why}: {loaded.name} (5,000 bundled examples) stands in for {name}.")
            self._replaced.add(name)
        self._sources.add(loaded.name)
        return loaded

    def checkpoint(self, label: str) -> Path | None:
        """Where `fit` keeps the training `label`, so that a killed run goes on: in profile `full` only, else None."""
        place = checkpoints(folder().parent / "build", self.profile, self.seed, self.name)
        return place / f"{label}.pt" if self.profile == "full" else None

    @property
    def source(self) -> str:
        """The datasets loaded so far, joined by `+`; `none` where the notebook loaded none."""
        return "+".join(sorted(self._sources)) or "none"

    def report(self, protocol: str = "", **metrics: float) -> None:
        """Show metric, value and expected band, and store the values as JSON in the cell's output.

        Args:
            protocol: how the numbers were made, in words: binarisation, samples, epochs.
            metrics: one finite number per name.

        Raises:
            ValueError: for a value that is not a finite number, or a call without metrics.
            AssertionError: in strict mode, naming each metric outside its band.
        """
        from IPython.display import display  # here only: the library itself needs no IPython

        if not metrics:
            raise ValueError("report: got no metrics; give at least one as name=value")
        report = {"notebook": self.name, "profile": self.profile, "seed": self.seed, "source": self.source}
        report |= {"protocol": protocol, "metrics": {k: _finite(k, v) for k, v in metrics.items()}}
        rows = compare(report)
        caption = f"{self.name}, profile {self.profile}, seed {self.seed}, data {self.source}"
        words = [row.cells for row in rows]
        html, text = table.markup(caption, HEAD, words), f"{caption}\n{table.text(HEAD, words)}"
        display({REPORT_MIME: report, "text/html": html, "text/plain": text}, raw=True)
        outside = [r for r in rows if r.verdict == "OUTSIDE"]
        if outside and strict():
            found = [f"{r.metric} = {r.value:.6g}, expected {r.cells[2]}" for r in outside]
            raise AssertionError(f"{caption}: outside the expected band: {'; '.join(found)}")


def checkpoints(build: Path, profile: str, seed: int, name: str) -> Path:
    """The folder of one notebook's unfinished trainings; `results.py` empties it once the run is stored."""
    return build / "checkpoints" / profile / f"seed-{seed}" / name


def bundled(report: dict[str, Any]) -> bool:
    """Whether a stored report was made with bundled examples in the place of a large set."""
    return not set(_BUNDLED.values()).isdisjoint(report["source"].split("+"))


def compare(report: dict[str, Any]) -> list[Row]:
    """One row per metric of what `Run.report` stores: its value beside the band of its notebook, profile and data."""
    by_source = _read("baselines.json").get(report["notebook"], {}).get(report["profile"], {})
    bands, otherwise = by_source.get(report["source"]), "no band yet"
    if bands is None and by_source:
        otherwise = f"not compared: {'bundled data' if bundled(report) else 'data is ' + report['source']}"
    rows = []
    for metric, value in report["metrics"].items():
        band = (bands or {}).get(metric)
        limits = (band["low"], band["high"]) if band else None
        inside = "inside" if limits and limits[0] <= value <= limits[1] else "OUTSIDE"
        rows.append(Row(metric, value, limits, inside if limits else otherwise))
    return rows


def results(name: str) -> dict[str, Any]:
    """The stored many-seed and `full` results of a notebook.

    Args:
        name: the notebook's file name without its ending.

    Returns:
        Profile to `{"protocol", "device", "versions", "date", "source", "runs"}`, a run holding its seed and
        metrics; empty where nothing has been stored yet.

    Raises:
        ValueError: where no notebook has that name.
    """
    if not (folder() / f"{name}.ipynb").exists():
        raise ValueError(f"name: got {name!r}; there is no notebook {name}.ipynb")
    return _read(f"results/{name}.json").get(name, {})


def spread(runs: list[dict[str, Any]]) -> dict[str, tuple[float, float, int]]:
    """Metric to (mean, sample standard deviation, number of runs); the deviation of a single run is `nan`.

    Args:
        runs: as `results(name)[profile]["runs"]` holds them.
    """
    names = dict.fromkeys(metric for run in runs for metric in run["metrics"])
    columns = {m: [run["metrics"][m] for run in runs if m in run["metrics"]] for m in names}
    return {m: (mean(v), stdev(v) if len(v) > 1 else math.nan, len(v)) for m, v in columns.items()}


def folder() -> Path:
    """The folder of the notebooks: around the working directory, else in the checkout of this library."""
    here = Path.cwd()
    around = [place for parent in (here, *here.parents) for place in (parent, parent / "notebooks")]
    checkout = Path(__file__).parents[1] / "notebooks"
    return next((place for place in around if (place / "baselines.json").is_file()), checkout)


def _read(relative: str) -> dict[str, Any]:
    path = folder() / relative
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def known_profile(name: str) -> str:
    """The profile itself; a ValueError where there is none of that name."""
    if name not in PROFILES:
        raise ValueError(f"profile: got {name!r}; allowed are {', '.join(PROFILES)}")
    return name


def known_seed(seed: int) -> int:
    """The seed itself; a ValueError where it is none."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed: got {seed!r}; allowed are integers from 0 to 2**32 - 1")
    return seed


def _finite(metric: str, value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"report: {metric} is {number}; a finite number is expected")
    return number
