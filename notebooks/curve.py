"""Test NLL over seconds of training, which `bench.py --nll` measures."""

from __future__ import annotations

import json

import torch

from cvae_lib import data, metrics
from cvae_lib.data import Data, binarize, one_hot
from cvae_lib.models import CVAE
from cvae_lib.train import TrainConfig, fit

# Steps are what lacks on a CPU: with many draws, where a step is dear anyway, a smaller batch buys more of them.
BATCH_AND_LR = {1: (512, 1e-2), 5: (128, 4e-3), 50: (64, 2e-3)}  # the first chosen on the validation set


def entry(draws: int, classes: bool) -> str:
    """The entry of bench.json that holds such a curve."""
    return "nll" + f", {draws} draws" * (draws > 1) + ", given the class" * classes


def nll(epochs: list[int], bundled: bool, device: str, draws: int = 1, classes: bool = False) -> list[dict]:
    """NLL of the one-layer network of Burda et al., Z = 50 and 200-200 tanh, trained once for each number of epochs.

    All 60,000 training images are used. With more than one draw the objective is the importance-weighted bound with the
    doubly reparameterised gradient. With `classes` it is −log p(x|c): c, one-hot, goes into encoder and decoder, and
    p(z|c) is a Gaussian whose mean and variance are learned for each class.
    """
    train, validation, test = (data.load("mnist_5k" if bundled else "mnist", s) for s in data.SPLITS)
    train = Data(torch.cat([train.x, validation.x]), torch.cat([train.y, validation.y]), train.source)
    train, c = (train.given(one_hot(train.y)), one_hot(test.y)) if classes else (train, None)
    batch, lr = BATCH_AND_LR[max(k for k in BATCH_AND_LR if k <= draws)]
    x, curve = binarize(test.x, "fixed", 2), []
    for n in sorted(epochs):
        torch.manual_seed(0)
        model = CVAE((1, 28, 28), 10 * classes, 50, (200, 200), "tanh", "learned" if classes else "standard")
        model.start_at_mean(train.x)
        settings = {"epochs": n, "batch": batch, "lr": lr, "matmul": "medium"}
        drawn = {"samples": draws, "objective": "dreg"} if draws > 1 else {}
        log = fit(model, train, TrainConfig(**settings, **drawn, device=device, label=f"{n} epochs"))
        samples = 5000 if n == max(epochs) else 500
        torch.manual_seed(1)
        value = -metrics.log_likelihood(model, x, c, samples=samples, batch=20 if device == "cpu" else 100)
        terms = metrics.elbo(model, x, c)
        curve.append(
            {
                **settings,
                "draws": draws,
                "training images": len(train),
                "seconds of training": log.seconds,
                "samples": samples,
                "NLL, nats": value.mean().item(),
                "standard error over images": value.std().item() / len(x) ** 0.5,
                "-ELBO, nats": -terms.elbo.mean().item(),
                "rate, nats": terms.rate.mean().item(),
                "active units": int(metrics.active_units(model, x, c).sum()),
                "test images": len(x),
            }
        )
        print(json.dumps(curve[-1]), flush=True)
    return curve
