"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def steps_by_sums(means, width):
    """The three steps in nats from sums over a fine grid of z, without draws."""
    z = torch.linspace(-15, 15, 6001)[:, None].double()
    each = Normal(means.double(), width).log_prob(z)  # a column for each image
    by_class = torch.stack([each[:, classes == k].logsumexp(1) - math.log(2) for k in (0, 1)], 1)[:, classes]
    logs = each, by_class, (each.logsumexp(1) - math.log(4))[:, None], Normal(0.0, 1.0).log_prob(z)
    return [(each.exp() * (one - other)).sum(0).mean().item() * 30 / 6000 for one, other in zip(logs, logs[1:])]


def exercise_1(prediction, broad):
    at = {w: steps_by_sums(places["own places"], w) for w in (0.3, 1.5)}
    names = ("I(x;z|c)", "I(c;z)", "KL(q(z)‖p(z))")
    for name, (mean, error), exact in zip(names, broad, at[1.5], strict=True):
        assert abs(mean - exact) < 5 * error + 1e-4, (
            f"your {name} is {mean:.3f} ± {error:.3f} nats, sums over a grid give {exact:.3f}: "
            "was `width` 1.5 while rate_steps ran, and was it the code with own places?"
        )
    at = {w: dict(zip(names, steps)) | {"rate": sum(steps)} for w, steps in at.items()}
    for name, said in prediction.items():
        found = "lower" if at[1.5][name] < at[0.3][name] else "higher"
        assert said == found, (
            f"you predicted {name} {said}, and it is {found}: {at[0.3][name]:.3f} nats at width 0.3, "
            f"{at[1.5][name]:.3f} at 1.5. Which two densities does it compare, and how do both change?"
        )


# %% exercise_2
def exercise_2(offset):
    draws = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    prior = Normal(0.0, 1.0)
    for share, sigma in ((0.6, 1.0), (0.9, 1.0), (0.9, 0.3), (0.99, 0.5), (0.8, 1.7)):
        delta, added = (float(value) for value in offset(share, sigma))
        low, high = Normal(-delta, sigma), Normal(delta, sigma)
        z = delta + sigma * draws  # draws of the second class; for the first it is the same, mirrored
        right = (high.log_prob(z) > low.log_prob(z)).double().mean()
        assert abs(right - share) < 5 * math.sqrt(share * (1 - share) / len(draws)), (
            f"share {share:g}, σ = {sigma:g}: with your δ = {delta:.3f} a reader of drawn z is right in {right:.3f} of "
            "400,000 cases. It is wrong where noise crosses the middle between the classes: how many σ away is that?"
        )
        rates = [kl_divergence(q, prior).item() for q in (low, high)]
        difference = sum(rates) / 2 - kl_divergence(Normal(0.0, sigma), prior).item()
        assert abs(added - difference) < 1e-4 * (1 + difference), (
            f"share {share:g}, σ = {sigma:g}: δ = {delta:.3f} adds {difference:.4f} nats, you say {added:.4f}. "
            "The rate is measured against the prior, whose width is 1, not against the other class"
        )


# %% exercise_3
def exercise_3(prediction, short):
    nats = {k: -metrics.elbo(short, x_validation, k * one_hot(validation.y)).elbo.mean() for k in (1, 8)}
    assert nats[1] < nats[8], (
        f"−ELBO of your model is {nats[1]:.1f} nats with conditions of length 1 and {nats[8]:.1f} with length 8: "
        "it was trained with the longer ones. What does `train` hold as its condition?"
    )
    torch.manual_seed(1000 * seed + 3)
    asked, few, measured = torch.arange(draws) % 10, slice(5000), {}
    for length, model in ((1, short), (8, models["CVAE", 1.0])):
        images = model.sample(c=length * one_hot(asked))
        ratio = metrics.diversity(judge, images[few], asked[few], test.x, test.y)
        measured[length] = {"recognised": metrics.recognition(judge, images, asked), "diversity": ratio}
    error = math.sqrt(sum(m["recognised"] * (1 - m["recognised"]) / draws for m in measured.values()))
    for name, said in prediction.items():
        one, eight = measured[1][name], measured[8][name]
        found = "lower" if one < eight else "higher"
        close = abs(one - eight) < (3 * error if name == "recognised" else 0.01)  # 0.01: about the sd over seeds
        assert said == found or close, (
            f"you predicted {name} {said}, and it is {found}: {one:.3f} with length 1, {eight:.3f} with length 8. "
            "What does a sample of a class that was not asked for do to either number?"
        )


# %% exercise_4
def exercise_4(bound_without_class):
    model, x, y = models["CVAE", 1.0], x_validation[:1000], validation.y[:1000]
    torch.manual_seed(seed)
    yours = bound_without_class(model, x)
    assert yours.shape == y.shape, (
        f"the shape is {tuple(yours.shape)}; one number for each of {len(y)} images is wanted"
    )
    each = [metrics.elbo(model, x, condition(torch.full_like(y, k)), samples=4).elbo for k in range(10)]
    told, roof = torch.stack(each)[y, torch.arange(len(y))], torch.stack(each).logsumexp(0) - math.log(10)
    floor = told - math.log(10)
    slack = 5 * (yours - roof).std() / math.sqrt(len(y))  # of the draws of z, yours and ours
    assert yours.isfinite().all(), "not finite: exp of an ELBO is 0 in float32; logsumexp does the sum of logarithms"
    found = f"your bound is {yours.mean():.2f} nats on average; with the true class the ELBO is {told.mean():.2f}"
    assert yours.mean() < 0, f"{found}; the logarithm of a probability is negative: is it a sign?"
    assert yours.mean() > floor.mean() - slack, (
        f"{found}: you lose more than ln 10 = 2.30. The sum over c has ten terms above 0, so it is at least the true "
        "class's term alone; is it the logarithm of a mean of probabilities?"
    )
    assert yours.mean() < roof.mean() + slack, (
        f"{found}, and a bound about {roof.mean():.2f} is expected, {yours.mean() - roof.mean():.2f} nats lower. "
        "Where is the probability 1/10 of each class, in p(x) = Σ p(c) p(x|c)?"
    )
