"""Priors of the latents, with and without a condition, and the posterior that a bounded one needs."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
)

from cvae_lib.nn import MLP

KINDS = ("standard", "uniform", "mean", "learned", "mixture")


class LogitNormal(TransformedDistribution):
    """The distribution of `sigmoid(u)` for `u ~ N(mu, sigma²)`: a posterior on (0, 1).

    Args:
        mu, sigma: Of u, any shape.

    References:
        Atchison and Shen (1980), Logistic-normal distributions: some properties and uses.
    """

    def __init__(self, mu: Tensor, sigma: Tensor, validate_args: bool | None = None) -> None:
        exact = SigmoidTransform(cache_size=1)  # keeps the u of a draw, which its sigmoid would give back rounded
        super().__init__(Normal(mu, sigma, validate_args), [exact], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """By Gauss–Hermite quadrature with 32 points; there is no closed form."""
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        """By the same quadrature."""
        return self._moment(2) - self._moment(1) ** 2

    def _moment(self, power: int) -> Tensor:
        mu, sigma = self.base_dist.mean, self.base_dist.stddev
        points, weights = (torch.as_tensor(v).to(mu) for v in np.polynomial.hermite_e.hermegauss(32))
        values = (mu[..., None] + sigma[..., None] * points).sigmoid() ** power
        return (values * weights).sum(-1) / weights.sum()


class Prior(nn.Module):
    """The prior of the latents: the same for every c, or a distribution whose parameters are computed from c.

    With `hidden=()` they are linear in c: for a one-hot c that is one set of parameters a class.

    - "standard": N(0, I).
    - "uniform": uniform on (0, 1), each latent by itself; the posterior is then a `LogitNormal`.
    - "mean": N(mu(c), I).
    - "learned": N(mu(c), diag(exp(log_var(c)))).
    - "mixture": `Σ_k π_k(c) N(mu_k(c), diag(exp(log_var_k(c))))`, also without a condition; its rate has no closed
      form.

    "standard", "mean", "learned" and "mixture" each contain the one before. "mean" and "learned" start at N(0, I),
    "mixture" near it, with its components apart.

    Args:
        c_dim: Width of the condition, 0 for none.
        latent: Number of latents Z.
        kind: One of the five.
        components: How many a mixture has.
        hidden: Widths of tanh layers between c and the parameters.

    Raises:
        ValueError: For an unknown kind, "mean" or "learned" without a condition, or hidden layers that nothing reads.

    References:
        Sohn, Lee and Yan (2015), Learning structured output representation using deep conditional generative
        models, section 4.
    """

    def __init__(
        self, c_dim: int, latent: int, kind: str = "standard", components: int = 5, hidden: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"prior: got {kind!r}, allowed are {', '.join(map(repr, KINDS))}")
        if kind in ("mean", "learned") and c_dim == 0:
            raise ValueError(f"prior: got {kind!r} with c_dim = 0, a {kind} prior needs a condition")
        if not isinstance(components, int) or components < 1:
            raise ValueError(f"components: got {components!r}, allowed are integers from 1")
        width = {"mean": latent, "learned": 2 * latent, "mixture": components * (2 * latent + 1)}.get(kind)
        if hidden and (c_dim == 0 or width is None):
            raise ValueError(f"prior_hidden: got {hidden}, but a {kind} prior with c_dim = {c_dim} reads no condition")
        self.kind, self.latent, self.components = kind, latent, components
        self.trunk = MLP((c_dim, *hidden)) if hidden else nn.Identity()
        self.net = self.bias = None
        if width is not None and c_dim:
            self.net = nn.Linear(hidden[-1] if hidden else c_dim, width)
            nn.init.zeros_(self.net.weight)
            nn.init.zeros_(self.net.bias)
        elif width is not None:
            self.bias = nn.Parameter(torch.zeros(width))
        if kind == "mixture":  # equal components would stay equal
            with torch.no_grad():
                (self.net.bias if c_dim else self.bias)[: components * latent].normal_(std=0.5)
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """c (B, C) or None; returns p(z|c), event shape (Z,); batch shape (B,), or () where it does not depend on c."""
        if self.kind == "standard":
            return _gaussian(self.zero, self.zero)
        if self.kind == "uniform":
            return Independent(Uniform(self.zero, self.zero + 1), 1)
        parameters = self.bias if self.net is None else self.net(self.trunk(c))
        if self.kind == "mean":
            return _gaussian(parameters, torch.zeros_like(parameters))
        if self.kind == "learned":
            return _gaussian(*parameters.chunk(2, dim=-1))
        mu, log_var, weight = parameters.split([self.components * self.latent] * 2 + [self.components], dim=-1)
        shape = (self.components, self.latent)
        parts = _gaussian(mu.unflatten(-1, shape), log_var.unflatten(-1, shape))
        return MixtureSameFamily(Categorical(logits=weight), parts)


def _gaussian(mu: Tensor, log_var: Tensor) -> Independent:
    return Independent(Normal(mu, (0.5 * log_var).exp()), 1)
