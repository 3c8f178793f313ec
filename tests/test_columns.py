"""Columns: each log-probability is torch's own, rows go to vectors and back, draws are as likely as it says."""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal

from cvae_lib.columns import Columns
from cvae_lib.data import Data, one_hot
from cvae_lib.models import CVAE
from cvae_lib.objectives import elbo_terms
from cvae_lib.train import TrainConfig, fit

KINDS = ("gaussian", 3, "bins", "gaussian")


def table(n=600, seed=0):
    """A whole number, a category, a number that is 0 for most and spread out for the others, a real number."""
    g = torch.Generator().manual_seed(seed)
    whole = (40 + 10 * torch.randn(n, generator=g)).round()
    code = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), n, replacement=True, generator=g).float()
    spiky = torch.where(torch.rand(n, generator=g) < 0.92, 0.0, 100 + 50 * torch.randn(n, generator=g).exp())
    return torch.stack([whole, code, spiky, torch.randn(n, generator=g)], 1)


@pytest.fixture
def columns():
    made = Columns(table(), KINDS, bins=8)
    torch.nn.init.constant_(made.log_var, -1.0)
    made.log_var.data[1] = 0.7
    return made


def test_log_prob_is_the_sum_of_torchs_own_per_column(columns):
    """A σ taken for a variance, a σ of the wrong column or a shifted block fails here."""
    rows, raw = table(7, seed=1), torch.randn(2, 7, columns.width)
    x = columns.encode(rows)
    first, code, bins, last = raw.split(columns.sizes, -1)
    scaled = [(rows[:, j] - table()[:, j].mean()) / table()[:, j].std() for j in (0, 3)]
    lowest = columns.get_buffer("lowest_2")
    interval = (rows[:, 2, None] >= lowest[1:]).sum(1)  # by its definition; below the lowest: the first
    each = [
        Normal(first[..., 0], math.exp(-0.5)).log_prob(scaled[0]),
        Categorical(logits=code).log_prob(rows[:, 1].long()),
        Categorical(logits=bins).log_prob(interval),
        Normal(last[..., 0], math.exp(0.35)).log_prob(scaled[1]),
    ]
    p = columns(raw)
    assert p.batch_shape == (2, 7) and p.event_shape == (columns.width,)
    torch.testing.assert_close(p.each(x), torch.stack(each, -1))
    torch.testing.assert_close(p.log_prob(x), sum(each))


def test_rows_survive_encoding_and_decoding_up_to_their_interval(columns):
    rows = table()
    back = columns.decode(columns.encode(rows))
    assert back[:, :2].equal(rows[:, :2])
    torch.testing.assert_close(back[:, 3], rows[:, 3])
    assert columns.encode(back).argmax(1).equal(columns.encode(rows).argmax(1))
    assert columns.encode(back)[:, 4:-1].equal(columns.encode(rows)[:, 4:-1])  # the same interval
    assert torch.isin(back[:, 2], rows[:, 2]).all() and not back[:, 2].equal(rows[:, 2])


def test_a_spike_has_an_interval_of_its_own_and_the_rest_is_shared_evenly(columns):
    rows = table()
    counts = columns.encode(rows)[:, 4:-1].sum(0)
    rest = (rows[:, 2] != 0).sum()
    assert counts[0] == (rows[:, 2] == 0).sum() and counts.sum() == 600
    assert len(counts) == 9 and (counts[1:] - rest / 8).abs().max() <= 1
    assert (columns.decode(columns.encode(rows[rows[:, 2] == 0]))[:, 2] == 0).all()


def test_numbers_within_an_interval_come_as_often_as_in_the_training_rows():
    rows = torch.tensor([1.0, 1, 1, 2, 5, 5, 6, 7])[:, None]
    one = Columns(rows, ["bins"], bins=1)
    assert one.sizes == [2]  # from 1, the most frequent, and from 2, where the others begin
    torch.manual_seed(0)
    drawn = one.decode(torch.tensor([[0.0, 1.0]]).expand(10_000, 2))[:, 0]
    often = torch.tensor([(drawn == v).float().mean() for v in (2, 5, 6, 7)])
    torch.testing.assert_close(often, torch.tensor([0.2, 0.4, 0.2, 0.2]), atol=0.025, rtol=0)  # five standard errors


def test_only_training_rows_are_measured(columns):
    before = {k: v.clone() for k, v in columns.state_dict().items()}
    columns.encode(1000 + table(50, seed=3).clone().index_fill(1, torch.tensor([1]), -1000.0))
    assert all(v.equal(before[k]) for k, v in columns.state_dict().items())


def test_decoded_numbers_stay_in_range_and_whole_where_the_training_rows_are(columns):
    x = columns.encode(table())
    x[:, 0] = torch.linspace(-9, 9, 600)
    x[:, -1] = torch.linspace(-9, 9, 600)
    whole, real = columns.decode(x)[:, 0], columns.decode(x)[:, 3]
    assert (whole == whole.round()).all() and not (real == real.round()).all()
    for found, j in ((whole, 0), (real, 3)):
        assert found.aminmax() == table()[:, j].aminmax()


def test_draws_follow_the_distribution_and_are_valid(columns):
    raw = torch.randn(columns.width)
    p = columns(raw[None])
    torch.manual_seed(0)
    x = p.sample((20_000,))[:, 0]
    columns.check(x)
    torch.testing.assert_close(x.mean(0), p.mean[0], atol=0.06, rtol=0)
    torch.testing.assert_close(x[:, 0].std(), torch.tensor(math.exp(-0.5)), atol=0.02, rtol=0)
    torch.testing.assert_close(p.mean[0, 1:4], raw[1:4].softmax(0))


def test_start_gives_the_means_and_frequencies(columns):
    x = columns.encode(table())
    x[:, 0] *= 3
    with torch.no_grad():
        p = columns(columns.start(x)[None])
    torch.testing.assert_close(p.mean[0], x.mean(0), atol=2e-4, rtol=0)
    torch.testing.assert_close(columns.log_var.detach(), torch.tensor([math.log(9), 0]), atol=5e-3, rtol=0)


def test_it_trains_in_a_cvae_and_each_sigma_learns():
    """Column 0 follows the condition exactly, column 3 is noise: their σ part ways."""
    rows, y = table(), torch.arange(600) % 2
    rows[:, 0] = 40 + 10.0 * y
    columns = Columns(rows, KINDS, bins=8)
    torch.manual_seed(0)
    model = CVAE((columns.width,), 2, 2, (16,), likelihood=columns)
    data = Data(columns.encode(rows), y, "made up", one_hot(y, 2))
    model.start_at_mean(data.x)
    fit(model, data, TrainConfig(40, 50, 1e-2, binarization="none", device="cpu"))
    first, last = (0.5 * columns.log_var).exp().tolist()
    assert first < 0.3 < 0.5 < last
    drawn = columns.decode(model.sample(c=one_hot(y, 2), draw=True))
    assert (drawn[y == 1, 0].mean() - drawn[y == 0, 0].mean()) > 8
    terms = elbo_terms(model, data.x[:5], data.c[:5], samples=3)
    assert terms.distortion.shape == (5,)


def test_saved_and_loaded_weights_give_the_same_rows(columns, tmp_path):
    torch.save(columns.state_dict(), tmp_path / "columns.pt")
    other = Columns(table(seed=0), KINDS, bins=8)
    other.load_state_dict(torch.load(tmp_path / "columns.pt", weights_only=True))
    raw, x = torch.randn(5, columns.width), columns.encode(table(5, seed=2))
    assert other(raw).log_prob(x).equal(columns(raw).log_prob(x))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda rows: rows[:, :3], "rows: got shape"),
        (lambda rows: rows.index_fill(1, torch.tensor([0]), math.nan), "rows: got shape"),
        (lambda rows: rows.index_fill(1, torch.tensor([1]), 3.0), "got 3 in column 1"),
        (lambda rows: rows.index_fill(1, torch.tensor([1]), 0.5), "got 0.5 in column 1"),
        (lambda rows: rows.index_fill(1, torch.tensor([1]), -1.0), "got -1 in column 1"),
    ],
)
def test_rows_that_do_not_fit_are_refused(columns, change, words):
    with pytest.raises(ValueError, match=words):
        columns.encode(change(table(4)))


@pytest.mark.parametrize(
    "kinds, bins, words",
    [(KINDS[:3], 8, "3 kinds"), (("gaussian", 3, "bins", "normal"), 8, "'normal'"), (KINDS, 0, "bins: got 0")],
)
def test_kinds_that_do_not_fit_are_refused(kinds, bins, words):
    with pytest.raises(ValueError, match=words):
        Columns(table(), kinds, bins)


def test_a_vector_that_encodes_no_row_is_refused(columns):
    x = columns.encode(table(4))
    columns.check(x)
    for place, value, column in ((0, math.inf, 0), (1, 0.5, 1), (4, 2.0, 2)):
        wrong = x.clone()
        wrong[2, place] = value
        with pytest.raises(ValueError, match=f"column {column}"):
            columns.check(wrong)
