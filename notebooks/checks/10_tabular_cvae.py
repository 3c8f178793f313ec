"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, likeliest):
    drawn = synthetic["CVAE"]
    assert likeliest.shape == drawn.shape, (
        f"likeliest has the shape {tuple(likeliest.shape)}; {tuple(drawn.shape)} is wanted: is it decoded to columns?"
    )

    def measures(x):
        auroc = scores(x, asked)["boosting"][0]
        equal = sum(key in known for key in keys(x, asked)) / len(x)
        return {"gain": (x[:, gain] > 0).float().mean().item(), "equal": equal, "auroc": auroc}

    kinds, of_draws = (len(set(keys(x, asked))) / len(x) for x in (likeliest, drawn))
    assert kinds < 0.8 * of_draws, (
        f"{kinds:.0%} of your rows are different from each other, of the draws {of_draws:.0%}: is a value still drawn? "
        "Is z drawn anew for each row, and the column's value not?"
    )
    assert kinds > 0.02, f"{kinds:.1%} of your rows are different from each other: z has to be drawn anew for each row"
    ours, draws = measures(likeliest), measures(drawn)
    assert ours["auroc"] > 0.6, (
        f"trees that learn from your rows have an AUROC of {ours['auroc']:.3f}: are the rows in the order of `asked`?"
    )
    for name, said in prediction.items():
        is_now = "lower" if ours[name] < draws[name] else "higher"
        assert said == is_now, (
            f"you predicted {name} {said}, and it is {is_now}: {ours[name]:.3f}, of the draws {draws[name]:.3f}. Which "
            "value does a column take for most z, and how usual is a row in which every column does so?"
        )


# %% exercise_2
def exercise_2(best_code):
    def descend(v, sigma):
        code = torch.tensor([0.7, 0.7, -0.3], dtype=torch.float64, requires_grad=True)  # w, a, log s

        def terms():
            w, a, s2 = code[0], code[1], (2 * code[2]).exp()
            return 0.5 * (a**2 * v + s2 - 1 - s2.log()), (1 - w * a) ** 2 * v + w**2 * s2

        def closure():
            descent.zero_grad()
            rate, off = terms()
            loss = rate + 0.5 * off / sigma**2  # without the constant of D
            loss.backward()
            return loss

        options = {"tolerance_grad": 1e-9, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
        descent = torch.optim.LBFGS([code], max_iter=500, **options)
        descent.step(closure)
        return (value.item() for value in terms())

    for v, sigma in ((1.0, 0.1), (1.0, 0.9), (9.0, 1.0), (4.0, 0.5), (0.25, 2.0), (1.0, 1.5)):
        ours, error_ours = (float(value) for value in best_code(v, sigma))
        rate, off = descend(v, sigma)
        case = f"v = {v:g}, σ = {sigma:g}: the least −ELBO that descent finds has rate {rate:.3f} and error {off:.3f}"
        assert ours >= 0, (
            f"{case}; your rate is {ours:.3f}, and a KL is never negative: what if the latent is left alone?"
        )
        assert abs(ours - rate) < 0.01, (
            f"{case}; your rate is {ours:.3f}. Which q is the exact posterior for a given w?"
        )
        assert abs(error_ours - off) < 0.01 * v, (
            f"{case}; your error is {error_ours:.3f}. Is z drawn from q, or its mean?"
        )


# %% exercise_3
def exercise_3(copied):
    source = torch.Generator().manual_seed(5)
    kind = 1 / torch.arange(1, 3001)  # how often each of 3,000 kinds of row is, but for a factor

    def rows(count):
        return kind.multinomial(count, replacement=True, generator=source)

    for m, n, of in ((0.0, 1000, 1000), (0.5, 1000, 1000), (1.0, 1000, 1000), (0.5, 500, 1500), (1.0, 500, 1500)):
        found = []
        for _ in range(20):
            training, others, copies = rows(of), rows(n), torch.rand(5000, generator=source) < m
            made = torch.where(copies, training[torch.randint(of, (5000,), generator=source)], rows(5000))
            shares = [torch.isin(made, some).double().mean().item() for some in (training[:n], others)]
            found.append([copied(*shares, n, of), *shares])
        answer, *shares = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
        error_of_mean = torch.tensor(found, dtype=torch.float64)[:, 0].std().item() / math.sqrt(20)
        assert abs(answer - m) < 5 * error_of_mean + 0.01, (
            f"n = {n}, N = {of}: of a generator that copies {m:.0%} of its rows, {shares[0]:.3f} equal a training row "
            f"and {shares[1]:.3f} one of the others; you find {answer:.3f}. Which copies are among the n rows, and how "
            "many rows would have been twins without being copied?"
        )


# %% exercise_4
def exercise_4(p_above):
    x, y = x_test[:500], test.y[:500]
    torch.manual_seed(seed)
    p = p_above(x)
    assert p.shape == (500,), f"the shape is {tuple(p.shape)}; one probability for each of 500 rows is wanted"
    assert ((p >= 0) & (p <= 1)).all(), f"probabilities lie in [0, 1]; yours go from {p.min():.2f} to {p.max():.2f}"
    area, share = roc_auc_score(y, p), y.float().mean()
    assert area > 0.5, f"AUROC {area:.3f}: below 1/2, the two classes are exchanged; column 1 of one_hot is 'above'"
    assert area > 0.85, (
        f"AUROC {area:.3f}; 0.85 is wanted, and logistic regression on real rows has "
        f"{found['real']['logistic'][0]:.3f}. The ELBO of one draw is a noisy and loose bound; and a distortion "
        "without its rate is not even that"
    )
    slack = 0.05 + 2 * math.sqrt(share * (1 - share) / 500)
    assert abs(p.mean() - share) < slack, (
        f"the mean of your p is {p.mean():.3f}, and {share:.3f} of these people are above. Bayes' rule needs p(c) too: "
        f"{train.y.float().mean():.3f} of the training rows are above"
    )
