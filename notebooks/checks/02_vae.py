"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, untied):
    def last(history):
        d, r = (history.validation[term][-1] for term in ("distortion", "rate"))
        return {"distortion": d, "-ELBO": d + r}

    with_rate, without = last(history), last(untied)
    assert without["-ELBO"] > 2 * with_rate["-ELBO"], (
        f"−ELBO ended at {without['-ELBO']:.0f} nats, near the {with_rate['-ELBO']:.0f} above: was beta 0?"
    )
    for name, said in prediction.items():
        found = "lower" if without[name] < with_rate[name] else "higher"
        assert said == found, (
            f"you predicted {name} {said}, and it is {found}: {without[name]:.0f} nats, {with_rate[name]:.0f} above. "
            "Which of the two terms does training still see, and what can it do with the other?"
        )


# %% exercise_2
def exercise_2(kl):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(200_000, 1, generator=generator)
    one = torch.tensor([0.0, 1.0, 1.0, -2.0]), torch.tensor([1.0, 2.0, 0.5, 1.0])
    two = torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 2.0, 3.0])
    z = one[0] + one[1] * noise
    draws = Normal(*one).log_prob(z) - Normal(*two).log_prob(z)
    for i, ours in enumerate(kl(*one, *two).tolist()):
        of = f"KL(N({one[0][i]:g}, {one[1][i]:g}²) ‖ N({two[0][i]:g}, {two[1][i]:g}²))"
        close = abs(ours - draws[:, i].mean()) <= 5 * draws[:, i].std() / math.sqrt(len(draws)) + 1e-5
        assert close, (
            f"{of} is {draws[:, i].mean():.3f} nats by 200,000 draws; your formula gives {ours:.3f}. "
            "Are the arguments standard deviations, and is the average taken over the first Gaussian?"
        )


# %% exercise_3
def exercise_3(log_p_by_prior):
    x = x_test[:10]
    torch.manual_seed(seed)
    with torch.no_grad():
        few, many = (log_p_by_prior(flat, x, samples) for samples in (100, 10_000))
    assert many.shape == (10,), f"the shape is {tuple(many.shape)}; one number for each of 10 images is wanted"
    assert many.isfinite().all(), f"not finite: {many.tolist()}; take the average with logsumexp, not through exp"
    assert few.mean() < many.mean(), (
        f"from 100 draws the mean is {few.mean():.1f}, from 10,000 {many.mean():.1f}; it should rise: "
        "is it the logarithm of the average, and not the average of the logarithms?"
    )
    by_posterior = metrics.log_likelihood(flat, x, samples=500)
    off = (many - by_posterior).abs().mean()
    assert off < 3, f"off by {off:.1f} nats on average from importance sampling; did you subtract log S?"
