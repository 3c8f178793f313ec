"""Words letter by letter: the chain rule, causality, ends that cost nothing, draws, dropout, and the whole CVAE."""

import itertools

import pytest
import torch

from cvae_lib import metrics
from cvae_lib.data import Data, one_hot, words
from cvae_lib.models import CVAE
from cvae_lib.objectives import elbo_terms
from cvae_lib.recurrent import END, WordDecoder, WordEncoder, counted
from cvae_lib.train import TrainConfig, fit

V, T, Z, C = 5, 4, 3, 2


def decoder(**options):
    torch.manual_seed(0)
    return WordDecoder(**{"symbols": V, "length": T, "latent": Z, "c_dim": C, "hidden": 8} | options).eval()


def code(*shape):
    return torch.randn(*shape, Z), one_hot(torch.arange(shape[-1]) % C, C)


def every_word(symbols, length):
    """Each row of tokens in which only ends follow an end."""
    rows = torch.tensor(list(itertools.product(range(symbols), repeat=length)))
    return rows[~((rows != END) & ~counted(rows)).any(-1)]


def test_counted_takes_the_letters_and_the_first_end():
    x = torch.tensor([[3, 1, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4]])
    assert counted(x).tolist() == [[True, True, True, False], [True, False, False, False], [True] * 4]


def test_the_probabilities_of_all_words_sum_to_one():
    x = every_word(3, T)
    p = decoder(symbols=3)(*code(1))
    total = sum(p.log_prob(row[None]).exp() for row in x)
    assert len(x) == 1 + 2 + 4 + 8 + 16
    torch.testing.assert_close(total, torch.ones(1))


def test_log_prob_is_the_chain_rule_one_letter_at_a_time():
    d, (z, c) = decoder(), code(1)
    p, x = d(z, c), torch.tensor([[2, 4, 1, 0]])
    total, state, token = 0.0, None, torch.tensor([[d.first]])
    for t in range(T):
        logits, state = d.step(token, p.code, state)
        token = x[:, t : t + 1]
        total = total + logits[0, 0].log_softmax(-1)[token[0, 0]]
    torch.testing.assert_close(p.log_prob(x), total[None])


def test_no_letter_sees_itself_or_a_later_one():
    d, (z, c) = decoder(), code(1)
    x, other = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 4, 4]])
    one, two = (d.logits(v, d(z, c).code)[0] for v in (x, other))
    torch.testing.assert_close(one[:3], two[:3], rtol=0, atol=0)
    assert not torch.allclose(one[3], two[3])


def test_what_follows_the_end_costs_nothing_and_teaches_nothing():
    d, (z, c) = decoder(), code(1)
    p = d(z, c)
    logits = d.logits(torch.tensor([[2, 0, 0, 0]]), p.code)
    by_hand = logits[0].log_softmax(-1)[[0, 1], [2, 0]].sum()
    torch.testing.assert_close(p.log_prob(torch.tensor([[2, 0, 0, 0]]))[0], by_hand)
    p.log_prob(torch.tensor([[2, 0, 0, 0]])).sum().backward()
    assert d.letters.weight.grad[END].abs().sum() == 0  # the end is never read before something that counts
    assert d.letters.weight.grad[2].abs().sum() > 0


def test_leading_axes_are_the_same_as_each_alone():
    d, (z, c) = decoder(), code(3, 2)
    x = torch.tensor([[1, 2, 0, 0], [4, 0, 0, 0]])
    p = d(z, c)
    assert p.batch_shape == (3, 2) and p.event_shape == (T,)
    torch.testing.assert_close(p.log_prob(x), torch.stack([d(one, c).log_prob(x) for one in z]))
    torch.testing.assert_close(p.log_prob(x[None].expand(3, -1, -1)), p.log_prob(x))
    assert p.sample().shape == p.mode.shape == (3, 2, T) and p.sample((7,)).shape == (7, 3, 2, T)


def test_draws_come_as_often_as_log_prob_says():
    torch.manual_seed(0)
    x, n = every_word(3, 3), 20_000
    p = decoder(symbols=3, length=3)(*code(1))
    drawn = p.sample((n,))[:, 0]
    often = (drawn[:, None] == x).all(-1).float().mean(0)
    expected = torch.cat([p.log_prob(row[None]) for row in x]).exp()
    assert often.sum().item() == pytest.approx(1)  # every draw is a word
    assert ((often - expected).abs() < 5 * (expected / n).sqrt() + 1 / n).all()


def test_the_mode_takes_the_likeliest_letter_at_each_place():
    d, (z, c) = decoder(), code(6)
    p = d(z, c)
    likeliest = d.logits(p.mode, p.code).argmax(-1)
    assert p.mode.equal(likeliest * counted(p.mode)) and p.mode.equal(p.mode)


def test_z_and_c_reach_every_letter_and_latent_0_reads_no_z():
    x, (z, c) = torch.tensor([[1, 2, 3, 0]]), code(1)
    for t in range(T):
        z = z.detach().requires_grad_()
        d = decoder()
        d.logits(x, d(z, c).code)[0, t].square().sum().backward()
        assert z.grad.abs().min() > 0
    without = decoder(latent=0)
    torch.testing.assert_close(without(z, c).log_prob(x), without(z + 5, c).log_prob(x), rtol=0, atol=0)
    assert not torch.allclose(without(z, c).log_prob(x), without(z, c.flip(-1)).log_prob(x))


def test_word_dropout_hides_letters_in_training_only():
    d, (z, c) = decoder(lost=1.0), code(1)
    p, one, two = d(z, c), torch.tensor([[1, 2, 3, 0]]), torch.tensor([[2, 1, 3, 0]])
    assert not torch.allclose(d.logits(one, p.code), d.logits(two, p.code))
    d.train()
    torch.testing.assert_close(d.logits(one, p.code), d.logits(two, p.code))  # no letter is read
    torch.testing.assert_close(d.logits(one, p.code)[:, 0], d.eval().logits(one, p.code)[:, 0])  # the start still is


def test_word_dropout_comes_at_its_rate():
    d = WordDecoder(3, 2, 0, 1, 4, lost=0.3)
    with torch.no_grad():
        d.letters.weight.copy_(torch.arange(5.0)[:, None].expand(-1, 32))
    seen = []
    d.unit.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 1, 0]))
    torch.manual_seed(0)
    d.logits(torch.ones(20_000, 2, dtype=torch.long), torch.zeros(20_000, 1))
    assert (seen[0] == d.unknown).float().mean().item() == pytest.approx(0.3, abs=0.02)  # 5 standard errors: 0.016
    assert set(seen[0].tolist()) == {1.0, float(d.unknown)}


def test_the_encoder_stops_at_the_end():
    torch.manual_seed(0)
    encoder, c = WordEncoder(V, Z, C, 8), one_hot(torch.tensor([0, 1]), C)
    short, long = torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([[1, 2, 0, 0, 0], [3, 0, 0, 0, 0]])
    q, same = encoder(short, c), encoder(long.float(), c)
    assert q.batch_shape == (2,) and q.event_shape == (Z,)
    torch.testing.assert_close(q.mean, same.mean)
    torch.testing.assert_close(q.stddev, same.stddev)
    other = encoder(torch.tensor([[1, 4, 0], [3, 0, 0]]), c)
    assert not torch.allclose(other.mean[0], q.mean[0]) and torch.allclose(other.mean[1], q.mean[1])


def test_an_untrained_model_starts_at_the_frequencies_of_tokens():
    d = decoder()
    x = torch.tensor([[1, 1, 1, 0], [2, 0, 0, 0]]).float()
    d.start(x)
    torch.testing.assert_close(d.head.bias.exp(), torch.tensor([3, 4, 2, 1, 1]) / 11)  # one more than it comes


@pytest.mark.parametrize("row", [[1.5, 0, 0, 0], [5, 0, 0, 0], [-1, 0, 0, 0], [1, 0, 2, 0]])
def test_rows_that_are_no_words_are_refused(row):
    with pytest.raises(ValueError, match="x: got .* allowed are tokens"):
        decoder().check(torch.tensor([row]))
    decoder().check(torch.tensor([[1.0, 2, 0, 0], [1, 2, 3, 4]]))


@pytest.mark.parametrize("bad", [{"symbols": 1}, {"length": 0}, {"latent": -1}, {"lost": 1.5}, {"hidden": 0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError, match="got"):
        decoder(**bad)


def model(latent=Z):
    torch.manual_seed(0)
    built = WordDecoder(V, T, latent, C, 16)
    return CVAE((T,), C, max(latent, 1), encoder=WordEncoder(V, max(latent, 1), C, 16), decoder=built)


def made_up():
    """A thousand words of which c says the first letter."""
    torch.manual_seed(1)
    y = torch.randint(C, (1000,))
    x = torch.stack([y + 1, torch.randint(1, V, (1000,)), torch.zeros(1000).long(), torch.zeros(1000).long()], 1)
    return Data(x, y, "made up", one_hot(y, C))


def test_training_reaches_the_entropy_of_made_up_words(tmp_path):
    data, m = made_up(), model()
    m.start_at_mean(data.x)
    fit(m, data, TrainConfig(epochs=12, batch=50, lr=1e-2, binarization="none"))
    bound = -metrics.elbo(m, data.x, data.c).elbo.mean().item()
    assert bound == pytest.approx(
        torch.tensor(4.0).log().item(), abs=0.06
    )  # four letters, equally likely; the rest known
    torch.save(m.state_dict(), tmp_path / "m.pt")
    other = model()
    other.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True))
    z = torch.randn(1000, Z)
    torch.testing.assert_close(other.decode(z, data.c).log_prob(data.x), m.decode(z, data.c).log_prob(data.x))
    assert (m.sample(c=data.c, draw=True)[:, 0] == data.y + 1).float().mean() > 0.95


def test_without_z_the_importance_weighted_estimate_is_the_likelihood():
    data, m = made_up(), model(latent=0)
    exact = m.decode(torch.zeros(1000, 1), data.c).log_prob(data.x)
    estimate = metrics.log_likelihood(m, data.x, data.c, samples=2000)
    assert (estimate - exact).mean().abs() < 0.005 and (estimate - exact).abs().max() < 0.2  # tolerance: of 2,000 draws


def test_gradients_reach_every_weight_of_both_networks():
    data, m = made_up(), model()
    terms = elbo_terms(m, data.x[:50].float(), data.c[:50], samples=2)
    (-terms.elbo).mean().backward()
    read = {"decoder.letters.weight": [*range(1, V), V], "encoder.letters.weight": [0, *range(1, V)]}
    for name, weight in m.named_parameters():
        if name.startswith("prior"):
            continue
        assert weight.grad[read.get(name, slice(None))].abs().sum() > 0, name


def test_words_of_the_data_fit_the_decoder():
    x = words.tokens(["perché", "yhteistyötä", "über"])
    d = WordDecoder(len(words.ALPHABET), words.LONGEST + 1, Z, 4, 8)
    d.check(x)
    assert len(words.spell(d(torch.randn(3, Z), torch.eye(4)[:3]).sample())) == 3
