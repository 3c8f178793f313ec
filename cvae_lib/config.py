"""What goes into a training run, `TrainConfig`, and what comes out of it beside the weights, `History`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from cvae_lib.objectives import ElboTerms

TERMS = ("distortion", "rate", "total")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; everything that, with model and data, decides the weights.

    Raises:
        ValueError: Naming the field, what came and what is allowed.
    """

    epochs: int  # passes over the training set
    batch: int = 128  # examples a step; what does not fill a batch waits for another epoch's permutation
    lr: float = 1e-3  # learning rate; the peak of it under "one_cycle"
    schedule: str = "one_cycle"  # or "constant"
    optimizer: str = "adam"  # or "sgd"
    adam_betas: tuple[float, float] = (0.9, 0.999)  # decay of Adam's two moving averages
    adam_eps: float = 1e-8  # Adam's ε
    momentum: float = 0.0  # of SGD
    beta: float = 1.0  # weight of the rate
    warmup: float = 0.0  # share of the steps during which β, or the capacity, rises linearly from 0
    capacity: float | None = None  # rate to aim at in nats, see objectives.training_loss
    free_bits: float = 0.0  # nats that each latent may cost unpunished, see objectives.training_loss
    objective: str | Callable[[ElboTerms], Tensor] = "elbo"  # "iwae", "dreg" (see objectives.iwae_loss), or a function
    samples: int = 1  # latent draws for each example
    binarization: str = "dynamic"  # of the pixels at each step; "fixed" once; "none" where they are 0 or 1 already
    seed: int = 0  # of permutations, binarisation and latent noise
    matmul: str = "highest"  # torch.set_float32_matmul_precision while training; "high" and "medium" are faster
    compile: bool = False  # torch.compile for the loss: half a minute once, then fewer and larger kernels
    device: str | None = None  # None: the GPU where there is one, else the CPU
    checkpoint: Path | None = None  # file written after each epoch, and resumed from where it exists
    label: str = "fit"  # stands before the progress line

    def __post_init__(self) -> None:
        choices = {
            "schedule": ("one_cycle", "constant"),
            "optimizer": ("adam", "sgd"),
            "binarization": ("dynamic", "fixed", "none"),
            "matmul": ("highest", "high", "medium"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        for name in ("epochs", "batch", "samples"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are integers from 1")
        for name in ("beta", "momentum", "capacity", "free_bits"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are finite numbers from 0")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr: got {self.lr!r}, allowed are finite numbers above 0")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup: got {self.warmup!r}, allowed are shares from 0 to 1")
        self._check_objective()

    def _check_objective(self) -> None:
        if callable(self.objective) and self.checkpoint:
            raise ValueError(
                "objective: got a function together with a checkpoint, which could not tell it from another"
            )
        if not callable(self.objective) and self.objective not in ("elbo", "iwae", "dreg"):
            raise ValueError(f"objective: got {self.objective!r}, allowed are 'elbo', 'iwae', 'dreg' and functions")
        if self.free_bits and self.capacity is not None:
            raise ValueError(f"free_bits: got {self.free_bits} together with a capacity, allowed is one of them")
        weighted = self.beta != 1 or self.warmup or self.capacity is not None or self.free_bits
        if self.objective != "elbo" and weighted:
            raise ValueError(
                f"objective: got {self.objective!r} with beta, warmup, capacity or free_bits, which only 'elbo' knows"
            )


@dataclass
class History:
    """What `fit` saw after each epoch, in nats per example: `total = distortion + rate`, the −ELBO for any objective.

    `train` holds averages over the epoch, while the weights moved; `validation` those after it, on pixels
    binarised once. Both have a list for each of "distortion", "rate" and "total".
    """

    train: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TERMS})
    validation: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TERMS})
    clock: list[float] = field(default_factory=list)  # seconds since the start, validation included, over all parts

    @property
    def seconds(self) -> float:
        """How long training and validation took, over all resumed parts."""
        return self.clock[-1] if self.clock else 0.0

    @property
    def epochs(self) -> list[int]:
        """1, 2, ..., up to the last finished epoch."""
        return list(range(1, len(self.train["total"]) + 1))
