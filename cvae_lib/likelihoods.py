"""Likelihoods: how the decoder's output becomes a distribution of x."""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, ContinuousBernoulli, Distribution, Independent, Normal

# What x may be under each kind: a test, and words for it.
SUPPORTS = {
    "bernoulli": (lambda x: (x == 0) | (x == 1), "0 and 1 only (data.binarize makes them from grey ones)"),
    "cross_entropy": (lambda x: (x >= 0) & (x <= 1), "values in [0, 1]"),
    "continuous_bernoulli": (lambda x: (x >= 0) & (x <= 1), "values in [0, 1]"),
    "gaussian": (torch.isfinite, "finite values"),
}


class Likelihood(nn.Module):
    """The distribution `p(x|z,c)` of data whose elements are independent given z and c.

    - "bernoulli": binary pixels, `Π_d Bernoulli(x_d; sigmoid(l_d))`.
    - "cross_entropy": the same formula at grey pixels in [0, 1]. It is not a likelihood, since it does not integrate
      to 1 over them; its numbers cannot be put beside any likelihood's.
    - "continuous_bernoulli": a density on [0, 1], proportional to `Π_d s_d^x_d (1 - s_d)^(1 - x_d)`, s = sigmoid(l).
    - "gaussian": a density on the real numbers, `Π_d N(x_d; l_d, σ²)`. Fit it to pixels that were dequantised
      (`data.dequantize`): on a few grey levels a learned σ can shrink and the density grow without bound.

    Args:
        x_shape: Shape of one datum.
        kind: One of the four.
        sigma: Of the Gaussian: a number above 0 that stays as it is, "shared" for one that is learned (it starts at
            1), or "pixel" for one that the decoder gives for each element.

    Raises:
        ValueError: For an unknown kind, or a sigma that is none of these.

    References:
        Kingma and Welling (2013), Auto-encoding variational Bayes, appendix C; Loaiza-Ganem and Cunningham (2019),
        The continuous Bernoulli; Rybkin, Daniilidis and Levine (2021), Simple and effective VAE training with
        calibrated decoders.
    """

    def __init__(self, x_shape: tuple[int, ...], kind: str = "bernoulli", sigma: float | str = 1.0) -> None:
        super().__init__()
        if kind not in SUPPORTS:
            raise ValueError(f"likelihood: got {kind!r}, allowed are {', '.join(map(repr, SUPPORTS))}")
        if sigma not in ("shared", "pixel") and not (isinstance(sigma, (int, float)) and 0 < sigma < math.inf):
            raise ValueError(f"sigma: got {sigma!r}, allowed are 'shared', 'pixel' and finite numbers above 0")
        self.x_shape, self.kind, self.sigma = tuple(x_shape), kind, sigma
        two = kind == "gaussian" and sigma == "pixel"
        self.width = math.prod(x_shape) * (2 if two else 1)  # of the decoder's output
        if kind == "gaussian" and sigma == "shared":
            self.log_var = nn.Parameter(torch.zeros(()))

    def forward(self, raw: Tensor) -> Independent:
        """raw (..., B, width), free real numbers; returns p(x|z,c), batch shape (..., B), event shape `x_shape`."""
        return Independent(self._each(raw), len(self.x_shape))

    def _each(self, raw: Tensor) -> Distribution:
        if self.kind == "gaussian":
            location, *log_var = (part.unflatten(-1, self.x_shape) for part in raw.split(math.prod(self.x_shape), -1))
            if self.sigma == "pixel":
                return Normal(location, (0.5 * log_var[0]).exp())
            return Normal(location, (0.5 * self.log_var).exp() if self.sigma == "shared" else float(self.sigma))
        logits = raw.unflatten(-1, self.x_shape)
        if self.kind == "continuous_bernoulli":
            return ContinuousBernoulli(logits=logits)
        return Bernoulli(logits=logits, validate_args=False if self.kind == "cross_entropy" else None)

    def check(self, x: Tensor) -> None:
        """Refuses values outside the support.

        Raises:
            ValueError: Naming one of them.
        """
        test, words = SUPPORTS[self.kind]
        outside = ~test(x)
        if outside.any():
            raise ValueError(
                f"x: got pixels such as {x[outside][0].item():.4g}, the {self.kind} likelihood takes {words}"
            )

    @torch.no_grad()
    def start(self, x: Tensor) -> Tensor:
        """The output (width,) that gives about the mean image of x (N, *x_shape).

        A learned σ starts at the spread around it, averaged over pixels also where each has its own: σ is not to be
        small before the mean is right. Means that are probabilities are held within [0.001, 0.999].
        """
        mean = x.mean(0)
        if self.kind != "gaussian":
            return mean.clamp(0.001, 0.999).logit().flatten()
        log_var = (x - mean).square().mean().log()
        if self.sigma == "shared":
            self.log_var.copy_(log_var)
        return torch.cat([mean.flatten(), log_var.expand(mean.numel())])[: self.width]
