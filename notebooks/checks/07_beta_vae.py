"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(same_as, prediction, averaged):
    one = ElboTerms(torch.tensor([60.0]), torch.tensor([10.0]))
    two = ElboTerms(torch.tensor([50.0]), torch.tensor([30.0]))
    for name, share in (("D/1024 + R", 1.0), ("D/1024 + R/10", 0.1)):
        wanted = [(t.distortion / 1024 + share * t.rate).mean() for t in (one, two)]
        yours = [training_loss(t, same_as[name]) for t in (one, two)]
        assert math.isclose(wanted[0] / wanted[1], yours[0] / yours[1], rel_tol=1e-3), (
            f"from D = 60, R = 10 to D = 50, R = 30 {name} is multiplied by {wanted[1] / wanted[0]:.3f}, "
            f"D + {same_as[name]:g} R by {yours[1] / yours[0]:.3f}; losses that differ by a constant factor would "
            f"agree in this. Write {name} as (D + β R) times a number"
        )
    rate, distortion = point(averaged, held_out)
    assert rate < 0.1, (
        f"the rate of your model is {rate:.2f} nats: its loss did not have β = {same_as['D/1024 + R']:g} on the rate. "
        "Which of the two terms is divided by 1,024?"
    )
    assert prediction == "under", (
        f"you predicted {prediction!r}, and the rate is {rate:.4f} nats, with a distortion of {distortion:.0f} nats; "
        f"the mean image has rate 0 and a distortion of {silent:.0f} on training sprites. "
        "How many nats of distortion does a nat of rate have to save here?"
    )


# %% exercise_2
from torch.distributions import Normal, kl_divergence


def minimise(loss, free):
    optimizer = torch.optim.LBFGS(free, max_iter=2000, tolerance_change=1e-14, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def exercise_2(best_linear):
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)  # ± 1 has mean 0 and variance 1: D and R depend on no more
    noise_x, noise_z = (e.flatten()[:, None] for e in torch.meshgrid(sign, sign, indexing="ij"))
    s = torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    for beta, sigma in ((0.3, 0.5), (2.0, 0.5), (2.0, 0.25), (8.0, 0.5), (60.0, 0.5)):
        yours = best_linear(beta, s, sigma)
        a, t, w = free = [torch.full_like(s, start).requires_grad_() for start in (0.5, 0.6, 0.5)]

        def terms(sigma=sigma, a=a, t=t, w=w):
            q = Normal(a * s * noise_x, t.abs())
            log_p = Normal(w * (q.mean + q.stddev * noise_z), sigma).log_prob(s * noise_x)
            return kl_divergence(q, Normal(0.0, 1.0)).mean(0).sum(), -log_p.mean(0).sum()

        minimise(lambda terms=terms, beta=beta: terms()[1] + beta * terms()[0], free)
        rate, distortion = (term.item() for term in terms())
        case = f"β = {beta:g}, s = 3, 2, 1, 0.5, σ = {sigma:g}: the minimum has R = {rate:.3f} and D = {distortion:.3f}"
        assert all(torch.as_tensor(value).numel() == 1 for value in yours), "sum rate and distortion over i"
        r, d = (float(value) for value in yours)
        assert abs(r - rate) < 1e-3, (  # tolerance: of the minimiser
            f"{case}, your R is {r:.3f} nats. Is σ² the variance? Does each latent cost 0 nats or more, at every β?"
        )
        constant = 4 * 0.5 * math.log(2 * math.pi * sigma**2)
        assert abs(d + constant - distortion) > 1e-3, f"{case}, your D lacks the constant of the Gaussian density"
        assert abs(d - distortion) < 1e-3, f"{case}, your D is {d:.3f} nats. What is it for a latent that is off?"


# %% exercise_3
def exercise_3(prediction, C, loose):
    free = on_train[0.25][0]
    assert abs(C - free / 2) < 0.05 * free, (
        f"C is {C:.2f} nats; half of the rate of the model for β = 0.25 on the training sprites is wanted, "
        "and `on_train` holds pairs (rate, distortion)"
    )
    rate = point(loose, train.x)[0]
    assert rate > 1.25 * C, (
        f"the rate of this model is {rate:.2f} nats, with C = {C:.2f}: the weak γ = 0.25 leads elsewhere. "
        "In `trained` γ is called beta; which one did this model have?"
    )
    assert prediction == "above", (
        f"you predicted {prediction!r} C, and the rate is {rate:.1f} nats, above C = {C:.1f}; without a capacity, "
        f"at β = 0.25, it is {free:.1f}. Write the loss without |·|, once for R < C and once for R > C: "
        "which way does each of its terms pull the rate?"
    )


# %% exercise_4
def exercise_4(codes_of):
    for name, code in codes_of.items():
        z = torch.as_tensor(code)
        assert z.ndim == 2 and len(z) == 6144, f"{name}: the shape is {tuple(z.shape)}, (6144, n) is wanted"
        sd = z.double().std(0)
        assert ((sd - 1).abs() < 0.01).all(), (
            f"{name}: standard deviations run from {sd.min():.3f} to {sd.max():.3f}; divide each latent by its own"
        )
        mig, score = metrics.mutual_information_gap(z, grid.y), metrics.factor_vae_score(z, grid.y)
        found = f"{name}: MIG {mig:.2f}, score {score:.2f}"
        if name == "low MIG, high score":
            assert mig < 0.1, f"{found}; the MIG should be under 0.1: who else may know what a latent knows?"
            assert score > 0.9, f"{found}; the score should be over 0.9: which latent stays still with each factor?"
        else:
            assert mig > 0.9, f"{found}; the MIG should be over 0.9: for each factor one latent, which alone knows it"
            assert score < 0.3, (
                f"{found}; the score should be under 0.3. A vote goes to the latent of least variance among 64 images, "
                "relative to its variance over all: which latent moves much over all images, and not among most 64?"
            )
