"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, quiet):
    def told(y, length=1):
        return length * one_hot(y)

    torch.manual_seed(seed)
    bound, loud = (-metrics.elbo(quiet, x_test, told(test.y, length)).elbo.mean().item() for length in (1, 8))
    assert bound < loud, (
        f"−ELBO is {bound:.1f} nats with one-hot vectors of length 1 and {loud:.1f} with length 8: "
        "with which of them was this model trained?"
    )
    drawn = quiet.sample(c=told(wanted[:2000]))
    fit_to, codes_test = binarize(validation.x, "fixed", seed=1), metrics.codes(quiet, x_test, told(test.y))
    codes_fit = metrics.codes(quiet, fit_to, told(validation.y))
    line = LogisticRegression(max_iter=500).fit(codes_fit, validation.y)
    found = {
        "recognised": (metrics.recognition(judge, drawn, wanted[:2000]), from_prior),
        "probe": (line.score(codes_test, test.y), cvae_probe),
        "-ELBO": (bound, -cvae_terms.elbo.mean().item()),
    }
    for name, (now, before) in found.items():
        verdict = "lower" if now < 0.95 * before else "higher" if now > 1.05 * before else "same"
        assert prediction[name] == verdict, (
            f"you predicted {name} {prediction[name]!r}, and it is {verdict!r}: {now:.4g}, with length 8 {before:.4g}. "
            "From which two places can the decoder take the class, and which of them does it find first?"
        )
    print("length 1 (length 8):", ", ".join(f"{name} {a:.4g} ({b:.4g})" for name, (a, b) in found.items()))


# %% exercise_2
def exercise_2(prediction, misled):
    lie, found = c_test[order], {}
    torch.manual_seed(seed)
    pairs = {"none": (c_test, c_test), "encoder": (lie, c_test), "decoder": (c_test, lie), "both": (lie, lie)}
    for name, pair in pairs.items():
        with torch.no_grad():
            found[name] = d, r = misled(*pair)
        assert d.shape == r.shape == (len(x_test),), (
            f"shapes {tuple(d.shape)}, {tuple(r.shape)}; one number an image is due"
        )
        due = metrics.elbo(cvae, x_test, pair[0]).rate
        assert torch.allclose(r, due, rtol=1e-3, atol=1e-3), (
            f"wrong class for {name}: the mean rate is {r.mean():.2f} nats, not {due.mean():.2f}. "
            "The rate is the encoder's alone: which class was it told here?"
        )
    off = found["none"][0] - cvae_terms.distortion
    assert off.mean().abs() < 5 * off.std() / math.sqrt(len(off)) + 1e-3, (
        f"with the right class for both the distortion is off by {off.mean():.2f} nats: is it a sum over pixels, "
        "with z drawn from the posterior and not its mean?"
    )
    sums = {name: (d + r).mean().item() for name, (d, r) in found.items()}
    highest, ratio = max(sums, key=sums.get), (found["encoder"][1].mean() / cvae_terms.rate.mean()).item()
    assert prediction["highest"] == highest, (
        f"you predicted {prediction['highest']!r}; −ELBO is highest for {highest!r}: {sums[highest]:.0f} nats. "
        "What does a z hold that was written for a reader who knows the class, and who corrects the error in each case?"
    )
    verdict = "lower" if ratio < 0.95 else "higher" if ratio > 1.05 else "same"
    assert prediction["rate"] == verdict, (
        f"you predicted {prediction['rate']!r} for the rate; it is {verdict!r}, {ratio:.2f} times that of the right "
        "class. Is an image of one class, called another, a usual or an unusual one for this encoder?"
    )
    print("−ELBO in nats, by who is told a wrong class:", ", ".join(f"{k} {v:.1f}" for k, v in sums.items()))


# %% exercise_3
def exercise_3(label_worth):
    generator, n = torch.Generator().manual_seed(1), 1_000_000
    y, shift = (torch.randint(low, 10, (n,), generator=generator) for low in (0, 1))
    lies = torch.rand(n, generator=generator)
    for error in (0.0, 0.05, 0.3, 0.6, 0.9, 1.0):
        label = (y + shift * (lies < error)) % 10
        joint = torch.bincount(10 * y + label, minlength=100).view(10, 10).double() / n
        independent = joint.sum(1, keepdim=True) * joint.sum(0)
        measured = joint.xlogy(joint / independent).nansum().item()  # a pair that never came counts 0
        ours = float(label_worth(error))
        case = f"ε = {error}: a million pairs have {measured:.3f} nats, yours is {ours:.3f}"
        close = abs(ours - measured) < 0.01  # over five standard errors, each below 0.002
        assert not math.isnan(ours), f"{case}. What is the limit of ε ln ε at 0?"
        assert close or abs(ours - measured / math.log(2)) > 0.01, f"{case}, in bits. Nats are wanted"
        assert close or abs(ours - (1 - error) * math.log(10)) > 0.01, (
            f"{case}. That counts only how often the label is right. What remains unknown when one has read it?"
        )
        assert close, (
            f"{case}. I(x; label) = H(label) − H(label | x): the first is ln 10. How many labels share ε in the second?"
        )


# %% exercise_4
def exercise_4(log_p_given, most):
    N, digits = len(each), torch.arange(10)
    every, true = torch.ones(N, 10, dtype=torch.bool), test.y[:N, None] == digits
    one, whole = log_p_given(each, true), log_p_given(each, every)
    assert one.shape == (N,), f"the shape is {tuple(one.shape)}; one number for each of {N} images is wanted"
    off = (whole - marginal).mean()
    assert whole.isfinite().all(), "not finite: exp of log p is 0 in float32, so the sum has to be taken by logsumexp"
    assert torch.allclose(whole, marginal, atol=1e-3), (
        f"with all ten classes allowed it is log p(x); yours is off by {off:.3f} nats on average. "
        "Is it the logarithm of an average, and not an average of logarithms?"
    )
    assert torch.allclose(one, own, atol=1e-3), (
        f"with one class allowed it is log p(x|c) of that class; yours is off by {(one - own).mean():.3f} nats. "
        "By what has p(c in A and x) to be divided?"
    )
    for A in ([0, 2, 4, 6, 8], [1, 7], [5]):
        inside = torch.isin(digits, torch.tensor(A)).expand(N, 10)
        share = len(A) / 10
        parts = log_p_given(each, inside) + math.log(share), log_p_given(each, ~inside) + math.log(1 - share)
        off = (torch.logaddexp(*parts) - marginal).abs().max()
        assert off < 1e-3, f"A = {A}: p(A) p(x|A) + p(not A) p(x|not A) is not p(x); off by up to {off:.3f} nats"
    for size in (1, 2, 5, 10):
        sure = torch.where(digits == 0, 0.0, -1000.0)[None]  # an image that only the first class explains
        worth = (log_p_given(sure, digits[None] < size) - log_p_given(sure, every[:1])).item()
        assert abs(float(most(size)) - worth) < 1e-3, (
            f"size {size}: an image that only one class explains, and A holds it, gains {worth:.4f} nats; yours is "
            f"{most(size):.4f}. How large can p(x|A) be if p(A) p(x|A) is a part of p(x)?"
        )
    gain = log_p_given(each, (test.y[:N, None] - digits) % 2 == 0) - marginal
    print(f"the parity is worth {gain.mean():.3f} nats, at most {most(5):.3f}; the class {(own - marginal).mean():.3f}")


# %% exercise_5
def exercise_5(one_of):
    torch.manual_seed(seed)
    for digits in ((0, 1), (0, 1, 6, 7), tuple(range(10))):
        with torch.no_grad():
            x = one_of(digits, 2000)
        assert x.shape == (2000, 1, 28, 28), f"the shape is {tuple(x.shape)}; (2000, 1, 28, 28) is wanted"
        rows = torch.isin(wanted[:2000], torch.tensor(digits)).nonzero()[:, 0]
        ours, due = (judge.predict(images).bincount(minlength=10) / len(images) for images in (x, generated[rows]))
        apart = 0.5 * (ours - due).abs().sum().item()
        # By chance alone the distance has a mean below half of this, and a standard deviation below a sixth.
        chance = 3 * math.sqrt(1 / 2000 + 1 / len(rows))
        seen = ", ".join(f"{k}: {share:.0%}" for k, share in enumerate(ours.tolist()) if share > 0.02)
        assert apart < chance, (
            f"one of {digits}: the judge sees {seen}. {apart:.0%} of the images would have to change class; chance "
            f"explains {chance:.0%}. Was a class drawn for each image, and the decoder told that class alone?"
        )
