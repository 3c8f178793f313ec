"""The checks of this notebook's exercises, run in it by `check`; they see its names."""

# %% exercise_1
from torch.utils.flop_counter import FlopCounterMode


def exercise_1(weights_of, products_of, window, apart):
    for k, o, height, width in ((1, 16, 28, 28), (16, 32, 7, 7), (3, 5, 9, 14)):
        layer, case = torch.nn.Conv2d(k, o, 3, stride=2, padding=1), f"{k} to {o} channels, {height} x {width}"
        exact, yours = sum(p.numel() for p in layer.parameters()), weights_of(k, o)
        assert yours == exact, f"{case}: {exact} weights, your formula gives {yours}. What does one output channel own?"
        with FlopCounterMode(display=False) as counter:  # counts a product and its addition as two
            layer(torch.zeros(1, k, height, width))
        exact, yours = counter.get_total_flops() // 2, products_of(k, o, height, width)
        assert yours == exact, (
            f"{case}: torch counts {exact:,} products, your formula gives {yours:,}. "
            "How many outputs are there, sides halved and rounded up, and how many weights does each meet?"
        )
    for n in (1, 2, 3, 4):
        layers = [torch.nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False) for _ in range(n)]
        image, middle = torch.zeros(1, 1, 128, 128, requires_grad=True), 64 // 2**n
        with torch.no_grad():
            _ = [layer.weight.fill_(1.0) for layer in layers]
        row = torch.nn.Sequential(*layers)(image)[0, 0, middle]
        reads = [torch.autograd.grad(row[k], image, retain_graph=True)[0][0, 0].nonzero() for k in (middle, middle + 1)]
        side, step = (reads[0].amax(0) - reads[0].amin(0) + 1)[1].item(), (reads[1] - reads[0])[0, 1].item()
        assert window(n) == side, (
            f"after {n} layers an output has a gradient for {side} x {side} pixels, not {window(n)}: "
            "three neighbours of the layer before, each with a window of its own; how far do these lie apart?"
        )
        assert apart(n) == step, f"after {n} layers neighbouring windows lie {step} pixels apart, not {apart(n)}"


# %% exercise_2
def first_numbers(model, way, z, c):
    """What c reaches first in a decoder, before the activation."""
    trunk, seen_there = model.decoder.trunk, []
    layer = {"planes": trunk.convs[0], "embedding": trunk.dense, "film": trunk.films[0] if trunk.films else None}[way]
    hook = layer.register_forward_hook(lambda module, before, after: seen_there.append(after))
    model.decode(z, c)
    hook.remove()
    if way != "film":
        return seen_there[0]
    maps = trunk.spread(trunk.dense(z).relu()).unflatten(-1, trunk.maps[0])
    scale, shift = seen_there[0][..., None, None].chunk(2, dim=1)
    return (1 + scale) * maps + shift


@torch.no_grad()
def exercise_2(prediction, bend):
    z = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    one, other = torch.eye(10)[3], torch.eye(10)[7]
    three = [c.expand(200, -1) for c in (one, other, (one + other) / 2)]
    for way in CONDITIONS:
        numbers = {"image": [models[way].decode(z, c).mean for c in three]}
        numbers[way] = [first_numbers(models[way], way, z, c) for c in three]
        off = {k: ((mixed - (a + b) / 2).norm() / (a - b).norm()).item() for k, (a, b, mixed) in numbers.items()}
        yours = float(bend(models[way], z, one, other))
        assert abs(yours - off["image"]) < 1e-3 * off["image"], (
            f"{way}: your measure is {yours:.4f}, {off['image']:.4f} was expected: the distance of the mixed images "
            "from the mean of the two, divided by the distance between the two, each a norm over everything"
        )
        for name, value in off.items():
            found = "mean" if value < 0.01 else "other"
            assert prediction[name] == found, (
                f"you predicted {prediction[name]!r} for {name}, and it is {found!r}: with {way} it is off the mean by "
                f"{value:.4f} of the distance of the two classes. Which step from c to there is not linear in c?"
            )


# %% exercise_3
class Known:
    """A model whose images are real ones, of the class that its prior or its decoder is told."""

    def __init__(self, follows, pictures):
        self.follows, self.pictures = follows, pictures

    def prior(self, c):
        return torch.distributions.Independent(torch.distributions.Normal(9.0 * c, 0.1), 1)

    def decode(self, z, c):
        k = {"prior": z, "decoder": c, "nobody": 0 * c}[self.follows].argmax(-1)
        return torch.distributions.Independent(torch.distributions.Bernoulli(self.pictures[k]), 3)


def exercise_3(named):
    x, y, one = test.x[:500].float(), test.y[:500], torch.arange(10).repeat(20)
    two = (one + 1 + torch.arange(200) // 10 % 9) % 10  # always another class
    sure = judge.predict(x) == y
    pictures = torch.stack([x[sure & (y == k)][0] for k in range(10)])
    for follows, expected in (("prior", (1.0, 0.0)), ("decoder", (0.0, 1.0)), ("nobody", (0.1, 0.1))):
        found = tuple(round(float(share), 3) for share in named(Known(follows, pictures), one, two))
        whose = "always of class 0" if follows == "nobody" else f"of the class that its {follows} is told"
        assert all(abs(a - b) < 0.02 for a, b in zip(found, expected, strict=True)), (
            f"a model whose images are {whose} should give {expected}, you get {found}. Which labels go to the prior, "
            "which to decode, and which share comes first?"
        )
    one = one.repeat(5)
    for way in ("embedding", "dense"):
        usual = metrics.recognition(judge, models[way].sample(c=one_hot(one)), one)
        both, error = named(models[way], one, one), (2 * max(usual * (1 - usual), 0.01) / len(one)) ** 0.5
        assert all(abs(float(share) - usual) < 5 * error for share in both), (
            f"{way}: told one class twice, both shares should be near its recognition, {usual:.3f}; "
            f"yours are {float(both[0]):.3f} and {float(both[1]):.3f}. Is z a draw from p(z|c)?"
        )


# %% exercise_4
from types import SimpleNamespace


def shown(mean, sd):
    return torch.distributions.Independent(torch.distributions.Normal(mean, sd), 1)


prior_5_2 = shown(torch.full((10_000, 16), 5.0), 2.0)
echo = SimpleNamespace(prior=lambda c: prior_5_2, decode=lambda z, c: shown(z, 1.0), latent=16)  # shows its z


def exercise_4(prediction, narrow):
    for t in (1.0, 0.5, 0.0):
        z = narrow(echo, t, torch.eye(10).repeat(1000, 1))
        middle, width = z.mean().item(), z.std().item()
        assert abs(middle - 5) < 0.05, (
            f"of a prior with mean 5, your z with t = {t:g} have mean {middle:.2f}: should t move it?"
        )
        assert abs(width - 2 * t) < 0.05, (
            f"of a prior with σ = 2, your z with t = {t:g} have σ = {width:.2f}, not {2 * t:g}"
        )
    torch.manual_seed(seed + 5)
    wanted, few, at = torch.arange(10).repeat(draws // 10), slice(1000), {}
    for t in (1.0, 0.5):
        made = narrow(best, t, one_hot(wanted))
        ratio = metrics.diversity(judge, made[few], wanted[few], test.x[few].float(), test.y[few])
        at[t] = {"recognised": metrics.recognition(judge, made, wanted), "diversity": ratio}
    error = sum(v["recognised"] * (1 - v["recognised"]) / len(wanted) for v in at.values()) ** 0.5
    for name in ("recognised", "diversity"):
        before, after = (at[t][name] for t in (1.0, 0.5))
        found = "higher" if after > before else "lower"
        close = name == "recognised" and abs(after - before) < 3 * error  # too near to tell, as after a short training
        assert prediction[name] == found or close, (
            f"you predicted {name} {prediction[name]!r}, and it is {found}: {before:.3f} at t = 1, {after:.3f} at 0.5. "
            "Where has the decoder learnt most, near the middle of the prior or far out?"
        )
    assert prediction["BCE + KL"] == "the same", (
        f"you predicted BCE + KL {prediction['BCE + KL']!r}: look again at which z its formula has; is t in it?"
    )
