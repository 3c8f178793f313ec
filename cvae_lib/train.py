"""The one training loop, `fit`, and its checkpoints; `TrainConfig` and `History` stand in `config`."""

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

from cvae_lib.config import TERMS, History, TrainConfig
from cvae_lib.data import Data, binarize
from cvae_lib.metrics import elbo
from cvae_lib.models import CVAE
from cvae_lib.objectives import ElboTerms, elbo_terms, ramp, training_loss

__all__ = ["History", "NonFiniteLoss", "TrainConfig", "fit", "load_checkpoint"]


class NonFiniteLoss(RuntimeError):
    """The loss was infinite or not a number; the checkpoint of the last good epoch is kept."""


def fit(model: CVAE, train: Data, config: TrainConfig, validation: Data | None = None) -> History:
    """Trains a VAE or CVAE in place.

    The data stay in memory on the device. One seed decides everything; the surrounding random stream is left as it
    was found, and validation does not change the weights.

    Args:
        model: Moved to the device and trained in place.
        train: Images `x` (N, *x_shape) in [0, 1]; a condition `c` (N, C) where the model takes one.
        config: See `TrainConfig`.
        validation: Looked at after each epoch, or None.

    Returns:
        The `History`, in nats per example.

    Raises:
        ValueError: If data and model do not fit, a pixel is outside its range, or the checkpoint belongs to another
            model, configuration or data set.
        NonFiniteLoss: If the loss was not finite; read once an epoch, so that no step waits for it.
    """
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    x, c = _prepare(model, train, config, "train")
    with torch.random.fork_rng([device] if device.type == "cuda" else []), _unchecked_distributions():
        held_out = validation and _prepare(model, validation, config, "validation")
        torch.manual_seed(config.seed)
        if config.binarization == "fixed":
            x = binarize(x, "fixed", config.seed)
        model.to(device).train()
        state = _State(model, config, x.to(device), None if c is None else c.to(device))
        state.resume(f"{train.source}, {len(train)} examples")
        start = time.perf_counter() - state.history.seconds
        done = len(state.history.epochs)
        bar = tqdm(range(done, config.epochs), config.label, leave=False, file=sys.stdout, ncols=80)
        for _ in bar:
            state.epoch()
            if held_out:
                _record(state.history.validation, _validate(model, *held_out, config.seed))
            state.history.seconds = time.perf_counter() - start
            state.save()
            bar.set_postfix_str(f"-ELBO {state.history.train['total'][-1]:.2f}")
    model.eval()
    print(_closing_line(config, state.history))
    return state.history


class _State:
    """Everything that changes during training: weights, optimiser, schedule, random stream, history."""

    def __init__(self, model: CVAE, config: TrainConfig, x: Tensor, c: Tensor | None) -> None:
        self.model, self.config, self.x, self.c = model, config, x, c
        self.batch = min(config.batch, len(x))
        self.steps = len(x) // self.batch  # of one epoch
        self.history = History()
        self.optimizer = _optimizer(model, config)
        self.scheduler = None
        if config.schedule == "one_cycle":
            self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, config.lr, total_steps=self.steps * config.epochs, cycle_momentum=False
            )

    def epoch(self) -> None:
        """One pass over the data in a fresh order; sums stay on the device until it ends."""
        sums = torch.zeros(2, device=self.x.device)
        bad = torch.full((), -1, device=self.x.device)  # the first step with a non-finite loss, -1 for none
        order = torch.randperm(len(self.x), device=self.x.device)
        first = len(self.history.epochs) * self.steps
        for step, rows in enumerate(order.split(self.batch)[: self.steps]):
            terms, loss = self.step(rows, first + step)
            sums += torch.stack([terms.distortion.mean(), terms.rate.mean()]).detach()
            bad = torch.where((bad < 0) & ~loss.detach().isfinite(), step, bad)
        if bad >= 0:
            where = f"step {int(bad) + 1} of {self.steps} of epoch {len(self.history.epochs) + 1}"
            kept = f"; {self.config.checkpoint} holds the epoch before" if first and self.config.checkpoint else ""
            raise NonFiniteLoss(f"{self.config.label}: the loss was not finite in {where}{kept}; try a lower lr")
        _record(self.history.train, sums / self.steps)

    def step(self, rows: Tensor, number: int) -> tuple[ElboTerms, Tensor]:
        """The training step: binarise, both terms of the ELBO, the loss, its gradient, one update."""
        config = self.config
        x = self.x[rows]
        if config.binarization == "dynamic":
            x = torch.bernoulli(x)  # fresh pixels each time an image is seen
        c = None if self.c is None else self.c[rows]
        terms = elbo_terms(self.model, x, c, config.samples, validate=False)
        loss = self.loss(terms, ramp(number / (self.steps * config.epochs), config.warmup))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()
        return terms, loss

    def loss(self, terms: ElboTerms, rise: float) -> Tensor:
        if self.config.objective:
            return self.config.objective(terms)
        if self.config.capacity is None:
            return training_loss(terms, self.config.beta * rise)
        return training_loss(terms, self.config.beta, self.config.capacity * rise)

    def save(self) -> None:
        """Writes the checkpoint under another name first, so that a kill in between leaves the old one whole."""
        if self.config.checkpoint is None:
            return
        path = Path(self.config.checkpoint)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with open(part, "wb") as file:
                torch.save(self.content(), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def content(self) -> dict:
        cuda = self.x.device.type == "cuda"
        return {
            "owner": self.owner,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.x.device) if cuda else None,
            "history": asdict(self.history),
        }

    def resume(self, data: str) -> None:
        """Goes on from the checkpoint, where there is one that belongs to this model, configuration and data."""
        config = {k: v for k, v in asdict(self.config).items() if k not in ("checkpoint", "device", "label")}
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
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(saved["scheduler"])
        torch.set_rng_state(saved["rng"])
        if saved["cuda_rng"] is not None:
            torch.cuda.set_rng_state(saved["cuda_rng"], self.x.device)
        self.history = History(**saved["history"])


def load_checkpoint(path: Path) -> dict:
    """Reads a checkpoint of `fit`; its entry "model" is for `load_state_dict`. Runs no code from the file.

    Raises:
        ValueError: If the file is not a whole checkpoint of `fit`.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        saved["owner"], saved["model"]
    except Exception as error:
        raise ValueError(f"checkpoint: {path} is not a whole checkpoint of cvae_lib.train.fit ({error})") from error
    return saved


def _prepare(model: CVAE, data: Data, config: TrainConfig, name: str) -> tuple[Tensor, Tensor | None]:
    if len(data) == 0:
        raise ValueError(f"{name}: got no examples, at least one is needed")
    model.check(x=data.x, c=data.c)
    if data.c is not None and len(data.c) != len(data.x):
        raise ValueError(f"{name}: got {len(data.c)} rows in c and {len(data.x)} in x")
    fixed = "fixed" if config.binarization != "none" else "none"
    if name == "validation" or fixed == "none":
        x = binarize(data.x, fixed, config.seed)
        model.check_pixels(x)
        return x, data.c
    return binarize(data.x, "none"), data.c  # looks at the range only


def _optimizer(model: CVAE, config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum)
    return torch.optim.Adam(model.parameters(), lr=config.lr, betas=config.adam_betas, eps=config.adam_eps, fused=True)


def _validate(model: CVAE, x: Tensor, c: Tensor | None, seed: int) -> Tensor:
    with torch.random.fork_rng([next(model.parameters()).device] if torch.cuda.is_available() else []):
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
