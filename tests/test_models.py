"""Networks: what they return, how the condition enters, and what they refuse."""

import itertools

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal

from cvae_lib.models import CVAE, VAE, Decoder, Encoder
from cvae_lib.nn import MLP, join
from cvae_lib.objectives import elbo_terms, training_loss
from cvae_lib.priors import KINDS, Prior

SHAPE = (1, 4, 4)


def cvae(**kwargs) -> CVAE:
    torch.manual_seed(0)
    return CVAE(SHAPE, **{"c_dim": 3, "latent": 2, "hidden": (8, 6), **kwargs})


def binary(n: int) -> torch.Tensor:
    return (torch.rand(n, *SHAPE) < 0.5).float()


def test_shapes_and_kinds_of_what_the_networks_return():
    model, x, c = cvae(), binary(5), torch.eye(3)[[0, 1, 2, 0, 1]]
    q = model.encode(x, c)
    assert isinstance(q, Independent) and isinstance(q.base_dist, Normal)
    assert (q.batch_shape, q.event_shape) == ((5,), (2,))
    p = model.decode(q.rsample((7,)), c)
    assert isinstance(p.base_dist, Bernoulli)
    assert (p.batch_shape, p.event_shape) == ((7, 5), SHAPE)
    assert p.log_prob(x).shape == (7, 5)


def test_log_prob_is_the_sum_over_pixels_of_log_bernoulli():
    model, x, c = cvae(), binary(5), torch.eye(3)[[0, 1, 2, 0, 1]]
    p = model.decode(torch.randn(5, 2), c)
    by_hand = (x * p.mean.log() + (1 - x) * (1 - p.mean).log()).sum((1, 2, 3))
    torch.testing.assert_close(p.log_prob(x), by_hand, rtol=1e-5, atol=1e-5)


def test_encoder_head_is_mean_and_log_variance():
    """σ for log-variance, or variance for σ, would change the entropy of q."""
    model = VAE(SHAPE, 2, (8,))
    with torch.no_grad():
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.copy_(torch.tensor([0.0, 0.0, 1.0, -2.0]))
    q = model.encode(binary(1)).base_dist
    torch.testing.assert_close(q.variance, torch.tensor([[1.0, -2.0]]).exp())
    assert (q.mean == 0).all()


def test_both_networks_read_the_condition():
    model, x, z = cvae(), binary(1), torch.randn(1, 2)
    one, two = torch.eye(3)[:1], torch.eye(3)[1:2]
    assert not torch.allclose(model.encode(x, one).mean, model.encode(x, two).mean)
    assert not torch.allclose(model.decode(z, one).mean, model.decode(z, two).mean)


def test_heads_are_not_squashed():
    """A ReLU or tanh on the mean head could not give means on both sides of ±1."""
    model = cvae()
    with torch.no_grad():
        model.encoder.head.weight.mul_(100)
    mean = model.encode(binary(50), torch.eye(3)[torch.arange(50) % 3]).mean
    assert mean.min() < -1 and mean.max() > 1


def test_the_output_is_not_squashed_before_its_sigmoid():
    """A tanh there would keep each pixel's probability between 0.27 and 0.73, a sigmoid between 0.5 and 0.73."""
    model = cvae()
    with torch.no_grad():
        model.decoder.head.weight.mul_(100)
    mean = model.decode(torch.randn(50, 2), torch.eye(3)[torch.arange(50) % 3]).mean
    assert mean.min() < 0.01 and mean.max() > 0.99


def test_batch_rows_do_not_influence_each_other():
    model, x, c = cvae(), binary(6), torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(model.encode(x[order], c[order]).mean, model.encode(x, c).mean[order])


def test_standard_prior_is_standard_and_the_others_start_there():
    for prior in (Prior(0, 3)(), Prior(4, 3, "mean")(torch.eye(4)), Prior(4, 3, "learned")(torch.eye(4))):
        assert (prior.mean == 0).all() and (prior.stddev == 1).all()


@pytest.mark.parametrize("kind", KINDS[2:])
def test_a_conditional_prior_moves_with_the_condition_and_gets_a_gradient(kind):
    model = cvae(prior=kind)
    with torch.no_grad():
        model.prior_net.net.weight.normal_()
    prior = model.prior(torch.eye(3))
    assert (prior.batch_shape, prior.event_shape) == ((3,), (2,)) and not torch.allclose(prior.mean[0], prior.mean[1])
    assert (prior.stddev == 1).all() == (kind == "mean")
    prior.log_prob(torch.ones(2)).sum().backward()
    assert (model.prior_net.net.weight.grad != 0).all(0).any()


def test_a_learned_prior_holds_mean_and_log_variance():
    prior = Prior(1, 2, "learned")
    with torch.no_grad():
        prior.net.bias.copy_(torch.tensor([3.0, -1.0, 1.0, -2.0]))
    given = prior(torch.zeros(1, 1))
    torch.testing.assert_close(given.mean, torch.tensor([[3.0, -1.0]]))
    torch.testing.assert_close(given.variance, torch.tensor([[1.0, -2.0]]).exp())


def test_a_mixture_prior_has_the_density_of_whole_vectors_and_components_of_its_own():
    """Σ_k π_k Π_d N(z_d): a log-sum-exp taken for each latent would be the density of something else."""
    torch.manual_seed(0)
    prior = Prior(2, 3, "mixture", components=4)
    with torch.no_grad():
        assert prior(torch.eye(2)).component_distribution.mean.std(1).min() > 0.05
        prior.net.weight.normal_(std=0.7)
    given, z = prior(torch.eye(2)), torch.randn(2, 3)
    parts, weights = given.component_distribution.base_dist, given.mixture_distribution.probs
    densities = parts.log_prob(z[:, None]).exp().prod(-1)
    torch.testing.assert_close(given.log_prob(z), (weights * densities).sum(-1).log())
    draws = given.sample((200_000,))
    torch.testing.assert_close(draws.mean(0), given.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(0), given.variance, rtol=0.05, atol=0)


def test_a_mixture_prior_without_a_condition_is_one_distribution_that_is_trained():
    model = VAE(SHAPE, 2, (8,), prior="mixture", components=3)
    prior = model.prior()
    assert (prior.batch_shape, prior.event_shape, prior.mixture_distribution.probs.shape) == ((), (2,), (3,))
    assert model.sample(4).shape == (4, *SHAPE)
    training_loss(elbo_terms(model, binary(5))).backward()
    assert model.prior_net.bias.grad.abs().min() > 0


def test_hidden_layers_make_a_prior_that_is_not_linear_in_the_condition():
    torch.manual_seed(0)
    c = torch.tensor([[-3.0], [-1.0], [1.0]])
    for hidden in ((), (8,)):
        prior = Prior(1, 2, "learned", hidden=hidden)
        torch.nn.init.normal_(prior.net.weight)
        first, second = prior(c).mean.diff(dim=0)
        assert torch.allclose(first, second, atol=1e-5) == (not hidden)


def test_a_uniform_prior_has_a_posterior_on_its_support_with_a_density_that_integrates_to_one():
    model = VAE(SHAPE, 2, (8,), prior="uniform").double()
    with torch.no_grad():
        model.encoder.head.weight.mul_(2)
    q = model.encode(binary(3).double())
    z = q.sample((1000,))
    assert 0 < z.min() and z.max() < 1 and (model.prior().log_prob(z) == 0).all()
    u = torch.linspace(-25, 25, 20_001, dtype=torch.float64)[:, None, None]  # z = sigmoid(u) crowds at both ends
    density = q.base_dist.log_prob(u.sigmoid()).exp() * u.sigmoid() * (-u).sigmoid()  # (20001, 3, 2)
    torch.testing.assert_close(torch.trapezoid(density, u, dim=0), torch.ones(3, 2).double(), rtol=1e-4, atol=0)
    for power, value in ((1, q.base_dist.mean), (2, q.base_dist.variance + q.base_dist.mean**2)):
        moment = torch.trapezoid(density * u.sigmoid() ** power, u, dim=0)
        torch.testing.assert_close(moment, value, rtol=1e-4, atol=0)


def test_samples_come_from_the_prior_and_belong_to_their_condition():
    model = cvae(prior="learned")
    with torch.no_grad():  # one condition far away, with hardly any spread
        model.prior_net.net.weight[:2, 1] = 30.0
        model.prior_net.net.weight[2:, 1] = -20.0
    images = model.sample(c=torch.eye(3)[[1, 1, 0]])
    assert images.shape == (3, *SHAPE) and 0 <= images.min() and images.max() <= 1
    expected = model.decode(torch.full((1, 2), 30.0), torch.eye(3)[1:2]).mean
    torch.testing.assert_close(images[:2], expected.expand(2, *SHAPE), atol=1e-3, rtol=0)


def test_unconditional_samples_differ_from_each_other():
    torch.manual_seed(0)
    images = VAE(SHAPE, 2, (8,)).sample(4)
    assert images.shape == (4, *SHAPE) and not torch.allclose(images[0], images[1])


def test_conditional_samples_of_one_class_differ_from_each_other():
    """One z for the whole batch would make all of them the same."""
    images = cvae().sample(c=torch.eye(3)[[1, 1]])
    assert not torch.allclose(images[0], images[1])


def test_save_and_load_give_the_same_function(tmp_path):
    model, other = cvae(prior="learned"), cvae(prior="learned")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    other.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True))
    x, c = binary(4), torch.eye(3)[[0, 1, 2, 0]]
    assert torch.equal(model.encode(x, c).mean, other.encode(x, c).mean)
    assert torch.equal(model.prior(c).mean, other.prior(c).mean)


def test_join_broadcasts_the_condition_over_samples():
    z, c = torch.zeros(7, 5, 2), torch.arange(15.0).view(5, 3)
    assert torch.equal(join(z, c)[4, :, 2:], c)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: VAE(SHAPE, 0), "latent: got 0"),
        (lambda: VAE(SHAPE, 2.0), "latent: got 2.0"),
        (lambda: VAE((), 2), "x_shape: got 0"),
        (lambda: VAE(SHAPE, 2, ()), "^hidden: got no layer, at least one width is needed$"),
        (lambda: VAE(SHAPE, 2, (0,)), "width of a layer: got 0"),
        (lambda: VAE(SHAPE, 2, activation="sine"), "activation: got 'sine'"),
        (lambda: CVAE(SHAPE, -1, 2), "c_dim: got -1"),
        (lambda: CVAE(SHAPE, 3, 2, prior="flat"), "prior: got 'flat'"),
        (lambda: CVAE(SHAPE, 0, 2, prior="learned"), "a learned prior needs a condition"),
        (lambda: CVAE(SHAPE, 3, 2, prior="mixture", components=0), "components: got 0"),
        (lambda: CVAE(SHAPE, 3, 2, prior_hidden=(4,)), r"prior_hidden: got \(4,\), but a standard prior"),
        (lambda: VAE(SHAPE, 2, likelihood="poisson"), "likelihood: got 'poisson', allowed are 'bernoulli'"),
        (lambda: VAE(SHAPE, 2, likelihood="gaussian", sigma=0.0), "sigma: got 0.0, allowed are 'shared', 'pixel'"),
        (lambda: VAE(SHAPE, 2, likelihood="gaussian", sigma="each"), "sigma: got 'each'"),
        (lambda: MLP((3, -1)), "width of a layer: got -1"),
    ],
)
def test_bad_sizes_and_names_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m: m.encode(torch.zeros(2, 1, 5, 5), torch.eye(3)[:2]), r"x: got shape \(2, 1, 5, 5\).*\(B, 1, 4, 4\)"),
        (lambda m: m.encode(torch.zeros(2, *SHAPE), torch.eye(4)[:2]), r"c: got shape \(2, 4\).*\(B, 3\)"),
        (lambda m: m.encode(torch.zeros(2, *SHAPE)), r"c: got None.*\(B, 3\)"),
        (lambda m: m.encode(torch.zeros(2, *SHAPE), torch.eye(3)), "c: got 3 rows, x or z has 2"),
        (lambda m: m.decode(torch.zeros(2, 5), torch.eye(3)[:2]), r"z: got shape \(2, 5\).*2\)"),
        (lambda m: m.decode(torch.zeros(2, 2), torch.eye(3)), "c: got 3 rows"),
        (lambda m: m.prior(), "c: got None"),
        (lambda m: m.sample(3), "c: got None"),
        (lambda m: m.sample(), "give one of them"),
        (lambda m: VAE(SHAPE, 2).encode(torch.zeros(2, *SHAPE), torch.eye(3)[:2]), "takes no condition"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(cvae())


def test_start_at_mean_makes_an_untrained_decoder_give_the_mean_image():
    torch.manual_seed(0)
    model = CVAE((1, 4, 4), 3, 2, (8,))
    x = torch.rand(50, 1, 4, 4)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = 0, 1  # pixels that never change stay finite
    torch.nn.init.zeros_(model.decoder.head.weight)
    model.start_at_mean(x)
    given = model.decode(torch.randn(7, 2), torch.eye(3)[torch.arange(7) % 3]).mean
    torch.testing.assert_close(given, x.mean(0).clamp(0.001, 0.999).expand(7, 1, 4, 4))
    with pytest.raises(ValueError, match="x: got shape"):
        model.start_at_mean(x.flatten(1))


def test_the_layers_of_a_hidden_prior_are_trained():
    prior = Prior(2, 2, "learned", hidden=(4,))
    torch.nn.init.normal_(prior.net.weight)
    prior(torch.eye(2)).log_prob(torch.ones(2)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in prior.parameters())


@pytest.mark.parametrize("make", [lambda **given: VAE(SHAPE, 2, **given), lambda **given: CVAE(SHAPE, 0, 2, **given)])
def test_what_is_not_asked_for(make):
    said = {"hidden": (256, 256), "activation": "tanh", "prior": "standard", "likelihood": "bernoulli"}
    torch.manual_seed(0)
    model = make()
    torch.manual_seed(0)
    other = make(**said)
    x = binary(3)
    assert all(a.equal(b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert model.encode(x).mean.equal(other.encode(x).mean) and model.likelihood == "bernoulli"
    assert (make(likelihood="gaussian").decode(torch.zeros(3, 2)).stddev == 1).all()
    assert make(prior="mixture").prior().mixture_distribution.param_shape[-1] == 5


def test_what_is_not_asked_for_of_a_part():
    kept, other = Encoder(SHAPE, 0, 2), Encoder(SHAPE, 0, 2, (256, 256), "tanh")
    other.load_state_dict(kept.state_dict())
    x = binary(3)
    assert kept(x).mean.equal(other(x).mean)
    assert (Decoder(SHAPE, 0, 2, likelihood="gaussian")(torch.zeros(3, 2)).stddev == 1).all()
    assert Decoder(SHAPE, 0, 2).likelihood.kind == "bernoulli"


def test_the_activation_that_is_asked_for_is_used():
    for make, given in ((Encoder, binary(3)), (Decoder, torch.randn(3, 2))):
        parts = [make(SHAPE, 0, 2, (8,), activation) for activation in ("tanh", "relu", "gelu", "silu")]
        for part in parts:
            part.load_state_dict(parts[0].state_dict())
        means = [part(given).mean for part in parts]
        assert not any(one.allclose(other) for one, other in itertools.combinations(means, 2))


def test_a_single_z_is_decoded_too():
    vae, z = VAE(SHAPE, 2, (8,)), torch.randn(2)
    assert vae.decode(z).mean.equal(vae.decode(z[None]).mean[0])
