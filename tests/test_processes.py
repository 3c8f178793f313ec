"""Two processes train as one would: the same gradient, the same losses, the same checkpoint; a death ends both."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from worker import made

from cvae_lib import processes

WORKER = Path(__file__).parent / "worker.py"
ONE_STEP = {"epochs": 1, "batch": 240, "optimizer": "sgd", "lr": 1.0, "schedule": "constant"}  # moves by the gradient
EPOCHS = {"epochs": 4, "batch": 24, "lr": 0.01}


def torchrun(out: Path, *options: str, check: bool = True, **settings) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(WORKER)]
    command += ["--out", str(out), *options, *(f"{name}={value}" for name, value in settings.items())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.parametrize("change", [{}, {"samples": 3, "beta": 4.0}, {"samples": 3, "objective": "dreg"}])
def test_two_halves_of_a_batch_give_the_gradient_of_the_whole(tmp_path, change):
    settings = ONE_STEP | change
    alone = made(torch.float64, **settings)["moved"]
    torchrun(tmp_path / "two.pt", **settings)
    both = torch.load(tmp_path / "two.pt", weights_only=True)["moved"]
    assert alone.norm() > 0.1
    assert (both - alone).norm() < 1e-10 * alone.norm()


def test_in_float32_the_losses_of_four_epochs_agree(tmp_path):
    alone = made(torch.float32, **EPOCHS)["loss"]
    torchrun(tmp_path / "two.pt", "--dtype", "float32", **EPOCHS)
    assert torch.load(tmp_path / "two.pt", weights_only=True)["loss"] == pytest.approx(alone, rel=1e-5)
    assert alone[-1] < alone[0] - 1


def test_a_killed_process_ends_the_other_and_training_goes_on_from_the_checkpoint(tmp_path):
    torchrun(tmp_path / "whole.pt", **EPOCHS, checkpoint=tmp_path / "whole")
    settings = EPOCHS | {"checkpoint": tmp_path / "killed"}
    done = torchrun(tmp_path / "killed.pt", "--die-after", "25", check=False, **settings)  # in the third epoch of ten
    assert done.returncode != 0 and "SIGKILL" in done.stderr and not (tmp_path / "killed.pt").exists()
    torchrun(tmp_path / "killed.pt", **settings)
    whole, resumed = (
        torch.load(tmp_path / "whole.pt", weights_only=True),
        torch.load(tmp_path / "killed.pt", weights_only=True),
    )
    assert (whole["steps"], resumed["steps"]) == (40, 20)  # the two finished epochs were not trained again
    assert torch.equal(resumed["moved"], whole["moved"]) and resumed["loss"] == whole["loss"]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"batch": 25}, "batch: got 25, 2 processes"),
        ({"batch": 24, "capacity": 1.0}, "capacity: got one with 2"),
        ({"batch": 24, "free_bits": 1.0}, "free_bits: got one with 2"),
    ],
)
def test_what_cannot_be_divided_is_refused(tmp_path, settings, words):
    done = torchrun(tmp_path / "two.pt", check=False, epochs=1, **settings)
    assert done.returncode != 0 and words in done.stderr


def test_without_torchrun_there_is_one_process():
    value = torch.arange(6).view(2, 3)
    with processes.joined() as rank:
        assert (rank, processes.count()) == (0, 1)
        assert torch.equal(processes.part(value), value) and torch.equal(processes.part(value, dim=1), value)
        assert torch.equal(processes.mean(value.float()), value.float())
        module = torch.nn.Linear(2, 2)
        assert processes.wrap(module) is module
