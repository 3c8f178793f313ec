"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, running_sum):
    ones = torch.ones(400, dtype=torch.bfloat16)
    low, single = (float(running_sum(ones, dtype)) for dtype in (torch.bfloat16, torch.float32))
    assert single == 400, f"400 ones in float32 are 400, and yours are {single:g}"
    assert low == 256, (
        f"400 ones kept in bf16 end at 256, and yours at {low:g}. `sum` of torch adds in float32 and rounds once, at "
        "its end; here every sum on the way is to be rounded"
    )
    terms = torch.full((784,), 0.1, dtype=torch.bfloat16)
    for (name, said), dtype in zip(prediction.items(), (torch.bfloat16, torch.float32)):
        found = float(running_sum(terms, dtype))
        assert abs(said - found) < 0.1 * found, (
            f"{name}: you predicted {said:g} nats, and it ends at {found:g}. How far apart are the "
            "neighbours of the sum in the format that it is kept in, and what becomes of a tenth that is added to it?"
        )


# %% exercise_2
from torch.utils.flop_counter import FlopCounterMode


def exercise_2(operations):
    x_few = torch.bernoulli(train.x[:4])
    for hidden, latent, samples in ((400, 20, 1), (200, 50, 1), (200, 50, 5)):
        net = VAE((1, 28, 28), latent, (hidden,), "relu")
        with FlopCounterMode(display=False) as counter:
            training_loss(elbo_terms(net, x_few, samples=samples)).backward()
        counted, ours = counter.get_total_flops() / 4, operations(hidden, latent, samples)
        case = f"hidden {hidden}, latent {latent}, S = {samples}: torch counts {counted:,.0f}, you {ours:,.0f}"
        assert 2 * ours != counted, f"{case}, half of it: a multiplication and an addition are two operations"
        assert ours != counted + 2 * 784 * hidden, (
            f"{case}: the gradient of the pixels is in yours, and nobody asks for it"
        )
        heads = 3 * 2 * hidden * latent
        assert ours != counted - heads, f"{case}: how many numbers does the encoder give for each latent?"
        assert ours == counted, (
            f"{case}, which is {ours / counted:.3f} of it. Which layers run once for an image and which for each draw? "
            "Going backward a layer has two products, one for its weights and one for its inputs, where these need one"
        )


# %% exercise_3
def exercise_3(half_loss):
    net, g = copy.deepcopy(model).double(), torch.Generator().manual_seed(1)
    noise_of_all = torch.randn(1, 200, 20, generator=g, dtype=torch.float64)
    by_rate = elbo_terms(net, x.double()).rate.argsort()  # one half gets the images of low rate, the other the rest
    halves = [(x[rows].double(), noise_of_all[:, rows]) for rows in by_rate.chunk(2)]
    low, high = (elbo_terms(net, images, noise=noise).rate.mean().detach() for images, noise in halves)
    mean = (low + high) / 2

    def gradient_of(loss, images, noise, *how):
        net.zero_grad()
        loss(elbo_terms(net, images, noise=noise), 10.0, *how).backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()]).clone()

    for capacity in (low.item() - 1, (low + mean).item() / 2, (mean + high).item() / 2, high.item() + 1):
        whole = gradient_of(training_loss, x.double(), noise_of_all, capacity)
        parts = [gradient_of(half_loss, *half, capacity, mean) for half in halves]
        off = (sum(parts) / 2 - whole).norm() / whole.norm()
        assert off < 1e-9, (
            f"with mean rates of {low:.2f} and {high:.2f} nats, {mean:.2f} together, and C = {capacity:.2f} the "
            f"gradients differ by {off:.2g} of their norm. What is the derivative of |R - C| by R, and which R decides "
            "its sign?"
        )


# %% exercise_4
def exercise_4(blocks):
    torch.manual_seed(seed)
    for n, batch, block in ((4000, 128, 1000), (1000, 64, 300)):
        case = f"{n} rows, batches of {batch}, blocks of {block}"
        epochs = [[torch.as_tensor(rows).tolist() for rows in blocks(n, batch, block)] for _ in range(10)]
        lengths = sorted({len(rows) for rows in epochs[0]})
        assert lengths == [batch], f"{case}: there are batches of {lengths} rows; leave out what fills none"
        stream = sum(epochs[0], [])
        assert len(set(stream)) == len(stream), f"{case}: {len(stream) - len(set(stream))} rows come twice in one epoch"
        assert 0 <= min(stream) and max(stream) < n, f"{case}: rows from {min(stream)} to {max(stream)}"
        most = n // batch * batch
        assert len(stream) == most, f"{case}: {len(stream)} rows are seen of {most}; is a rest lost in each block?"
        inside = [{row // block for row in rows} for rows in epochs[0]]  # the blocks that each batch touches
        where = [[i for i, touched in enumerate(inside) if b in touched] for b in range(-(-n // block))]
        opened, least = sum(w[-1] - w[0] + 1 for w in where if w), len(inside) + len(where) - 1
        assert opened <= least, (
            f"{case}: blocks stay open for {opened} batches in all; read up in turn, {least} suffice"
        )
        spans = [max(rows) - min(rows) for rows, touched in zip(epochs[0], inside) if len(touched) == 1]
        span = statistics.mean(spans)
        assert span > 0.8 * block, f"{case}: within a block, a batch spans {span:.0f} rows; shuffle the whole block"
        assert epochs[0] != epochs[1], f"{case}: two epochs are the same"
        firsts = {epoch[0][0] // block for epoch in epochs}
        assert len(firsts) > 1, f"{case}: ten epochs all begin with block {firsts.pop()}; their order is random, too"


# %% exercise_5
import weakref


def exercise_5(carry):
    g = torch.Generator().manual_seed(1)
    uneven = torch.tensor([0.0, 1.0, 3.0, 30.0])  # four images: from even weights to one that is everything
    weights = torch.randn(700, 4, generator=g) * uneven - torch.tensor([0.0, 100.0, 1000.0, 100.0])
    kept, alive = [], []

    def stream():
        for part in weights.split([50, 250, 100, 50, 250]):
            group = part.clone()
            kept.append(weakref.ref(group))
            yield group
            del group
            alive.append(sum(ref() is not None for ref in kept))

    def shown(values):
        return ", ".join(f"{value:.2f}" for value in values.tolist())

    bound, size = carry(stream())
    assert bound.shape == size.shape == (4,), f"shapes {tuple(bound.shape)} and {tuple(size.shape)}; (4,) are wanted"
    assert max(alive) < 3, f"{max(alive)} groups were in memory at once; take what you need of one and let it go"
    finite = bound.isfinite().all() and size.isfinite().all()
    assert finite, f"bounds {shown(bound)} and sizes {shown(size)} are not all finite; stay in logarithms"
    exact = weights.double().logsumexp(0) - math.log(700)
    assert (bound - exact).abs().max() < 0.01, (
        f"the bounds are {shown(exact)} from all weights at once, and yours {shown(bound)}: one logarithm of one mean "
        "over all 700 draws is wanted, and the groups are not equally large"
    )
    even = 1 / (weights.double().softmax(0) ** 2).sum(0)
    assert ((size - even).abs() < 0.01 * even).all(), (
        f"effective sizes are {shown(even)} from all weights at once, and yours {shown(size)}: both sums run over all "
        "groups before one is divided by the other"
    )
