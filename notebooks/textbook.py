"""The loop that tutorials teach, as `bench.py` times it: its data set, network, loss and epoch."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.transforms.functional import to_tensor

from cvae_lib.data import Data
from cvae_lib.models import VAE

SHAPE, HIDDEN, LATENT = (1, 28, 28), 400, 20
# Multiplications and additions of the matrix products of one image: encoder and decoder forward, and twice that
# backward. The gradient for the pixels is counted and not computed: a sixth of the sum.
FLOPS = 3 * 2 * (784 * HIDDEN + HIDDEN * 2 * LATENT + LATENT * HIDDEN + HIDDEN * 784)
DECODER_FLOPS = 2 * (LATENT * HIDDEN + HIDDEN * 784)


class Images(torch.utils.data.Dataset):
    """One image at a time, as torchvision's MNIST with the transform ToTensor gives it."""

    def __init__(self, train: Data) -> None:
        self.pixels, self.labels = (train.x[:, 0] * 255).round().to(torch.uint8), train.y

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return to_tensor(Image.fromarray(self.pixels[i].numpy())), int(self.labels[i])


class Textbook(nn.Module):
    """The 784-400-20 network of most tutorials; x (B, 784) to pixel means, mu and log_var."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mu, self.log_var = (
            nn.Linear(784, HIDDEN),
            nn.Linear(HIDDEN, LATENT),
            nn.Linear(HIDDEN, LATENT),
        )
        self.back, self.out = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, 784)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # noqa: D102
        h = F.relu(self.hidden(x))
        mu, log_var = self.mu(h), self.log_var(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return torch.sigmoid(self.out(F.relu(self.back(z)))), mu, log_var


def textbook_loss(network: Textbook, x: torch.Tensor) -> torch.Tensor:
    """The negative ELBO, summed over a batch of flat binary images."""
    mean, mu, log_var = network(x)
    distortion = F.binary_cross_entropy(mean, x, reduction="sum")
    return distortion - 0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp())


def textbook_epoch(network: Textbook, optimizer: torch.optim.Optimizer, loader, device: str) -> float:
    """One epoch of the textbook loop, with the pixels of a batch binarised as `fit` does; its seconds."""
    start, seen = time.perf_counter(), 0.0
    for x, _ in loader:
        x = torch.bernoulli(x.to(device).view(-1, 784))
        optimizer.zero_grad()
        loss = textbook_loss(network, x)
        loss.backward()
        seen += loss.item()
        optimizer.step()
    return time.perf_counter() - start


def network() -> VAE:
    """The textbook network from the library."""
    torch.manual_seed(0)
    return VAE(SHAPE, LATENT, (HIDDEN,), "relu")
