"""The two terms of the ELBO against closed forms, Monte Carlo and limits."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Uniform,
    kl_divergence,
)

from cvae_lib.models import CVAE, VAE
from cvae_lib.objectives import ElboTerms, elbo_terms, iwae_bound, kl_terms, log_weights, ramp, training_loss

SHAPE = (1, 4, 4)


class LinearGaussian(nn.Module):
    """x = W z + noise: everything has a closed form. The posterior may be put off the true one on purpose."""

    def __init__(self, shift: float = 0.0, widen: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w, self.sigma, self.shift, self.widen = torch.randn(5, 2, dtype=torch.float64), 0.7, shift, widen
        self.latent, self.c_dim, self.x_shape = 2, 0, (5,)
        self.anchor = nn.Parameter(torch.zeros(1))

    def check(self, **tensors) -> None: ...

    def check_pixels(self, x) -> None: ...

    def prior(self, c=None):
        return Independent(Normal(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)), 1)

    def decode(self, z, c=None):
        return Independent(Normal(z @ self.w.T, self.sigma), 1)

    def encode(self, x, c=None):
        precision = torch.eye(2, dtype=torch.float64) + self.w.T @ self.w / self.sigma**2
        mean = torch.linalg.solve(precision, self.w.T @ x.T / self.sigma**2).T
        covariance = self.widen * torch.linalg.inv(precision)
        return MultivariateNormal(mean + self.shift, covariance.expand(len(x), 2, 2))

    def log_evidence(self, x):
        covariance = self.w @ self.w.T + self.sigma**2 * torch.eye(5, dtype=torch.float64)
        return MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance).log_prob(x)

    def data(self, n):
        return self.decode(self.prior().sample((n,))).sample()


def model_and_batch(seed: int = 0, n: int = 6) -> tuple[CVAE, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    model = CVAE(SHAPE, 3, 2, (8,), prior="learned").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model, (torch.rand(n, *SHAPE) < 0.5).double(), torch.eye(3).double()[torch.arange(n) % 3]


def test_distortion_and_rate_against_their_definitions_by_monte_carlo():
    model, x, c = model_and_batch()
    terms = elbo_terms(model, x, c, samples=20_000)
    with torch.no_grad():
        z = model.encode(x, c).sample((20_000,))
        logits = model.decode(z, c).base_dist.logits
        log_p = (x * logits - nn.functional.softplus(logits)).sum((-1, -2, -3))
        ratio = model.encode(x, c).log_prob(z) - model.prior(c).log_prob(z)
    for value, draws in ((terms.distortion, -log_p), (terms.rate, ratio)):
        error = (value - draws.mean(0)).abs() / (draws.std(0) * math.sqrt(2 / 20_000))
        assert error.max() < 4.5, f"{error.max():.1f} standard errors apart"


def test_gaussian_rate_is_the_textbook_formula():
    """A turned sign, σ in place of log-variance, or a mean in place of the sum fails here."""
    torch.manual_seed(0)
    model = VAE(SHAPE, 3, (8,)).double()
    x = (torch.rand(5, *SHAPE) < 0.5).double()
    mu, log_var = model.encoder.head(model.encoder.trunk(x.flatten(1))).chunk(2, -1)
    by_hand = 0.5 * (mu**2 + log_var.exp() - log_var - 1)
    terms = elbo_terms(model, x)
    torch.testing.assert_close(terms.rate_per_dim, by_hand)
    torch.testing.assert_close(terms.rate, by_hand.sum(1))
    torch.testing.assert_close(terms.elbo, -(terms.distortion + terms.rate))


PAIRS = {
    "normal, standard": (Normal(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, 1.5]])), Normal(torch.zeros(2), 1.0)),
    "normal, normal": (Normal(torch.tensor([[0.5, -1.0]]), 0.4), Normal(torch.tensor([[1.0, 1.0]]), 2.0)),
    "uniform, uniform": (Uniform(torch.tensor([[-0.5, 0.1]]), 0.6), Uniform(-torch.ones(2), 1.0)),
    "uniform, normal": (Uniform(torch.tensor([[-0.5, 0.1]]), 0.6), Normal(torch.zeros(2), 1.0)),
    "normal, laplace": (Normal(torch.tensor([[0.5, -1.0]]), 0.4), Laplace(torch.zeros(2), 1.0)),
    "normal, mixture (no closed form)": (
        Normal(torch.tensor([[0.5, -1.0]]), 0.4),
        MixtureSameFamily(
            Categorical(torch.tensor([0.3, 0.7])), Independent(Normal(torch.tensor([[0.0, 0.0], [1.0, -1.0]]), 0.8), 1)
        ),
    ),
    "laplace, normal (no closed form)": (Laplace(torch.tensor([[0.5, -1.0]]), 0.4), Normal(torch.zeros(2), 1.0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_rate_of_any_pair_of_distributions_agrees_with_monte_carlo(name):
    torch.manual_seed(1)
    q, prior = (Independent(d, 1) if d.batch_shape else d for d in PAIRS[name])
    rate, _ = kl_terms(q, prior, q.sample((50_000,)))
    z = q.sample((50_000,))
    draws = q.log_prob(z) - prior.log_prob(z)
    error = (draws.std(0) * math.sqrt(2 / 50_000)).clamp_min(1e-6)
    assert ((rate - draws.mean(0)).abs() < 4.5 * error).all()


def test_given_noise_moves_z_as_a_draw_of_the_same_noise_does():
    model, x, c = model_and_batch()
    torch.manual_seed(3)
    drawn = elbo_terms(model, x, c, samples=2)
    torch.manual_seed(3)
    noise = torch.randn(2, len(x), model.latent, dtype=x.dtype)
    torch.testing.assert_close(elbo_terms(model, x, c, samples=2, noise=noise), drawn)
    assert not torch.allclose(elbo_terms(model, x, c, samples=2, noise=-noise).distortion, drawn.distortion)


def test_noise_of_another_shape_or_for_another_posterior_is_refused():
    model, x, c = model_and_batch()
    with pytest.raises(ValueError, match=r"noise: got shape \(1, 2\), allowed is \(S, B, Z\)"):
        elbo_terms(model, x, c, noise=torch.zeros(1, 2))
    model.encode = lambda x, c: Independent(Laplace(torch.zeros(len(x), model.latent), 1.0), 1)
    with pytest.raises(ValueError, match="noise: got it for a posterior .*diagonal Gaussian"):
        elbo_terms(model, x, c, noise=torch.zeros(1, len(x), model.latent))


def test_rate_is_never_negative_and_zero_only_for_the_prior():
    model, x, c = model_and_batch()
    assert (elbo_terms(model, x, c).rate > 0).all()
    with torch.no_grad():
        for net in (model.encoder.head, model.prior_net.net):
            net.weight.zero_()
            net.bias.zero_()
    assert torch.equal(elbo_terms(model, x, c).rate, torch.zeros(len(x)).double())


def test_elbo_equals_the_evidence_at_the_true_posterior():
    model = LinearGaussian()
    x = model.data(20)
    weights = log_weights(model, x, None, 7)  # constant over draws where q is the true posterior
    torch.testing.assert_close(weights, model.log_evidence(x).expand(7, 20))


def test_bounds_lie_below_the_evidence_and_grow_with_samples():
    model = LinearGaussian(shift=0.4, widen=2.0)
    x = model.data(400)
    torch.manual_seed(1)  # not the seed that made the data
    gaps = [model.log_evidence(x) - iwae_bound(model, x, samples=s) for s in (1, 4, 16, 64)]
    means, errors = [g.mean().item() for g in gaps], [g.std().item() / len(x) ** 0.5 for g in gaps]
    assert all(a > b + 2 * error for a, b, error in zip(means, means[1:], errors, strict=False))
    assert 0 < means[-1] < 0.15
    terms = elbo_terms(model, x, samples=50)
    gap = kl_divergence(model.encode(x), LinearGaussian().encode(x)).mean().item()
    elbo_gap = (model.log_evidence(x) - terms.elbo).mean().item()
    assert elbo_gap == pytest.approx(gap, abs=0.1)  # log p(x) - ELBO = KL to the true posterior


def test_gradient_reaches_every_parameter():
    model, x, c = model_and_batch()
    training_loss(elbo_terms(model, x, c)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_distortion_gradient_through_z_agrees_with_finite_differences():
    model, x, c = model_and_batch(n=2)
    bias = model.encoder.head.bias

    def distortion() -> torch.Tensor:
        torch.manual_seed(3)
        return elbo_terms(model, x, c).distortion.sum()

    distortion().backward()
    assert bias.grad is not None, "no gradient reaches the encoder through z"
    step, gradient = 1e-6, bias.grad.clone()
    for i in range(len(bias)):
        with torch.no_grad():
            bias[i] += step
            up = distortion()
            bias[i] -= 2 * step
            down = distortion()
            bias[i] += step
        assert (up - down).item() / (2 * step) == pytest.approx(gradient[i].item(), rel=1e-4, abs=1e-6)


def test_constant_condition_is_no_condition():
    """With c = 0 everywhere the CVAE computes what a VAE with the same weights computes."""
    torch.manual_seed(0)
    cvae, vae = CVAE(SHAPE, 3, 2, (8,)), VAE(SHAPE, 2, (8,))
    weights = cvae.state_dict()
    weights["encoder.trunk.0.weight"] = weights["encoder.trunk.0.weight"][:, :16]
    weights["decoder.trunk.0.weight"] = weights["decoder.trunk.0.weight"][:, :2]
    vae.load_state_dict(weights)
    x = (torch.rand(4, *SHAPE) < 0.5).float()
    torch.manual_seed(5)
    conditional = elbo_terms(cvae, x, torch.zeros(4, 3))
    torch.manual_seed(5)
    torch.testing.assert_close(conditional.elbo, elbo_terms(vae, x).elbo)


def test_beta_is_linear_and_multiplies_the_rate_alone():
    terms = ElboTerms(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0]))
    assert training_loss(terms).item() == 5.5  # mean over the batch, sum of the terms
    assert training_loss(terms, beta=0.0).item() == 4.0
    assert training_loss(terms, beta=4.0).item() == 10.0


def test_capacity_pulls_the_mean_rate_from_both_sides():
    rate = torch.tensor([1.0, 2.0], requires_grad=True)
    for capacity, sign in ((0.5, 1.0), (3.0, -1.0)):
        (slope,) = torch.autograd.grad(training_loss(ElboTerms(torch.zeros(2), rate), 10.0, capacity), rate)
        torch.testing.assert_close(slope, torch.full((2,), sign * 5.0))
    assert training_loss(ElboTerms(torch.ones(2), rate), 10.0, 1.5).item() == 1.0


def test_ramp_rises_from_zero_to_one_and_stays():
    assert [ramp(p, 0.5) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert ramp(0.0, 0.0) == 1.0


@pytest.mark.parametrize("function", [elbo_terms, iwae_bound])
def test_bad_input_is_refused(function):
    model = VAE(SHAPE, 2, (8,))
    with pytest.raises(ValueError, match=r"x: got pixels such as 0.5.*0 and 1 only"):
        function(model, torch.full((2, *SHAPE), 0.5))
    with pytest.raises(ValueError, match="samples: got 0"):
        function(model, torch.zeros(2, *SHAPE), samples=0)
    with pytest.raises(ValueError, match=r"x: got shape \(2, 3\)"):
        function(model, torch.zeros(2, 3))


def test_five_samples_are_drawn_where_none_are_asked_for():
    model, x, c = model_and_batch()
    assert log_weights(model, x, c).shape == (5, len(x))
    torch.manual_seed(1)
    expected = iwae_bound(model, x, c, samples=5)
    torch.manual_seed(1)
    assert iwae_bound(model, x, c).equal(expected)
