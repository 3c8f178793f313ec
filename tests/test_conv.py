"""The convolutional CVAE: how each way brings the condition in, shapes, the mirror, gradients, save and load."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvae_lib.conv import CONDITIONS, EMBEDDED, Conditioned, ConvCVAE, ConvTrunk, DeconvTrunk, shapes
from cvae_lib.data import Data, one_hot
from cvae_lib.objectives import elbo_terms
from cvae_lib.train import TrainConfig, fit

IMAGE = torch.Size([1, 9, 12])  # sides that do not halve evenly, and differ
LATENT, HIDDEN, CHANNELS = 5, 11, (3, 4)


def small(condition: str = "film", c_dim: int = 6, **options) -> ConvCVAE:
    """A model whose every weight is random, so that no way of the condition is at its start of 0."""
    torch.manual_seed(0)
    model = ConvCVAE(IMAGE, c_dim, LATENT, CHANNELS, HIDDEN, condition, **options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def batch(n: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, one-hot c and z."""
    torch.manual_seed(1)
    return (torch.rand(n, *IMAGE) < 0.5).float(), one_hot(torch.arange(n) % 6, 6), torch.randn(n, LATENT)


def test_maps_halve_rounded_up_and_the_decoder_meets_the_same_sizes():
    assert [tuple(s) for s in shapes(IMAGE, CHANNELS)] == [(1, 9, 12), (3, 5, 6), (4, 3, 3)]
    model, (_, c, z) = small("planes"), batch()
    h = model.decoder.trunk.spread(torch.randn(4, HIDDEN)).unflatten(-1, model.decoder.trunk.maps[0])
    assert h.shape[1:] == (4, 3, 3)
    assert model.decode(z, c).mean.shape == (4, *IMAGE)


def test_planes_are_constant_and_stand_behind_the_channels():
    way, (x, c, _) = Conditioned(6, "planes", ()), batch()
    h = way.beside(x, c)
    assert h.shape == (4, 7, 9, 12)
    assert h[:, :1].equal(x)
    for n in range(4):
        for k in range(6):
            assert (h[n, 1 + k] == c[n, k]).all()


def test_film_is_a_scale_and_a_shift_of_each_channel_and_starts_as_the_identity():
    way, h, (_, c, _) = Conditioned(6, "film", (3,)), torch.randn(4, 3, 5, 6), batch()
    assert way.activated(0, h, c).equal(h.relu())
    scale, shift = torch.randn(3, 6), torch.randn(3, 6)
    way.films[0].load_state_dict({"weight": torch.cat([scale, shift]), "bias": torch.zeros(6)})
    for n in range(4):
        for k in range(3):
            by_hand = (
                (1 + scale[k, n]) * h[n, k] + shift[k, n]
            ).relu()  # the condition of row n is the n-th unit vector
            torch.testing.assert_close(way.activated(0, h, c)[n, k], by_hand)


def test_the_embedding_stands_behind_the_features_of_the_dense_layer():
    trunk, (x, c, _) = small("embedding").encoder.trunk, batch()
    h = x
    for conv in trunk.convs:
        h = F.conv2d(h, conv.weight, conv.bias, stride=2, padding=1).relu()
    e = c @ trunk.embed.weight.T + trunk.embed.bias
    assert e.shape == (4, EMBEDDED)
    features = (torch.cat([h.flatten(1), e], 1) @ trunk.dense.weight.T + trunk.dense.bias).relu()
    torch.testing.assert_close(trunk(x.flatten(1), c), features)


def test_without_bias_and_condition_the_decoder_s_convolutions_are_the_encoder_s_transposed():
    """<conv(x), y> = <x, transposed(y)> with the same weights: the sizes mirror each other exactly."""
    down, up = ConvTrunk(IMAGE, 0, (3,), 2, "film"), DeconvTrunk(2, 1, IMAGE, 0, (3,), 2, "film")
    for trunk in (down, up):
        nn.init.zeros_(trunk.convs[0].bias)
    up.convs[0].weight = down.convs[0].weight  # (3, 1, 3, 3) in both: out, in of the one and in, out of the other
    x, y = torch.randn(2, *IMAGE), torch.randn(2, 3, 5, 6)
    back = up.convs[0](y, output_size=up.maps[1][1:])
    torch.testing.assert_close((down.convs[0](x) * y).sum(), (x * back).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_way_reaches_posterior_and_image_row_by_row(condition):
    model, (x, c, z) = small(condition), batch()
    other = c.roll(1, 0)
    for one, two in (
        (model.encode(x, c).mean, model.encode(x, other).mean),
        (model.decode(z, c).mean, model.decode(z, other).mean),
    ):
        assert ((one - two).abs().flatten(1).amax(1) > 1e-4).all()
    q, p = model.encode(x, c), model.decode(z, c)
    for n in range(4):  # a row's output is its own: no row reads another's condition
        torch.testing.assert_close(model.encode(x[n : n + 1], c[n : n + 1]).mean[0], q.mean[n])
        torch.testing.assert_close(model.decode(z[n : n + 1], c[n : n + 1]).mean[0], p.mean[n])


@pytest.mark.parametrize("condition", CONDITIONS)
def test_leading_sample_axes_keep_rows_and_conditions_together(condition):
    model, (_, c, z) = small(condition), batch()
    draws = torch.stack([z, z + 1, -z])[:, None]  # (3, 1, B, Z)
    many = model.decode(draws, c).mean
    assert many.shape == (3, 1, 4, *IMAGE)
    for s in range(3):
        torch.testing.assert_close(many[s, 0], model.decode(draws[s, 0], c).mean)
    one = model.decode(draws, c[:1]).mean  # one condition for all rows
    torch.testing.assert_close(one, model.decode(draws, c[:1].expand(4, -1)).mean)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_parameter_gets_a_gradient_and_save_and_load_give_the_same_model(condition, tmp_path):
    model, (x, c, z) = small(condition, prior="learned"), batch()
    elbo_terms(model, x, c).elbo.sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = ConvCVAE(IMAGE, 6, LATENT, CHANNELS, HIDDEN, condition, prior="learned")
    again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert again.decode(z, c).mean.equal(model.decode(z, c).mean)


def test_an_untrained_model_starts_at_the_mean_image():
    torch.manual_seed(0)
    x, y = torch.rand(50, *IMAGE) ** 3, torch.arange(50) % 6
    model = ConvCVAE(IMAGE, 6, LATENT, CHANNELS, HIDDEN, likelihood="cross_entropy")
    before = model.decode(torch.zeros(1, LATENT), one_hot(y[:1], 6)).mean[0]
    model.start_at_mean(x)
    after = model.decode(torch.zeros(1, LATENT), one_hot(y[:1], 6)).mean[0]
    torch.testing.assert_close(after.logit(), before.logit() + x.mean(0).logit())  # pixel by pixel, not one for all
    assert (after - x.mean(0)).abs().mean() < 0.03


@pytest.mark.parametrize("sigma", ["pixel", 0.5])
def test_gaussian_parameters_are_means_first_then_logarithms_of_variances(sigma):
    model, (_, c, z) = small(likelihood="gaussian", sigma=sigma), batch()
    p, raw = model.decode(z, c), model.decoder.head(model.decoder.trunk(z, c))
    torch.testing.assert_close(p.mean, raw[:, :108].view(4, *IMAGE))
    spread = raw[:, 108:].view(4, *IMAGE).mul(0.5).exp() if sigma == "pixel" else torch.full((4, *IMAGE), 0.5)
    torch.testing.assert_close(p.stddev, spread)


def test_the_last_layer_is_linear_and_its_channels_stay_whole():
    """Of a Gaussian with σ by pixel the last convolution's second channel is log σ², and nothing of the mean."""
    model, (_, c, z) = small(likelihood="gaussian", sigma="pixel"), batch()
    last = model.decoder.trunk.convs[-1]
    with torch.no_grad():
        last.weight[:, 1] = 0
        last.bias[1] = -0.7
        model.decoder.head.bias.zero_()
    p = model.decode(z, c)
    torch.testing.assert_close(p.variance.log(), torch.full((4, *IMAGE), -0.7))
    assert (p.mean < 0).any() and (p.mean > 0).any()


def test_colour_images_have_their_channels_first():
    torch.manual_seed(0)
    model = ConvCVAE((3, 8, 6), 2, LATENT, CHANNELS, HIDDEN, "planes")
    x, c = torch.ones(2, 3, 8, 6), torch.eye(2)
    with torch.no_grad():
        model.decoder.trunk.convs[-1].weight.zero_()
        model.decoder.trunk.convs[-1].bias.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    image = model.decode(model.encode(x, c).mean, c).mean
    for k, logit in enumerate((-1.0, 0.0, 2.0)):
        torch.testing.assert_close(image[:, k], torch.full((2, 8, 6), logit).sigmoid())


def test_options_reach_prior_and_posterior_and_no_condition_gives_a_vae():
    x, c, z = batch()
    q = small(prior="uniform").encode(x, c)
    assert (q.sample() > 0).all() and (q.sample() < 1).all()
    mixture = small(prior="mixture", components=3, prior_hidden=(7,)).prior_net
    assert mixture.components == 3 and mixture.net.in_features == 7
    vae = small(c_dim=0)
    assert vae.decode(z).mean.shape == (4, *IMAGE) and vae.sample(2).shape == (2, *IMAGE)
    assert not [name for name, _ in vae.named_parameters() if "film" in name or "embed" in name]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_training_learns_an_image_that_the_condition_names(condition):
    """Two classes, two images, and a posterior told to stay at the prior: only c can tell them apart."""
    torch.manual_seed(0)
    images = (torch.rand(2, *IMAGE) < 0.5).float()
    y = torch.arange(64) % 2
    data = Data(images[y], y, "made up").given(one_hot(y, 2))
    model = ConvCVAE(IMAGE, 2, 2, (8, 8), 32, condition)
    config = TrainConfig(epochs=150, batch=32, lr=1e-2, beta=20.0, binarization="none", device="cpu")
    fit(model, data, config)
    assert ((model.sample(c=torch.eye(2)) > 0.5) == images.bool()).float().mean() > 0.97


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"condition": "concat"}, "condition: got 'concat', allowed are 'planes', 'embedding', 'film'"),
        ({"channels": ()}, r"channels: got \(\), allowed"),
        ({"channels": (4, 0)}, r"channels: got \(4, 0\), allowed"),
        ({"x_shape": (108,)}, r"x_shape: got \(108,\), allowed are images"),
        ({"hidden": 0}, "width of a layer: got 0"),
        ({"latent": 0}, "got 0"),
        ({"likelihood": "poisson"}, "likelihood: got 'poisson'"),
        ({"prior": "flat"}, "prior: got 'flat'"),
    ],
)
def test_bad_sizes_are_refused_by_name(change, words):
    with pytest.raises(ValueError, match=words):
        ConvCVAE(**({"x_shape": IMAGE, "c_dim": 6, "latent": 2} | change))
