"""Metrics against closed forms and known answers."""

import itertools

import pytest
import torch
from test_objectives import LinearGaussian
from torch.utils._python_dispatch import TorchDispatchMode

from cvae_lib import metrics
from cvae_lib.metrics import factor_vae_score, mutual_information_gap
from cvae_lib.models import CVAE, VAE

SHAPE = (1, 4, 4)
GRID = torch.tensor(list(itertools.product(range(4), range(5), range(3))))  # three factors, 60 rows


class Judge(torch.nn.Module):
    """Says that an image's class is its brightest row; its features are the pixels."""

    def predict(self, images):
        return images.mean(-1)[:, 0].argmax(-1)

    def features(self, images):
        return images.flatten(1)


def binary(n: int, seed: int = 0) -> torch.Tensor:
    return (torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


def test_log_likelihood_is_the_closed_form_of_a_linear_gaussian_model():
    model = LinearGaussian(shift=0.1, widen=1.5)
    x = model.data(60)
    torch.manual_seed(1)
    runs = torch.stack([metrics.log_likelihood(model, x, samples=2000) for _ in range(5)])
    error = runs.mean(0) - model.log_evidence(x)
    assert (error.abs() < 5 * runs.std(0) / 5**0.5 + 1e-3).float().mean() > 0.95
    assert abs(error.mean()) < 0.01


def test_log_likelihood_is_exact_at_the_true_posterior_for_any_batch_and_chunk():
    """There the importance weights are constant, so a wrong fold over chunks or a wrong log S shows at once."""
    model = LinearGaussian()
    x = model.data(7)
    for samples, batch, chunk in ((1, 7, 50), (10, 2, 3), (11, 3, 4), (100, 100, 7)):
        estimate = metrics.log_likelihood(model, x, samples=samples, batch=batch, chunk=chunk)
        torch.testing.assert_close(estimate.double(), model.log_evidence(x), rtol=1e-5, atol=1e-5)


def test_the_marginal_over_classes_is_a_distribution_and_bayes_rule_finds_the_class():
    """A decoder that reads c alone, one Bernoulli a pixel; the posterior is the prior, so each estimate is exact."""
    probability = torch.tensor([[0.1, 0.9, 0.2, 0.7], [0.8, 0.3, 0.6, 0.5], [0.4, 0.4, 0.9, 0.1]])
    model = CVAE((1, 2, 2), 3, 1, (3,), "relu")
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.decoder.trunk[0].weight[:, 1:] = torch.eye(3)
        model.decoder.head.weight.copy_(probability.logit().T)
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).view(16, 1, 2, 2)
    each = metrics.log_likelihood_of_each(model, x, torch.eye(3), samples=3, batch=5, chunk=2)
    exact = torch.distributions.Bernoulli(probability[None]).log_prob(x.view(16, 1, 4)).sum(-1)
    torch.testing.assert_close(each, exact)
    prior = torch.tensor([0.5, 0.3, 0.2])
    torch.testing.assert_close((each.exp() @ prior).sum(), torch.tensor(1.0))


def test_negative_elbo_is_above_the_negative_log_likelihood():
    torch.manual_seed(0)
    model, x = VAE(SHAPE, 2, (8,)), binary(50)
    with torch.no_grad():
        model.decoder.trunk[0].weight.normal_(std=2.0)
    nll = -metrics.log_likelihood(model, x, samples=500).mean()
    assert -metrics.elbo(model, x, samples=100).elbo.mean() > nll


def test_elbo_of_a_data_set_does_not_depend_on_the_batch_size_where_nothing_is_random():
    torch.manual_seed(0)
    model, x, c = CVAE(SHAPE, 3, 2, (8,)), binary(10), torch.eye(3)[torch.arange(10) % 3]
    torch.nn.init.zeros_(model.decoder.trunk[0].weight)  # the decoder does not read z
    one, other = metrics.elbo(model, x, c, batch=3), metrics.elbo(model, x, c, batch=100)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)
    assert one.distortion.shape == one.rate.shape == (10,) and one.rate_per_dim.shape == (10, 2)


def test_elbo_of_a_data_set_takes_draws_and_not_the_mean():
    """At z = μ, as some decode once training is over, nothing would be random, and it would be no bound."""
    torch.manual_seed(0)
    model, x = VAE(SHAPE, 2, (8,)), binary(10)
    one, other = metrics.elbo(model, x).distortion, metrics.elbo(model, x).distortion
    assert (one != other).all()


def test_evaluation_leaves_the_mode_of_the_model_as_it_was():
    model = VAE(SHAPE, 2, (8,)).train()
    metrics.elbo(model, binary(3))
    assert model.training


def test_active_units_are_those_whose_mean_moves_with_x():
    model = VAE(SHAPE, 3, (8,))
    with torch.no_grad():
        model.encoder.head.weight[1].zero_()
        model.encoder.head.bias[1] = 5.0  # far from the prior, yet the same for every x
        model.encoder.head.weight[[0, 2]] *= 5
    assert metrics.active_units(model, binary(200)).tolist() == [True, False, True]


def test_a_unit_that_only_follows_the_condition_is_not_active():
    model = CVAE(SHAPE, 2, 1, (8,), prior="learned")
    with torch.no_grad():
        model.prior_net.net.weight[0] = torch.tensor([-3.0, 3.0])
        model.encoder.forward = lambda x, c: model.prior_net(c)
    assert metrics.active_units(model, binary(50), torch.eye(2)[torch.arange(50) % 2]).tolist() == [False]


def test_recognition_counts_the_class_that_was_asked_for():
    images = torch.zeros(4, *SHAPE)
    images[torch.arange(4), 0, torch.arange(4)] = 1.0
    assert metrics.recognition(Judge(), images, torch.arange(4)) == 1.0
    assert metrics.recognition(Judge(), images, torch.tensor([0, 1, 3, 2])) == 0.5
    with pytest.raises(ValueError, match="labels: got 3 rows, expected 4"):
        metrics.recognition(Judge(), images, torch.arange(3))


def test_diversity_is_one_for_real_images_zero_for_copies_and_scales_with_distance():
    real, labels = binary(60), torch.arange(60) % 3
    assert metrics.diversity(Judge(), real, labels, real, labels) == pytest.approx(1.0)
    copies = real[:3].repeat(20, 1, 1, 1)
    assert metrics.diversity(Judge(), copies, labels, real, labels) == pytest.approx(0.0, abs=1e-6)
    assert metrics.diversity(Judge(), 0.5 * real, labels, real, labels) == pytest.approx(0.5)
    for name, rows in (("labels", (labels[1:], real, labels)), ("real_labels", (labels, real, labels[1:]))):
        with pytest.raises(ValueError, match=f"^{name}: got 59 rows, expected 60"):
            metrics.diversity(Judge(), real, *rows)


def test_diversity_looks_at_no_more_images_of_a_class_than_it_says():
    x = torch.zeros(502, *SHAPE)
    x[0], x[500:] = 1.0, 100.0  # those beyond the first 500 are far away
    y = torch.zeros(502).long()
    assert metrics.diversity(Judge(), x, y, x[:500], y[:500]) == pytest.approx(1.0)
    assert metrics.diversity(Judge(), x[:500], y[:500], x, y) == pytest.approx(1.0)
    assert metrics.diversity(Judge(), x, y, x[:2], y[:2], most=2) == pytest.approx(1.0)


@pytest.mark.parametrize("score", [mutual_information_gap, factor_vae_score])
def test_codes_equal_to_the_factors_score_one(score):
    assert score(GRID.double(), GRID) == pytest.approx(1.0)


@pytest.mark.parametrize("score", [mutual_information_gap, factor_vae_score])
def test_scores_do_not_change_when_codes_are_permuted_or_turned_in_sign(score):
    torch.manual_seed(0)
    codes = GRID.double() @ torch.tensor([[1.0, 0.8, 0.0], [0.0, 1.0, 0.9], [0.9, 0.0, 1.0]]).double()
    codes += 0.5 * torch.randn(codes.shape)
    value = score(codes, GRID)
    assert 0.02 < value < 0.98
    assert score(codes[:, [2, 0, 1]], GRID) == pytest.approx(value, abs=1e-9)
    assert score(-codes + 3, GRID) == pytest.approx(value, abs=0.02)


def test_mig_does_not_see_the_scale_of_a_code_but_the_factor_vae_score_prunes_small_ones():
    codes = GRID.double()
    small = codes * torch.tensor([1e-3, 1.0, 1.0])
    assert mutual_information_gap(small, GRID) == pytest.approx(1.0)
    assert factor_vae_score(small, GRID) < 0.8


def test_mig_is_that_of_scikit_learn_on_bins_of_equal_width():
    mutual_info_score = pytest.importorskip("sklearn.metrics").mutual_info_score
    torch.manual_seed(0)
    factors = GRID.repeat(30, 1)
    codes = (factors @ torch.tensor([[1, 0], [1, 1], [0, 2]]) / 3 + 0.5 * torch.randn(len(factors), 2)).exp().double()
    for options, bins in (({}, 20), ({"bins": 3}, 3)):
        unit = (codes - codes.amin(0)) / (codes.amax(0) - codes.amin(0))
        binned = (unit * bins).floor().clamp_max(bins - 1)
        gaps = []
        for v in factors.T:
            low, high = sorted(mutual_info_score(v, z) for z in binned.T)
            gaps.append((high - low) / mutual_info_score(v, v))
        assert mutual_information_gap(codes, factors, **options) == pytest.approx(sum(gaps) / 3, abs=1e-9)


def test_the_factor_vae_score_sees_scales_only_through_its_threshold():
    """Codes one of which is worth leaving out: its standard deviation decides, and above 0.05 no scale matters."""
    torch.manual_seed(0)
    codes = GRID.double() + 0.6 * torch.randn(len(GRID), 3)
    codes = (codes - codes.mean(0)) / codes.std(0, correction=0)
    scores = {s: factor_vae_score(codes * torch.tensor([s, 1.0, 1.0]), GRID) for s in (0.01, 0.049, 0.051, 1.0, 30.0)}
    assert scores[0.051] == scores[1.0] == scores[30.0] and scores[0.01] == scores[0.049]
    assert scores[0.049] < scores[0.051] - 0.1
    said = dict(votes=10_000, test_votes=5_000, batch=64, seed=0)
    assert factor_vae_score(codes, GRID, **said) == scores[1.0]
    for name in said:
        assert factor_vae_score(codes, GRID, **said | {name: said[name] + 1}) != scores[1.0]


def test_one_factor_split_over_two_codes_loses_the_gap_but_not_the_votes():
    codes = torch.cat([GRID, GRID[:, :1]], 1).double()
    assert mutual_information_gap(codes, GRID) == pytest.approx(2 / 3)
    assert factor_vae_score(codes, GRID) == pytest.approx(1.0)


def test_independent_noise_scores_chance():
    noise = torch.randn(len(GRID) * 60, 4, generator=torch.Generator().manual_seed(0))
    factors = GRID.repeat(60, 1)
    assert mutual_information_gap(noise, factors) < 0.02
    assert factor_vae_score(noise, factors) == pytest.approx(1 / 3, abs=0.06)


def test_mig_of_a_rotated_pair_is_small():
    """Two codes that both mix two factors tell about as much of each."""
    grid = torch.tensor(list(itertools.product(range(8), range(8))))
    rotated = torch.stack([grid[:, 0] + grid[:, 1], grid[:, 0] - grid[:, 1]], 1).double()
    assert mutual_information_gap(rotated, grid) < 0.05
    assert mutual_information_gap(grid.double(), grid) == pytest.approx(1.0)


def test_single_code_and_collapsed_codes():
    assert mutual_information_gap(GRID[:, :1].double(), GRID) == pytest.approx(1 / 3)
    assert factor_vae_score(torch.zeros(len(GRID), 2), GRID) == 0.0


@pytest.mark.parametrize("score", [mutual_information_gap, factor_vae_score])
def test_bad_codes_and_factors_are_refused(score):
    with pytest.raises(ValueError, match="factors: got 59 rows, expected 60"):
        score(GRID.double(), GRID[:-1])
    with pytest.raises(ValueError, match="constant in column 1"):
        score(GRID.double(), torch.stack([GRID[:, 0], torch.ones(60).long()], 1))


def test_one_condition_for_all_examples_may_be_given_once():
    model, x, c = CVAE(SHAPE, 3, 2, (8,)), binary(5), torch.eye(3)[:1]
    assert metrics.codes(model, x, c, batch=2).equal(metrics.codes(model, x, c.expand(5, -1), batch=2))


def test_bad_input_to_evaluation_is_refused():
    model = VAE(SHAPE, 2, (8,))
    for function in (metrics.elbo, metrics.log_likelihood):
        with pytest.raises(ValueError, match="^x: got no examples"):
            function(model, torch.zeros(0, *SHAPE))
        with pytest.raises(ValueError, match="0 and 1 only"):
            function(model, torch.full((2, *SHAPE), 0.5))
        with pytest.raises(ValueError, match=r"^x: got shape \(2, 1, 5, 4\)"):
            function(model, torch.full((2, 1, 5, 4), 0.5))
        with pytest.raises(ValueError, match=r"^c: got 3 rows, x or z has 5$"):
            function(CVAE(SHAPE, 3, 2, (8,)), binary(5), torch.eye(3))
    with pytest.raises(ValueError, match="x: got one example, at least two"):
        metrics.active_units(model, binary(1))
    with pytest.raises(ValueError, match="^x: "):
        metrics.codes(model, torch.zeros(2, 1, 5, 4))
    with pytest.raises(ValueError, match="samples: got 0"):
        metrics.log_likelihood(model, binary(2), samples=0)


def test_memory_of_log_likelihood_does_not_grow_with_the_samples():
    model = LinearGaussian()
    seen = []
    inner = model.decode
    model.decode = lambda z, c=None: (seen.append(z.shape[0]), inner(z, c))[1]
    metrics.log_likelihood(model, model.data(4), samples=1003, chunk=10)
    assert max(seen[1:]) == 10 and sum(seen[1:]) == 1003


def test_the_classes_get_the_samples_and_the_sizes_asked_for():
    model, seen = CVAE(SHAPE, 3, 2, (8,)), []
    inner = model.decode
    model.decode = lambda z, c=None: (seen.append(tuple(z.shape[:-1])), inner(z, c))[1]
    metrics.log_likelihood_of_each(model, binary(4), torch.eye(3), samples=7, batch=2, chunk=5)
    assert seen == [(5, 2), (2, 2)] * 2 * 3
    seen.clear()
    metrics.log_likelihood_of_each(model, binary(4), torch.eye(3)[:1])
    assert seen == [(50, 4), (50, 4)]  # 100 samples


def test_log_likelihood_holds_no_larger_tensor_for_more_samples():
    """What is kept grows with batch and chunk alone: the largest tensor of 40 draws is that of 4,000."""
    torch.manual_seed(0)
    model = VAE((1, 4, 4), 2, (8,))
    x = (torch.rand(6, 1, 4, 4) < 0.5).float()
    largest = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest[samples] = max(largest.get(samples, 0), out.numel())
            return out

    for samples in (40, 4000):
        with Watch():
            metrics.log_likelihood(model, x, samples=samples, batch=3, chunk=20)
    assert largest[40] == largest[4000] == 20 * 3 * 16
