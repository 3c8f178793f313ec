"""Train the judges: `python -m cvae_lib.judges.train [mnist] [fashion_mnist]`.

Only the 55,000 images of the training split are learnt from. Epochs, rate and augmentation are fixed
beforehand; accuracy on the validation split is shown on the way, for whoever wants to change them, and
the test set is looked at once, at the end, with the weights as stored.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import time

import torch
from torch import Tensor, nn

from cvae_lib import judges
from cvae_lib.data import Data, load
from cvae_lib.data.files import keep
from cvae_lib.judges import Judge

EPOCHS = {"mnist": 6, "fashion_mnist": 10}
MIRROR = {"mnist": False, "fashion_mnist": True}  # a mirrored shirt is a shirt; a mirrored 3 is no digit
FADE = {"mnist": 0.7, "fashion_mnist": 0.5}  # up to which share the ink is thinned: decoder means are paler than ink
# up to which share an image is replaced by its local average: decoder means are smoother, too
SMOOTH = {"mnist": 0.0, "fashion_mnist": 1.0}
FLOOR = {"mnist": 0.99, "fashion_mnist": 0.91}  # test accuracy below which nothing is written
BATCH, PEAK_RATE, SHIFT, SEED = 128, 4e-3, 2, 0


def augment(x: Tensor, mirror: bool, fade: float = 0.0, smooth: float = 0.0) -> Tensor:
    """A batch moved by up to `SHIFT` pixels each way; if asked, half of it mirrored, all of it smoothed and faded.

    Args:
        x: (N, 1, 28, 28).
        mirror: whether left and right may change places.
        fade: each image is multiplied by a number from 1 - fade to 1, so that paleness alone decides nothing.
        smooth: a share from 0 to `smooth` of each image is replaced by its local average (binomial weights over
            5 x 5 pixels, a standard deviation of one pixel), so that smoothness alone decides nothing.

    Returns:
        (N, 1, 28, 28); what moves in from outside is 0.
    """
    n, side = len(x), x.shape[-1]
    padded = nn.functional.pad(x, (SHIFT,) * 4)
    at = torch.arange(side)
    row = torch.randint(0, 2 * SHIFT + 1, (n, 1, 1)) + at[:, None]
    column = torch.randint(0, 2 * SHIFT + 1, (n, 1, 1)) + at
    if mirror:
        column = torch.where(torch.rand(n, 1, 1) < 0.5, column.flip(-1), column)
    moved = padded[torch.arange(n)[:, None, None], 0, row, column].unsqueeze(1)
    if smooth:
        weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        average = nn.functional.conv2d(moved, torch.outer(weights, weights)[None, None], padding=2)
        moved = torch.lerp(moved, average, smooth * torch.rand(n, 1, 1, 1))
    return moved * (1 - fade * torch.rand(n, 1, 1, 1)) if fade else moved


def accuracy(judge: Judge, data: Data) -> float:
    """Share of images that the judge labels right."""
    judge.eval()
    with torch.no_grad():
        return (judge.predict(data.x) == data.y).float().mean().item()


def train(name: str, train_set: Data, validation: Data) -> Judge:
    """A judge after its fixed number of epochs: Adam with decoupled decay, one-cycle rate, cross-entropy."""
    torch.manual_seed(SEED)
    judge = Judge()
    epochs, batches = EPOCHS[name], len(train_set) // BATCH
    optimizer = torch.optim.AdamW(judge.parameters(), PEAK_RATE, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, epochs * batches, pct_start=0.25)
    start = time.perf_counter()
    for epoch in range(epochs):
        judge.train()
        for rows in torch.randperm(len(train_set))[: batches * BATCH].split(BATCH):
            logits = judge(augment(train_set.x[rows], MIRROR[name], FADE[name], SMOOTH[name]))
            loss = nn.functional.cross_entropy(logits, train_set.y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - start
        print(f"{name}: epoch {epoch + 1}, validation {accuracy(judge, validation):.4f}, {seconds:.0f} s", flush=True)
    return judge


def store(name: str, judge: Judge, validation: Data, test: Data) -> dict:
    """Write weights in half precision and the facts about them; accuracies are those of what is written."""
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in judge.state_dict().items()}
    judge.load_state_dict(state)
    fact = {
        "accuracy": round(accuracy(judge, test), 4),
        "validation_accuracy": round(accuracy(judge, validation), 4),
        "parameters": sum(p.numel() for p in judge.parameters()),
        "epochs": EPOCHS[name],
        "seed": SEED,
        "trained_on": f"{name}, train split, 55,000 grey images",
        "faded_by_up_to": FADE[name],
        "smoothed_by_up_to": SMOOTH[name],
        "torch": torch.__version__.split("+")[0],
    }
    if fact["accuracy"] < FLOOR[name]:
        raise SystemExit(f"{name}: test accuracy {fact['accuracy']} is below {FLOOR[name]}; nothing is written")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    fact["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    keep(judges.FOLDER / f"{name}.pt", buffer.getvalue())
    text = json.dumps(judges.facts() | {name: fact}, indent=2, sort_keys=True) + "\n"
    keep(judges.FOLDER / "judges.json", text.encode())
    return fact


def main() -> None:
    """Train the judges named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Train the classifiers that judge samples.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(judges.NAMES)}; default all")
    names = parser.parse_args().names or judges.NAMES
    if unknown := set(names) - set(judges.NAMES):
        parser.error(f"unknown {', '.join(sorted(unknown))}; allowed are {', '.join(judges.NAMES)}")
    for name in names:
        sets = {split: load(name, split) for split in ("train", "validation", "test")}
        if sets["train"].name != name:
            raise SystemExit(f"{name} is needed in full; only {sets['train'].source} was found")
        judge = train(name, sets["train"], sets["validation"])
        print(f"{name}: {json.dumps(store(name, judge, sets['validation'], sets['test']))}")


if __name__ == "__main__":
    main()
