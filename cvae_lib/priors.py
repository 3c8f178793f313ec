"""Priors of the latents, with and without a condition."""

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

KINDS = ("standard", "mean", "learned", "mixture")


class Prior(nn.Module):
    """The prior of the latents: `p(z) = N(0, I)` whatever c is, or a distribution whose parameters are linear in c.

    For a one-hot c that is one set of parameters a class. Each kind contains those before it:

    - "standard": N(0, I).
    - "mean": N(mu(c), I).
    - "learned": N(mu(c), diag(exp(log_var(c)))).
    - "mixture": `Σ_k π_k(c) N(mu_k(c), diag(exp(log_var_k(c))))`; its rate has no closed form.

    "mean" and "learned" start at N(0, I), "mixture" near it, with its components apart.

    Args:
        c_dim: Width of the condition, 0 for none.
        latent: Number of latents Z.
        kind: One of the four.
        components: How many a mixture has.

    Raises:
        ValueError: For an unknown kind, or any but "standard" without a condition.

    References:
        Sohn, Lee and Yan (2015), Learning structured output representation using deep conditional generative
        models, section 4.
    """

    def __init__(self, c_dim: int, latent: int, kind: str = "standard", components: int = 5) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"prior: got {kind!r}, allowed are {', '.join(map(repr, KINDS))}")
        if kind != "standard" and c_dim == 0:
            raise ValueError(f"prior: got {kind!r} with c_dim = 0, a {kind} prior needs a condition")
        self.kind, self.latent, self.components = kind, latent, components
        width = {"mean": latent, "learned": 2 * latent, "mixture": components * (2 * latent + 1)}.get(kind)
        self.net = nn.Linear(c_dim, width) if width else None
        if self.net is not None:
            nn.init.zeros_(self.net.weight)
            nn.init.zeros_(self.net.bias)
        if kind == "mixture":  # equal components would stay equal
            with torch.no_grad():
                self.net.bias[: components * latent].normal_(std=0.5)
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """c (B, C) or None; returns p(z|c) with event shape (Z,), batch shape (B,), or () for N(0, I)."""
        if self.kind == "standard":
            return _gaussian(self.zero, self.zero)
        parameters = self.net(c)
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
