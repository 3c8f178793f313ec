"""Coding: a round trip gives everything back, and the length is what the probabilities say."""

import math

import numpy as np
import pytest
import torch

from cvae_lib.coding import BitsBack, Stack
from cvae_lib.models import CVAE, VAE
from cvae_lib.objectives import elbo_terms

STARTS = np.array([0, 4, 7, 8])  # shares 1/2, 3/8, 1/8


def model_with(weights=0.3, prior="standard", latent=3):
    """An untrained model of 4 x 4 images with weights large enough for z and c to matter."""
    torch.manual_seed(0)
    model = CVAE((1, 4, 4), c_dim=2, latent=latent, hidden=(8,), prior=prior)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=weights)
    for p in model.prior_net.parameters():
        torch.nn.init.normal_(p, std=1.0)  # far enough from N(0, I) for the length to tell
    return model


def some_images(n):
    return torch.bernoulli(torch.full((n, 1, 4, 4), 0.4), generator=torch.Generator().manual_seed(1))


def random_bits(n):
    return int.from_bytes(np.random.default_rng(0).bytes(n // 8), "big") | 1 << n


def test_symbols_come_back_in_reverse_and_the_length_is_their_information():
    message = np.random.default_rng(0).choice(3, 2000, p=[1 / 2, 3 / 8, 1 / 8]).tolist()
    stack = Stack(1 << 32)
    for k in message:
        stack.push(k, STARTS, 3)
    information = -np.log2(np.diff(STARTS)[message] / 8).sum()
    assert abs(len(stack) - 33 - information) < 2
    assert [stack.pop(STARTS, 3) for _ in message] == message[::-1]
    assert stack.state == 1 << 32


@pytest.mark.parametrize("state", [0, 1, 12345, random_bits(64)])
def test_push_undoes_pop_from_any_state(state):
    stack = Stack(state)
    popped = [stack.pop(STARTS, 3) for _ in range(20)]
    for k in reversed(popped):
        stack.push(k, STARTS, 3)
    assert stack.state == state


def test_random_bits_are_popped_with_the_frequencies_of_the_shares():
    stack = Stack(random_bits(40_000))
    counts = np.bincount([stack.pop(STARTS, 3) for _ in range(10_000)], minlength=3) / 10_000
    np.testing.assert_allclose(counts, [1 / 2, 3 / 8, 1 / 8], atol=0.025)


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_images_and_labels_come_back_and_so_do_the_borrowed_bits(prior):
    model, x = model_with(prior=prior), some_images(10)
    coder, stack = BitsBack(model, torch.eye(2)), Stack(random_bits(200))
    before = stack.state
    for i in range(10):
        coder.push(stack, x[i : i + 1], i % 2)
    for i in reversed(range(10)):
        image, label = coder.pop(stack)
        assert torch.equal(image[0], x[i]) and label == i % 2
    assert stack.state == before


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_the_length_of_many_images_is_the_bound(prior):
    """Also under a prior that moves with c, whose rate a coder with bins of N(0, I) would get wrong."""
    model, x, y = model_with(prior=prior), some_images(400), torch.arange(400) % 2
    coder, stack = BitsBack(model, torch.eye(2), bins=14), Stack(random_bits(200))
    before = len(stack)
    for image, label in zip(x, y.tolist(), strict=True):
        coder.push(stack, image[None], label)
    with torch.no_grad():
        bound = -elbo_terms(model, x, torch.eye(2)[y], samples=200).elbo.sum().item() / math.log(2) + 400
    assert abs((len(stack) - before) / bound - 1) < 0.02  # one draw of z an image


def test_a_vae_needs_no_condition():
    torch.manual_seed(0)
    coder, stack = BitsBack(VAE((1, 4, 4), latent=2, hidden=(8,))), Stack(random_bits(200))
    before, x = stack.state, some_images(1)
    coder.push(stack, x)
    image, label = coder.pop(stack)
    assert torch.equal(image, x) and label == 0 and stack.state == before


def test_every_interval_and_every_pixel_has_a_share():
    model = model_with(weights=30.0)  # posteriors far out and narrow, probabilities of exactly 0 and 1
    coder, c = BitsBack(model, torch.eye(2)), torch.eye(2)[:1]
    latents, pixels = coder.latents(some_images(1), c), coder.pixels([0, 1023, 500], c)
    assert latents[:, 0].tolist() == [0, 0, 0] and (np.diff(latents) >= 1).all() and (latents[:, -1] <= 2**22).all()
    assert (np.diff(pixels) >= 1).all() and (pixels[:, -1] == 2**16).all()


def test_pixels_are_decoded_at_the_middle_of_each_interval():
    """Four intervals: the middles by mass are the 1/8, 3/8, 5/8 and 7/8 quantiles of the prior."""
    model, c = model_with(prior="learned"), torch.eye(2)[1:]
    prior = model.prior(c).base_dist
    with torch.no_grad():
        z = prior.loc + prior.scale * torch.tensor([[-1.1503494, 0.3186394, 1.1503494]])
        paper = 1 - model.decode(z, c).mean.flatten()
    starts = BitsBack(model, torch.eye(2), bins=2).pixels([0, 2, 3], c)
    np.testing.assert_allclose(starts[:, 1] / 2**16, paper, atol=1e-4)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="state: got -1"):
        Stack(-1)
    with pytest.raises(ValueError, match="starts: symbol 0 has a share of 0"):
        Stack().push(0, np.array([0, 0, 8]), 3)
    with pytest.raises(ValueError, match="model: pixels are coded by a Bernoulli"):
        BitsBack(VAE((1, 4, 4), latent=2, hidden=(8,), likelihood="gaussian"))
    with pytest.raises(ValueError, match="model: its prior is not a diagonal Gaussian"):
        BitsBack(VAE((1, 4, 4), latent=2, hidden=(8,), prior="mixture"))
    with pytest.raises(ValueError, match="bins: got 22"):
        BitsBack(model_with(), torch.eye(2), bins=22)
    coder = BitsBack(model_with(), torch.eye(2))
    with pytest.raises(ValueError, match="label: got 2"):
        coder.push(Stack(), some_images(1), 2)
    with pytest.raises(ValueError, match="x: got pixels such as 0.5"):
        coder.push(Stack(), some_images(1) * 0.5, 0)
