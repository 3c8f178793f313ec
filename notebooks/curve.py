"""Test NLL over seconds of training, which `bench.py --nll` measures."""

from __future__ import annotations

import json

import torch

from cvae_lib import data, metrics
from cvae_lib.data import Data, binarize
from cvae_lib.models import VAE
from cvae_lib.train import TrainConfig, fit


def nll(epochs: list[int], bundled: bool, device: str) -> list[dict]:
    """NLL of a VAE with Z = 50 and 200-200 tanh units, trained once for each number of epochs.

    Batch and learning rate were chosen on the validation set; these trainings use all 60,000 images.
    """
    train, validation, test = (data.load("mnist_5k" if bundled else "mnist", s) for s in data.SPLITS)
    train = Data(torch.cat([train.x, validation.x]), None, train.source)
    x, curve = binarize(test.x, "fixed", 2), []
    for n in sorted(epochs):
        torch.manual_seed(0)
        model = VAE((1, 28, 28), 50, (200, 200), "tanh")
        model.start_at_mean(train.x)
        settings = {"epochs": n, "batch": 512, "lr": 1e-2, "matmul": "medium"}
        log = fit(model, train, TrainConfig(**settings, device=device, label=f"{n} epochs"))
        samples = 5000 if n == max(epochs) else 500
        torch.manual_seed(1)
        value = -metrics.log_likelihood(model, x, samples=samples)
        terms = metrics.elbo(model, x)
        curve.append(
            {
                **settings,
                "training images": len(train),
                "seconds of training": log.seconds,
                "samples": samples,
                "NLL, nats": value.mean().item(),
                "standard error over images": value.std().item() / len(x) ** 0.5,
                "-ELBO, nats": -terms.elbo.mean().item(),
                "rate, nats": terms.rate.mean().item(),
                "active units": int(metrics.active_units(model, x).sum()),
                "test images": len(x),
            }
        )
        print(json.dumps(curve[-1]), flush=True)
    return curve
