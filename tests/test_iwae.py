"""Training on the importance-weighted bound, its two gradients, and free bits."""

import pytest
import torch
from test_objectives import model_and_batch

from cvae_lib.models import VAE
from cvae_lib.objectives import ElboTerms, elbo_terms, iwae_bound, iwae_loss, training_loss


def gradients(model, x, c, samples, doubly, noise) -> dict[str, torch.Tensor]:
    model.zero_grad()
    iwae_loss(model, x, c, samples, doubly, noise)[0].backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def noise(samples: int, n: int) -> torch.Tensor:
    return torch.randn(samples, n, 2, dtype=torch.float64)


@pytest.mark.parametrize("doubly", [False, True])
def test_loss_is_the_bound_of_the_same_draws_and_comes_with_the_elbo_terms(doubly):
    model, x, c = model_and_batch()
    eps = noise(7, len(x))
    loss, terms = iwae_loss(model, x, c, 7, doubly, eps)
    torch.testing.assert_close(loss, -iwae_bound(model, x, c, 7, noise=eps).mean())
    torch.testing.assert_close(terms.distortion, elbo_terms(model, x, c, 7, noise=eps).distortion)
    assert loss < -terms.elbo.mean()  # Jensen, for each set of draws
    one = noise(1, len(x))
    single, terms = iwae_loss(model, x, c, 1, doubly, one)
    torch.testing.assert_close(single, -terms.elbo.mean())


def test_the_plain_gradient_is_that_of_the_bound():
    model, x, c = model_and_batch()
    eps = noise(5, len(x))
    ours = gradients(model, x, c, 5, False, eps)
    model.zero_grad()
    (-iwae_bound(model, x, c, 5, noise=eps).mean()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad)


def test_doubly_reparameterised_gradient_has_the_same_mean_and_leaves_decoder_and_prior_alone():
    """Without the second weight, or with q's own gradient left in, the encoder's mean gradient is another."""
    model, x, c = model_and_batch(n=3)
    torch.manual_seed(1)
    draws = {False: [], True: []}
    for _ in range(1500):
        eps = noise(4, len(x))
        both = {doubly: gradients(model, x, c, 4, doubly, eps) for doubly in draws}
        for name in both[True]:
            if not name.startswith("encoder"):
                torch.testing.assert_close(both[True][name], both[False][name])
        for doubly, found in both.items():
            draws[doubly].append(found["encoder.head.bias"])
    plain, doubled = torch.stack(draws[False]), torch.stack(draws[True])
    difference = plain - doubled  # of the same draws
    error = difference.std(0) / len(difference) ** 0.5
    assert (difference.mean(0).abs() < 4.5 * error).all()
    assert (plain.mean(0).abs() > 6 * plain.std(0) / len(plain) ** 0.5).any()  # there is a mean to be missed


def test_noise_hides_the_encoders_plain_gradient_at_many_samples_and_the_other_less():
    model, x, c = model_and_batch(n=1)
    torch.manual_seed(2)
    ratio = {}
    for doubly, samples in ((False, 2), (False, 64), (True, 64)):
        many = [gradients(model, x, c, samples, doubly, noise(samples, 1))["encoder.head.bias"] for _ in range(500)]
        ratio[doubly, samples] = (torch.stack(many).mean(0).abs() / torch.stack(many).std(0)).mean().item()
    assert ratio[False, 64] < 0.7 * ratio[False, 2]
    assert ratio[True, 64] > 2 * ratio[False, 64]


def test_with_one_sample_the_score_of_q_is_left_out():
    """S = 1: the weight is 1, and only the path through z remains (Roeder, Wu and Duvenaud 2017)."""
    model, x, c = model_and_batch(n=2)
    eps = noise(1, 2)
    ours = gradients(model, x, c, 1, True, eps)["encoder.head.bias"]
    q = model.encode(x, c)
    z = q.mean + q.stddev * eps
    still = torch.distributions.Independent(torch.distributions.Normal(q.mean.detach(), q.stddev.detach()), 1)
    path = model.decode(z, c).log_prob(x) + model.prior(c).log_prob(z) - still.log_prob(z)
    (by_hand,) = torch.autograd.grad(-path.mean(), model.encoder.head.bias)
    torch.testing.assert_close(ours, by_hand)


def test_no_latent_is_pushed_below_its_free_bits():
    per_dim = torch.tensor([[0.1, 2.0, 0.1], [0.3, 4.0, 1.1]], requires_grad=True)  # means 0.2, 3 and 0.6
    terms = ElboTerms(torch.tensor([5.0, 7.0]), per_dim.sum(1), per_dim)
    loss = training_loss(terms, beta=2.0, free_bits=0.5)
    assert loss.item() == pytest.approx(6 + 2 * (0.5 + 3 + 0.6))
    (slope,) = torch.autograd.grad(loss, per_dim)
    torch.testing.assert_close(slope, torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))  # of the mean over the batch
    torch.testing.assert_close(training_loss(terms, 2.0, free_bits=1e-9), training_loss(terms, 2.0))


def test_free_bits_need_a_rate_that_splits():
    model = VAE((1, 4, 4), 2, (8,), prior="mixture")
    terms = elbo_terms(model, torch.zeros(3, 1, 4, 4))
    assert terms.rate_per_dim is None
    with pytest.raises(ValueError, match="free_bits: got 0.5, but the rate"):
        training_loss(terms, free_bits=0.5)


def test_the_rate_of_a_uniform_prior_splits_and_agrees_with_quadrature():
    torch.manual_seed(0)
    model = VAE((1, 4, 4), 2, (8,), prior="uniform").double()
    x = (torch.rand(3, 1, 4, 4) < 0.5).double()
    with torch.no_grad():
        model.encoder.head.weight.mul_(3)
        terms, q = elbo_terms(model, x, samples=40_000), model.encode(x).base_dist
    grid = ((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)[:, None, None]
    log_q = q.log_prob(grid)
    exact = (log_q.exp() * log_q).mean(0)  # the prior's density is 1
    torch.testing.assert_close(terms.rate_per_dim, exact, atol=0.03, rtol=0.03)
    torch.testing.assert_close(terms.rate, terms.rate_per_dim.sum(1))


def test_five_samples_and_the_plain_gradient_where_nothing_is_asked_for():
    model, x, c = model_and_batch(n=3)
    gradient = {}
    for name, given in {"default": (), "said": (5, False), "other": (5, True)}.items():
        torch.manual_seed(2)
        loss, terms = iwae_loss(model, x, c, *given)
        gradient[name] = torch.autograd.grad(loss, model.encoder.head.bias)[0]
        assert terms.distortion.shape == terms.rate.shape == (3,)
    assert gradient["default"].equal(gradient["said"]) and not gradient["default"].allclose(gradient["other"])
