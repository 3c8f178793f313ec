"""Datasets by name: their splits, their conditions, their binary pixels."""

import hashlib
from pathlib import Path

import pytest
import torch
from fake_sources import TEST, TRAIN

from cvae_lib import data
from cvae_lib.data import Data, Grey, binarize, dequantize, files, load, one_hot


@pytest.fixture
def mnist(network):
    network.fill()


@pytest.fixture
def row():
    return Data(torch.rand(6, 1, 28, 28), torch.arange(6), "mnist: here")


def numbers(x):
    """The number that each stand-in image carries in its first two pixels."""
    return (x[:, 0, 0, :2] * 255 @ torch.tensor([256.0, 1.0])).round().long()


def test_mnist_splits_share_no_image_and_miss_none(mnist):
    parts = [load("mnist", split) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [TRAIN - 5_000, 5_000]
    assert sorted(torch.cat([numbers(part.x) for part in parts]).tolist()) == list(range(TRAIN))
    assert numbers(parts[0].x).tolist() != list(range(TRAIN - 5_000))  # a permutation, not the first rows
    assert numbers(load("mnist", "test").x).tolist() == list(range(TEST))  # a file of its own, in its order


@pytest.mark.parametrize("split", data.SPLITS)
def test_labels_stay_with_their_images(mnist, split):
    part = load("mnist", split)
    assert part.y.dtype == torch.int64 and part.y.equal(numbers(part.x) % 10)


def test_images_are_floats_from_0_to_1():
    x = load("mnist_5k", "validation").x
    assert x.shape == (500, 1, 28, 28) and x.dtype == torch.float32
    assert x.min() == 0 and x.max() == 1 and (x * 255).frac().abs().max() < 1e-4


def test_loading_twice_gives_the_same_rows_and_leaves_the_seed_alone(mnist):
    for name in ("mnist", "mnist_5k"):
        torch.manual_seed(1)
        first, state = load(name, "train"), torch.random.get_rng_state()
        torch.manual_seed(2)
        again = load(name, "train")
        torch.manual_seed(1)
        assert first.x.equal(again.x) and first.y.equal(again.y)
        assert state.equal(torch.random.get_rng_state())


def test_a_loaded_set_can_be_written_to_without_spoiling_the_next(mnist):
    for name in ("mnist", "mnist_5k", "sprites"):
        first = load(name, "test")
        kept = first.x.clone()
        first.x.zero_()
        first.y.zero_()
        assert load(name, "test").x.equal(kept) and load(name, "test").y.any()


def test_mnist_5k_is_cut_by_class_into_disjoint_sets():
    parts = {split: load("mnist_5k", split) for split in data.SPLITS}
    for split, each in (("train", 400), ("validation", 50), ("test", 50)):
        assert parts[split].y.bincount().tolist() == [each] * 10
        assert parts[split].y[:100].unique().numel() == 10  # mixed, so that a batch holds every class
    assert len(torch.cat([part.x for part in parts.values()]).flatten(1).unique(dim=0)) == 5_000


def test_the_mnist_5k_split_is_the_one_that_the_baselines_rest_on():
    x = load("mnist_5k", "test").x
    assert hashlib.md5((x * 255).round().byte().numpy().tobytes()).hexdigest() == "3d14a9a38d251cd82f41d71998e3f6fe"


def test_the_mnist_split_is_the_one_that_the_numbers_rest_on(monkeypatch):
    monkeypatch.setenv("CVAE_OFFLINE", "1")
    part = load("mnist", "validation")
    if part.name != "mnist":
        pytest.skip("MNIST is not in the data folder")
    assert (
        len(part) == 5_000 and hashlib.md5(part.y.numpy().tobytes()).hexdigest() == "15a1d6f950244626d02e40fc70585b1d"
    )


@pytest.mark.parametrize("name, split", [("mnits", "train"), ("mnist", "val"), ("MNIST", "test"), ("mnist", "")])
def test_unknown_names_are_refused_with_the_allowed_ones(name, split):
    with pytest.raises(ValueError, match=r"^(name|split) is '\w*'; allowed are (\w+, )+(words|test)$"):
        load(name, split)


def test_one_hot_has_its_1_at_the_label():
    y = torch.tensor([3, 0, 9])
    c = one_hot(y)
    assert c.shape == (3, 10) and c.dtype == torch.float32
    assert c.sum(1).tolist() == [1, 1, 1] and c.argmax(1).equal(y)
    assert one_hot(torch.tensor([0]), classes=2).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    "y",
    [torch.tensor([10]), torch.tensor([-1]), torch.tensor([1.0]), torch.tensor([True]), torch.zeros(2, 2).long()],
    ids=["10", "-1", "float", "bool", "matrix"],
)
def test_one_hot_refuses_what_is_not_a_row_of_labels(y):
    with pytest.raises(ValueError, match="y .*labels"):
        one_hot(y)


def test_one_hot_says_which_labels_there_may_be():
    with pytest.raises(ValueError, match="y runs from 1 to 3; labels from 0 to 2 are allowed"):
        one_hot(torch.tensor([1, 3]), classes=3)


def test_dynamic_pixels_are_drawn_anew_with_the_grey_value_as_probability():
    x = torch.linspace(0, 1, 5).repeat(40_000, 1)
    torch.manual_seed(0)
    first, second = binarize(x, "dynamic"), binarize(x, "dynamic")
    assert set(first.unique().tolist()) == {0, 1} and not first.equal(second)
    torch.testing.assert_close(first.mean(0), x[0], atol=0.01, rtol=0)  # 4 standard errors: 0.01
    torch.manual_seed(0)
    assert binarize(x, "dynamic").equal(first)


def test_fixed_pixels_are_the_same_whatever_was_drawn_before():
    x = torch.linspace(0, 1, 5).repeat(40_000, 1)
    first, state = binarize(x, "fixed", seed=3), torch.random.get_rng_state()
    torch.rand(7)
    assert binarize(x, "fixed", seed=3).equal(first)
    assert not binarize(x, "fixed", seed=4).equal(first)
    torch.testing.assert_close(first.mean(0), x[0], atol=0.01, rtol=0)
    torch.random.set_rng_state(state)
    binarize(x, "fixed")
    assert torch.random.get_rng_state().equal(state)


@pytest.mark.parametrize("lowest", [0.0, 1 - 2**-24])
def test_black_and_white_stay_what_they_are_whatever_is_drawn(monkeypatch, lowest):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, lowest))
    assert binarize(torch.tensor([0.0, 1.0]), "fixed").tolist() == [0, 1]


def test_none_keeps_grey_pixels():
    x = torch.rand(3, 4)
    assert binarize(x, "none").equal(x)


@pytest.mark.parametrize("mode", ["dynamic", "fixed", "none"])
@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, float("nan")])
def test_pixels_outside_0_to_1_are_refused(mode, value):
    with pytest.raises(ValueError, match=r"x runs .*\[0, 1\]"):
        binarize(torch.tensor([0.5, value]), mode)


def test_an_unknown_binarisation_is_refused():
    with pytest.raises(ValueError, match="'static'.*dynamic, fixed, none"):
        binarize(torch.rand(2), "static")


def test_a_condition_goes_with_its_rows(row):
    told = row.given(one_hot(row.y)).take(4)
    assert len(told) == 4 and told.c.argmax(1).equal(told.y) and told.x.equal(row.x[:4])
    assert row.c is None and told.given(None).c is None
    assert told.name == "mnist" and told.source == row.source
    assert len(row.take(99)) == 6 and len(row.take(1)) == 1


@pytest.mark.parametrize("c", [torch.zeros(5, 10), torch.zeros(6), torch.zeros(6, 10).long()])
def test_a_condition_of_another_shape_is_refused(row, c):
    with pytest.raises(ValueError, match="c (has|is)"):
        row.given(c)


def test_labels_of_another_length_are_refused(row):
    with pytest.raises(ValueError, match="y has shape"):
        Data(row.x, row.y[:5], "mnist: here")


def test_no_rows_cannot_be_taken(row):
    with pytest.raises(ValueError, match="n is 0"):
        row.take(0)


def test_rows_move_to_the_device_asked_for_and_keep_their_condition(row):
    moved = row.given(one_hot(row.y)).to("meta")
    assert {part.device.type for part in (moved.x, moved.y, moved.c)} == {"meta"}
    assert moved.source == row.source and moved.x.shape == row.x.shape


def test_the_fast_draw_of_binary_pixels_has_the_grey_values_as_probabilities():
    levels = torch.arange(256) / 255
    torch.manual_seed(0)
    grey = Grey(levels.repeat(20_000, 1))
    drawn = grey.draw(torch.arange(20_000))
    assert drawn.dtype == torch.bool and drawn.shape == (20_000, 256)
    exact = (grey.threshold[0].double() + 2**15) / 2**16  # how many of the 2¹⁶ integers are below the threshold
    assert ((exact - levels)[:-1].abs() <= 2**-17).all()
    assert not drawn[:, 0].any() and drawn[:, -1].all()  # 0 and 1 are certain
    standard_error = (levels * (1 - levels) / 20_000).sqrt()
    assert ((drawn.float().mean(0) - levels).abs() <= 4.5 * standard_error + 2**-17).all()


def test_pixels_that_share_a_random_word_are_independent_and_each_draw_is_new():
    torch.manual_seed(0)
    grey = Grey(torch.full((50_000, 8), 0.5))
    first, again = grey.draw(torch.arange(50_000)).float(), grey.draw(torch.arange(50_000)).float()
    correlation = torch.corrcoef(torch.cat([first, again], 1).T) - torch.eye(16)
    assert correlation.abs().max() < 4.5 / 50_000**0.5


def test_only_white_is_certain_in_the_fast_draw(monkeypatch):
    """The largest of the 2¹⁶ numbers is drawn for every pixel."""
    monkeypatch.setattr(torch.Tensor, "random_", lambda words, *_: words.fill_(0x7FFF7FFF7FFF7FFF))
    grey = Grey(torch.tensor([[0.0, 0.5, 1 - 2**-15, 1.0]]))
    assert grey.threshold.dtype == torch.int16
    assert grey.draw(torch.tensor([0])).tolist() == [[False, False, False, True]]


def test_the_fast_draw_takes_the_rows_asked_for_and_is_repeatable():
    grey = Grey(torch.tensor([[0.0], [1.0], [1.0]]))
    assert grey.draw(torch.tensor([2, 0, 1])).flatten().tolist() == [True, False, True]
    wide = Grey(torch.full((3, 5), 0.5))  # 5 pixels do not fill whole words
    torch.manual_seed(4)
    first = wide.draw(torch.tensor([0, 2]))
    torch.manual_seed(4)
    assert wide.draw(torch.tensor([0, 2])).equal(first) and first.shape == (2, 5)


def test_dequantized_pixels_stay_in_the_interval_of_their_level_and_fill_it():
    x = torch.arange(256).repeat(400).float() / 255
    real = dequantize(x, seed=1)
    assert (real * 256).floor().equal((255 * x).round()) and real.max() < 1
    inside = real * 256 - (255 * x).round()
    assert abs(inside.mean().item() - 0.5) < 0.005 and abs(inside.var().item() - 1 / 12) < 0.001
    assert dequantize(x, seed=1).equal(real) and not dequantize(x, seed=2).equal(real)
    assert {dequantize(x.to(kind)[:1]).dtype for kind in (torch.half, torch.double)} == {torch.half, torch.double}


def test_no_draw_rounds_up_to_the_next_level(monkeypatch):
    x = torch.arange(256) / 255
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 1 - 2**-24))  # the largest that can come
    assert (dequantize(x, seed=1) * 256).floor().equal((255 * x).round())


@pytest.mark.parametrize("draw", [dequantize, lambda x, seed: binarize(x, "fixed", seed)])
def test_the_draws_do_not_depend_on_the_default_type(draw):
    x = (torch.arange(256) / 255).double()
    expected = draw(x, seed=1)
    assert binarize(x, "fixed").equal(binarize(x, "fixed", seed=0)) and dequantize(x).equal(dequantize(x, seed=0))
    torch.set_default_dtype(torch.float64)
    try:
        assert draw(x, seed=1).equal(expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("bad", [-1 / 255, 256 / 255, 1.2, 0.5, 0.001 / 255])
def test_what_is_no_grey_level_cannot_be_dequantized(bad):
    with pytest.raises(ValueError, match="grey levels k/255"):
        dequantize(torch.tensor([0.2, bad], dtype=torch.float64))


def test_data_stand_in_the_folder_named_else_in_the_checkout_else_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CVAE_DATA", str(tmp_path / "named"))
    assert files.data_folder() == tmp_path / "named"
    monkeypatch.delenv("CVAE_DATA")
    assert files.data_folder() == Path(files.__file__).resolve().parents[2] / "data"
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "cvae_lib" / "data" / "files.py"))
    assert files.data_folder() == Path.home() / ".cache" / "cvae_lib"
