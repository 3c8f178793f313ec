"""The evidence lower bound in its two terms, and what is built from them; everything in nats per example.

One reduction, in one place: each term is summed over the event (pixels, latents) here, and averaged over the batch
in `training_loss`. `c=None` gives the plain VAE.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from cvae_lib.models import CVAE


class ElboTerms(NamedTuple):
    """Distortion and rate of a batch, both (B,) in nats, and the rate of each latent, (B, Z).

    `rate_per_dim` is None where posterior or prior does not split over latents.
    """

    distortion: Tensor
    rate: Tensor
    rate_per_dim: Tensor | None = None

    @property
    def elbo(self) -> Tensor:
        """The evidence lower bound, `-(distortion + rate)`, (B,) in nats."""
        return -(self.distortion + self.rate)


def elbo_terms(
    model: CVAE,
    x: Tensor,
    c: Tensor | None = None,
    samples: int = 1,
    validate: bool = True,
    noise: Tensor | None = None,
) -> ElboTerms:
    """The two terms of the negative ELBO.

    `distortion = -E_q(z|x,c)[log p(x|z,c)]`, estimated with reparameterised samples, and
    `rate = KL(q(z|x,c) ‖ p(z|c))`, in closed form where torch knows one.

    Args:
        model: A VAE or CVAE.
        x: (B, *x_shape), in the likelihood's support: pixels in {0, 1} for a Bernoulli.
        c: (B, C), or None for a VAE.
        samples: Number S of latent draws.
        validate: Whether to look at every pixel first; `fit` does so once for the whole set instead.
        noise: Draws ε from N(0, I), (S, B, Z), for `z = mu + σ·ε`; None draws them here.

    Returns:
        `ElboTerms` in nats, each term (B,).

    Raises:
        ValueError: If shapes do not fit the model, a pixel is outside the support, samples < 1, or noise is given
            for a posterior that is not Gaussian.

    References:
        Kingma and Welling (2013), Auto-encoding variational Bayes, equations 3 and 10.
    """
    _check(model, x, samples, validate)
    q, prior = model.encode(x, c), model.prior(c)
    z = _draw(q, samples, noise)
    distortion = -model.decode(z, c).log_prob(x).mean(0)
    return ElboTerms(distortion, *kl_terms(q, prior, z))


def kl_terms(q: Distribution, prior: Distribution, z: Tensor) -> tuple[Tensor, Tensor | None]:
    """`KL(q ‖ prior)` for each example and, where it splits, for each latent.

    Where torch has no closed form, `mean_s(log q(z_s) - log p(z_s))` stands in for it. The rate splits where the
    latents are independent of each other in both.

    Args:
        q, prior: Distributions over (Z,) with batch shapes (B,), or () for the prior.
        z: Draws from q, (S, B, Z), used by the Monte Carlo estimate only.

    Returns:
        The rate (B,) in nats, and the rate per latent (B, Z) in nats or None.
    """
    splits = all(isinstance(d, Independent) and d.reinterpreted_batch_ndims == 1 for d in (q, prior))
    if splits:
        q, prior = q.base_dist, prior.base_dist
    try:
        rate = kl_divergence(q, prior)
    except NotImplementedError:
        rate = (q.log_prob(z) - prior.log_prob(z)).mean(0)
    return (rate.sum(-1), rate) if splits else (rate, None)


def iwae_bound(
    model: CVAE,
    x: Tensor,
    c: Tensor | None = None,
    samples: int = 5,
    validate: bool = True,
    noise: Tensor | None = None,
) -> Tensor:
    """The importance-weighted bound, `log (1/S) Σ_s p(x|z_s,c) p(z_s|c) / q(z_s|x,c)` with z_s ~ q.

    Its expectation lies between the ELBO (S = 1) and log p(x|c), and grows with S.

    Args:
        model, x, c, validate, noise: As for `elbo_terms`.
        samples: Number S of importance samples.

    Returns:
        (B,) in nats, a lower bound of log p(x|c) in expectation.

    Raises:
        ValueError: As for `elbo_terms`.

    References:
        Burda, Grosse and Salakhutdinov (2015), Importance weighted autoencoders, equation 8.
    """
    _check(model, x, samples, validate)
    return log_weights(model, x, c, samples, noise).logsumexp(0) - math.log(samples)


def log_weights(
    model: CVAE, x: Tensor, c: Tensor | None = None, samples: int = 5, noise: Tensor | None = None
) -> Tensor:
    """`log p(x|z,c) + log p(z|c) - log q(z|x,c)` for S draws of z from q, (S, B) in nats."""
    q = model.encode(x, c)
    z = _draw(q, samples, noise)
    return model.decode(z, c).log_prob(x) + model.prior(c).log_prob(z) - q.log_prob(z)


def iwae_loss(
    model: CVAE,
    x: Tensor,
    c: Tensor | None = None,
    samples: int = 5,
    doubly: bool = False,
    noise: Tensor | None = None,
) -> tuple[Tensor, ElboTerms]:
    """The importance-weighted bound as a loss, `-mean(L_S)`, and the ELBO's terms from the same draws.

    With `doubly` its gradient for the encoder is doubly reparameterised:
    `Σ_s w_s² ∂(log p(x,z_s|c) - log q(z_s|x,c))/∂z_s · ∂z_s/∂φ`, w the normalised weights. The expectation is the same,
    the variance smaller, the more so the larger S. Decoder and prior get their usual gradient.

    Args:
        model, x, c, samples, noise: As for `iwae_bound`; pixels are not looked at.
        doubly: Whether to use that gradient.

    Returns:
        A scalar in nats per example, and `ElboTerms`, both terms Monte Carlo estimates.

    References:
        Burda, Grosse and Salakhutdinov (2015), Importance weighted autoencoders, equation 8; Tucker, Lawson, Gu and
        Maddison (2019), Doubly reparameterized gradient estimators for Monte Carlo objectives.
    """
    q, prior = model.encode(x, c), model.prior(c)
    z = _draw(q, samples, noise)
    if doubly:
        with torch.no_grad():
            q = model.encode(x, c)  # the same distribution, with parameters that get no gradient
    log_p, ratio = model.decode(z, c).log_prob(x), q.log_prob(z) - prior.log_prob(z)
    weights = log_p - ratio  # (S, B)
    bound = weights.logsumexp(0) - math.log(samples)
    if doubly:
        share = weights.detach().softmax(0)
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient * share[..., None])  # the second factor w_s
        surrogate = (share * weights).sum(0)
        bound = surrogate + (bound - surrogate).detach()  # the bound's value, the surrogate's gradient
    return -bound.mean(), ElboTerms(-log_p.mean(0), ratio.mean(0))


def training_loss(
    terms: ElboTerms, beta: float | Tensor = 1.0, capacity: float | Tensor | None = None, free_bits: float = 0.0
) -> Tensor:
    """What a β-VAE minimises, averaged over the batch.

    `mean(distortion + β · rate)`; with a capacity C in nats `mean(distortion) + β · |mean(rate) - C|`; with λ free nats
    a latent `mean(distortion) + β · Σ_i max(λ, mean(rate_i))`, so that no latent is pushed below λ.

    Args:
        terms: From `elbo_terms`.
        beta: Weight of the rate, at least 0.
        capacity: The rate to aim at, in nats, or None.
        free_bits: λ in nats, 0 for none; without a capacity only.

    Returns:
        A scalar in nats per example.

    Raises:
        ValueError: If free bits are asked for and the rate does not split over latents.

    References:
        Higgins et al. (2017), beta-VAE, equation 4; Burgess et al. (2018), Understanding disentangling in β-VAE,
        equation 8; Kingma et al. (2016), Improved variational inference with inverse autoregressive flow.
    """
    if capacity is not None:
        return terms.distortion.mean() + beta * (terms.rate.mean() - capacity).abs()
    if not free_bits:
        return (terms.distortion + beta * terms.rate).mean()
    if terms.rate_per_dim is None:
        raise ValueError(f"free_bits: got {free_bits}, but the rate of this model does not split over latents")
    return terms.distortion.mean() + beta * terms.rate_per_dim.mean(0).clamp_min(free_bits).sum()


def ramp(progress: float, share: float) -> float:
    """A linear warm-up: 0 at the start, 1 from `share` of the training on.

    Args:
        progress: Share of the training that is done, in [0, 1].
        share: Length of the ramp, as a share of the training; 0 for none.

    References:
        Bowman et al. (2016), Generating sentences from a continuous space, section 3.1.
    """
    return 1.0 if share == 0 else min(1.0, progress / share)


def _draw(q: Distribution, samples: int, noise: Tensor | None) -> Tensor:
    """z from q, (S, B, Z), differentiable in q's parameters."""
    if noise is None:
        return q.rsample((samples,))
    wanted = (samples, *q.batch_shape, *q.event_shape)
    if tuple(noise.shape) != wanted:
        raise ValueError(f"noise: got shape {tuple(noise.shape)}, allowed is (S, B, Z) = {wanted}")
    if not (isinstance(q, Independent) and isinstance(q.base_dist, Normal)):
        raise ValueError(f"noise: got it for a posterior {q}, allowed is a diagonal Gaussian")
    return q.mean + q.stddev * noise


def _check(model: CVAE, x: Tensor, samples: int, validate: bool) -> None:
    if samples < 1:
        raise ValueError(f"samples: got {samples}, allowed are integers from 1")
    if validate:
        model.check_pixels(x)
