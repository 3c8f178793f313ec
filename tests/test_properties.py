"""Properties that hold for any sizes, weights and data: equalities of mathematics, not known values."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, Normal

from cvae_lib import metrics
from cvae_lib.checkpoint import PARTS, load_checkpoint, save_checkpoint
from cvae_lib.likelihoods import SUPPORTS
from cvae_lib.models import CVAE, VAE
from cvae_lib.objectives import elbo_terms, iwae_bound, iwae_loss, kl_terms, training_loss
from cvae_lib.priors import KINDS, Prior
from cvae_lib.step import Step
from cvae_lib.train import TrainConfig

# A smaller failure says nothing more where sizes are small and weights come from a seed, so none is looked for.
modest = settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])
LIKELIHOODS = [(kind, 1.0) for kind in SUPPORTS] + [("gaussian", "shared"), ("gaussian", "pixel")]
GAUSSIAN_Q = ("standard", "mean", "learned", "mixture")  # where the posterior is Gaussian, noise can be given
GRID = torch.tensor(list(itertools.product(range(3), range(4), range(2))) * 3)  # three factors, 72 rows
seeds, few = st.integers(0, 2**31), st.integers(1, 4)


def close(one, other, tolerance: float = 1e-11) -> None:
    """Equal but for rounding: float64 has 16 digits; sums of up to some hundred terms in another order cost up to 5."""
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def filled(module: nn.Module, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    weights = {name: 0.4 * torch.randn(t.shape, dtype=torch.float64) for name, t in module.state_dict().items()}
    module.double().load_state_dict(weights)
    return module


@st.composite
def cases(draw, priors=KINDS, likelihoods=LIKELIHOODS, conditional=(False, True)):
    """A model of random sizes and weights, x that its likelihood takes, and c or None; in float64."""
    prior, (kind, sigma) = draw(st.sampled_from(priors)), draw(st.sampled_from(likelihoods))
    c_dim = draw(few) if prior in ("mean", "learned") or draw(st.sampled_from(conditional)) else 0
    shape = draw(st.sampled_from([(1,), (5,), (1, 2, 3), (2, 1, 2, 2)]))
    how = {"prior": prior, "likelihood": kind, "sigma": sigma, "components": draw(few)}
    model = filled(CVAE(shape, c_dim, draw(few), (6, 4), **how), draw(seeds))
    model.how = how  # with which a second one is made
    x = torch.rand(draw(st.integers(1, 6)), *shape).double()
    x = {"bernoulli": x.round(), "gaussian": 4 * x - 2}.get(kind, x)
    return model, x, torch.randn(len(x), c_dim).double() if c_dim else None


def of_each(model: CVAE, x: Tensor, c: Tensor | None, noise: Tensor) -> list[Tensor]:
    """What the objectives say of each example, (B, ...): distortion, rate, ..., bound."""
    terms = [*elbo_terms(model, x, c, len(noise), noise=noise), *iwae_loss(model, x, c, len(noise), noise=noise)[1]]
    return [*(t for t in terms if t is not None), iwae_bound(model, x, c, len(noise), noise=noise)]


def seen(model: CVAE, x: Tensor, c: Tensor | None) -> list:
    """What a model gives with one stream of random numbers."""
    torch.manual_seed(0)
    z, ours = torch.rand(len(x), model.latent).double(), [*elbo_terms(model, x, c, 3), iwae_bound(model, x, c, 3)]
    parts = [f(d) for d in (model.encode(x, c), model.decode(z, c)) for f in (lambda d: d.mean, lambda d: d.variance)]
    return [*ours, *parts, model.reconstruct(x, c), model.prior(c).log_prob(z)]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda pair: "-".join(map(str, pair)))
@pytest.mark.parametrize("prior", KINDS)
@settings(modest, max_examples=8)
@given(data=st.data(), samples=few, more=few)
def test_shapes_are_the_documented_ones(prior, likelihood, data, samples, more):
    model, x, c = data.draw(cases([prior], [likelihood]))
    B, Z, depends = len(x), model.latent, c is not None and prior in ("mean", "learned", "mixture")
    q, p = model.encode(x, c), model.prior(c)
    assert q.event_shape == p.event_shape == (Z,) and (q.batch_shape, p.batch_shape) == ((B,), (B,) if depends else ())
    for lead in ((), (samples,), (more, samples)):
        decoded = model.decode(q.sample(lead), c)
        assert (decoded.batch_shape, decoded.event_shape) == ((*lead, B), x.shape[1:])
        assert decoded.log_prob(x).shape == (*lead, B) and decoded.mean.shape == (*lead, *x.shape)
    images = [model.sample(B if c is None else None, c, draw) for draw in (False, True)]
    assert {image.shape for image in (*images, model.reconstruct(x, c))} == {x.shape}
    for terms in (elbo_terms(model, x, c, samples), metrics.elbo(model, x, c, samples, more)):
        assert terms.distortion.shape == terms.rate.shape == terms.elbo.shape == (B,)
        assert terms.rate_per_dim is None if prior == "mixture" else terms.rate_per_dim.shape == (B, Z)
    assert iwae_bound(model, x, c, more).shape == metrics.log_likelihood(model, x, c, samples, more, 2).shape == (B,)


@modest
@given(case=cases(GAUSSIAN_Q), first=few, second=few, rows=st.lists(few, min_size=1, max_size=8))
def test_examples_permuted_repeated_or_left_out_and_draws_in_parts_change_no_result(case, first, second, rows):
    model, x, c = case
    noise, share = torch.randn(first + second, len(x), model.latent).double(), first / (first + second)
    *terms, bound = of_each(model, x, c, noise)
    rows = [row % len(x) for row in rows]
    parts = ((x[rows], c if c is None else c[rows], draws[:, rows]) for draws in (noise[-first:], noise[:second]))
    (*terms_1, bound_1), (*terms_2, bound_2) = (of_each(model, *part) for part in parts)
    for one, other, both in zip(terms_1, terms_2, terms, strict=True):
        close(share * one + (1 - share) * other, both[rows])
    close(torch.logaddexp(bound_1 + np.log(share), bound_2 + np.log(1 - share)), bound[rows])


def replayed(model: CVAE, x: Tensor, noise: Tensor) -> CVAE:
    """The model, except that each example's draws are read in turn from noise (S, N, Z), in whatever batch it comes."""
    other, draws = copy.deepcopy(model), [iter(of_one) for of_one in noise.transpose(0, 1)]

    def encode(xb: Tensor, c: Tensor | None) -> Independent:
        q, rows = model.encode(xb, c), (xb.flatten(1)[:, None] == x.flatten(1)).all(-1).int().argmax(1)
        epsilon = (torch.stack([next(draws[row]) for row in rows]) for _ in itertools.count())  # drawn when asked for
        q.rsample = lambda shape: q.mean + q.stddev * torch.stack(list(itertools.islice(epsilon, shape[0])))
        return q

    other.encode = encode
    return other


@modest
@given(case=cases(GAUSSIAN_Q, LIKELIHOODS[2:]), samples=st.integers(1, 9), batch=few, chunk=few)
def test_metrics_of_a_data_set_do_not_depend_on_batch_chunk_or_order(case, samples, batch, chunk):
    """With the same draws for each example, whose weights differ: a mean of the chunks' bounds would show."""
    model, x, c = case
    noise, order = torch.randn(samples, len(x), model.latent).double(), torch.randperm(len(x))
    exact, bound = elbo_terms(model, x, c, samples, noise=noise), iwae_bound(model, x, c, samples, noise=noise)
    ordered = x[order], c if c is None else c[order]
    close(metrics.log_likelihood(replayed(model, x, noise), *ordered, samples, batch, chunk), bound[order])
    for one, other in zip(metrics.elbo(replayed(model, x, noise), *ordered, samples, batch), exact, strict=True):
        close(one, other if other is None else other[order])
    close(metrics.codes(model, *ordered, batch), model.encode(x, c).mean[order])


@settings(modest, max_examples=10)
@given(case=cases(), seed=seeds)
def test_active_units_do_not_depend_on_the_order_of_many_batches(case, seed):
    """Examples sorted by a code vary little within a batch; the variance over all of them is the same."""
    model, x, c = case
    x = torch.rand(2001, *x.shape[1:], generator=torch.Generator().manual_seed(seed)).double()
    c = c if c is None else c[torch.arange(len(x)) % len(c)]
    order = metrics.codes(model, x, c)[:, 0].argsort()
    for pair in ((x[order], c if c is None else c[order], 2.0**k) for k in range(-12, 3)):
        assert torch.equal(metrics.active_units(model, *pair), metrics.active_units(model, x, c, pair[-1]))


@modest
@given(case=cases(), eighths=st.integers(0, 40), part=st.integers(0, 12))
def test_loss_and_step_are_linear_in_beta_and_a_warm_up_is_a_smaller_beta(case, eighths, part):
    """`D + β R`, and so is what SGD does to the weights; in eighths, since a step keeps β in float32."""
    model, x, c = case
    terms, beta = elbo_terms(model, x, c), eighths / 8
    close(training_loss(terms, beta), terms.distortion.mean() + beta * terms.rate.mean())
    for limit, value in ((0.0, terms.distortion.mean()), (1.0, -terms.elbo.mean())):
        assert torch.equal(training_loss(terms, limit), value)

    def moved(beta: float, warmup: float = 0.0, progress: float = 0.0) -> Tensor:
        one, fixed = copy.deepcopy(model), {"schedule": "constant", "binarization": "none", "device": "cpu"}
        step = Step(one, TrainConfig(1, lr=1.0, optimizer="sgd", beta=beta, warmup=warmup, **fixed), x, c)
        torch.manual_seed(0)
        step(torch.arange(len(x)), progress)
        return torch.cat([(a - b).flatten() for a, b in zip(one.parameters(), model.parameters())]).detach()

    none, full = moved(0.0), moved(1.0)
    close(moved(beta), none + beta * (full - none))
    close(moved(beta, 0.5, part / 16), none + beta * min(1, part / 8) * (full - none))


@modest
@given(case=cases(("standard", "uniform", "mixture"), conditional=(True,)))
def test_a_constant_condition_is_a_bias(case):
    """One class alone, or any c that never changes: the VAE whose biases hold `b + W c` computes the same."""
    model, x, c = case
    weights, one = model.state_dict(), c[0]
    for layer in ("encoder.trunk.0", "decoder.trunk.0"):
        weight, of_c = weights[f"{layer}.weight"].tensor_split([-len(one)], 1)
        weights |= {f"{layer}.weight": weight, f"{layer}.bias": weights[f"{layer}.bias"] + of_c @ one}
    if model.prior_net.net:
        weights["prior_net.bias"] = weights.pop("prior_net.net.bias") + weights.pop("prior_net.net.weight") @ one
    vae = VAE(model.x_shape, model.latent, (6, 4), **model.how).double()
    vae.load_state_dict(weights)
    for conditional, plain in zip(seen(model, x, one.expand(len(x), -1)), seen(vae, x, None), strict=True):
        close(conditional, plain)


@modest
@given(kind=st.sampled_from(GAUSSIAN_Q[:3]), n=few, latent=few, change=st.floats(1e-3, 2), seed=seeds, at=seeds)
def test_rate_is_zero_at_the_prior_alone_and_positive_elsewhere(kind, n, latent, change, seed, at):
    """Equal parameters give 0 to the last digit; one that differs by 0.001 costs 1e-9 or more, far above rounding."""
    prior = filled(Prior(0 if kind == "standard" else 2, latent, kind), seed)(torch.randn(n, 2).double())
    mu, sigma = (t.detach().double().expand(n, latent) for t in (prior.base_dist.loc, prior.base_dist.scale))
    change = change * nn.functional.one_hot(torch.tensor(at % (n * latent)), n * latent).view(n, latent)
    for by, on_mu in itertools.product((0 * change, change, -change), (True, False)):
        q = Normal(mu + by, sigma) if on_mu else Normal(mu, sigma * by.exp())
        rate, per_dim = kl_terms(Independent(q, 1), prior, mu[None])
        for value, other in ((per_dim, by != 0), (rate, (by != 0).any(1))):
            assert torch.equal(value > 1e-9, other) and torch.equal(value != 0, other)


@modest
@given(family=st.sampled_from([Normal, Laplace]), n=few, latent=st.integers(2, 5), cut=few, seed=seeds)
def test_rate_is_never_negative_and_adds_over_latents_in_any_order(family, n, latent, cut, seed):
    torch.manual_seed(seed)
    numbers, order = torch.randn(2, 2, n, latent).double(), torch.randperm(latent)  # mu and log sigma of q and prior
    cuts = numbers, numbers[..., order[:cut]], numbers[..., order[cut:]]
    pairs = [[Independent(family(mu, log_sigma.exp()), 1) for mu, log_sigma in cut] for cut in cuts]
    rates, per_dims = zip(*(kl_terms(q, prior, q.sample((1,))) for q, prior in pairs), strict=True)
    assert (per_dims[0] >= 0).all()
    close(rates[1] + rates[2], rates[0])
    close(torch.cat(per_dims[1:], 1), per_dims[0][:, order])


@modest
@given(latent=few, bins=st.integers(2, 30), size=st.floats(0.5, 50), seed=seeds)
def test_disentanglement_does_not_see_order_scale_sign_or_shift_of_codes(latent, bins, size, seed):
    """No code lies within rounding of a bin's edge and no vote is that close, so both scores see the same counts."""
    torch.manual_seed(seed)
    codes = GRID.double() @ torch.randn(3, latent).double() + 0.5 * torch.randn(len(GRID), latent).double()
    rows, scale = torch.randperm(len(GRID)), size * (1 + torch.rand(latent)) * torch.randn(latent).sign()
    other = (codes * scale.double() + torch.randn(latent).double())[:, torch.randperm(latent)]
    how = {"votes": 100, "test_votes": 100, "seed": seed}
    assert metrics.factor_vae_score(other, GRID, **how) == metrics.factor_vae_score(codes, GRID, **how)
    coarse, names = torch.randint(bins, codes.shape), torch.rand(bins, latent).argsort(0)  # a bin for each number
    renamed = (torch.randperm(9) - 4)[GRID][:, [2, 0, 1]]  # the factors, with other values and in another order
    for one, two in ((codes, other), (coarse, names.gather(0, coarse))):
        gap = metrics.mutual_information_gap(one, GRID, bins)
        assert metrics.mutual_information_gap(two[rows], renamed[rows], bins) == pytest.approx(gap, abs=1e-12)


@modest
@given(case=cases(), seed=seeds)
def test_saved_weights_give_the_same_outputs_bit_by_bit(tmp_path_factory, case, seed):
    (model, x, c), path = case, tmp_path_factory.getbasetemp() / "properties.pt"
    save_checkpoint(path, {**dict.fromkeys(PARTS), "model": model.state_dict()})
    fresh = filled(CVAE(model.x_shape, model.c_dim, model.latent, (6, 4), **model.how), seed)
    fresh.load_state_dict(load_checkpoint(path)["model"])
    for one, other in zip(seen(fresh, x, c), seen(model, x, c), strict=True):
        assert one is other is None or torch.equal(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-11), (torch.float32, 3e-5)])
@modest
@given(case=cases(GAUSSIAN_Q), samples=few)
def test_a_gpu_computes_what_the_cpu_does(dtype, tolerance, case, samples):
    """The same sums in another order: they cost up to 2 of float32's 7 digits. TF32, which has 3, would be seen."""
    model, x, c = case
    batch = [None if t is None else t.to(dtype) for t in (x, c, torch.randn(samples, len(x), model.latent).double())]
    wanted, moved = of_each(model.to(dtype), *batch), copy.deepcopy(model).cuda()
    for one, other in zip(of_each(moved, *(t if t is None else t.cuda() for t in batch)), wanted, strict=True):
        close(one.cpu(), other, tolerance)
