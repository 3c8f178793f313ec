"""What a trained model is worth: nats, active units, recognition, diversity; disentanglement from its own file.

Functions that take a model go through the data in batches, on the model's device, and return CPU tensors.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cvae_lib.disentanglement import factor_vae_score, mutual_information_gap
from cvae_lib.models import CVAE
from cvae_lib.objectives import ElboTerms, elbo_terms, log_weights

__all__ = [
    "active_units",
    "codes",
    "diversity",
    "elbo",
    "factor_vae_score",
    "log_likelihood",
    "log_likelihood_of_each",
    "mutual_information_gap",
    "recognition",
]


@torch.no_grad()
def elbo(
    model: CVAE,
    x: Tensor,
    c: Tensor | None = None,
    samples: int = 1,
    batch: int = 1000,
    validate: bool = True,
) -> ElboTerms:
    """The ELBO's terms of a whole data set; their mean is what a table reports as −ELBO.

    Args:
        model: A VAE or CVAE.
        x: (N, *x_shape), pixels in {0, 1}.
        c: (N, C) or None.
        samples: Latent draws for each example.
        batch: Examples at a time.
        validate: Whether to look at every pixel first.

    Returns:
        `ElboTerms` in nats, each term (N,).

    Raises:
        ValueError: As for `objectives.elbo_terms`, or if there is no example.
    """
    with _evaluation(model):
        parts = [elbo_terms(model, xb, cb, samples, validate) for xb, cb in _batches(model, x, c, batch)]
    distortion, rate, per_dim = zip(*parts, strict=True)
    joined = None if per_dim[0] is None else torch.cat(per_dim).cpu()
    return ElboTerms(torch.cat(distortion).cpu(), torch.cat(rate).cpu(), joined)


@torch.no_grad()
def log_likelihood(
    model: CVAE, x: Tensor, c: Tensor | None = None, samples: int = 5000, batch: int = 100, chunk: int = 50
) -> Tensor:
    """Importance-sampled estimate of log p(x|c): the bound L_S of Burda et al. with S = `samples`.

    The samples are drawn `chunk` at a time and folded into a running log-sum-exp, so that memory does not grow with
    their number. The estimate is a lower bound in expectation.

    Args:
        model, x, c: As for `elbo`.
        samples: Number S of importance samples.
        batch: Examples at a time.
        chunk: Samples at a time.

    Returns:
        (N,) in nats.

    Raises:
        ValueError: As for `elbo`, or if samples < 1.

    References:
        Burda, Grosse and Salakhutdinov (2015), Importance weighted autoencoders, equation 8 and section 5.
    """
    if samples < 1:
        raise ValueError(f"samples: got {samples}, allowed are integers from 1")
    done = []
    with _evaluation(model):
        for xb, cb in _batches(model, x, c, batch):
            model.check_pixels(xb)
            total = torch.full((len(xb),), -math.inf, device=xb.device)
            for start in range(0, samples, chunk):
                weights = log_weights(model, xb, cb, min(chunk, samples - start))
                total = torch.logaddexp(total, weights.logsumexp(0))
            done.append(total.cpu() - math.log(samples))
    return torch.cat(done)


def log_likelihood_of_each(model: CVAE, x: Tensor, conditions: Tensor, samples: int = 100, **sizes: int) -> Tensor:
    """log p(x|c) for every x under each of K conditions, from which the rules of probability give the rest.

    Where the condition is not known, `log p(x) = log Σ_k p(c_k) p(x|c_k)`; and `p(c_k|x)`, the softmax of
    `log p(c_k) + log p(x|c_k)`, is a classifier.

    Args:
        model, samples: As for `log_likelihood`.
        x: (N, *x_shape).
        conditions: (K, C), for instance the K unit vectors.
        sizes: `batch` and `chunk` of `log_likelihood`.

    Returns:
        (N, K) in nats.

    Raises:
        ValueError: As for `log_likelihood`.
    """
    given = (log_likelihood(model, x, c.expand(len(x), -1), samples, **sizes) for c in conditions)
    return torch.stack(list(given), dim=1)


@torch.no_grad()
def codes(model: CVAE, x: Tensor, c: Tensor | None = None, batch: int = 1000) -> Tensor:
    """The posterior means E_q[z] of a data set, (N, Z)."""
    with _evaluation(model):
        return torch.cat([model.encode(xb, cb).mean.cpu() for xb, cb in _batches(model, x, c, batch)])


@torch.no_grad()
def active_units(model: CVAE, x: Tensor, c: Tensor | None = None, threshold: float = 0.01) -> Tensor:
    """Which latents carry something about x: those where `Var_x((E_q[z] - E_p[z]) / sd_p(z)) > threshold`.

    The posterior mean is taken relative to the prior p(z|c); under N(0, I) this is Burda's criterion. A prior that
    moves with c would otherwise make units look active that follow c alone.

    Args:
        model, x, c: As for `elbo`.
        threshold: Variance above which a unit counts as active.

    Returns:
        Booleans, (Z,).

    Raises:
        ValueError: As for `elbo`, or for a single example, which has no variance.

    References:
        Burda, Grosse and Salakhutdinov (2015), Importance weighted autoencoders, section 5.2.
    """
    if len(x) == 1:
        raise ValueError("x: got one example, at least two are needed for a variance")
    relative = []
    with _evaluation(model):
        for xb, cb in _batches(model, x, c, 1000):
            prior = model.prior(cb)
            relative.append(((model.encode(xb, cb).mean - prior.mean) / prior.stddev).cpu())
    return torch.cat(relative).var(0) > threshold


def recognition(judge: torch.nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that the judge assigns to the class that was asked for.

    Args:
        judge: A classifier from `judges.load`.
        images: (N, 1, 28, 28), decoder means in [0, 1], not pixel draws.
        labels: (N,), the class asked for.

    Returns:
        A number from 0 to 1.
    """
    _same_length("labels", labels, images)
    return (judge.predict(images).cpu() == labels.cpu()).float().mean().item()


def diversity(
    judge: torch.nn.Module, images: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor, most: int = 500
) -> float:
    """How different images of one class are from each other, as a ratio to the same among real images.

    Mean Euclidean distance over all pairs of one class in the judge's features, averaged over the classes.

    Args:
        judge: A classifier from `judges.load`.
        images, labels: Generated images (N, 1, 28, 28) and their classes (N,).
        real, real_labels: Real images and their classes.
        most: Images of a class that are looked at.

    Returns:
        1 for as diverse as real images, 0 for one image a class.
    """
    _same_length("labels", labels, images)
    _same_length("real_labels", real_labels, real)
    return _spread(judge, images, labels, most) / _spread(judge, real, real_labels, most)


def _spread(judge: torch.nn.Module, images: Tensor, labels: Tensor, most: int) -> float:
    features = judge.features(images).cpu()
    return torch.stack([torch.pdist(features[labels == k][:most]).mean() for k in labels.unique()]).mean().item()


def _same_length(name: str, one: Tensor, other: Tensor) -> None:
    if len(one) != len(other):
        raise ValueError(f"{name}: got {len(one)} rows, expected {len(other)}, one for each example")


def _batches(model: CVAE, x: Tensor, c: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    model.check(x=x, c=c)
    if len(x) == 0:
        raise ValueError("x: got no examples, at least one is needed")
    c = None if c is None else c.expand(len(x), -1)
    device = next(model.parameters()).device
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        yield x[rows].to(device), None if c is None else c[rows].to(device)


@contextmanager
def _evaluation(model: CVAE) -> Iterator[None]:
    """The model in evaluation mode, and back in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
