"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, nats):
    reach = counted(test.x).float().mean(0)  # share of the words that have a t-th token
    nats = {name: torch.as_tensor(cost) for name, cost in nats.items()}
    whole = {name: float((cost * reach).sum()) for name, cost in nats.items()}
    usual = {name: float((places[name] * reach).sum()) for name in places}
    assert abs(whole["own"] - usual["with z"]) < 1, (
        f"with its own z a word costs {whole['own']:.2f} nats by your numbers, {usual['with z']:.2f} by `by_place`: is "
        "z drawn from q(z|x,c), and is each place averaged over the words that have it?"
    )
    assert whole["other"] > whole["own"] + 0.5, (
        f"with another's z a word costs {whole['other']:.2f} nats, with its own {whole['own']:.2f}: about as much. Did "
        "the words move along with their z?"
    )
    rise = nats["other"] - nats["own"]
    first, later = rise[:3].mean(), rise[6:9].mean()
    where = "first" if first > later else "later"
    assert prediction["rises more"] == where, (
        f"you predicted {prediction['rises more']}: it rises by {first:.2f} nats a token at places 1 to 3, by "
        f"{later:.2f} at places 7 to 9. What does the decoder know of the word by then, whatever z says?"
    )
    found = "less" if whole["other"] < usual["without z"] else "more"
    assert prediction["than without z"] == found, (
        f"you predicted {prediction['than without z']}: {whole['other']:.2f} nats a word, without z "
        f"{usual['without z']:.2f}. The decoder trusts z; what does that cost where z speaks of another word?"
    )


# %% exercise_2
def exercise_2(least):
    def entropy(p):
        return -torch.special.xlogy(p, p).sum().item()

    for V, T, rho in ((3, 5, 0.6), (2, 7, 0.9), (4, 4, 0.0), (5, 3, 0.5), (3, 4, 1.0)):
        ours = least(V, T, rho)
        every = torch.cartesian_prod(*[torch.arange(V)] * T)  # all words
        step = (1 - rho) / V + rho * torch.eye(V, dtype=torch.float64)
        p = step[every[:, :-1], every[:, 1:]].prod(1) / V  # their probabilities
        letters = torch.eye(V, dtype=torch.float64)[every]
        marginal = torch.einsum("n,ntv->tv", p, letters)
        joint = torch.einsum("n,nu,ntv->tuv", p, letters[:, 0], letters)  # first letter and t-th letter
        given = sum(entropy(pair) for pair in joint) - T * entropy(marginal[0])
        found = {"recurrent": entropy(p), "independent": sum(entropy(m) for m in marginal)}
        found["independent, z"] = given + entropy(marginal[0])
        case = f"V = {V}, T = {T}, ρ = {rho:g}, summed over all {len(every)} words"
        for name, nats in found.items():
            assert name in ours, f"the key {name!r} is missing from your dict"
            hint = {
                "recurrent": "A later letter equals the one before in two ways",
                "independent": "How often is each letter the t-th of a word?",
                "independent, z": "How often is the t-th letter the first one, and does R count what z tells?",
            }[name]
            assert abs(float(ours[name]) - nats) < 1e-3, (
                f"{case}: {name} needs {nats:.4f}, you have {ours[name]:.4f}. {hint}"
            )


# %% exercise_3
def exercise_3(above, above_with):
    source = torch.Generator().manual_seed(3)
    for variance in (0.25, 1.0, 1.6):
        ours = float(above(variance))
        noise = torch.randn(2_000_000, generator=source, dtype=torch.float64)
        log_w = -20 + math.sqrt(variance) * noise  # log p(x|c) is the logarithm of the mean weight
        log_p = log_w.logsumexp(0) - math.log(len(log_w))
        elbo = (log_p - log_w.mean()).item()
        assert abs(ours - elbo) < 0.02, (
            f"s² = {variance:g}: by two million weights the −ELBO is {elbo:.3f} nats too high; you have {ours:.3f}. "
            "What is the logarithm of the mean of exp of a normal number, and its argument a variance or a σ?"
        )
        for samples in (100, 400):
            w = (log_w - log_p).exp().view(-1, samples)  # their mean is 1
            slack = w.mean(1) - 1  # has mean 0 and takes away most of the chance
            each = slack - w.mean(1).log()
            error = 4 * each.std().item() / math.sqrt(len(each)) + 3 * (math.exp(variance) / samples) ** 2
            ours = float(above_with(variance, samples))
            assert abs(ours - each.mean()) < error, (
                f"s² = {variance:g}, S = {samples}: by {len(each):,} bounds −E[L_S] is {each.mean():.5f} too high; you "
                f"have {ours:.5f}. Expand the logarithm around the mean weight to second order: which variance enters, "
                "and over what?"
            )


# %% exercise_4
def exercise_4(beam):
    rows = torch.cartesian_prod(*[torch.arange(4)] * 5)
    rows = rows[(counted(rows) | (rows == words.END)).all(1)]  # no letter after an end
    with torch.random.fork_rng(), torch.no_grad():
        for trial in range(10):
            torch.manual_seed(trial)
            decoder = WordDecoder(symbols=4, length=5, latent=2, c_dim=4, hidden=8)
            for weights in decoder.parameters():
                weights.mul_(4)  # so that letters depend on each other
            z, c = torch.randn(1, 2), torch.eye(4)[:1]
            p, log_p = decoder(z, c), decoder(z.expand(len(rows), -1), c.expand(len(rows), -1)).log_prob(rows)
            got, right = beam(p, len(rows)), rows[log_p.argmax()]
            assert tuple(got.shape) == (5,), (
                f"the shape is {tuple(got.shape)}; one row of {len(right)} tokens is wanted"
            )
            case = f"decoder {trial}, width {len(rows)}: you found {got.tolist()}"
            assert (rows == got).all(1).any(), f"{case}, which is no word: a letter stands after the first {words.END}"
            assert p.log_prob(got[None]) > log_p.max() - 1e-4, (
                f"{case}, log p {p.log_prob(got[None]).item():.3f}; the likeliest of all {len(rows)} rows is "
                f"{right.tolist()}, log p {log_p.max():.3f}. Is a beginning judged by the sum of its logarithms, and "
                "does an ended word cost nothing more?"
            )
        z, found = torch.randn(20, model.latent), []
        for k in range(20):
            p = model.decode(z[k : k + 1], torch.eye(4)[k % 4 : k % 4 + 1])
            found.append([p.log_prob(row[None]).item() for row in (beam(p, 10), p.mode[0])])
        ours, greedy = torch.tensor(found).mean(0)
        assert ours > greedy, (
            f"20 words of the CVAE: log p {ours:.2f} with width 10, {greedy:.2f} letter by letter; are 10 rows kept?"
        )
