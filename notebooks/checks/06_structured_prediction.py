"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, five):
    x, c = x_test[::every][:200], c_test[::every][:200]

    def measured(model):
        torch.manual_seed(seed)
        spread = completions(model, c[:50], 100).std(0).mean().item()
        nats = [-metrics.log_likelihood(model, x, c, samples).mean().item() for samples in (1, 100)]
        return dict(zip(("spread", "−ELBO", "estimate"), (spread, *nats)))

    one = measured(models["GSNN", "binary", 1])
    for objective, model in five.items():
        assert type(model) is GSNN, f"{objective}: a GSNN is wanted, and this is a {type(model).__name__}"
        found = measured(model)
        assert found["estimate"] < one["estimate"] + 10, (
            f"{objective}: −log p(x|c) is {found['estimate']:.0f} nats, {one['estimate']:.0f} above; is it trained?"
        )
        drawn = found["spread"] > 0.01
        assert drawn == (objective == "log of mean"), (
            f"{objective}: the spread over draws of z is {found['spread']:.4f}; were the two objectives exchanged?"
        )
        for name, said in prediction[objective].items():
            change, least = found[name] - one[name], 0.01 if name == "spread" else 3
            is_so = "same" if abs(change) < least else "higher" if change > 0 else "lower"
            assert said == is_so, (
                f"{objective}: you predicted {name} {said!r}, and it is {is_so!r}: {found[name]:.3f}, and with one "
                f"draw {one[name]:.3f}. What does the objective reward: every draw good, or one of the five?"
            )


# %% exercise_2
def exercise_2(squared_weight):
    torch.manual_seed(seed)
    where = "Expand the exponents: the square of a Gaussian over a Gaussian is exp(-b z²) up to a factor; what is b?"
    for a in (1.0, 1.3, 2.0):
        found = log_mean(Independent(Normal(posterior.mean, a * posterior.stddev), 1), 300, 1000).std().item()
        wanted = math.sqrt(max(0.0, squared_weight(a) ** 3 - 1) / 300)
        assert abs(found - wanted) < 0.16 * found + 1e-3, (  # 0.16: seven standard errors, 1 / sqrt(2000) each
            f"a = {a}: estimates from 300 draws have a standard deviation of {found:.4f} nats; yours gives "
            f"{wanted:.4f}, the root of (integral³ - 1) / 300. Is `a` taken for a ratio of standard deviations? {where}"
        )
    z = torch.linspace(-60, 60, 240_001, dtype=torch.float64)
    for a in (0.75, 0.8, 0.9):
        ratio = 2 * Normal(0.0, 1.0).log_prob(z) - Normal(0.0, a).log_prob(z)
        integral, value = torch.trapezoid(ratio.exp(), z).item(), squared_weight(a)
        assert abs(value - integral) < 1e-4, (
            f"a = {a}: the integral is {integral:.4f} on a grid, yours {value}. {where}"
        )
    for a in (0.7, 0.5, 0.1):
        value = squared_weight(a)
        assert value == math.inf, (
            f"a = {a}: you give {value}. q falls off faster than p(z|x)², so the integrand grows towards the ends. "
            "What is the integral then?"
        )


# %% exercise_3
def exercise_3(pays, spoilt_told, told, worth):
    torch.manual_seed(seed)
    x, c = (some[:2000] for some in held_out(2, "binary"))
    shape = tuple(spoilt_told(c).shape)
    assert shape == (len(c), 784), f"the shape is {shape}; 392 pixels and their mask are 784 numbers for each image"
    degree = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(len(c) // 4)[:, None]
    pixels, mask = spoilt_told(c, missing=degree).chunk(2, dim=1)
    for share in (0.0, 0.25, 0.5, 1.0):
        found, error = mask[degree[:, 0] == share].mean().item(), math.sqrt(share * (1 - share) / (98 * len(c)))
        assert abs(found - share) <= 5 * error, f"{share:.0%} should be missing, and the mask is 1 in {found:.1%}"
    assert (pixels[mask == 1] == 0).all(), "some pixels that the mask calls missing still stand in c"
    assert torch.equal(pixels[mask == 0], c[mask == 0]), "some pixels that the mask calls present are missing"
    turned, mask = spoilt_told(c, flipped=1.0).chunk(2, dim=1)
    assert torch.equal(turned, 1 - c) and not mask.any(), "flipped=1 should turn every pixel, and leave the mask at 0"
    assert told.c_dim == 784, f"the model takes {told.c_dim} numbers as condition; 784 are wanted"
    seen = spoilt_told(c, missing=0.8)
    not_told = metrics.elbo(models["trained on spoilt", "binary", 2], x, seen[:, :392]).elbo
    gain = metrics.elbo(told, x, seen).elbo - not_told
    mean, error = gain.mean().item(), gain.std().item() / math.sqrt(len(x))
    assert mean > -25, f"`told` is {-mean:.0f} nats worse than the model that is not told: what was it trained on?"
    assert abs(worth - mean) < 5 * math.sqrt(2) * error, (
        f"with other draws it is worth {mean:.2f} ± {error:.2f} nats, and you found {worth:.2f}. A lower −ELBO is the "
        "better one: which is subtracted from which? Were both given the same pixels, 80 % of them missing?"
    )
    assert pays == (mean > 0), (
        f"you predicted that it {'pays' if pays else 'does not pay'}, and it is worth {mean:.2f} nats. What is new for "
        "the first layer, how large are those numbers, and how many steps has it to learn what to do with them?"
    )


# %% exercise_4
def exercise_4(reveal):
    both = torch.tensor([[0.001, 0.001], [0.999, 0.999]])  # two pixels that follow z
    m = reveal(both, torch.tensor([1.0, 0.0]), torch.tensor([0]))
    assert m.shape == (2,), f"the shape is {tuple(m.shape)}; one probability for each of 2 pixels is wanted"
    assert m[0] == 1, f"pixel 0 is known to be ink, and you give it the probability {m[0]:.3f}"
    assert abs(m[1] - 0.998) < 1e-3, (
        f"two pixels that follow z, the first seen as ink: the other is ink with probability 0.998, not {m[1]:.3f}. "
        "How probable was what is seen under each draw?"
    )
    g = torch.Generator().manual_seed(1)
    p, z = 0.1 + 0.8 * torch.rand(4, 3, generator=g), torch.randint(4, (400_000,), generator=g)
    pixels = torch.bernoulli(p[z], generator=g)
    for seen in ([1.0, 0.0], [0.0, 0.0]):
        kept = pixels[(pixels[:, :2] == torch.tensor(seen)).all(1)]
        often, m = kept[:, 2].mean().item(), reveal(p, torch.tensor([*seen, 0.0]), torch.tensor([0, 1]))[2].item()
        assert abs(m - often) < 5 * 0.5 / math.sqrt(len(kept)), (
            f"three pixels, the first two seen as {seen}: of {len(kept):,} draws that begin so the third is ink in "
            f"{often:.3f}; yours says {m:.3f}. Is paper that was seen weighed as paper?"
        )
    known, rest, gain = torch.arange(5, 588, 12), torch.arange(588) % 12 != 5, {}
    for name in ("network", "CVAE"):
        torch.manual_seed(seed)
        p, x = completions(models[name, "binary", 1], c_test[:50], 200).clamp(1e-6, 1 - 1e-6), x_test[:50]
        after = torch.stack([reveal(p[:, i], x[i], known) for i in range(50)])
        assert after.isfinite().all(), (
            "not finite: is a product of many probabilities 0? Logarithms first, then softmax"
        )
        nats = [
            Bernoulli(m[:, rest].clamp(1e-6, 1 - 1e-6)).log_prob(x[:, rest]).sum(1).mean() for m in (p.mean(0), after)
        ]
        gain[name] = (nats[1] - nats[0]).item()
    assert abs(gain["network"]) < 0.01, (
        f"the network's pixels are independent, and yours move by {gain['network']:.2f} nats"
    )
    assert gain["CVAE"] > 1, (
        f"with 49 pixels revealed the others gain {gain['CVAE']:.2f} nats an image; more is expected"
    )
