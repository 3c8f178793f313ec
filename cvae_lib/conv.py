"""A CVAE of images with convolutional encoder and decoder, and three ways by which the condition enters them."""

from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Normal

from cvae_lib.likelihoods import Likelihood
from cvae_lib.models import CVAE, Decoder, Encoder
from cvae_lib.nn import join, linear
from cvae_lib.priors import LogitNormal

CONDITIONS = ("planes", "embedding", "film")
EMBEDDED = 16  # how many numbers the embedding makes of c


class Conditioned(nn.Module):
    """Layers that c reaches in one of three ways; in none where c_dim is 0. The base of both trunks.

    - "planes": each entry of c as a constant plane behind the encoder's image and the decoder's first maps.
    - "embedding": a matrix makes `EMBEDDED` numbers of c, which are joined to what the first dense layer reads.
    - "film": `(1 + a_k(c)) h_k + b_k(c)` for channel k of each hidden layer's maps; a, b linear in c, at first 0.

    Args:
        c_dim: Width C of the condition.
        condition: One of the three.
        widths: Channels of each hidden layer.

    References:
        Perez et al. (2018), FiLM: Visual reasoning with a general conditioning layer, equations 1 and 2.
    """

    def __init__(self, c_dim: int, condition: str, widths: tuple[int, ...]) -> None:
        super().__init__()
        if condition not in CONDITIONS:
            raise ValueError(f"condition: got {condition!r}, allowed are {', '.join(map(repr, CONDITIONS))}")
        way = condition if c_dim else None
        self.planes, self.joined = c_dim * (way == "planes"), EMBEDDED * (way == "embedding")
        self.embed = linear(c_dim, EMBEDDED) if self.joined else None
        self.films = nn.ModuleList(nn.Linear(c_dim, 2 * k) for k in widths) if way == "film" else None
        for parameter in self.films.parameters() if self.films else ():
            nn.init.zeros_(parameter)

    def beside(self, h: Tensor, c: Tensor | None) -> Tensor:
        """Maps h (N, K, H, W) with the planes behind them, or a vector h (N, K) with the embedding; else h alone."""
        if h.ndim == 4 and self.planes:
            return torch.cat([h, c[..., None, None].expand(*c.shape, *h.shape[-2:])], 1)
        return join(h, self.embed(c)) if h.ndim == 2 and self.joined else h

    def activated(self, number: int, h: Tensor, c: Tensor | None) -> Tensor:
        """ReLU of the maps h (N, K, H, W) of one layer, modulated before if that is the way."""
        if self.films:
            scale, shift = self.films[number](c)[..., None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return h.relu()


class ConvTrunk(Conditioned):
    """Image to features: convolutions of 3 x 3 pixels and stride 2, then a dense layer of width `hidden`."""

    def __init__(self, x_shape: Size, c_dim: int, channels: tuple[int, ...], hidden: int, condition: str) -> None:
        maps = shapes(x_shape, channels)
        super().__init__(c_dim, condition, channels)
        self.maps, self.width = maps, hidden
        pairs = zip((x_shape[0] + self.planes, *channels), channels, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.dense = linear(self.maps[-1].numel() + self.joined, hidden)
        self.to(memory_format=torch.channels_last)  # the faster order on a CPU

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """x (B, D), flattened images, and c (B, C) or None; returns features (B, hidden)."""
        h = self.beside(x.unflatten(-1, self.maps[0]), c)
        for number, conv in enumerate(self.convs):
            h = self.activated(number, conv(h), c)
        return self.dense(self.beside(h.flatten(1), c)).relu()


class DeconvTrunk(Conditioned):
    """The mirror: z through two dense layers and transposed convolutions to images of `out` channels, and a bias."""

    def __init__(
        self, latent: int, out: int, x_shape: Size, c_dim: int, channels: tuple[int, ...], hidden: int, condition: str
    ) -> None:
        super().__init__(c_dim, condition, channels[::-1])
        self.maps = [*shapes(x_shape, channels)[:0:-1], Size([out, *x_shape[1:]])]
        self.width = self.maps[-1].numel()
        self.dense, self.spread = linear(latent + self.joined, hidden), linear(hidden, self.maps[0].numel())
        pairs = zip((channels[-1] + self.planes, *channels[-2::-1]), (*channels[-2::-1], out), strict=True)
        self.convs = nn.ModuleList(nn.ConvTranspose2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z (..., B, Z), c (B, C) or None; returns (..., B, width), flattened."""
        lead, z = z.shape[:-1], z.flatten(0, -2)
        c = None if c is None else c.to(z).expand(*lead, c.shape[-1]).flatten(0, -2)
        h = self.spread(self.dense(self.beside(z, c)).relu()).unflatten(-1, self.maps[0])
        h = self.beside(self.activated(0, h, c), c)
        for number, conv in enumerate(self.convs, 1):
            h = conv(h, output_size=self.maps[number][1:])
            h = h if number == len(self.convs) else self.activated(number, h, c)
        return h.flatten(1).unflatten(0, lead)


class PixelBias(nn.Module):
    """Adds a number of its own to each parameter of the likelihood: an untrained decoder can give the mean image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, raw: Tensor) -> Tensor:
        """raw (..., width); returns the same shape."""
        return raw + self.bias


class ConvCVAE(CVAE):
    """A CVAE of images with convolutional encoder and decoder; a VAE where c_dim is 0.

    Args:
        x_shape: (channels, height, width).
        c_dim, latent: As for `CVAE`.
        channels: Of the encoder's convolutions, each of which halves height and width; the decoder reverses them.
        hidden: Width of the dense layer on either side.
        condition: "planes", "embedding" or "film", see `Conditioned`.
        options: likelihood, sigma, prior, components and prior_hidden of `CVAE`.

    Raises:
        ValueError: For an unknown condition, no channels, or a shape that is no image's; and as for `CVAE`.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        c_dim: int,
        latent: int,
        channels: tuple[int, ...] = (16, 32, 64),
        hidden: int = 256,
        condition: str = "film",
        **options: Any,
    ) -> None:
        sizes = (Size(x_shape), c_dim, tuple(channels), hidden, condition)
        kind = Likelihood(x_shape, options.pop("likelihood", "bernoulli"), options.pop("sigma", 1.0))
        family = LogitNormal if options.get("prior") == "uniform" else Normal
        encoder = Encoder(x_shape, c_dim, latent, family=family, trunk=ConvTrunk(*sizes))
        trunk = DeconvTrunk(latent, x_shape[0] * kind.width // Size(x_shape).numel(), *sizes)
        head = PixelBias(kind.width)
        decoder = Decoder(x_shape, c_dim, latent, likelihood=kind, trunk=trunk, head=head)
        super().__init__(x_shape, c_dim, latent, encoder=encoder, decoder=decoder, **options)


def shapes(x_shape: Size, channels: tuple[int, ...]) -> list[Size]:
    """Of the image and of the maps behind each convolution; a ValueError names the argument that cannot be."""
    if len(x_shape) != 3:
        raise ValueError(f"x_shape: got {tuple(x_shape)}, allowed are images (channels, height, width)")
    if not channels or min(channels) < 1:
        raise ValueError(f"channels: got {channels}, allowed are one or more integers from 1")
    found = [Size(x_shape)]
    for k in channels:
        found.append(Size([k, *((side + 1) // 2 for side in found[-1][1:])]))
    return found
