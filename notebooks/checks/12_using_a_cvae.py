"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, typical):
    assert set(typical) == set(scored), f"typical has the kinds {sorted(typical)}; wanted are {sorted(scored)}"
    plain = {kind: auroc(usual["−log p(x)"], odd["−log p(x)"]) for kind, (usual, odd) in scored.items()}
    assert any(abs(typical[kind] - plain[kind]) > 1e-6 for kind in plain), (
        "these are the AUROC of −log p(x) itself: subtracting h changes no rank. Is it the distance, without the sign?"
    )
    for kind, (usual, odd) in scored.items():
        nats = torch.cat([usual["−log p(x)"], odd["−log p(x)"]])
        far = (nats - usual["−log p(x)"].mean()).abs()
        by_rank = roc_auc_score([0] * len(usual["−log p(x)"]) + [1] * len(odd["−log p(x)"]), far)
        assert abs(typical[kind] - by_rank) < 0.02, (
            f"{kind}: your AUROC is {typical[kind]:.3f}, scikit-learn's of |−log p(x) − h| is {by_rank:.3f}. Are both "
            "sides of h strange, and is h that of the model that scored this kind?"
        )
    for kind, said in prediction.items():
        found = "gains" if typical[kind] > plain[kind] else "loses"
        assert said == found, (
            f"you predicted that {kind} {said}, and it {found}: {plain[kind]:.3f} before, {typical[kind]:.3f} now. On "
            "which side of h do most of these images lie, and what happens to the digits on the other side?"
        )


# %% exercise_2
def exercise_2(borrowed, over_bound):
    rates = metrics.elbo(shared, x_test[:10], condition(test.y[:10])).rate.tolist()
    for bins in (9, 12):
        for i, rate in enumerate(rates):
            ours = float(borrowed(rate, bins, 16))
            starts = coding.BitsBack(shared, each_class, bins).latents(x_test[i : i + 1], condition(test.y[i : i + 1]))
            shares = np.diff(starts) / 2**coding.FINE
            bits = -(shares * np.log2(shares)).sum()
            assert abs(ours - bits) < 0.5, (
                f"image {i}, 16 latents, {bins} bits each: −log2 q(z) is {bits:.1f} bits on average, and you have "
                f"{ours:.1f}. Under the prior z takes {16 * bins} bits; what is the KL, {rate:.1f} nats, between that "
                "and what it takes under q?"
            )
    c, unit, bound = condition(test.y[:100]), Normal(0.0, 1.0), bound_in_bits(100, 50)
    q = shared.encode(x_test[:100], c).base_dist
    for bins, ours in over_bound.items():
        with torch.no_grad():
            k = (unit.cdf(q.sample((50,)).double()) * 2**bins).floor()  # of 50 draws of z for each of 100 images
            start, middle, end = (unit.icdf((k + part) / 2**bins) for part in (0, 0.5, 1))
            below, upto = (Normal(q.loc.double(), q.scale.double()).cdf(edge) for edge in (start, end))
            log2_q = (upto - below).clamp(min=2.0**-coding.FINE).log2().sum(-1)
            log2_px = shared.decode(middle.float(), c).log_prob(x_test[:100]) / math.log(2)
            found = bins * 16 + log2_q - log2_px + math.log2(10) - bound
        slack = 5 * (found - found.mean(0)).std() / math.sqrt(100 * 10)
        assert abs(ours - found.mean()) < slack, (
            f"bins = {bins}: at the middles of 50 draws each, 100 images take {found.mean():+.2f} bits over the bound; "
            f"you have {ours:+.2f}. Is the bound in bits, do both count the class, and is z the middle of its bin?"
        )


# %% exercise_3
def exercise_3(send, receive):
    class Watched(coding.BitsBack):
        def push(self, stack, x, label=0):
            self.label, self.popped = label, before - math.log2(stack.state)
            super().push(stack, x, label)

    p = each.softmax(1)  # of the last section
    ranked, coder, source = p.amax(1).argsort().tolist(), Watched(shared, each_class), random.Random(4)
    for i in ranked[:8] + ranked[-2:]:  # those of whose class the model is least sure, and surest
        start = source.getrandbits(400) | 1 << 400
        stack, before = coding.Stack(start), math.log2(start)
        send(coder, stack, x_test[i : i + 1])
        torch.randn(7)  # the receiver is another machine
        assert torch.equal(receive(coder, stack), x_test[i : i + 1]), (
            f"test image {i} did not come back; does the receiver undo the steps in the reverse order?"
        )
        assert stack.state == start, (
            f"test image {i} came back, but the message before it did not: the bits are not given back. Is the class "
            "pushed after the image was popped, with the very same shares? An estimate by draws differs from one time "
            "to the next"
        )
        assert coder.popped > 1e-6, (  # with no share empty, none is whole, and each pop gives more than that
            f"test image {i}: the message was {coder.popped:+.3f} bits shorter when the image was pushed than before. "
            "A class that is popped makes it shorter; is it pushed, or only chosen?"
        )
        assert i not in ranked[-2:] or coder.label == p[i].argmax(), (
            f"test image {i} has class {p[i].argmax().item()} with p = {p[i].max():.4f}, and was sent as a "
            f"{coder.label}: are the shares those of p(c|x)?"
        )


# %% exercise_4
def exercise_4(prediction, spread, nats_of):
    zeros = torch.zeros(len(test.y))
    for name, m in (("missing", 0), ("zero", 1)):
        torch.manual_seed(seed + 1)
        one, two = (-metrics.elbo(slanted, x_test, with_slant(test.y, zeros, m)).elbo for _ in range(2))
        error = (one - two).std() / math.sqrt(len(test))  # of the difference of two such means
        assert abs(one.mean() - nats_of[name]) < 5 * error, (
            f"the −ELBO of the test digits with the slant {name} is {one.mean():.2f} nats here; you have "
            f"{nats_of[name]:.2f}. Are the pixels those of x_test, and value and mask 0 and 1 in the right places?"
        )
        y = torch.arange(10).repeat(100)
        sd = slant(slanted.sample(c=with_slant(y, torch.zeros(1000), m))).std().item()
        assert abs(sd / spread[name] - 1) < 0.13, (  # four standard errors
            f"1,000 samples with the slant {name} have slants with sd {sd:.3f}; you have {spread[name]:.3f}: is it in "
            "the unit of `slant`, over samples from the prior of all classes?"
        )
    found = {"spread": "narrower" if spread["zero"] < spread["missing"] else "wider"}
    found["-ELBO"] = "lower" if nats_of["zero"] < nats_of["missing"] else "higher"
    numbers = {"spread": (spread["zero"], spread["missing"]), "-ELBO": (nats_of["zero"], nats_of["missing"])}
    for name, said in prediction.items():
        assert said == found[name], (
            f"you predicted {name} {said}, and it is {found[name]}: {numbers[name][0]:.3f} with 0, "
            f"{numbers[name][1]:.3f} as missing. With mask 1, what does a value of 0 claim about the image, and for "
            "how many images is that true?"
        )
