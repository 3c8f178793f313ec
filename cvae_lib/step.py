"""One training step, on the device from end to end; `train.fit` repeats it."""

import warnings

import torch
from torch import Tensor, nn

from cvae_lib import processes
from cvae_lib.config import TrainConfig
from cvae_lib.data import Grey
from cvae_lib.models import CVAE
from cvae_lib.objectives import ElboTerms, elbo_terms, iwae_loss, ramp, training_loss


class Step:
    """Updates the weights from the examples at the given rows.

    Whatever a step reads or changes stays in tensors on the device, and nothing is read back, so that the host runs
    ahead. On one GPU the third step is recorded as a CUDA graph, and replayed from there on: one launch for all of
    its kernels.

    Args:
        model: A VAE or CVAE, on the device and in the precision of x.
        config: See `TrainConfig`.
        x: (N, *x_shape) on the device, grey values in [0, 1] under "dynamic" binarisation.
        c: (N, C) on the device, or None.

    Raises:
        ValueError: If the batch, or the loss, cannot be divided among the processes.
    """

    def __init__(self, model: CVAE, config: TrainConfig, x: Tensor, c: Tensor | None) -> None:
        self.model, self.config, self.c, device = model, config, c, x.device
        self.batch, self.dtype = min(config.batch, len(x)), x.dtype
        _check_division(config, self.batch)
        self.x = Grey(x) if config.binarization == "dynamic" else x
        self.plain = processes.wrap(_Loss(model, config))
        self.loss = torch.compile(self.plain) if config.compile else self.plain
        self.optimizer = _optimizer(model, config, device)
        self.rows = torch.zeros(self.batch, dtype=torch.long, device=device)
        self.rise = torch.ones((), device=device)  # of β or the capacity, from 0 to 1 during the warm-up
        self.sums = torch.zeros(2, device=device)  # of the batches' mean distortions and mean rates
        self.taken = torch.zeros((), dtype=torch.long, device=device)  # steps since `clear`
        self.bad = torch.zeros_like(self.taken)  # the first of them whose loss was not finite, 0 for none
        self.graph: torch.cuda.CUDAGraph | None = None
        self.until_recording = 2 if device.type == "cuda" and processes.count() == 1 else -1  # -1: never

    def clear(self) -> None:
        """Sets sums and counts to zero, for a new epoch."""
        for tensor in (self.sums, self.taken, self.bad):
            tensor.zero_()

    def __call__(self, rows: Tensor, progress: float) -> None:
        """One update. Args: rows (B,), indices of examples; progress, the share of all steps that is done."""
        self.rows.copy_(rows)
        if self.config.warmup:
            self.rise.fill_(ramp(progress, self.config.warmup))
        if self.graph is None and self.until_recording == 0:
            self._record()
        if self.graph is not None:
            self.graph.replay()
        else:
            self._before_recording()

    def update(self) -> None:
        """The step itself: binarise, both terms of the ELBO, the loss, its gradient, one move of the weights."""
        loss, means = self._forward(*self._examples())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.sums += means
        self.taken += 1
        self.bad.copy_(torch.where((self.bad == 0) & ~loss.detach().isfinite(), self.taken, self.bad))

    def _examples(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """This process's part of the batch. All draw the noise of the whole batch, and each uses its own rows of it."""
        rows, noise = processes.part(self.rows), None
        x = processes.part(self.x.draw(self.rows)).to(self.dtype) if isinstance(self.x, Grey) else self.x[rows]
        if processes.count() > 1:
            shape = (self.config.samples, self.batch, self.model.latent)
            noise = processes.part(torch.randn(shape, dtype=self.dtype, device=rows.device), dim=1)
        return x, None if self.c is None else self.c[rows], noise

    def _forward(self, *batch: Tensor | None) -> tuple[Tensor, Tensor]:
        try:
            return self.loss(*batch, self.rise)
        except Exception as error:
            if self.loss is self.plain:
                raise
            warnings.warn(f"compile: goes on without, since torch.compile failed: {error}", stacklevel=2)
            self.loss = self.plain
            return self.loss(*batch, self.rise)

    def _before_recording(self) -> None:
        if self.until_recording < 0:
            return self.update()
        self.until_recording -= 1
        side = torch.cuda.Stream()  # as torch asks for: buffers made on the main stream could not be recorded
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.update()
        torch.cuda.current_stream().wait_stream(side)

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with torch.cuda.graph(graph):  # nothing is computed here, only recorded
                self.update()
            self.graph = graph
        except RuntimeError as error:
            warnings.warn(f"CUDA graph: goes on without, since the step cannot be recorded: {error}", stacklevel=2)
        self.until_recording = -1


class _Loss(nn.Module):
    """The loss as a module of its own, whose forward pass DistributedDataParallel and torch.compile can wrap."""

    def __init__(self, model: CVAE, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, x: Tensor, c: Tensor | None, noise: Tensor | None, rise: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.objective in ("iwae", "dreg"):
            doubly = self.config.objective == "dreg"
            loss, terms = iwae_loss(self.model, x, c, self.config.samples, doubly, noise)
        else:
            terms = elbo_terms(self.model, x, c, self.config.samples, validate=False, noise=noise)
            loss = self.objective(terms, rise)
        return loss, torch.stack([terms.distortion.mean(), terms.rate.mean()]).detach()

    def objective(self, terms: ElboTerms, rise: Tensor) -> Tensor:
        if callable(self.config.objective):
            return self.config.objective(terms)
        if self.config.capacity is None:
            return training_loss(terms, self.config.beta * rise, free_bits=self.config.free_bits)
        return training_loss(terms, self.config.beta, self.config.capacity * rise)


def _optimizer(model: CVAE, config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    lr = torch.tensor(config.lr, device=device)  # a tensor, which a recorded step reads anew each time
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=config.momentum, fused=True)
    constants = {"betas": config.adam_betas, "eps": config.adam_eps, "capturable": device.type == "cuda"}
    return torch.optim.Adam(model.parameters(), lr=lr, fused=True, **constants)


def _check_division(config: TrainConfig, batch: int) -> None:
    n = processes.count()
    if batch % n:
        raise ValueError(f"batch: got {batch}, {n} processes need a multiple of {n}")
    of_batches = {"objective": callable(config.objective), "capacity": config.capacity is not None}
    for name, given in {**of_batches, "free_bits": config.free_bits > 0}.items():
        if n > 1 and given:
            raise ValueError(f"{name}: got one with {n} processes, which can only average a loss over their examples")
