"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, crossed):
    seen = {}
    for key in prediction:
        torch.manual_seed(seed)
        with torch.no_grad():
            x = crossed(models[key])
        assert x.shape == (2000, 1, 28, 28), (
            f"the images have shape {tuple(x.shape)}; one for each row of `wanted` is due"
        )
        digit = judge.predict(x[:1000]).cpu()
        seen[key] = [(digit == (wanted[:1000] + step) % 10).float().mean().item() for step in (0, 1)]
    k, following = seen["blind", "learned"]
    assert k > following, (
        f"the blind decoder's images are class k in {k:.0%} and k + 1 in {following:.0%}. It does not see the class "
        "that it is given, so its z did not come from the prior of class k: which of the two gets which condition?"
    )
    k, following = seen["sees", "standard"]
    assert following > 0.5, (
        f"with N(0, I), whose z tells no class, the images are k in {k:.0%} and k + 1 in {following:.0%}: "
        "was the decoder given the next class, (wanted + 1) % 10?"
    )
    for key, said in prediction.items():
        k, following = seen[key]
        found = "neither" if max(k, following) < 0.15 else "k" if k > following else "k + 1"
        assert said == found, (
            f"for {key} you predicted {said!r}; the judge sees k in {k:.1%} and k + 1 in {following:.1%}. On which "
            "ways can the class reach this decoder, and if there are two, to which of them was it trained to listen?"
        )


# %% exercise_2
def exercise_2(rate_bound):
    g = torch.Generator().manual_seed(1)
    m, s, sigma = (torch.rand(6, *shape, generator=g) + 0.5 for shape in ((3,), (3,), (2, 3)))
    far = torch.tensor([0.0, 0.3, 1.0, 3.0, 10.0, 30.0])[:, None, None]  # the second component is twice as far
    mu, log_pi = m[:, None] + far * torch.tensor([[1.0], [-2.0]]), torch.tensor([0.2, 0.8]).log().expand(6, 2)
    q, z = Independent(Normal(m, s), 1), m + s * torch.randn(20_000, 6, 3, generator=g)
    rates = torch.stack([kl_terms(q, Independent(Normal(mu[:, k], sigma[:, k]), 1), z)[0] for k in (0, 1)], 1)
    ratio = log_normal(z, m, s) - (log_pi + log_normal(z[:, :, None], mu, sigma)).logsumexp(2)
    alone = rate_bound(m, s, mu[:, :1], sigma[:, :1], torch.zeros(6, 1))
    bound = rate_bound(m, s, mu, sigma, log_pi)
    assert bound.shape == (6,), f"the shape is {tuple(bound.shape)}; one number for each of 6 rows is wanted"
    for row, (a, b, R) in enumerate(zip(alone.tolist(), bound.tolist(), rates)):
        case = f"R_1 = {R[0]:.3f}, R_2 = {R[1]:.3f}, π = (0.2, 0.8)"
        slack = 1e-4 * (1 + R.max())  # rounding
        assert math.isfinite(a + b), (
            f"{case}: yours is not finite; exp(-R_k) is 0 in float32, so take the sum with logsumexp"
        )
        assert abs(a - R[0]) < slack, f"one component: R_1 is {R[0]:.3f} nats by torch, yours {a:.3f}. Which way round?"
        rate, error = ratio[:, row].mean(), ratio[:, row].std() / math.sqrt(len(z))
        assert b > rate - 5 * error - slack, (
            f"{case}: the rate is {rate:.3f} ± {error:.3f} nats by draws, and your {b:.3f} is below it. "
            "Is π_k in it, and with the right sign?"
        )
        least = (R - log_pi[row]).min()
        assert b < least + slack, (
            f"{case}: one component alone gives {least:.3f} nats, and you {b:.3f}. Are the r_k the best shares? "
            "Are whole vectors mixed, R_k summed over latents before the sum over k?"
        )
    halves = rate_bound(m, s, *(torch.cat([v, v], 1) for v in (mu, sigma, log_pi - math.log(2))))
    change = (halves - bound).abs().max()
    assert change < 0.01, (
        f"splitting each component into two equal ones moves it by {change:.3f} nats: better r_k exist"
    )


# %% exercise_3
def exercise_3(seeing):
    blind = models["blind", "mean"]
    before = {name: value.clone() for name, value in blind.state_dict().items()}
    with torch.no_grad():
        made = seeing(blind)
        assert type(made) is Decoder, f"a {Decoder.__name__} is wanted, and this is a {type(made).__name__}"
        changed = [name for name, value in blind.state_dict().items() if not torch.equal(value, before[name])]
        assert not changed, f"the blind model itself was changed: {', '.join(changed)}; copy what you take from it"
        width = made.trunk[0].in_features
        assert width == 26, f"the first layer reads {width} numbers; 16 latents and 10 of the condition make 26"
        g = torch.Generator().manual_seed(1)
        z, nothing = torch.randn(10, 16, generator=g), torch.zeros(1, 10)

        def off(c):
            c = c.expand(10, -1)
            wanted_logits = blind.decode(z + blind.prior(c).mean, c).base_dist.logits
            return (made(z, c).base_dist.logits - wanted_logits).abs().max().item()

        assert off(nothing) < 1e-2, (
            f"for c = 0 the logits are off by up to {off(nothing):.2g}: does the prior's mean vanish there, and "
            "which bias in the new first layer takes it up?"
        )
        assert off(every_class) < 1e-2, (
            f"c = 0 is right, and for the ten classes logits are off by up to {off(every_class):.2g}: z = z' + mu(c) "
            "passes W_z, so what does the new layer multiply c with, and with which sign?"
        )


# %% exercise_4
def exercise_4(masked):
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]):
        weight = masked(dense.clone(), torch.tensor(order))
        assert weight.shape == (4, 4), f"the shape is {tuple(weight.shape)}; (4, 4) is wanted"
        total = InOrder(logits, weight, (4,)).log_prob(all_images).exp().sum().item()
        itself = [d for d in range(4) if weight[d, d] != 0]
        assert not itself, (
            f"order {order}: pixels {itself} see themselves, and the 16 'probabilities' sum to {total:.3f}"
        )
        assert abs(total - 1) < 1e-5, (
            f"order {order}: the 16 'probabilities' sum to {total:.3f}; do pixels listen to each other in a ring?"
        )
        for place, d in enumerate(order):
            heard, allowed = weight[d].nonzero().flatten().tolist(), sorted(order[:place])
            assert heard == allowed, (
                f"order {order}: pixel {d} listens to {heard}, and the pixels drawn before it are {allowed}. "
                "order[i] is the pixel that is drawn as number i; which number does pixel d have?"
            )
            kept = torch.equal(weight[d, heard], dense[d, heard])
            assert kept, f"order {order}: weights of pixel {d} that should stay were changed"
