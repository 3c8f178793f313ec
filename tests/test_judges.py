"""The judges: what is committed is what was measured, and it judges what it is given."""

import json

import pytest
import torch

from cvae_lib import judges
from cvae_lib.data import load
from cvae_lib.judges import Judge, JudgeError
from cvae_lib.judges.train import SHIFT, augment, store

FLOOR = {"mnist": 0.99, "fashion_mnist": 0.91}


@pytest.fixture(scope="module")
def judge():
    return judges.load("mnist")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of judges of its own, with a copy of MNIST's."""
    for name in ("mnist.pt", "judges.json"):
        (tmp_path / name).write_bytes((judges.FOLDER / name).read_bytes())
    monkeypatch.setattr(judges, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", judges.NAMES)
def test_committed_judges_are_small_and_good_enough(name):
    judge = judges.load(name)
    assert (judges.FOLDER / f"{name}.pt").stat().st_size < 1_000_000
    assert judge.accuracy >= FLOOR[name]
    assert sum(p.numel() for p in judge.parameters()) == judges.facts()[name]["parameters"]
    assert not judge.training and not any(p.requires_grad for p in judge.parameters())


def test_it_recognises_the_bundled_digits(judge):
    digits = load("mnist_5k", "test")
    assert (judge.predict(digits.x) == digits.y).float().mean() >= 0.98


@pytest.mark.parametrize("name", judges.NAMES)
def test_the_recorded_accuracy_is_that_of_the_stored_weights(name, monkeypatch):
    monkeypatch.setenv("CVAE_OFFLINE", "1")
    try:
        data = load(name, "test")
    except RuntimeError:
        pytest.skip(f"{name} is not in the data folder")
    if data.name != name:
        pytest.skip(f"{name} is not in the data folder")
    judge = judges.load(name)
    share = (judge.predict(data.x) == data.y).float().mean().item()
    assert share == pytest.approx(judge.accuracy, abs=2e-4)  # two images of 10,000, for other kernels


def test_flat_images_square_images_and_chunks_are_judged_alike(judge):
    x = load("mnist_5k", "train").x[: judges.CHUNK + 30]
    logits = judge(x)
    assert logits.shape == (len(x), 10) and judge.features(x).shape[0] == len(x)
    torch.testing.assert_close(judge(x.flatten(1)), logits)
    torch.testing.assert_close(judge(x[-30:]), logits[-30:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(judge.head(judge.features(x)), logits)
    assert judge.predict(x).equal(logits.argmax(1))


@pytest.mark.parametrize("x", [torch.zeros(2, 28, 28), torch.zeros(2, 783), torch.zeros(2, 1, 32, 32)])
def test_images_of_another_shape_are_refused(judge, x):
    with pytest.raises(ValueError, match="x has shape"):
        judge(x)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_pixels_outside_0_to_1_are_refused(judge, value):
    with pytest.raises(ValueError, match="outside"):
        judge.predict(torch.full((1, 784), value))


def test_an_unknown_judge_is_refused():
    with pytest.raises(ValueError, match="'mnist_5k'.*mnist, fashion_mnist"):
        judges.load("mnist_5k")


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:]])
def test_altered_weights_are_refused(folder, change):
    path = folder / "mnist.pt"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(JudgeError, match=r"mnist\.pt.*expected"):
        judges.load("mnist")


@pytest.mark.parametrize("name", ["mnist.pt", "judges.json"])
def test_a_missing_file_says_how_it_is_made(folder, name):
    (folder / name).unlink()
    with pytest.raises(JudgeError, match=r"python -m cvae_lib\.judges\.train mnist"):
        judges.load("mnist")


def test_storing_writes_what_loading_reads(folder, judge):
    data = load("mnist_5k", "test")
    same = Judge()
    same.load_state_dict(judge.state_dict())
    fact = store("mnist", same, data, data)
    again = judges.load("mnist")
    assert again.accuracy == fact["accuracy"]
    assert again(data.x).equal(judge(data.x))
    assert set(json.loads((folder / "judges.json").read_text())) == set(judges.NAMES)  # the other one stays


def test_a_poor_judge_is_not_written(folder):
    data, before = load("mnist_5k", "test"), (folder / "mnist.pt").read_bytes()
    with pytest.raises(SystemExit, match="below"):
        store("mnist", Judge(), data, data)
    assert (folder / "mnist.pt").read_bytes() == before


def test_augmented_images_are_whole_shifts():
    x = torch.zeros(300, 1, 28, 28)
    x[:, :, 10, 20] = 1
    torch.manual_seed(0)
    at = augment(x, mirror=False).squeeze(1).nonzero()
    assert len(at) == 300 and at[:, 0].equal(torch.arange(300))  # one pixel in each image, as before
    moves = at[:, 1:] - torch.tensor([10, 20])
    assert moves.abs().max() == SHIFT and len(moves.unique(dim=0)) == (2 * SHIFT + 1) ** 2


def test_half_of_the_images_are_mirrored_where_that_is_asked():
    x = torch.zeros(400, 1, 28, 28)
    x[:, :, 10, 20] = 1
    torch.manual_seed(0)
    column = augment(x, mirror=True).squeeze(1).nonzero()[:, 2]
    assert 150 < (column < 14).sum() < 250


def test_smoothing_keeps_the_ink_and_spreads_it():
    x = torch.zeros(300, 1, 28, 28)
    x[:, :, 10, 20] = 1
    torch.manual_seed(0)
    made = augment(x, mirror=False, smooth=1.0)
    torch.testing.assert_close(made.sum((1, 2, 3)), torch.ones(300))
    peak = made.amax((1, 2, 3))
    assert peak.min() < 0.3 and peak.max() > 0.9  # from the average itself to the pixel as it was
