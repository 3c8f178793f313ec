"""Several processes as one: what `fit` needs of torch.distributed. Without torchrun there is one process, and no cost.

Each process holds the whole data set and the same random stream, and takes its own rows of every batch; gradients
are averaged by DistributedDataParallel. So n processes take the step that one process with the whole batch would.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def joined() -> Iterator[int]:
    """Joins the group of processes that torchrun started, and leaves it at the end; without torchrun, nothing.

    Messages between CPUs go over gloo, those between GPUs over nccl, where every process has a GPU.

    Returns:
        As the context's value, this process's number, from 0.
    """
    if "RANK" not in os.environ or dist.is_initialized():
        yield rank()
        return
    gpus = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    try:
        yield rank()
    finally:
        dist.destroy_process_group()


def count() -> int:
    """How many processes work together, 1 outside of `joined`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def part(whole: Tensor, dim: int = 0) -> Tensor:
    """This process's rows of a tensor that all processes hold: every `count()`-th along `dim`, from `rank()` on."""
    return whole[(slice(None),) * dim + (slice(rank(), None, count()),)]


def wrap(module: nn.Module) -> nn.Module:
    """The module with its gradients averaged over the processes, and with the weights of process 0 to begin with."""
    if count() == 1:
        return module
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def mean(value: Tensor) -> Tensor:
    """The mean over the processes."""
    return _reduced(value, dist.ReduceOp.SUM) / count()


def largest(value: Tensor) -> Tensor:
    """The elementwise maximum over the processes."""
    return _reduced(value, dist.ReduceOp.MAX)


def _reduced(value: Tensor, operation: dist.ReduceOp) -> Tensor:
    value = value.clone()
    if count() > 1:
        dist.all_reduce(value, operation)
    return value
