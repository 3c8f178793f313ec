"""The one training loop, `fit`; its step stands in `step`, `TrainConfig` and `History` in `config`."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Distribution
from tqdm import tqdm

from cvae_lib import processes
from cvae_lib.checkpoint import load_checkpoint, save_checkpoint
from cvae_lib.config import TERMS, History, TrainConfig
from cvae_lib.data import Data, binarize
from cvae_lib.metrics import elbo
from cvae_lib.models import CVAE
from cvae_lib.step import Step

__all__ = ["History", "NonFiniteLoss", "TrainConfig", "fit", "load_checkpoint"]


class NonFiniteLoss(RuntimeError):
    """The loss was infinite or not a number; the checkpoint of the last good epoch is kept."""


def fit(model: CVAE, train: Data, config: TrainConfig, validation: Data | None = None) -> History:
    """Trains a VAE or CVAE in place.

    The data stay in memory on the device. One seed decides everything; the surrounding random stream is left as it
    was found, and validation does not change the weights. Within `processes.joined()` the batch is divided among
    the processes, to the same effect; the first of them writes the checkpoint.

    Args:
        model: Moved to the device and trained in place.
        train: Images `x` (N, *x_shape) in [0, 1]; a condition `c` (N, C) where the model takes one.
        config: See `TrainConfig`.
        validation: Looked at after each epoch, or None.

    Returns:
        The `History`, in nats per example.

    Raises:
        ValueError: If data and model do not fit, a pixel is outside its range, the batch cannot be divided among
            the processes, or the checkpoint belongs to another model, configuration or data set.
        NonFiniteLoss: If the loss was not finite; read once an epoch, so that no step waits for it.
    """
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    x, c = _prepare(model, train, config, "train")
    with torch.random.fork_rng([device] if device.type == "cuda" else []), _unchecked_distributions():
        held_out = None if validation is None else _prepare(model, validation, config, "validation")
        torch.manual_seed(config.seed)
        if config.binarization == "fixed":
            x = binarize(x, "fixed", config.seed)
        model.to(device).train()
        training = _Training(model, config, *_moved(x, c, model))
        training.resume(f"{train.source}, {len(train)} examples")
        held_out = held_out and _moved(*held_out, model)
        history = training.history
        start = time.perf_counter() - history.seconds
        silent = bool(processes.rank() or os.environ.get("TQDM_DISABLE"))
        shown = {"leave": False, "file": sys.stdout, "ncols": 80, "disable": silent or None}  # None: on a screen only
        with tqdm(range(len(history.epochs), config.epochs), config.label, **shown) as bar:
            for _ in bar:
                with _matmul_precision(config.matmul):
                    training.epoch()
                if held_out:
                    _record(history.validation, _validate(model, *held_out, config.seed))
                history.clock.append(time.perf_counter() - start)
                training.save()
                bar.set_postfix_str(f"-ELBO {history.train['total'][-1]:.2f}")
    model.eval()
    if processes.rank() == 0:
        print(_closing_line(config, history))
    return history


class _Training:
    """Everything that changes during training: weights, optimiser, schedule, random stream, history."""

    def __init__(self, model: CVAE, config: TrainConfig, x: Tensor, c: Tensor | None) -> None:
        self.model, self.config, self.examples, self.device = model, config, len(x), x.device
        self.step = Step(model, config, x, c)
        self.steps = self.examples // self.step.batch  # of one epoch
        self.total = self.steps * config.epochs
        self.history = History()
        self.scheduler = None
        if config.schedule == "one_cycle":
            self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
                self.step.optimizer, config.lr, total_steps=self.total, cycle_momentum=False
            )

    def epoch(self) -> None:
        """One pass over the data in a fresh order; sums stay on the device until it ends."""
        self.step.clear()
        order = torch.randperm(self.examples, device=self.device)
        first = len(self.history.epochs) * self.steps
        for number, rows in enumerate(order.split(self.step.batch)[: self.steps], first):
            self.step(rows, number / self.total)
            if self.scheduler:
                self.scheduler.step()
        bad = int(processes.largest(self.step.bad))
        if bad:
            where = f"step {bad} of {self.steps} of epoch {len(self.history.epochs) + 1}"
            kept = f"; {self.config.checkpoint} holds the epoch before" if first and self.config.checkpoint else ""
            raise NonFiniteLoss(f"{self.config.label}: the loss was not finite in {where}{kept}; try a lower lr")
        _record(self.history.train, processes.mean(self.step.sums) / self.steps)

    def save(self) -> None:
        """Writes the checkpoint, where one is asked for; the first process alone does."""
        if self.config.checkpoint is None or processes.rank():
            return
        cuda = self.device.type == "cuda"
        content = {
            "owner": self.owner,
            "model": self.model.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if cuda else None,
            "history": asdict(self.history),
        }
        save_checkpoint(self.config.checkpoint, content)

    def resume(self, data: str) -> None:
        """Goes on from the checkpoint, where there is one that belongs to this model, configuration and data."""
        without = ("checkpoint", "device", "label", "compile")
        config = {k: v for k, v in asdict(self.config).items() if k not in without}
        shapes = {name: tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}
        self.owner = {"config": repr(config), "model": repr(shapes), "data": data}
        path = self.config.checkpoint
        if path is None or not Path(path).exists():
            return
        saved = load_checkpoint(path)
        for what, ours in self.owner.items():
            if saved["owner"][what] != ours:
                raise ValueError(f"checkpoint: {path} belongs to another {what}: {saved['owner'][what]}, not {ours}")
        self.model.load_state_dict(saved["model"])
        optimizer = self.step.optimizer
        optimizer.load_state_dict(saved["optimizer"])
        for group in optimizer.param_groups:  # as this device wants them, whichever the checkpoint was written on
            group["lr"] = group["lr"].to(self.device)
            if "capturable" in group:
                group["capturable"] = self.device.type == "cuda"
        if self.scheduler:
            self.scheduler.load_state_dict(saved["scheduler"])
        torch.set_rng_state(saved["rng"])
        if saved["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda_rng"], self.device)
        self.history = History(**saved["history"])


def _prepare(model: CVAE, data: Data, config: TrainConfig, name: str) -> tuple[Tensor, Tensor | None]:
    if len(data) == 0:
        raise ValueError(f"{name}: got no examples, at least one is needed")
    model.check(x=data.x, c=data.c)
    if config.binarization != "none" and model.likelihood not in ("bernoulli", "cross_entropy"):
        raise ValueError(
            f"binarization: got {config.binarization!r}, the {model.likelihood} likelihood allows 'none' only"
        )
    if name == "validation" or config.binarization == "none":
        x = data.x if config.binarization == "none" else binarize(data.x, "fixed", config.seed)
        model.check_pixels(x)
        return x, data.c
    return binarize(data.x, "none"), data.c  # looks at the range only


def _moved(x: Tensor, c: Tensor | None, model: CVAE) -> tuple[Tensor, Tensor | None]:
    """Both on the model's device, in its precision."""
    weight = next(model.parameters())
    return x.to(weight), None if c is None else c.to(weight)


def _validate(model: CVAE, x: Tensor, c: Tensor | None, seed: int) -> Tensor:
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        torch.manual_seed(seed)  # the same noise after every epoch, and none taken from the training stream
        terms = elbo(model, x, c, validate=False)
    return torch.stack([terms.distortion.mean(), terms.rate.mean()])


def _record(log: dict[str, list[float]], means: Tensor) -> None:
    distortion, rate = means.tolist()
    for name, value in zip(TERMS, (distortion, rate, distortion + rate), strict=True):
        log[name].append(value)


def _closing_line(config: TrainConfig, history: History) -> str:
    parts = [f"{config.label}: {config.epochs} epochs in {history.seconds:.0f} s"]
    for name, log in (("training", history.train), ("validation", history.validation)):
        if log["total"]:
            parts.append(f"{name} -ELBO {log['total'][-1]:.2f} = {log['distortion'][-1]:.2f} + {log['rate'][-1]:.2f}")
    return ", ".join(parts) + " nats"


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """Inside the loop torch.distributions need not look at every value again: `fit` has done it once."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
