"""Networks and likelihoods of one's own in a CVAE."""

import pytest
import torch
from torch import nn

from cvae_lib.data import Data
from cvae_lib.likelihoods import Likelihood
from cvae_lib.models import CVAE, Decoder, Encoder
from cvae_lib.objectives import elbo_terms
from cvae_lib.train import TrainConfig, fit

SHAPE = (1, 2, 3)


class Sums(nn.Module):
    """A trunk: the sums over each half of its input, and over the condition."""

    width = 3

    def forward(self, x, c):
        left, right = x.chunk(2, dim=-1)
        return torch.stack([left.sum(-1), right.sum(-1), c.sum(-1).expand(x.shape[:-1])], dim=-1)


class Shift(nn.Module):
    """A head: repeats three features, and adds a bias to each of its outputs."""

    def __init__(self, width):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features):
        return features.repeat_interleave(len(self.bias) // 3, -1) + self.bias


def parts(likelihood):
    encoder = Encoder(SHAPE, 2, 4, (), "tanh", trunk=Sums())
    decoder = Decoder(SHAPE, 2, 4, (), "tanh", likelihood, trunk=Sums(), head=Shift(6))
    return CVAE(SHAPE, 2, 4, encoder=encoder, decoder=decoder)


def test_trunks_head_and_likelihood_are_used_with_leading_sample_axes():
    torch.manual_seed(0)
    model = parts(Likelihood(SHAPE, "gaussian", 0.5))
    x, c, z = torch.randn(5, *SHAPE), torch.randn(5, 2), torch.randn(7, 5, 4)
    features = torch.stack([x.flatten(1)[:, :3].sum(1), x.flatten(1)[:, 3:].sum(1), c.sum(1)], dim=1)
    torch.testing.assert_close(model.encode(x, c).mean, model.encoder.head(features)[:, :4])
    p = model.decode(z, c)
    assert (p.batch_shape, p.event_shape) == ((7, 5), SHAPE)
    expected = torch.stack([z[2, 3, :2].sum(), z[2, 3, 2:].sum(), c[3].sum()])
    torch.testing.assert_close(p.mean[2, 3].flatten(), expected.repeat_interleave(2))


def test_start_at_mean_sets_the_head_of_ones_own():
    x = torch.randn(50, *SHAPE)
    model = parts(Likelihood(SHAPE, "gaussian", 0.5))
    model.start_at_mean(x)
    torch.testing.assert_close(model.decoder.head.bias.detach(), x.mean(0).flatten())


def test_fit_trains_them_and_asks_them_what_x_may_be():
    data = Data((torch.rand(64, *SHAPE) < 0.2).float(), None, "made up", torch.randn(64, 2))
    model = parts(Likelihood(SHAPE, "bernoulli"))
    history = fit(model, data, TrainConfig(epochs=20, batch=16, lr=0.1, binarization="none", device="cpu"))
    assert history.train["total"][-1] < history.train["total"][0] - 0.5
    with pytest.raises(ValueError, match="bernoulli likelihood takes 0 and 1"):
        elbo_terms(model, data.x + 0.5, data.c)


def test_a_whole_decoder_of_ones_own_needs_no_likelihood_module():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Linear(6, 6)

        def forward(self, z, c):
            log_rate = self.rate(torch.cat([z, c.expand(*z.shape[:-1], 2)], -1)).unflatten(-1, SHAPE)
            return torch.distributions.Independent(torch.distributions.Poisson(log_rate.exp()), 3)

        def check(self, x):
            if (x != x.round()).any():
                raise ValueError("x: got broken counts")

    torch.manual_seed(0)
    model = CVAE(SHAPE, 2, 4, decoder=Counts())
    data = Data(torch.poisson(torch.full((200, *SHAPE), 5.0)), None, "counts", torch.zeros(200, 2))
    config = TrainConfig(epochs=20, batch=20, lr=0.05, binarization="none", device="cpu")
    fit(model, data, config)
    torch.testing.assert_close(model.sample(c=torch.zeros(400, 2)).mean(), torch.tensor(5.0), atol=0.5, rtol=0)
    drawn = model.sample(c=torch.zeros(4, 2), draw=True)
    torch.testing.assert_close(drawn, drawn.round())
    with pytest.raises(ValueError, match="broken counts"):
        fit(model, Data(data.x + 0.5, None, "broken", data.c), config)
    with pytest.raises(ValueError, match="binarization: got 'dynamic', the decoder's own likelihood"):
        fit(model, data, TrainConfig(epochs=1))


def test_a_draw_of_x_is_binary_and_has_the_mean_of_the_image():
    torch.manual_seed(0)
    model = CVAE((1, 4, 4), 3, 2, (8,))
    with torch.no_grad():
        model.decoder.trunk[0].weight.zero_()  # so that x does not depend on z
        model.decoder.head.bias.normal_()
    c = torch.eye(3)[:1].expand(4000, -1)
    drawn, mean = model.sample(c=c, draw=True), model.sample(c=c[:1])
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.04, rtol=0)
