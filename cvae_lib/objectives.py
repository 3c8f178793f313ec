"""The evidence lower bound in its two terms, and what is built from them; everything in nats per example.

One reduction, in one place: each term is summed over the event (pixels, latents) here, and averaged over the batch
in `training_loss`. `c=None` gives the plain VAE.
"""

import math
from typing import NamedTuple

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from cvae_lib.models import CVAE


class ElboTerms(NamedTuple):
    """Distortion and rate of a batch, both (B,) in nats, and the rate of each latent, (B, Z).

    `rate_per_dim` is None where the rate is a Monte Carlo estimate, which does not split over latents.
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
        x: (B, *x_shape), pixels in {0, 1}.
        c: (B, C), or None for a VAE.
        samples: Number S of latent draws for the distortion.
        validate: Whether to look at every pixel first; `fit` does so once for the whole set instead.
        noise: Draws ε from N(0, I), (S, B, Z), for `z = mu + σ·ε`; None draws them here.

    Returns:
        `ElboTerms` in nats, each term (B,).

    Raises:
        ValueError: If shapes do not fit the model, a pixel is outside {0, 1}, samples < 1, or noise is given for a
            posterior that is not Gaussian.

    References:
        Kingma and Welling (2013), Auto-encoding variational Bayes, equations 3 and 10.
    """
    _check(model, x, samples, validate)
    q, prior = model.encode(x, c), model.prior(c)
    z = q.rsample((samples,)) if noise is None else _moved_by(noise, q, samples)  # (S, B, Z)
    distortion = -model.decode(z, c).log_prob(x).mean(0)
    return ElboTerms(distortion, *kl_terms(q, prior, z))


def kl_terms(q: Distribution, prior: Distribution, z: Tensor) -> tuple[Tensor, Tensor | None]:
    """`KL(q ‖ prior)` for each example and, where it splits, for each latent.

    Where torch has no closed form, `mean_s(log q(z_s) - log p(z_s))` stands in for it.

    Args:
        q, prior: Distributions over (Z,) with batch shapes (B,), or () for the prior.
        z: Draws from q, (S, B, Z), used by the Monte Carlo estimate only.

    Returns:
        The rate (B,) in nats, and the rate per latent (B, Z) in nats or None.
    """
    if isinstance(q, Independent) and isinstance(prior, Independent):
        try:
            per_dim = kl_divergence(q.base_dist, prior.base_dist)
            return per_dim.sum(-1), per_dim
        except NotImplementedError:
            pass
    try:
        return kl_divergence(q, prior), None
    except NotImplementedError:
        return (q.log_prob(z) - prior.log_prob(z)).mean(0), None


def iwae_bound(model: CVAE, x: Tensor, c: Tensor | None = None, samples: int = 5, validate: bool = True) -> Tensor:
    """The importance-weighted bound, `log (1/S) Σ_s p(x|z_s,c) p(z_s|c) / q(z_s|x,c)` with z_s ~ q.

    Its expectation lies between the ELBO (S = 1) and log p(x|c), and grows with S.

    Args:
        model, x, c, validate: As for `elbo_terms`.
        samples: Number S of importance samples.

    Returns:
        (B,) in nats, a lower bound of log p(x|c) in expectation.

    Raises:
        ValueError: As for `elbo_terms`.

    References:
        Burda, Grosse and Salakhutdinov (2015), Importance weighted autoencoders, equation 8.
    """
    _check(model, x, samples, validate)
    return log_weights(model, x, c, samples).logsumexp(0) - math.log(samples)


def log_weights(model: CVAE, x: Tensor, c: Tensor | None, samples: int) -> Tensor:
    """`log p(x|z,c) + log p(z|c) - log q(z|x,c)` for S draws of z from q, (S, B) in nats."""
    q = model.encode(x, c)
    z = q.rsample((samples,))
    return model.decode(z, c).log_prob(x) + model.prior(c).log_prob(z) - q.log_prob(z)


def training_loss(terms: ElboTerms, beta: float | Tensor = 1.0, capacity: float | Tensor | None = None) -> Tensor:
    """What a β-VAE minimises, averaged over the batch.

    `mean(distortion + β · rate)`, or with a capacity C in nats `mean(distortion) + β · |mean(rate) - C|`.

    Args:
        terms: From `elbo_terms`.
        beta: Weight of the rate, at least 0.
        capacity: The rate to aim at, in nats, or None.

    Returns:
        A scalar in nats per example.

    References:
        Higgins et al. (2017), beta-VAE, equation 4; Burgess et al. (2018), Understanding disentangling in β-VAE,
        equation 8.
    """
    if capacity is None:
        return (terms.distortion + beta * terms.rate).mean()
    return terms.distortion.mean() + beta * (terms.rate.mean() - capacity).abs()


def ramp(progress: float, share: float) -> float:
    """A linear warm-up: 0 at the start, 1 from `share` of the training on.

    Args:
        progress: Share of the training that is done, in [0, 1].
        share: Length of the ramp, as a share of the training; 0 for none.

    References:
        Bowman et al. (2016), Generating sentences from a continuous space, section 3.1.
    """
    return 1.0 if share == 0 else min(1.0, progress / share)


def _moved_by(noise: Tensor, q: Distribution, samples: int) -> Tensor:
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
