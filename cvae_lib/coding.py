"""Lossless coding with a model: asymmetric numeral systems on one large integer, and bits back through the latents."""

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from cvae_lib.models import CVAE

FINE, PIXEL = 22, 16  # bits: shares of q, and of a pixel's two values, are integers out of 2**FINE and 2**PIXEL


class Stack:
    """A message as one integer; what was pushed last is popped first.

    A symbol whose share of `2**bits` is `[start, start + freq)` is pushed by
    `s -> 2**bits * (s // freq) + start + s % freq`, which makes the message about `bits - log2(freq)` bits longer.
    `starts` holds the start of each symbol's share and then the end of the last, integers from 0 to 2**bits.

    References:
        Duda (2009), Asymmetric numeral systems; Townsend, Bird and Barber (2019), section 2.1.
    """

    def __init__(self, state: int = 1) -> None:
        if not isinstance(state, int) or state < 0:
            raise ValueError(f"state: got {state!r}, allowed are integers from 0")
        self.state = state

    def __len__(self) -> int:
        return self.state.bit_length()

    def push(self, symbol: int, starts: np.ndarray, bits: int) -> None:
        """Adds a symbol; a ValueError if its share is empty."""
        start, freq = int(starts[symbol]), int(starts[symbol + 1] - starts[symbol])
        if freq < 1:
            raise ValueError(f"starts: symbol {symbol} has a share of {freq}, at least 1 is needed")
        self.state = ((self.state // freq) << bits) + start + self.state % freq

    def pop(self, starts: np.ndarray, bits: int) -> int:
        """Takes the last symbol off and returns it; the exact inverse of `push`."""
        slot = self.state & ((1 << bits) - 1)
        symbol = int(np.searchsorted(starts, slot, side="right")) - 1
        self.state = int(starts[symbol + 1] - starts[symbol]) * (self.state >> bits) + slot - int(starts[symbol])
        return symbol


class BitsBack:
    """Codes images in about `distortion + rate` bits: z is popped with q(z|x,c), then x, z and c's number are pushed.

    The number costs log2 K bits more. The message has to begin with random bits, else the first z is no draw from q.

    Each latent is cut into `2**bins` intervals of equal mass under the prior p(z|c); a posterior far out in its tail
    needs more of them. Shares are computed in floating point: code and decode on one machine with one torch version.

    Args:
        model: A VAE or CVAE on the CPU with a Bernoulli likelihood and Gaussian prior and posterior.
        conditions: (K, C), one of which belongs to each image, or None for a VAE.
        bins: Bits that an interval takes under the prior, fewer than `FINE`.

    Raises:
        ValueError: If the model is of another kind, or there are too many bins.

    References:
        Townsend, Bird and Barber (2019), Practical lossless compression with latent variables using bits back coding.
    """

    def __init__(self, model: CVAE, conditions: Tensor | None = None, bins: int = 10) -> None:
        if model.likelihood != "bernoulli":
            raise ValueError("model: pixels are coded by a Bernoulli likelihood, which this model does not have")
        if not isinstance(getattr(model.prior(None if conditions is None else conditions[:1]), "base_dist", 0), Normal):
            raise ValueError("model: its prior is not a diagonal Gaussian, as bits back needs it here")
        if not 1 <= bins < FINE:
            raise ValueError(f"bins: got {bins}, allowed are 1 to {FINE - 1}")
        self.model, self.conditions, self.bins, self.even = model.eval(), conditions, bins, np.arange(2**bins + 1)
        self.labels = 1 if conditions is None else len(conditions)

    @torch.no_grad()
    def latents(self, x: Tensor, c: Tensor | None) -> np.ndarray:
        """`starts` of each latent's intervals under q(z|x,c), (Z, 2**bins + 1); no share is empty."""
        q = self.model.encode(x, c).base_dist
        below = Normal(q.loc[0].double()[:, None], q.scale[0].double()[:, None]).cdf(self._quantiles(c, self.bins))
        return (below * (2**FINE - 2**self.bins)).floor().long().numpy() + self.even

    @torch.no_grad()
    def pixels(self, z: list[int], c: Tensor | None) -> np.ndarray:
        """`starts` of paper and ink for each pixel, (D, 3), at the middles (by mass) of the intervals z."""
        middles = self._quantiles(c, self.bins + 1)[torch.arange(len(z)), 2 * torch.tensor(z) + 1]
        ink = self.model.decode(middles[None].to(next(self.model.parameters())), c).mean.flatten().double()
        paper = ((1 - ink) * (2**PIXEL - 2)).round().long().numpy() + 1
        return np.stack([0 * paper, paper, 0 * paper + 2**PIXEL], 1)

    def push(self, stack: Stack, x: Tensor, label: int = 0) -> None:
        """Codes one image x, (1, *x_shape) of zeros and ones, whose condition is number `label`."""
        self.model.check_pixels(x)
        if not 0 <= label < self.labels:
            raise ValueError(f"label: got {label}, allowed are integers from 0 to {self.labels - 1}")
        c = None if self.conditions is None else self.conditions[label : label + 1]
        z = [stack.pop(starts, FINE) for starts in self.latents(x, c)]
        for value, starts in zip(x.flatten().int().tolist(), self.pixels(z, c), strict=True):
            stack.push(value, starts, PIXEL)
        for k in z:
            stack.push(k, self.even, self.bins)
        stack.state = stack.state * self.labels + label

    def pop(self, stack: Stack) -> tuple[Tensor, int]:
        """The image pushed last and its label; leaves the message as it was before."""
        stack.state, label = divmod(stack.state, self.labels)
        c = None if self.conditions is None else self.conditions[label : label + 1]
        z = [stack.pop(self.even, self.bins) for _ in range(self.model.latent)][::-1]
        values = [stack.pop(starts, PIXEL) for starts in self.pixels(z, c)[::-1]][::-1]
        x = torch.tensor(values).to(next(self.model.parameters())).reshape(1, *self.model.x_shape)
        for k, starts in reversed(list(zip(z, self.latents(x, c), strict=True))):
            stack.push(k, starts, FINE)
        return x, label

    def _quantiles(self, c: Tensor | None, bits: int) -> Tensor:
        """The points that cut each latent's prior into 2**bits parts of equal mass, (Z, 2**bits + 1)."""
        prior = self.model.prior(c).base_dist
        loc, scale = (v.double().reshape(-1, self.model.latent)[0][:, None] for v in (prior.loc, prior.scale))
        return Normal(loc, scale).icdf(torch.linspace(0, 1, 2**bits + 1, dtype=torch.float64).expand(len(loc), -1))
