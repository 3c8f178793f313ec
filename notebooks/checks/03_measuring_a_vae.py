"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, rescued):
    def found(net):
        torch.manual_seed(seed)
        t = metrics.elbo(net, smooth, samples=5)
        bits = (pixels * math.log(256) - t.elbo.mean().item()) / pixels / math.log(2)
        return {"rate": t.rate.mean().item(), "bits a pixel": bits}

    kind, sigma = rescued.likelihood, rescued.decoder.likelihood.sigma
    assert kind == "gaussian" and not isinstance(sigma, str), f"a Gaussian of fixed σ is due, not {kind}, σ {sigma}"
    assert abs(sigma**2 / (pixels / 2) - 1) < 1e-3, f"the network's σ² is {sigma**2:.4g}; it should stay at 392"
    lines = {name: found(fitted[f"Gaussian, {name}"]) for name in ("σ² = 392", "σ = 1")}
    ours = found(rescued)
    unused, wanted = lines["σ² = 392"]["rate"], lines["σ = 1"]["rate"]
    assert ours["rate"] > (unused * wanted) ** 0.5, (
        f"the rate is {ours['rate']:.2f} nats, with β = 1 it was {unused:.2f}, so β did not help: is it 1/392 in your "
        "training, and does a small β make the latents cheaper or dearer?"
    )
    assert ours["rate"] < 2 * wanted, f"the rate is {ours['rate']:.1f} nats: were data and β those of the exercise?"
    for name, value in ours.items():
        line = min(lines, key=lambda key: abs(lines[key][name] - value))
        assert prediction[name] == line, (
            f"you predicted that {name} is like that of {prediction[name]!r}: it is {value:.3f}, and "
            f"{lines[line][name]:.3f} with {line}. Which product of β and σ² decides where training "
            "goes, and which σ does the bound contain?"
        )


# %% exercise_2
def exercise_2(sigma_gain):
    torch.manual_seed(seed)
    for name in ("σ² = 392", "σ = 1"):
        net, sigma = fitted[f"Gaussian, {name}"], float(sigmas[name])
        mean = net.reconstruct(smooth).double()
        mse = (smooth - mean).square().mean().item()
        before, after = (-Normal(mean, s).log_prob(smooth).flatten(1).sum(1).mean() for s in (sigma, mse**0.5))
        wanted, ours = (before - after).item(), float(sigma_gain(mse, sigma, pixels))
        case = (
            f"{name}, with mean squared error {mse:.4f}: the distortion falls by {wanted:.1f} nats, yours is {ours:.2f}"
        )
        assert abs(ours * pixels / wanted - 1) > 1e-3, f"{case}, a pixel's share. The sum over pixels is wanted"
        assert ours > 0, f"{case}. Positive is what is gained"
        rest = abs(abs(ours - wanted) / (pixels / 2) - 1)
        assert rest > 1e-3, f"{case}: D/2 off. At the best σ the squared term is D/2 and not 0"
        assert abs(ours / wanted - 1) < 1e-3, (
            f"{case}. Write −log N twice, subtract, and put the best σ² from the text in. Is every sigma a standard "
            "deviation, and is its logarithm there once?"
        )
    assert abs(sigma_gain(0.09, 0.3, pixels)) < 1e-6, "where σ is the best one already nothing is gained"
    assert sigma_gain(0.09, 0.1, pixels) > 0, (
        "a σ below the root mean squared error is wrong, too: the gain is positive"
    )


# %% exercise_3
def exercise_3(bound_gap):
    z = q_mean + q_scale * torch.randn(1_000_000, 2, 2, generator=torch.Generator().manual_seed(1))
    log_w = log_joint(z) - Normal(q_mean, q_scale).log_prob(z).sum(-1)  # of the toy, (S, B)
    measured = {k: bounds(log_w, len(log_w))[0] - bounds(log_w, k).mean(0) for k in (10, 20, 50)}
    for k, gap in measured.items():
        ours = torch.as_tensor(bound_gap(log_w, k))
        assert ours.shape == (2,), (
            f"the shape is {tuple(ours.shape)}; one number for each of the two examples is wanted"
        )
        case = f"E[L_{k}] lies {gap.mean():.4f} nats below log p(x) on average over the two, yours is {ours.mean():.4f}"
        assert (ours > 0).all(), f"{case}. A logarithm bends down, so its mean lies below: the gap is positive"
        half = ((ours / 2 / gap - 1).abs() < 0.1).all()
        assert not half, f"{case}, twice as much. What is the factor of the second order in a Taylor series?"
        logs = (ours / (log_w.var(0) / (2 * k)) - 1).abs() < 0.01
        assert not logs.all(), (
            f"{case}. That holds the variance of log w; the average is one of the weights w themselves"
        )
        assert ((ours / gap - 1).abs() < 0.1).all(), (
            f"{case}. The variance of an average of k weights, and p(x) squared, both count: is yours 1/k of something?"
        )
    small, usual, late = bound_gap(log_w - 500, 10), bound_gap(log_w, 10), bound_gap(log_w, 10_000_000)
    assert torch.allclose(1e6 * late, usual, rtol=0.01), "at k = 10,000,000 it should be a millionth of that at k = 10"
    assert torch.allclose(small, usual, rtol=0.01), (
        f"with all weights e^500 times smaller the gap is the same, {usual.mean():.4f}; yours is {small.mean():.4f}. "
        "Divide the weights by their mean before exp, in logarithms"
    )


# %% exercise_4
def exercise_4(log_prob_level):
    k, at = torch.arange(256.0, dtype=torch.float64), torch.tensor([76.5 / 256, 0.0, 1.0, -0.1, 1.4]).double()
    for sigma in torch.tensor([0.001, 0.05, 1.0, 20.0], dtype=torch.float64):
        each = log_prob_level(k, at[:, None], sigma)
        assert not each.isnan().any() and (each < 1e-9).all(), (
            f"σ = {sigma:g}: the largest log P is {each.max():.2f}; no probability has a positive logarithm. "
            "A density times the width of a level is one only where it hardly changes over that width"
        )
        for m, total in zip(at.tolist(), each.exp().sum(1).tolist()):
            assert abs(total - 1) < 1e-6, (
                f"mean {m:.3f}, σ = {sigma:g}: the 256 levels have {total:.4f} together; whose is the rest?"
            )
    mean, narrow, wide = torch.tensor([0.3, 0.004, 0.03], dtype=torch.float64)
    ours = log_prob_level(k, mean, narrow)[75:78]
    assert torch.allclose(ours.exp(), levels[75:78].double(), atol=1e-6), (
        f"levels 75, 76, 77 with mean 0.3, σ 0.004: {ours.exp().tolist()}, in the text {levels[75:78].tolist()}"
    )
    up, down = log_prob_level(k[230], mean, wide), log_prob_level(k[25], 1 - mean, wide)
    assert up.isfinite() and abs(up - down) < 1e-6 * abs(down), (
        f"mean 0.3, level 230 has log P = {up:.3f}; mirrored, mean 0.7, level 25, it has {down:.3f}. They should "
        "be equal: use the side on which the distribution function is small"
    )
    net = fitted["Gaussian, one σ learned"]
    p, own_levels = net.decode(net.encode(smooth).sample()), (validation.x[:1000].double() * 255).round()
    mean, sigma = p.mean.double().detach(), p.stddev.double().detach()
    rate, in_table = terms["Gaussian, one σ learned"].rate.mean(), nats_256["Gaussian, one σ learned"]
    nats = rate - log_prob_level(own_levels, mean, sigma).flatten(1).sum(1).mean()
    assert nats < in_table, f"{nats:.0f} nats an image, above the {in_table:.0f} of the table, which are an upper bound"
    ours, theirs = (value / pixels / math.log(2) for value in (nats, in_table))
    print(f"bits a pixel of the network with one learned σ: {ours:.3f}, by dequantised pixels {theirs:.3f}")
