"""What torchrun runs in test_processes.py: the training of `made`, by one process or several."""

import argparse
import os
import signal

import torch

from cvae_lib import processes
from cvae_lib.data import Data, one_hot
from cvae_lib.models import CVAE
from cvae_lib.train import TrainConfig, fit


def made(dtype: torch.dtype, die_after: int = 0, **settings) -> dict:
    """Trains a CVAE with a learned prior on 240 made-up images; `die_after` steps the last process is killed."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(240) % 3
    x = 0.8 * torch.rand(3, 1, 4, 4, generator=generator).round()[y] + 0.1
    torch.manual_seed(1)
    model = CVAE((1, 4, 4), 3, 2, (16,), prior="learned").to(dtype)
    steps = []

    def count(*_):
        steps.append(None)
        if len(steps) == die_after and processes.rank() == processes.count() - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    model.encoder.register_forward_pre_hook(count)
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    history = fit(model, Data(x, y, "made up: test", one_hot(y, 3)), TrainConfig(device="cpu", **settings))
    end = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    return {"moved": end - start, "loss": history.train["total"], "steps": len(steps)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--die-after", type=int, default=0)
    parser.add_argument("settings", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pairs = (pair.split("=") for pair in args.settings)
    known = {
        "epochs": int,
        "batch": int,
        "samples": int,
        "lr": float,
        "beta": float,
        "capacity": float,
        "free_bits": float,
    }
    settings = {name: known.get(name, str)(value) for name, value in pairs}
    with processes.joined() as rank:
        result = made(getattr(torch, args.dtype), args.die_after, **settings)
        if rank == 0:
            torch.save(result, args.out)
