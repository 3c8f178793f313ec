"""Trunks: networks that turn an input vector into features."""

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class MLP(nn.Sequential):
    """Dense layers, each followed by the activation: `h_k = act(W_k h_{k-1} + b_k)`.

    There is no output layer: encoder and decoder put their own linear heads on top, since a head must not be
    squashed by an activation. Weights start as Glorot and Bengio propose, biases at zero.

    Args:
        sizes: Width of the input and of each layer, for instance `(784, 256, 256)`.
        activation: "tanh", "relu", "gelu" or "silu".

    Raises:
        ValueError: For an unknown activation, or a width that is not a positive integer.

    References:
        Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural networks.
    """

    def __init__(self, sizes: tuple[int, ...], activation: str = "tanh") -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: got {activation!r}, allowed are {sorted(ACTIVATIONS)}")
        layers: list[nn.Module] = []
        for width_in, width_out in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [linear(width_in, width_out), ACTIVATIONS[activation]()]
        super().__init__(*layers)
        self.width = sizes[-1]

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """x (..., D) and c (B, C) or None, D + C the first of `sizes`; returns features (..., width)."""
        return super().forward(join(x, c))


def linear(width_in: int, width_out: int) -> nn.Linear:
    """A dense layer with Glorot-uniform weights and zero bias.

    Raises:
        ValueError: If a width is not a positive integer.
    """
    for width in (width_in, width_out):
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"width of a layer: got {width!r}, allowed are integers from 1")
    layer = nn.Linear(width_in, width_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def join(x: Tensor, c: Tensor | None) -> Tensor:
    """Concatenates features and condition along the last axis; x alone where there is no condition.

    Args:
        x: (..., D).
        c: (B, C) or None; broadcast over leading axes of x.

    Returns:
        (..., D + C).
    """
    if c is None:
        return x
    return torch.cat([x, c.to(x.dtype).expand(*x.shape[:-1], c.shape[-1])], dim=-1)
