"""Dynamic binarisation at the speed of a training step."""

import torch
from torch import Tensor


class Grey:
    """Grey images that give fresh binary ones: the pixel is 1 with the probability that its grey value states.

    The same draw as `binarize(x, "dynamic")` from fewer random numbers: the probability p is kept as a 16-bit
    threshold t = round(p · 2¹⁶), and four pixels share a 64-bit draw. It is off by less than 2⁻¹⁵, by at most 2⁻¹⁷
    for the grey values k/255, and exact at 0 and 1.

    Args:
        x: Grey values in [0, 1], (N, ...).
    """

    def __init__(self, x: Tensor) -> None:
        shifted = (x * 2**16).round() - 2**15
        self.threshold = shifted.clamp(max=2**15 - 1).to(torch.int16)  # (N, ...), from -2¹⁵ for 0 to 2¹⁵ - 1 for 1

    def __len__(self) -> int:
        return len(self.threshold)

    def draw(self, rows: Tensor) -> Tensor:
        """Binary pixels of the images at `rows` (B,), booleans (B, ...), drawn from torch's global stream."""
        threshold = self.threshold[rows]
        words = torch.empty(-(-threshold.numel() // 4), dtype=torch.int64, device=threshold.device)
        uniform = words.random_(-(2**63), None).view(torch.int16)[: threshold.numel()].view(threshold.shape)
        return uniform.clamp_(max=2**15 - 2) < threshold  # so that a threshold of 2¹⁵ - 1 is always above
