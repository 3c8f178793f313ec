"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(predicted, measured_beta):
    def truth_of(loss):
        nats, kl = torch.ones(25, 100, requires_grad=True), torch.ones(25, 4, requires_grad=True)
        one, other = torch.autograd.grad(loss(nats, kl), (nats, kl))
        return (other[0, 0] / one[0, 0]).item()

    known = float(measured_beta(lambda nats, kl: (nats.sum(1) + 3 * kl.sum(1)).mean()))
    assert abs(known - 3) < 0.01, (
        f"D + 3 R, summed over pixels and latents, is measured as {known:.4g}. "
        "How much does the loss rise for one nat more of distortion per image, and how much for one nat more of rate?"
    )
    for name, loss in losses.items():
        right, said, found = truth_of(loss), float(predicted[name]), float(measured_beta(loss))
        assert math.isclose(found, right, rel_tol=0.01), f"{name}: you measure {found:.4g}, its slopes say {right:.4g}"
        assert math.isclose(said, right, rel_tol=0.01), (
            f"{name}: you predicted {said:.4g}, and your own measurement says {found:.4g}. "
            "Write its first term as a factor times nats per image; which factor is it, and which has the second term?"
        )


# %% exercise_2
def exercise_2(left_out):
    generator = torch.Generator().manual_seed(1)
    skewed = torch.randn(5, 3, generator=generator)
    cases = ((W, torch.tensor([0.02, 0.3]), 0.3), (skewed, torch.tensor([0.5, 2.0, 0.1]), 0.8))
    for number, (weight, variance, sigma) in enumerate(cases, start=1):
        mu, x = torch.ones(weight.shape[1]), torch.ones(len(weight))
        z = mu + variance.sqrt() * torch.randn(200_000, len(mu), generator=generator)
        draws = Normal(weight @ mu, sigma).log_prob(x).sum() - Normal(z @ weight.T, sigma).log_prob(x).sum(-1)
        ours, error = float(left_out(weight, variance, sigma)), draws.std() / math.sqrt(len(z))
        assert abs(ours - draws.mean()) < 5 * error, (
            f"case {number}, W of shape {tuple(weight.shape)}, σ = {sigma}: by 200,000 draws {draws.mean():.3f} nats, "
            f"by your formula {ours:.3f}. What is the average of |W(z − μ)|² under q?"
        )


# %% exercise_3
def exercise_3(suspicious):
    def standard(mu, log_var):
        return 0.5 * (mu**2 + log_var.exp() - log_var - 1)

    right = (
        lambda mu, log_var: standard(mu, log_var).sum(1),
        lambda mu, log_var: -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp(), dim=-1),
        lambda mu, log_var: kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(1),
    )
    wrong = {
        "the mean over latents": lambda mu, log_var: standard(mu, log_var).mean(1),
        "the sum over the batch": lambda mu, log_var: standard(mu, log_var).sum().expand(len(mu)),
        "the sign turned": lambda mu, log_var: -standard(mu, log_var).sum(1),
        "log σ for log σ²": lambda mu, log_var: standard(mu, 2 * log_var).sum(1),
        "the KL the other way round": lambda mu, log_var: standard(mu * (-log_var / 2).exp(), -log_var).sum(1),
        "no μ²": lambda mu, log_var: standard(0 * mu, log_var).sum(1),
        "bits": lambda mu, log_var: standard(mu, log_var).sum(1) / math.log(2),
        "a mean that passed a ReLU": lambda mu, log_var: standard(mu.relu(), log_var).sum(1),
    }
    for number, kl in enumerate(right, start=1):
        assert not suspicious(kl), f"right function {number} of {len(right)} is suspected; what is your tolerance?"
    for name, kl in wrong.items():
        assert suspicious(kl), f"this one passes: {name}. At which μ, log σ² and shapes does it differ from the KL?"


# %% exercise_4
def exercise_4(diagnosis, mended):
    left = list(symptoms(treated(mended)))
    assert not left, f"symptoms left: {len(left)}. The first: {left[0]}"
    planted = {24 - n for n in (8, 12, 13, 18, 23)}  # not to be read at a glance
    right, strange = len(planted & set(diagnosis)), len(set(diagnosis) - planted)
    assert (right, strange) == (5, 0), (
        f"mended; but of your {len(set(diagnosis))} numbers {right} have a line here, and {strange} have none. "
        "A number is the mistake, not what follows from it."
    )
