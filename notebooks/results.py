#!/usr/bin/env python3
"""Run notebooks over many seeds; store what they report, the bands that follow, and README's tables.

    python notebooks/results.py                          # laptop, seeds 0 to 4, into notebooks/results/
    python notebooks/results.py --profile full --seed 0  # the published protocol, meant for a GPU
    python notebooks/results.py --baselines              # ci and laptop seeds, then notebooks/baselines.json
    python notebooks/results.py --fresh --profile ci     # seeds that made no band: how many values lie inside

What is stored is not run again unless the notebook's code changed or --force is given, so that an interrupted
run goes on where it stopped. A band is mean ± 3 standard deviations over the stored seeds, never wider.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import insert  # beside this file
import run
import torch

from cvae_lib import notebook, table
from cvae_lib.data import files

SEEDS = {"ci": 10, "laptop": 5, "full": 5}  # how many, from 0 on, where none are named
LEAST = 5  # a standard deviation from fewer seeds says little
FRESH = [100, 101, 102, 103, 104]  # seeds that try the bands, and that no band is made from
ROUNDING = 1e-6  # relative half-width of a band where every seed gave the same number: rounding differs by CPU
PUBLISHED = "published.json"  # notebook to the metrics that README shows, each with the published figure or "–"
HEADING = "# Everything that the notebooks report\n\nWritten by `make results`: mean ± standard deviation over seeds.\n"


def band(values: list[float]) -> dict[str, float]:
    """The expected band of a metric: mean ± 3 sample standard deviations of its values over seeds."""
    if len(values) < LEAST:
        raise ValueError(f"values: got {len(values)}; a band needs at least {LEAST} seeds")
    mean, deviation, number = notebook.spread([{"metrics": {"m": value}} for value in values])["m"]
    half = max(3 * deviation, ROUNDING * abs(mean))
    return {"low": mean - half, "high": mean + half, "mean": mean, "sd": deviation, "seeds": number}


def code_hash(path: Path) -> str:
    """A fingerprint of the code that a report depends on: what comes after the last may change."""
    code = [cell.source for cell in run.read(path).cells if cell.cell_type == "code"]
    last = max((number for number, source in enumerate(code) if "run.report(" in source), default=len(code) - 1)
    return hashlib.sha256("\n\n".join(code[: last + 1]).encode()).hexdigest()[:16]


def library_hash(folder: Path = Path(notebook.__file__).parent) -> str:
    """A fingerprint of what the library computes: syntax trees without docstrings, without what only shows."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                node.body = node.body[1:]
        if path.name not in ("plot.py", "table.py", "notebook.py", "exercises.py", "explore.py"):
            whole.update(ast.dump(tree).encode())
    return whole.hexdigest()[:16]


def save(path: Path, content: Any) -> None:
    """Write JSON in one step, so that no reader meets half of it."""
    files.keep(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def load(path: Path) -> dict[str, Any]:
    """JSON from a file; empty where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def circumstances() -> dict[str, Any]:
    """Device, versions and date, without the name of any machine."""
    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else f"CPU, {os.environ['OMP_NUM_THREADS']} threads"
    versions = {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    return {"device": device, "versions": versions, "date": time.strftime("%Y-%m-%d"), "library": library_hash()}


def add(entry: dict[str, Any], outcome: run.Outcome, code: str) -> dict[str, Any]:
    """The stored entry of a notebook and profile with one more run in it."""
    report = outcome.report
    if entry and entry["source"] != report["source"]:
        raise ValueError(f"data was {report['source']}, the stored runs are on {entry['source']}: not stored")
    facts = {"protocol": report.get("protocol", ""), **circumstances(), "source": report["source"], "code": code}
    new = {"seed": report["seed"], "metrics": report["metrics"], "seconds": round(outcome.seconds, 1)}
    old = [{"library": entry["library"], **run} for run in entry.get("runs", []) if run["seed"] != new["seed"]]
    runs = [*old, {**new, "library": facts["library"]}]
    return {**facts, "runs": sorted(runs, key=lambda r: r["seed"])}


def libraries(entry: dict[str, Any]) -> list[str]:
    """The fingerprint of the library that made each stored run."""
    return [run.get("library", entry["library"]) for run in entry.get("runs", [])]


def collect(path: Path, profile: str, seeds: list[int], force: bool, build: Path, target: Path) -> int:
    """Run one notebook for the seeds not stored yet, storing after each; how many could not be stored."""
    code, failed = code_hash(path), 0
    entry = load(target).get(path.stem, {}).get(profile, {})
    entry = entry if entry.get("code") == code else {}
    if {*libraries(entry)} - {library_hash()}:
        print(f"{path.stem}, {profile}: stored runs are of an older cvae_lib (--force runs them again)")
    missing = [seed for seed in seeds if force or seed not in [old["seed"] for old in entry.get("runs", [])]]
    for seed in missing:
        print(f"{path.stem:<20} {profile}, seed {seed}", end=" ", flush=True)
        copy = build / "results" / profile / f"seed-{seed}" / path.name
        unfinished = notebook.checkpoints(build, profile, seed, path.stem)
        if force:
            shutil.rmtree(unfinished, ignore_errors=True)
        outcome = run.execute(path, copy, {"profile": profile, "seed": seed})
        why_not = outcome.error or ("" if outcome.report else "it reported nothing")
        try:
            entry = add(entry, outcome, code) if not why_not else entry
        except ValueError as error:
            why_not = str(error)
        print(f"{outcome.seconds:6.1f} s  {why_not or 'stored'}", flush=True)
        failed += bool(why_not)
        if not why_not:
            save(target, {path.stem: {**load(target).get(path.stem, {}), profile: entry}})
            shutil.rmtree(unfinished, ignore_errors=True)
    if not missing:
        print(f"{path.stem:<20} {profile}, seeds {', '.join(map(str, seeds))}: stored already")
    return failed


def baselines(paths: list[Path], folder: Path) -> None:
    """Bands from the stored ci and laptop runs; where seeds are missing, or of several libraries, the old ones stay."""
    bands = load(folder / "baselines.json")
    for path in paths:
        stored = load(folder / "results" / f"{path.stem}.json").get(path.stem, {})
        for profile in (p for p in ("ci", "laptop") if p in stored):
            entry = stored[profile]
            few, mixed = len(entry["runs"]) < LEAST, len({*libraries(entry)}) > 1
            if few or mixed:
                why = f"{len(entry['runs'])} seeds stored, {LEAST} needed" if few else "runs of more than one cvae_lib"
                print(f"{path.stem}, {profile}: {why}: no new bands")
                continue
            columns = {m: [r["metrics"][m] for r in entry["runs"]] for m in entry["runs"][0]["metrics"]}
            bands.setdefault(path.stem, {})[profile] = {entry["source"]: {m: band(v) for m, v in columns.items()}}
    save(folder / "baselines.json", dict(sorted(bands.items())))


def try_bands(paths: list[Path], profile: str, folder: Path) -> list[tuple[str, int, notebook.Row]]:
    """Every stored value of the fresh seeds beside its band, as (notebook, seed, row)."""
    rows = []
    for path in paths:
        entry = load(folder / "results" / "fresh" / f"{path.stem}.json").get(path.stem, {}).get(profile, {})
        for one in entry.get("runs", []):
            report = {"notebook": path.stem, "profile": profile, "source": entry["source"], "metrics": one["metrics"]}
            rows += [(path.stem, one["seed"], row) for row in notebook.compare(report)]
    return rows


def verdict(rows: list[tuple[str, int, notebook.Row]]) -> str:
    """The values of fresh seeds that lie outside their bands, and the share inside."""
    outside = [(stem, str(seed), *row.cells[:3]) for stem, seed, row in rows if row.verdict != "inside"]
    shown = table.text(("notebook", "seed", *notebook.HEAD[:3]), outside) + "\n" if outside else ""
    inside = len(rows) - len(outside)
    return f"{shown}{inside} of {len(rows)} values of fresh seeds inside their bands: {inside / max(len(rows), 1):.1%}"


def counted(rows: list[tuple[str, int, notebook.Row]]) -> str:
    """Of each notebook and of all: how many values of fresh seeds lie inside their bands, as a table in Markdown."""
    each = {stem: [row for row in rows if row[0] == stem] for stem, *_ in rows} | {"all": rows}
    inside = {stem: sum(row.verdict == "inside" for *_, row in of) for stem, of in each.items()}
    lines = [(s, f"{inside[s]:,}", f"{len(of):,}", f"{inside[s] / max(len(of), 1):.1%}") for s, of in each.items()]
    return insert.table(("notebook", "inside", "of", "share"), lines)


def tables(folder: Path, chosen: bool) -> str:
    """Each metric, or each that PUBLISHED names, by profile beside the published number; the protocols below."""
    published = load(folder / "results" / PUBLISHED)
    lines, below = [], []
    for path in run.find([], folder):
        stored = load(folder / "results" / f"{path.stem}.json").get(path.stem, {})
        shown = {p: notebook.spread(stored[p]["runs"]) for p in ("laptop", "full") if p in stored}
        metrics, figures = dict.fromkeys(m for spread in shown.values() for m in spread), published.get(path.stem, {})
        for metric in (m for m in figures if m in metrics) if chosen else metrics:
            ours = [in_words(shown[p][metric]) if metric in shown.get(p, {}) else "–" for p in ("laptop", "full")]
            lines.append([path.stem, metric, *ours, figures.get(metric, "–")])
        for p in shown:
            e = stored[p]
            made = f"{e['device']}, torch {e['versions']['torch']}, {e['date']}"
            below.append(f"- {path.stem}, {p}: {e['protocol'] or 'see the notebook'} ({e['source']}; {made})")
    return "\n".join([insert.table(("notebook", "metric", "laptop", "full", "published"), lines), *below, ""])


def in_words(spread: tuple[float, float, int]) -> str:
    """Mean ± standard deviation and the number of seeds."""
    mean, deviation, number = spread
    return f"{mean:.4g} ± {deviation:.2g} ({number} seeds)" if number > 1 else f"{mean:.4g} (1 seed)"


def write_readme(readme: Path, folder: Path) -> None:
    """Put the metrics that PUBLISHED names between README's markers, and all of them into results/tables.md."""
    files.keep(folder / "results" / "tables.md", f"{HEADING}\n{tables(folder, chosen=False)}".encode())
    insert.put(readme, "results", tables(folder, chosen=True))


def main(argv: list[str] | None = None, folder: Path = run.HERE, build: Path = run.BUILD) -> int:
    """Run, store, and write what follows from it; 1 if any run was not stored, 2 if the request was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nb", action="append", default=[], metavar="NN", help="only this notebook; repeatable")
    parser.add_argument("--profile", default="laptop", help="ci, laptop (default) or full")
    parser.add_argument("--seed", type=int, action="append", help="only this seed; repeatable")
    parser.add_argument("--force", action="store_true", help="run also what is stored")
    parser.add_argument("--baselines", action="store_true", help="the seeds of ci and laptop, then the bands")
    parser.add_argument("--fresh", action="store_true", help="five other seeds, held to the bands")
    parser.add_argument("--no-run", action="store_true", help="only write what follows from the stored runs")
    given = parser.parse_args(argv)
    os.environ["CVAE_STRICT"] = "0"  # the bands are what may be about to move
    profiles = ["ci", "laptop"] if given.baselines else [given.profile]
    stored = folder / "results" / ("fresh" if given.fresh else "")
    try:
        paths = run.find(given.nb, folder)
        usual = {notebook.known_profile(p): FRESH if given.fresh else list(range(SEEDS[p])) for p in profiles}
        for path in paths:
            run.check_parameters(path, {"profile": "", "seed": 0})
    except (ValueError, KeyError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    failed = 0
    for profile, path in ((profile, path) for profile in profiles for path in paths if not given.no_run):
        seeds = given.seed or usual[profile]
        failed += collect(path, profile, seeds, given.force, build, stored / f"{path.stem}.json")
    if given.fresh:
        rows = try_bands(paths, given.profile, folder)
        if given.profile == "ci" and not given.nb:
            insert.put(folder.parent / "tests" / "README.md", "fresh", counted(rows))
        print(verdict(rows))
        return int(failed > 0)
    if given.baselines:
        baselines(paths, folder)
    write_readme(folder.parent / "README.md", folder)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
