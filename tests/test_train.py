"""The training loop: it learns, it is reproducible, it resumes, it stops, and it refuses bad input."""

import io
import re
import sys
from dataclasses import replace

import pytest
import torch

from cvae_lib import processes
from cvae_lib.checkpoint import save_checkpoint
from cvae_lib.data import Data, binarize, one_hot
from cvae_lib.models import CVAE, VAE
from cvae_lib.objectives import elbo_terms, iwae_bound, training_loss
from cvae_lib.priors import KINDS
from cvae_lib.step import Step
from cvae_lib.train import NonFiniteLoss, TrainConfig, fit, load_checkpoint

SHAPE = (1, 4, 4)


def data(n: int = 300, seed: int = 0) -> Data:
    """Four patterns with some grey, as binary images could be the draws of."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(7)).round()
    y = torch.randint(4, (n,), generator=generator)
    return Data(0.9 * patterns[y] + 0.05, y, "made up: test")


def model(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(SHAPE, 2, (16,))


def config(**kwargs) -> TrainConfig:
    return TrainConfig(**{"epochs": 4, "batch": 50, "lr": 1e-2, "device": "cpu", **kwargs})


def weights(trained: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(trained.parameters()).detach()


def test_training_lowers_the_bound_on_validation_and_history_adds_up():
    trained = model()
    history = fit(trained, data(), config(epochs=30), data(100, seed=1))
    for log in (history.train, history.validation):
        assert len(log["total"]) == 30 and history.epochs[-1] == 30
        assert log["total"] == pytest.approx([d + r for d, r in zip(log["distortion"], log["rate"], strict=True)])
    assert history.validation["total"][-1] < history.validation["total"][0] - 2
    assert not trained.training
    assert len(history.clock) == 30 and 0 < history.clock[0] < history.clock[-1] == history.seconds


def test_history_is_in_nats_per_image():
    """An untrained symmetric decoder gives each of 16 pixels about ln 2; a mean over pixels would give 0.7."""
    untrained = model()
    torch.nn.init.zeros_(untrained.decoder.head.weight)
    history = fit(untrained, data(), config(epochs=1, lr=1e-12, schedule="constant"))
    assert history.train["distortion"][0] == pytest.approx(16 * torch.tensor(2.0).log().item(), abs=1e-3)


def test_validation_measures_what_training_measures():
    """On the same pixels, where nothing is random: another weight or another reduction in one of the two would show."""
    untrained, binary = model(), Data(data().x.round(), None, "made up: test")
    torch.nn.init.zeros_(untrained.decoder.head.weight)  # what z is drawn does not matter
    history = fit(untrained, binary, config(epochs=1, lr=1e-12, binarization="none", beta=4.0), binary)
    assert history.train["rate"][0] > 0.01
    for term, values in history.train.items():
        assert history.validation[term] == pytest.approx(values, rel=1e-4), term


def test_validation_is_binarised_once_and_for_all():
    held_out, logs = data(50, seed=1), []
    for x in (held_out.x, binarize(held_out.x, "fixed", 3)):
        logs.append(fit(model(), data(), config(seed=3), Data(x, None, "made up: test")).validation)
    assert logs[0] == logs[1]
    with pytest.raises(ValueError, match="^validation: got no examples"):
        fit(model(), data(), config(), Data(torch.zeros(0, *SHAPE), None, "made up: test"))


def test_the_closing_line_names_both_sets_and_adds_up(capsys):
    number = r"(-?\d+\.\d\d)"
    for held_out, names in ((None, ["training"]), (data(50, seed=1), ["training", "validation"])):
        fit(model(), data(), config(label="small"), held_out)
        sets = ", ".join(rf"{name} -ELBO {number} = {number} \+ {number}" for name in names)
        said = re.fullmatch(rf"small: 4 epochs in \d+ s, {sets} nats", capsys.readouterr().out.split("\r")[-1].strip())
        for total, distortion, rate in zip(*[map(float, said.groups())] * 3):
            assert total == pytest.approx(distortion + rate, abs=0.011)


class Screen(io.StringIO):
    """Stands for a terminal, or for a notebook's output."""

    def isatty(self):
        return True


def test_progress_is_a_line_that_is_written_over_and_leaves_no_trace(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    history = fit(model(), data(), config(label="small"))
    start, *shown, blank, end = screen.getvalue().split("\r")
    assert start == "" and blank.strip() == "" and re.fullmatch(r"small: 4 epochs in \d+ s, training .* nats\n", end)
    assert all(line.startswith("small: ") for line in shown) and max(map(len, shown)) == 80
    epochs = [f"-ELBO {total:.2f}]" for total in history.train["total"]]
    assert [line.split(", ")[-1] for line in shown if "ELBO" in line and line.endswith(tuple(epochs))] != []
    assert set(epochs) == {line.split(", ")[-1] for line in shown if "ELBO" in line}


@pytest.mark.parametrize(
    "screen, rank, silent, lines", [(io.StringIO, 0, "", 1), (Screen, 1, "", 0), (Screen, 0, "1", 1)]
)
def test_progress_is_not_shown_in_a_file_by_other_processes_or_where_it_is_switched_off(
    monkeypatch, screen, rank, silent, lines
):
    monkeypatch.setenv("TQDM_DISABLE", silent)
    monkeypatch.setattr(processes, "rank", lambda: rank)
    monkeypatch.setattr(sys, "stdout", written := screen())
    fit(model(), data(), config())
    assert "\r" not in written.getvalue() and written.getvalue().count("\n") == lines


@pytest.mark.parametrize("there", [False, True])
def test_a_gpu_is_used_where_there_is_one_and_its_random_stream_is_kept(monkeypatch, there):
    noted = []

    def fork_rng(devices):
        noted.append(devices)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), data(), config(device=None))
    assert noted == [[torch.device("cuda")] if there else []]


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_steps_know_their_progress_and_only_the_rate_of_learning_moves(monkeypatch, schedule):
    seen, call = [], Step.__call__

    def noted(step, rows, progress):
        group = step.optimizer.param_groups[0]
        seen.append((progress, len(rows), float(group["lr"]), group["betas"]))
        call(step, rows, progress)

    monkeypatch.setattr(Step, "__call__", noted)
    fit(model(), data(120), config(epochs=3, schedule=schedule))  # 120 examples are two batches of 50
    progress, rows, rates, betas = zip(*seen)
    assert progress == pytest.approx([k / 6 for k in range(6)]) and set(rows) == {50}
    assert set(betas) == {(0.9, 0.999)}
    assert len(set(rates)) == (1 if schedule == "constant" else 6)


def test_training_goes_on_where_only_names_and_places_differ(tmp_path, monkeypatch):
    whole, parts, fresh = model(), model(), model(seed=9)
    fit(whole, data(), config())
    monkeypatch.setattr("cvae_lib.train._validate", stop_at(3))
    with pytest.raises(KeyboardInterrupt):
        fit(parts, data(), config(checkpoint=tmp_path / "a.pt", label="one"), data(50, seed=1))
    monkeypatch.undo()
    (tmp_path / "a.pt").rename(tmp_path / "b.pt")
    monkeypatch.setattr(torch, "compile", lambda module: module)
    fit(fresh, data(), config(checkpoint=tmp_path / "b.pt", label="two", device="cpu:0", compile=True))
    assert torch.equal(weights(whole), weights(fresh))


def test_validation_looks_at_the_condition_of_each_example():
    """Classes apart by 5 in the prior, none in the encoder: the rate is known for the right classes and for others."""
    cvae, y = CVAE(SHAPE, 2, 1, (8,), prior="learned"), torch.arange(100) % 2
    for weight in (cvae.encoder.head.weight, cvae.encoder.head.bias, *cvae.prior_net.parameters()):
        torch.nn.init.zeros_(weight)
    with torch.no_grad():
        cvae.prior_net.net.weight[0, 1] = 5.0  # N(0, 1) for class 0, N(5, 1) for class 1
    x = torch.zeros(100, *SHAPE)
    for labels, rate in ((y, 12.5 / 2), (y.new_zeros(100), 0.0), (y.new_ones(100), 12.5)):
        held_out = Data(x, labels, "made up: test", one_hot(labels, 2))
        settings = config(epochs=1, lr=1e-12, binarization="none")
        history = fit(cvae, Data(x, y, "made up: test", one_hot(y, 2)), settings, held_out)
        assert history.validation["rate"] == pytest.approx([rate], abs=1e-4)


def test_same_seed_same_weights_and_another_seed_others():
    runs = []
    for seed in (0, 0, 1):
        runs.append(model())
        fit(runs[-1], data(), config(seed=seed))
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.allclose(weights(runs[0]), weights(runs[2]))


def test_neither_validation_nor_the_callers_random_stream_matters():
    alone, validated = model(), model()
    torch.manual_seed(1)
    fit(alone, data(), config())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    fit(validated, data(), config(), data(50, seed=1))
    assert torch.equal(weights(alone), weights(validated))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_resumed_training_ends_at_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch, schedule):
    whole, parts = model(), model()
    log = fit(whole, data(), config(schedule=schedule), data(50, seed=1))
    settings = config(schedule=schedule, checkpoint=tmp_path / "c.pt")
    monkeypatch.setattr("cvae_lib.train._validate", stop_at(3))
    with pytest.raises(KeyboardInterrupt):
        fit(parts, data(), settings, data(50, seed=1))
    monkeypatch.undo()
    assert len(load_checkpoint(tmp_path / "c.pt")["history"]["train"]["total"]) == 2
    fresh = model(seed=9)
    resumed = fit(fresh, data(), settings, data(50, seed=1))
    assert torch.equal(weights(whole), weights(fresh))
    assert resumed.train == log.train and resumed.validation == log.validation
    assert resumed.clock == sorted(resumed.clock) and len(resumed.clock) == 4 and resumed.clock[0] > 0


def stop_at(call: int):
    from cvae_lib.train import _validate

    calls = []

    def validate(*args):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return _validate(*args)

    return validate


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path):
    first, again = model(), model(seed=3)
    settings = config(checkpoint=tmp_path / "c.pt")
    fit(first, data(), settings)
    fit(again, data(), settings)
    assert torch.equal(weights(first), weights(again))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    fit(model(), data(), config(checkpoint=path))
    with pytest.raises(ValueError, match="checkpoint: .*belongs to another model"):
        fit(VAE(SHAPE, 3, (16,)), data(), config(checkpoint=path))
    with pytest.raises(ValueError, match="belongs to another config.*0.02"):
        fit(model(), data(), config(checkpoint=path, lr=2e-2))
    with pytest.raises(ValueError, match="belongs to another data"):
        fit(model(), data(200), config(checkpoint=path))
    content = load_checkpoint(path)
    del content["rng"], content["optimizer"]
    save_checkpoint(path, content)
    with pytest.raises(ValueError, match="not a whole checkpoint of .* has no optimizer, rng"):
        fit(model(), data(), config(checkpoint=path))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        fit(model(), data(), config(checkpoint=path))
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")


def test_a_checkpoint_of_a_gpu_goes_on_on_a_cpu(tmp_path, monkeypatch):
    whole, parts, fresh, path = model(), model(), model(seed=9), tmp_path / "c.pt"
    fit(whole, data(), config())
    monkeypatch.setattr("cvae_lib.train._validate", stop_at(3))
    with pytest.raises(KeyboardInterrupt):
        fit(parts, data(), config(checkpoint=path), data(50, seed=1))
    content = load_checkpoint(path)  # on a CPU, and now as a GPU would have written it
    content["optimizer"]["param_groups"][0]["capturable"] = True
    save_checkpoint(path, content | {"cuda_rng": torch.zeros(16, dtype=torch.uint8)})
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: pytest.fail("there is no GPU to seed"))
    fit(fresh, data(), config(checkpoint=path))
    assert torch.equal(weights(whole), weights(fresh))
    [group], [before] = (one["optimizer"]["param_groups"] for one in (load_checkpoint(path), content))
    assert group["capturable"] is False and group["lr"].device.type == "cpu" and set(group) == set(before)


def test_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "c.pt"
    with pytest.raises(NonFiniteLoss, match="step .* of 6 of epoch"):
        fit(model(), data(), config(epochs=50, lr=1e30, schedule="constant", checkpoint=path))
    if path.exists():
        assert all(v.isfinite().all() for v in load_checkpoint(path)["model"].values())


@pytest.mark.parametrize("at, where", [(15, "step 3 of 6 of epoch 3"), (2, "step 2 of 6 of epoch 1")])
@pytest.mark.parametrize("kept", [True, False])
def test_a_non_finite_loss_names_its_step_and_what_is_left(tmp_path, monkeypatch, at, where, kept):
    calls, path = [], tmp_path / "c.pt"

    def poisoned(*args, **kwargs):
        calls.append(None)
        return training_loss(*args, **kwargs) * (float("nan") if len(calls) == at else 1.0)

    monkeypatch.setattr("cvae_lib.step.training_loss", poisoned)
    with pytest.raises(NonFiniteLoss) as stopped:
        fit(model(), data(), config(label="small", checkpoint=path if kept else None))
    left = f"; {path} holds the epoch before" if kept and at > 6 else ""
    assert str(stopped.value) == f"small: the loss was not finite in {where}{left}; try a lower lr"
    assert path.exists() == bool(left)


def test_beta_moves_rate_against_distortion():
    logs = [fit(model(), data(), config(epochs=30, beta=beta)) for beta in (0.2, 1.0, 5.0)]
    rates = [log.train["rate"][-1] for log in logs]
    distortions = [log.train["distortion"][-1] for log in logs]
    assert rates == sorted(rates, reverse=True) and distortions == sorted(distortions)


def test_beta_one_and_the_given_objective_agree():
    usual, own = model(), model()
    fit(usual, data(), config(beta=2.0))
    fit(own, data(), config(objective=lambda terms: (terms.distortion + 2 * terms.rate).mean()))
    assert torch.equal(weights(usual), weights(own))


def test_capacity_holds_the_rate():
    log = fit(model(), data(), config(epochs=60, beta=20.0, capacity=0.5, warmup=0.3))
    assert log.train["rate"][-1] == pytest.approx(0.5, abs=0.1)


def test_warmup_starts_without_the_rate():
    torch.manual_seed(0)
    slow, plain = (fit(model(), data(), config(epochs=10, warmup=w, beta=5.0)) for w in (1.0, 0.0))
    assert slow.train["rate"][1] > plain.train["rate"][1]


def test_condition_reaches_the_model_row_by_row():
    """Conditioned on the pattern, nothing is left for z: the rate falls to almost nothing, and nats are gained."""
    train = data(600)
    torch.manual_seed(0)
    cvae, vae = CVAE(SHAPE, 4, 2, (16,)), VAE(SHAPE, 2, (16,))
    given = fit(cvae, train.given(one_hot(train.y, 4)), config(epochs=40))
    alone = fit(vae, train, config(epochs=40))
    assert given.train["rate"][-1] < 0.3 < alone.train["rate"][-1]
    assert given.train["total"][-1] < alone.train["total"][-1] - 0.5


def test_a_richer_prior_is_trained_and_fits_the_codes_at_least_as_well():
    """The classes sit at different places of z only where the encoder alone is told: then p(z|c) has to follow."""
    train, totals = data(600), {}
    train = train.given(one_hot(train.y, 4))
    for kind in KINDS:
        torch.manual_seed(0)
        deaf = CVAE(SHAPE, 4, 2, (16,), prior=kind)
        deaf.decoder.forward = lambda z, c=None, whole=deaf.decoder.forward: whole(z, torch.zeros_like(c))
        totals[kind] = fit(deaf, train, config(epochs=60, samples=4)).train["total"][-1]
    assert totals["mean"] < totals["standard"] - 0.3
    assert totals["learned"] < totals["mean"] + 0.1 and totals["mixture"] < totals["mean"] + 0.2


@pytest.mark.parametrize("objective", ["iwae", "dreg"])
def test_training_on_the_bound_of_many_samples_raises_it_above_what_the_elbo_reaches(objective):
    held_out = binarize(data(300, seed=1).x, "fixed")
    reached = {}
    for name, samples in (("elbo", 1), (objective, 20)):
        trained = model()
        fit(trained, data(), config(epochs=30, objective=name, samples=samples))
        torch.manual_seed(0)
        reached[name] = iwae_bound(trained, held_out, samples=20).mean().item()
    assert reached[objective] > reached["elbo"] - 0.1
    assert reached[objective] > iwae_bound(model(), held_out, samples=20).mean().item() + 2


def test_free_bits_keep_latents_in_use():
    rates = {}
    for free in (0.0, 0.5):
        trained = model()
        fit(trained, data(), config(epochs=30, beta=8.0, free_bits=free))
        x = binarize(data(200, seed=1).x, "fixed")
        rates[free] = elbo_terms(trained, x).rate_per_dim.mean(0).min().item()
    assert rates[0.0] < 0.05 and rates[0.5] > 0.3


def test_an_interrupted_training_on_the_bound_goes_on(tmp_path):
    kept = config(objective="iwae", samples=3, checkpoint=tmp_path / "c.pt")
    fit(model(), data(), kept)
    again = fit(model(seed=5), data(), kept)
    assert len(again.epochs) == 4
    with pytest.raises(ValueError, match="belongs to another config"):
        fit(model(), data(), replace(kept, objective="dreg"))


def test_fixed_binarisation_shows_the_same_pixels_in_every_epoch():
    seen = {"fixed": [], "dynamic": []}
    for mode, log in seen.items():
        watched = model()
        watched.encoder.register_forward_pre_hook(lambda _, args, log=log: log.append(args[0].sum().item()))
        fit(watched, data(), config(epochs=2, batch=300, binarization=mode))
    assert seen["fixed"][0] == seen["fixed"][1] and seen["dynamic"][0] != seen["dynamic"][1]


def test_fixed_pixels_are_drawn_by_the_seed():
    seen, watched = [], model()
    watched.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    fit(watched, data(), config(epochs=1, binarization="fixed", seed=3, batch=300))
    shown, wanted = (x.flatten(1).unique(dim=0, return_counts=True) for x in (seen[0], binarize(data().x, "fixed", 3)))
    assert all(map(torch.equal, shown, wanted))


@pytest.mark.parametrize("likelihood", ["bernoulli", "cross_entropy"])
@pytest.mark.parametrize("mode", ["fixed", "dynamic"])
def test_what_the_model_is_trained_on_is_binary(mode, likelihood):
    watched, seen = VAE(SHAPE, 2, (16,), likelihood=likelihood), []
    watched.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    fit(watched, data(), config(epochs=1, binarization=mode))
    assert torch.cat(seen).unique().tolist() == [0.0, 1.0]


def test_distributions_validate_again_after_fit():
    fit(model(), data(), config(epochs=1))
    with pytest.raises(ValueError):
        torch.distributions.Bernoulli(probs=0.5).log_prob(torch.tensor(0.3))


def test_one_batch_smaller_than_asked_for():
    assert len(fit(model(), data(7), config(epochs=2)).epochs) == 2


@pytest.mark.parametrize(
    "change, words",
    [
        ({"beta": -1.0}, "beta: got -1.0"),
        ({"beta": float("nan")}, "beta: got nan"),
        ({"lr": 0.0}, "lr: got 0.0"),
        ({"epochs": 0}, "epochs: got 0"),
        ({"batch": 2.5}, "batch: got 2.5"),
        ({"schedule": "cosine"}, "schedule: got 'cosine', allowed are one_cycle, constant"),
        ({"optimizer": "lion"}, "optimizer: got 'lion'"),
        ({"binarization": "static"}, "binarization: got 'static'"),
        ({"warmup": 2.0}, "warmup: got 2.0"),
        ({"capacity": -3.0}, "capacity: got -3.0"),
        ({"objective": len, "checkpoint": "c.pt"}, "objective: got a function"),
        ({"objective": "vimco"}, "objective: got 'vimco', allowed are 'elbo', 'iwae', 'dreg'"),
        ({"objective": "iwae", "warmup": 0.5}, "objective: got 'iwae' with beta, warmup"),
        ({"objective": "dreg", "beta": 2.0}, "objective: got 'dreg' with beta"),
        ({"free_bits": -1.0}, "free_bits: got -1.0"),
        ({"free_bits": 1.0, "capacity": 3.0}, "free_bits: got 1.0 together with a capacity"),
    ],
)
def test_bad_settings_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        config(**change)


def test_bad_data_are_refused():
    train = data()
    with pytest.raises(ValueError, match="train: got no examples"):
        fit(model(), Data(torch.zeros(0, *SHAPE), None, "made up: test"), config())
    with pytest.raises(ValueError, match="grey values in"):
        fit(model(), replace(train, x=train.x + 1), config())
    with pytest.raises(ValueError, match="0 and 1 only"):
        fit(model(), train, config(binarization="none"))
    with pytest.raises(ValueError, match="free_bits: got 0.5, but the rate"):
        fit(VAE(SHAPE, 2, (8,), prior="mixture"), train, config(free_bits=0.5))
    with pytest.raises(ValueError, match=r"^x: got shape \(300, 16\), this model takes \(B, 1, 4, 4\)$"):
        fit(model(), replace(train, x=train.x.flatten(1)), config())
    with pytest.raises(ValueError, match="binarization: got 'dynamic', the gaussian likelihood allows 'none' only"):
        fit(VAE(SHAPE, 2, (8,), likelihood="gaussian"), train, config())
    with pytest.raises(ValueError, match="c: got None"):
        fit(CVAE(SHAPE, 4, 2), train, config())
    with pytest.raises(ValueError, match="takes no condition"):
        fit(model(), train.given(one_hot(train.y, 4)), config())
    with pytest.raises(ValueError, match=r"c: got shape \(300, 4\).*\(B, 5\)"):
        fit(CVAE(SHAPE, 5, 2), train.given(one_hot(train.y, 4)), config())
