"""Likelihoods: normalised where they claim to be, their formulas, their supports, the start at the mean image."""

import math

import pytest
import torch

from cvae_lib.data import Data
from cvae_lib.likelihoods import SUPPORTS, Likelihood
from cvae_lib.models import VAE
from cvae_lib.train import TrainConfig, fit

SHAPE = (1, 2, 2)
SIGMAS = {"a number": 0.3, "shared": "shared", "pixel": "pixel"}


def gaussian(sigma) -> tuple[Likelihood, torch.Tensor]:
    torch.manual_seed(0)
    likelihood = Likelihood(SHAPE, "gaussian", sigma)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.fill_(-1.2)
    return likelihood, torch.randn(5, likelihood.width)


def test_the_continuous_bernoulli_is_a_density_and_the_cross_entropy_is_none():
    """Over grey pixels the Bernoulli formula integrates to (2s - 1) / (log s - log(1 - s)), 1/2 at most."""
    grid = ((torch.arange(20_000) + 0.5) / 20_000).view(-1, 1, 1)
    logits = torch.tensor([[-6.0], [-0.5], [0.01], [3.0]])
    density, none = (
        Likelihood((1,), k)(logits).log_prob(grid).exp() for k in ("continuous_bernoulli", "cross_entropy")
    )
    torch.testing.assert_close(density.mean(0), torch.ones(4), rtol=1e-3, atol=0)
    assert (none.mean(0) < 0.6).all()


def test_cross_entropy_of_binary_pixels_is_the_bernoulli_log_probability():
    raw, x = torch.randn(3, 5, 4), (torch.rand(5, *SHAPE) < 0.5).float()
    values = [Likelihood(SHAPE, kind)(raw).log_prob(x) for kind in ("cross_entropy", "bernoulli")]
    torch.testing.assert_close(*values)
    grey = torch.rand(5, *SHAPE)
    s = raw.sigmoid().view(3, 5, *SHAPE)
    by_hand = (grey * s.log() + (1 - grey) * (1 - s).log()).sum((-1, -2, -3))
    torch.testing.assert_close(Likelihood(SHAPE, "cross_entropy")(raw).log_prob(grey), by_hand, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SIGMAS)
def test_gaussian_log_density_with_each_kind_of_sigma(name):
    """A σ taken for a variance, a log-variance for σ, or a constant added once too often fails here."""
    likelihood, raw = gaussian(SIGMAS[name])
    x = torch.randn(5, *SHAPE)
    location = raw[:, :4].view(5, *SHAPE)
    var = {
        "a number": torch.tensor(0.09),
        "shared": torch.tensor(-1.2).exp(),
        "pixel": raw[:, 4:].view(5, *SHAPE).exp() if name == "pixel" else None,
    }[name]
    by_hand = (-0.5 * (x - location) ** 2 / var - 0.5 * torch.log(2 * math.pi * var)).sum((1, 2, 3))
    torch.testing.assert_close(likelihood(raw).log_prob(x), by_hand)


@pytest.mark.parametrize("kind", SUPPORTS)
def test_values_outside_the_support_are_refused(kind):
    model = VAE(SHAPE, 2, (4,), likelihood=kind)
    x = torch.ones(3, *SHAPE)
    model.check_pixels(x)
    for bad, refused in ((0.5, kind == "bernoulli"), (1.5, kind != "gaussian"), (math.inf, True)):
        x[1, 0, 1, 1] = bad
        if refused:
            with pytest.raises(ValueError, match=f"x: got pixels such as {bad:.4g}, the {kind} likelihood takes"):
                model.check_pixels(x)
        else:
            model.check_pixels(x)


@pytest.mark.parametrize("sigma", [0.5, "shared", "pixel"])
def test_start_at_mean_of_a_gaussian_decoder_and_at_the_spread_around_it(sigma):
    torch.manual_seed(0)
    model, x = VAE(SHAPE, 2, (4,), likelihood="gaussian", sigma=sigma), torch.randn(50, *SHAPE)
    torch.nn.init.zeros_(model.decoder.head.weight)
    model.start_at_mean(x)
    given = model.decode(torch.randn(3, 2)).base_dist
    torch.testing.assert_close(given.mean, x.mean(0).expand(3, *SHAPE))
    var = torch.tensor(0.25) if sigma == 0.5 else x.var(0, correction=0).mean()
    torch.testing.assert_close(given.variance, var.expand(3, *SHAPE))


def test_a_learned_sigma_finds_the_noise_that_was_added():
    torch.manual_seed(0)
    data = Data(0.5 + 0.2 * torch.randn(2000, *SHAPE), None, "noise")
    config = TrainConfig(epochs=40, batch=100, lr=2e-2, binarization="none", device="cpu")
    for sigma in ("shared", "pixel"):
        model = VAE(SHAPE, 1, (4,), likelihood="gaussian", sigma=sigma)
        fit(model, data, config)
        assert model.decode(torch.zeros(1, 1)).base_dist.stddev.mean().item() == pytest.approx(0.2, rel=0.1)


def test_binarising_for_a_density_is_refused():
    data = Data(torch.rand(10, *SHAPE), None, "made up")
    for kind in ("gaussian", "continuous_bernoulli"):
        with pytest.raises(ValueError, match=f"binarization: got 'dynamic', the {kind} likelihood allows 'none' only"):
            fit(VAE(SHAPE, 1, (4,), likelihood=kind), data, TrainConfig(epochs=1))
