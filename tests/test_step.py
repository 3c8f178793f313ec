"""The training step: what it may not do on a GPU, and what it does where a GPU's or compiler's help is missing."""

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
from test_train import config, data, model, weights
from torch.utils._python_dispatch import TorchDispatchMode

from cvae_lib import processes
from cvae_lib.data import one_hot
from cvae_lib.models import CVAE
from cvae_lib.objectives import elbo_terms, iwae_loss, training_loss
from cvae_lib.step import Step, _Loss, _optimizer
from cvae_lib.train import _unchecked_distributions, fit

READS = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select"}


class NoReading(TorchDispatchMode):
    """Refuses every operation that would make the host wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in READS, f"the step reads a value back: {func}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "settings",
    [{}, {"warmup": 0.5}, {"capacity": 2.0, "warmup": 0.5}, {"optimizer": "sgd", "momentum": 0.9}, {"samples": 3}],
    ids=["plain", "warm-up", "capacity", "sgd", "samples"],
)
@pytest.mark.parametrize("prior", ["learned", "mixture"])
def test_a_step_reads_nothing_back(settings, prior):
    train = data()
    torch.manual_seed(0)
    cvae = CVAE(train.x.shape[1:], 4, 2, (16,), prior=prior)
    step = Step(cvae, config(**settings), train.x, one_hot(train.y, 4))
    with _unchecked_distributions(), NoReading():  # as fit does
        step(torch.arange(50), 0.25)
    assert step.taken == 1 and step.bad == 0 and step.sums.isfinite().all()


def test_the_guard_against_reading_back_works():
    with pytest.raises(AssertionError, match="reads a value back"), NoReading():
        torch.ones(()).item()


def test_replaying_a_recorded_step_trains_as_the_plain_loop_does(monkeypatch):
    """On the CPU a recording is played by calling the step again, and undone while it is made, as CUDA does."""
    plain, replayed = model(), model()
    fit(plain, data(), config(warmup=0.5))
    made = []

    class Graph:
        def __init__(self):
            made.append(self)

        def replay(self):
            self.step.update()

    @contextmanager
    def record(graph):
        graph.step, rng = steps[0], torch.get_rng_state()
        assert graph.step.taken == 2  # it is the third that is recorded
        kept = [copy.deepcopy(part.state_dict()) for part in (graph.step.model, graph.step.optimizer)]
        counts = [tensor.clone() for tensor in (graph.step.sums, graph.step.taken, graph.step.bad)]
        yield
        torch.set_rng_state(rng)
        graph.step.model.load_state_dict(kept[0]), graph.step.optimizer.load_state_dict(kept[1])
        for tensor, before in zip((graph.step.sums, graph.step.taken, graph.step.bad), counts, strict=True):
            tensor.copy_(before)

    fake_cuda(monkeypatch, Graph, record)
    steps = recording_steps(monkeypatch)
    fit(replayed, data(), config(warmup=0.5))
    assert len(made) == 1 and steps[0].graph is made[0]
    assert torch.equal(weights(plain), weights(replayed))


def test_a_step_that_cannot_be_recorded_is_taken_without(monkeypatch):
    plain, warned, tried = model(), model(), []
    fit(plain, data(), config())

    @contextmanager
    def record(graph):
        tried.append(graph)
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    fake_cuda(monkeypatch, object, record)
    recording_steps(monkeypatch)
    with pytest.warns(UserWarning, match="CUDA graph: goes on without.*not permitted"):
        fit(warned, data(), config())
    assert len(tried) == 1
    assert torch.equal(weights(plain), weights(warned))


def fake_cuda(monkeypatch, graph, record):
    class Stream:
        def wait_stream(self, other):
            assert isinstance(other, Stream)

    def within(stream):
        assert isinstance(stream, Stream)
        return nullcontext()

    for name, value in {
        "CUDAGraph": graph,
        "graph": record,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": within,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


def recording_steps(monkeypatch) -> list[Step]:
    """Makes every step on the CPU record itself, as on a GPU; returns the list that they are put on."""
    steps, init = [], Step.__init__

    def recording(self, *args):
        init(self, *args)
        self.until_recording = 2
        steps.append(self)

    monkeypatch.setattr(Step, "__init__", recording)
    return steps


def test_without_a_compiler_training_goes_on_uncompiled(monkeypatch):
    def failing(module):
        def call(*_):
            raise RuntimeError("no C++ compiler found")

        return call

    plain, fallen = model(), model()
    fit(plain, data(), config())
    monkeypatch.setattr(torch, "compile", failing)
    with pytest.warns(UserWarning, match="compile: goes on without.*no C"):
        fit(fallen, data(), config(compile=True))
    assert torch.equal(weights(plain), weights(fallen))


def test_matmul_precision_holds_while_training_and_nowhere_else(monkeypatch):
    watched, seen = model(), []
    watched.encoder.register_forward_pre_hook(
        lambda module, _: seen.append((module.training, torch.get_float32_matmul_precision()))
    )
    fit(watched, data(), config(epochs=1, matmul="medium"), data(50, seed=1))
    assert set(seen) == {(True, "medium"), (False, "highest")}
    monkeypatch.setattr("cvae_lib.train.Step.update", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(model(), data(), config(matmul="high"))
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_double_precision_model_takes_a_condition_in_single_precision():
    y = torch.arange(300) % 2
    cvae = CVAE((1, 4, 4), 2, 2, (16,), prior="learned").double()
    history = fit(cvae, data().given(one_hot(y, 2)), config(epochs=1), data(50, seed=1).given(one_hot(y[:50], 2)))
    assert history.validation["total"][-1] > 0


def test_a_double_precision_model_is_trained_in_double_precision():
    double = model().double()
    history = fit(double, data(), config(epochs=30), data(50, seed=1))
    assert all(p.dtype == torch.float64 for p in double.parameters())
    single = fit(model(), data(), config(epochs=30), data(50, seed=1))
    assert history.validation["total"][-1] == pytest.approx(single.validation["total"][-1], abs=0.3)


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
def test_the_loss_is_that_of_its_objective_with_the_samples_noise_and_condition_given(objective):
    cvae = CVAE((1, 4, 4), 2, 3, (16,), prior="learned").double()
    x, c, noise = data(6).x.double().round(), torch.eye(2).double().repeat(3, 1), torch.randn(4, 6, 3).double()
    terms, rise = elbo_terms(cvae, x, c, 4, noise=noise), torch.ones(())
    wanted = training_loss(terms)
    if objective != "elbo":
        wanted, terms = iwae_loss(cvae, x, c, 4, objective == "dreg", noise)
    loss, means = _Loss(cvae, config(objective=objective, samples=4))(x, c, noise, rise)
    assert torch.equal(means, torch.stack([terms.distortion.mean(), terms.rate.mean()])) and not means.requires_grad
    gradients = (torch.autograd.grad(one, list(cvae.encoder.parameters())) for one in (loss, wanted))
    assert torch.equal(loss, wanted) and all(map(torch.equal, *gradients))


def test_sgd_moves_by_its_rate_and_keeps_its_momentum():
    x, rows, positions = data().x.double().round(), torch.arange(50), {}
    for lr, momentum in ((0.01, 0.0), (0.02, 0.0), (0.01, 0.9)):
        trained = model().double()
        settings = config(optimizer="sgd", lr=lr, momentum=momentum, binarization="none")
        step, at = Step(trained, settings, x, None), [weights(trained).clone()]
        for seed in (0, 1):
            torch.manual_seed(seed)
            step(rows, 0.0)
            at.append(weights(trained).clone())
        positions[lr, momentum] = torch.stack(at).diff(dim=0)  # both moves
    plain, faster, rolling = positions.values()
    torch.testing.assert_close(faster[0], 2 * plain[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(rolling, plain + torch.stack([0 * plain[0], 0.9 * plain[0]]), rtol=1e-9, atol=1e-12)


def test_two_processes_divide_rows_and_noise_of_one_batch(monkeypatch):
    x, y, rank = data().x.double().round(), torch.arange(300) % 2, [0]
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "rank", lambda: rank[0])
    monkeypatch.setattr(processes, "wrap", lambda module: module)
    cvae = CVAE((1, 4, 4), 2, 3, (16,)).double()
    step = Step(cvae, config(samples=4, binarization="none"), x, one_hot(y, 2))
    rows, parts = torch.arange(50).flip(0), []
    step.rows.copy_(rows)
    for rank[0] in (0, 1):
        torch.manual_seed(5)
        parts.append(step._examples())
    torch.manual_seed(5)
    noise = torch.randn(4, 50, 3, dtype=torch.float64)
    for own, part in zip((rows[::2], rows[1::2]), parts):
        assert torch.equal(part[0], x[own]) and torch.equal(part[1], one_hot(y, 2)[own])
    assert torch.equal(parts[0][2], noise[:, ::2]) and torch.equal(parts[1][2], noise[:, 1::2])


@pytest.mark.parametrize("change", [{"objective": training_loss}, {"capacity": 2.0}, {"free_bits": 0.5}])
def test_a_loss_that_is_no_mean_over_examples_is_refused_where_processes_share_it(monkeypatch, change):
    Step(model(), config(**change), data().x, None)
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ValueError, match=f"^{[*change][0]}: got one with 2 processes, which can only average"):
        Step(model(), config(**change), data().x, None)


def test_all_that_a_step_keeps_lies_on_the_device_of_its_data(monkeypatch):
    """The device "meta", which has shapes and no numbers, stands in for a GPU; no fused optimiser takes it."""
    monkeypatch.setattr("cvae_lib.step._optimizer", lambda *_: None)
    step = Step(model().to("meta"), config(binarization="none"), data().x.to("meta"), None)
    kept = {name: value.device.type for name, value in vars(step).items() if isinstance(value, torch.Tensor)}
    assert kept == dict.fromkeys(("x", "rows", "rise", "sums", "taken", "bad"), "meta")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_optimiser_gets_the_constants_and_on_a_gpu_can_be_recorded(monkeypatch, device):
    monkeypatch.setattr(torch, "tensor", lambda value, device: (value, device))
    for name in ("Adam", "SGD"):
        monkeypatch.setattr(torch.optim, name, lambda weights, name=name, **how: (name, len(list(weights)), how))
    lr = (0.5, torch.device(device))
    settings = {"lr": 0.5, "adam_betas": (0.8, 0.99), "adam_eps": 1e-4, "momentum": 0.3}
    adam, sgd = (_optimizer(model(), config(**settings, optimizer=name), lr[1]) for name in ("adam", "sgd"))
    constants = {"betas": (0.8, 0.99), "eps": 1e-4, "capturable": device == "cuda"}
    number = len(list(model().parameters()))
    assert adam == ("Adam", number, {"lr": lr, "fused": True, **constants})
    assert sgd == ("SGD", number, {"lr": lr, "fused": True, "momentum": 0.3})


def test_the_loss_is_compiled_where_that_is_asked_for_and_nowhere_else(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or "compiled")
    for asked in (False, True):
        step = Step(model(), config(compile=asked), data().x, None)
        assert step.loss == ("compiled" if asked else step.plain)
    assert compiled == [step.plain]


def test_a_batch_that_two_processes_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ValueError, match="^batch: got 25, 2 processes need a multiple of 2$"):
        Step(model(), config(batch=25), data().x, None)
