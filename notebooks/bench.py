#!/usr/bin/env python3
"""What `fit` costs on this machine, beside the loop that tutorials teach; prints tables and writes one JSON file.

    python notebooks/bench.py                    # about ten minutes on two cores
    python notebooks/bench.py --quick            # the same on the bundled digits, to see that it runs
    python notebooks/bench.py --nll 25 50 100    # NLL after as many epochs, beside the seconds of training
    python notebooks/bench.py --redraw           # how fast sliders redraw, and nothing else

Ratios are what to read: both loops are timed in turn, in one run, and seconds differ from machine to machine and
from hour to hour. Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import resource
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
os.environ.setdefault("TQDM_DISABLE", "1")

import results  # beside this file
import torch
from curve import entry, nll
from redraw import redraws
from textbook import DECODER_FLOPS, FLOPS, Images, Textbook, network, textbook_epoch, textbook_loss

from cvae_lib import data, metrics, table
from cvae_lib.data import Data, binarize
from cvae_lib.train import TrainConfig, fit

FITS = {  # what is timed beside the textbook loop
    "fit, batch 128": {},
    "fit, batch 128, bf16 products": {"matmul": "medium"},
    "fit, batch 128, compiled": {"compile": True},
    "fit, batch 512": {"batch": 512},
    "fit, batch 512, bf16 products": {"batch": 512, "matmul": "medium"},
    "fit, batch 2,048": {"batch": 2048},
}
FASTEST = {"batch": 256, "lr": 1e-2, "matmul": "medium"}  # chosen on the validation set


def matmul_rate(device: str) -> float:
    """Floating-point operations a second of float32 products at 2,048 × 2,048, the median of nine."""
    a, b = torch.randn(2, 2048, 2048, device=device)
    out = torch.empty_like(a)

    def once() -> float:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        synchronize(device)
        return time.perf_counter() - start

    once()
    return 2 * 2048**3 / statistics.median(once() for _ in range(9))


def synchronize(device: str) -> None:
    """Waits for the GPU, where there is one: its work is asynchronous."""
    if device == "cuda":
        torch.cuda.synchronize()


def quiet_fit(train: Data, validation: Data | None = None, centred: bool = False, **settings):
    """`fit` on the textbook network without its printed line; its `History`."""
    model = network()
    if centred:
        model.start_at_mean(train.x)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return fit(model, train, TrainConfig(**settings), validation)


def speed(train: Data, device: str, repeats: int) -> dict:
    """(a) and (c): seconds an epoch, each loop in turn, and the share of this machine's matrix-product rate."""
    loops = {"textbook loop": None, **FITS}
    seconds, rates, first = {name: [] for name in loops}, [], {}
    loader = torch.utils.data.DataLoader(Images(train), batch_size=128, shuffle=True)
    textbook = Textbook().to(device)
    optimizer = torch.optim.Adam(textbook.parameters(), lr=1e-3)
    for _ in range(repeats):
        rates.append(matmul_rate(device))
        for name, settings in loops.items():
            if settings is None:
                seconds[name].append(textbook_epoch(textbook, optimizer, loader, device))
            else:  # the first epoch compiles, and records graphs
                clock = quiet_fit(train, epochs=2, device=device, **settings).clock
                seconds[name].append(clock[1] - clock[0])
                first.setdefault(name, clock[0])
    rate, base = statistics.median(rates), statistics.median(seconds["textbook loop"])
    rows = {}
    for name, values in seconds.items():
        median = statistics.median(values)
        rows[name] = {
            "seconds an epoch": median,
            "images a second": len(train) / median,
            "times the textbook loop": base / median,
            "share of the roofline": FLOPS * len(train) / rate / median,
            "seconds of the first epoch": first.get(name, values[0]),
        }
    return {"matmul rate, GFLOP/s": rate / 1e9, "loops": rows}


def quality(train: Data, validation: Data, device: str, repeats: int, epochs: int) -> dict:
    """(b): seconds until `fit` reaches the validation −ELBO that the textbook loop has after ten epochs."""
    x = binarize(validation.x, "fixed", 0).flatten(1).to(device)
    loader = torch.utils.data.DataLoader(Images(train), batch_size=128, shuffle=True)
    ours, theirs = [], []
    for _ in range(repeats):
        torch.manual_seed(0)
        textbook = Textbook().to(device)
        optimizer = torch.optim.Adam(textbook.parameters(), lr=1e-3)
        seconds = sum(textbook_epoch(textbook, optimizer, loader, device) for _ in range(10))
        with torch.no_grad():
            theirs.append((seconds, textbook_loss(textbook, x).item() / len(x)))
        log = quiet_fit(train, validation, centred=True, device=device, epochs=epochs, **FASTEST)
        ours.append((log.seconds, log.validation["total"][-1]))
    result = {}
    for name, runs in (("textbook loop, 10 epochs", theirs), (f"fit, {epochs} epochs", ours)):
        result[name] = {
            "seconds": statistics.median(s for s, _ in runs),
            "validation -ELBO": statistics.median(v for _, v in runs),
        }
    ratio = statistics.median(a / b for (a, _), (b, _) in zip(theirs, ours, strict=True))
    return {"loops": result, "settings of fit": {**FASTEST, "epochs": epochs}, "ratio": ratio}


def profile(train: Data) -> dict[str, float]:
    """Where a step's time goes on the CPU, as shares: what the profiler says of a hundred steps at batch 128."""
    few = train.take(12_800)
    kinds = {
        "matrix products": ("aten::mm", "aten::addmm"),
        "optimiser": ("aten::_fused_adam_", "Optimizer"),
        "random numbers": ("aten::random_", "aten::normal_"),
        "likelihood": ("aten::log_sigmoid", "aten::sigmoid", "aten::neg", "aten::sub_", "aten::binary_cross"),
    }
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as log:
        quiet_fit(few, epochs=1, device="cpu")
    times = {kind: 0.0 for kind in (*kinds, "everything else")}
    for event in log.key_averages():
        owner = (kind for kind, names in kinds.items() if event.key.startswith(names))
        times[next(owner, "everything else")] += event.self_cpu_time_total
    return {kind: value / sum(times.values()) for kind, value in times.items()}


def likelihood(test: Data, device: str, repeats: int, images: int, samples: int = 5000) -> dict:
    """(d): images a second of `log_likelihood`, and its share of the roofline."""
    model, x = network().to(device), binarize(test.x, "fixed", 0)[:images]
    metrics.log_likelihood(model, x[:100], samples=50)
    seconds, rates = [], []
    for _ in range(repeats):
        rates.append(matmul_rate(device))
        start = time.perf_counter()
        metrics.log_likelihood(model, x, samples=samples)
        seconds.append(time.perf_counter() - start)
    per_second = images / statistics.median(seconds)
    share = per_second * samples * DECODER_FLOPS / statistics.median(rates)
    return {"samples": samples, "images a second": per_second, "share of the roofline": share}


def memory(kind: str, device: str, bundled: bool) -> float:
    """(e): the largest memory that one epoch takes, in MiB, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (kind, device, bundled))


def _peak(kind: str, device: str, bundled: bool) -> float:
    train = data.load("mnist_5k" if bundled else "mnist", "train")
    if kind == "fit":
        quiet_fit(train, epochs=1, device=device)
    elif kind == "textbook loop":
        model = Textbook().to(device)
        loader = torch.utils.data.DataLoader(Images(train), batch_size=128, shuffle=True)
        textbook_epoch(model, torch.optim.Adam(model.parameters(), lr=1e-3), loader, device)
    elif kind.startswith("log_likelihood"):
        x = binarize(train.x[:100], "fixed", 0)
        metrics.log_likelihood(network().to(device), x, samples=int(kind.split()[1]))
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # Linux hands getrusage's figure down from the parent process
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """A table with a line for each row."""
    first = next(iter(rows.values()))
    lines = [(name, *(f"{value:.4g}" for value in row.values())) for name, row in rows.items()]
    print(f"\n{title}\n" + table.text((" ", *first), lines), flush=True)


def measure(quick: bool, repeats: int, device: str) -> dict:
    """Every figure but the curve of NLL and the redraws, shown as it is made."""
    train, validation, test = (data.load("mnist_5k" if quick else "mnist", s) for s in data.SPLITS)
    mine = {"source": train.source, "images": len(train), "repeats": repeats, **results.circumstances()}
    mine |= speed(train, device, repeats)
    show(f"Epochs of {len(train):,} images; {mine['matmul rate, GFLOP/s']:.0f} GFLOP/s", mine["loops"])
    mine["quality"] = quality(train, validation, device, repeats, epochs=5)
    show(f"Time to quality, ratio {mine['quality']['ratio']:.2f}", mine["quality"]["loops"])
    mine["log_likelihood"] = likelihood(test, device, repeats, images=100 if quick else 300)
    show("log_likelihood", {"5,000 samples": mine["log_likelihood"]})
    if device == "cpu":
        mine["profile"] = profile(train)
        show("Where a step's time goes, batch 128", {"share": mine["profile"]})
    kinds = ("nothing but the data", "textbook loop", "fit", "log_likelihood 500", "log_likelihood 5000")
    mine["peak memory, MiB"] = {kind: memory(kind, device, quick) for kind in kinds}
    show("Peak memory, MiB", {"process": mine["peak memory, MiB"]})
    return mine


def main(arguments: list[str] | None = None) -> None:
    """Measures what was asked for and merges it into the file, under the kind of the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the bundled 5,000 digits, one repetition")
    parser.add_argument("--repeats", type=int, default=3, help="how often each loop is timed, default 3")
    parser.add_argument("--nll", type=int, nargs="+", metavar="EPOCHS", help="only NLL after these epochs, added")
    parser.add_argument("--redraw", action="store_true", help="only the redraws of sliders, added")
    parser.add_argument("--draws", type=int, default=1, help="with --nll: train on the bound of so many draws")
    parser.add_argument("--classes", action="store_true", help="with --nll: given the class, -log p(x|c)")
    parser.add_argument("--out", type=Path, default=results.run.BUILD / "bench.json", help="default build/bench.json")
    args = parser.parse_args(arguments)
    if not args.nll and (args.draws != 1 or args.classes):
        parser.error("--draws and --classes belong to --nll")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stored = results.load(args.out)
    mine = stored.setdefault(device, {})
    if args.nll:
        new, key = nll(args.nll, args.quick, device, args.draws, args.classes), entry(args.draws, args.classes)
        kept = [point for point in mine.get(key, {}).get("curve", []) if point["epochs"] not in args.nll]
        curve = sorted(kept + new, key=lambda point: point["epochs"])
        mine[key] = {"curve": curve, **results.circumstances()}
    else:
        mine["redraw"] = {**redraws(), **results.circumstances()}
        print(f"A slider redraws in {mine['redraw']['median, ms']:.1f} ms (median)")
    if not args.nll and not args.redraw:
        mine["speed"] = measure(args.quick, 1 if args.quick else args.repeats, device)
    results.save(args.out, stored)
    print(f"\nwritten to {os.path.relpath(args.out)}")


if __name__ == "__main__":
    main()
