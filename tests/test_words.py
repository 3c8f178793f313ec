"""Words: splits that share none, one language each, rows that spell back, and the way out where wordfreq is missing."""

import sys

import pytest
import torch

from cvae_lib.data import DataError, load, words

SETS = {split: load("words", split) for split in words.PER_SPLIT}
SPELT = {split: words.spell(data.x) for split, data in SETS.items()}


def test_sizes_types_and_balance():
    for split, data in SETS.items():
        count = words.PER_SPLIT[split]
        assert data.x.shape == (4 * count, 13) and data.x.dtype == data.y.dtype == torch.int64
        assert data.y.bincount().tolist() == [count] * 4
        assert data.source == "words: wordfreq package"


def test_no_word_is_in_two_splits_or_two_languages():
    every = [word for spelt in SPELT.values() for word in spelt]
    assert len(every) == len(set(every)) == 24_000


def test_words_keep_to_their_language_and_length():
    for split, data in SETS.items():
        for word, label in zip(SPELT[split], data.y.tolist(), strict=True):
            assert 4 <= len(word) <= 12 and set(word) <= set(words.LETTERS[words.LANGUAGES[label]])


def test_languages_are_mixed_within_a_split():
    """A batch of neighbours must not hold one language."""
    assert all(len(data.y[:100].unique()) == 4 for data in SETS.values())


def test_rows_are_letters_then_ends():
    for data in SETS.values():
        ended = data.x == words.END
        assert ended[:, -1].all() and (ended.int().diff(dim=1) >= 0).all() and not ended[:, :4].any()


def test_known_words_are_in_the_language_they_belong_to():
    of = {word: words.LANGUAGES[y] for s in SETS for word, y in zip(SPELT[s], SETS[s].y.tolist(), strict=True)}
    known = {"perfectly": "English", "einwohner": "German", "yhteistyö": "Finnish", "organizzare": "Italian"}
    assert {word: of[word] for word in known} == known


def test_names_and_words_of_many_languages_are_left_out():
    every = {word for spelt in SPELT.values() for word in spelt}
    assert not every & set("giuseppe jörg pekka korhonen william katarzyna anna hotel internet taxi".split())


def test_every_word_of_the_splits_is_listed_and_a_made_up_one_is_not():
    lists = {language: words.listed(language) for language in words.LANGUAGES}
    for spelt, data in zip(SPELT.values(), SETS.values(), strict=True):
        assert all(w in lists[words.LANGUAGES[y]] for w, y in zip(spelt, data.y.tolist(), strict=True))
    assert "organizzarexq" not in lists["Italian"]


def test_tokens_and_spell_are_inverse():
    spelt = ["a", "perché", "yhteistyötä", "abcdefghijkl"]
    x = words.tokens(spelt)
    assert words.spell(x) == spelt and x.shape == (4, 13)
    assert words.spell(torch.tensor([[3, 0, 5]])) == [words.ALPHABET[3]]  # nothing after the end is read


@pytest.mark.parametrize("word", ["", "abcdefghijklm", "Haus", "a·b", "łódź"])
def test_words_that_have_no_row_are_refused(word):
    with pytest.raises(ValueError, match="word: got"):
        words.tokens([word])


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="language: got 'Latin'"):
        words.listed("Latin")


def test_without_wordfreq_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    words._chosen.cache_clear()
    with pytest.raises(DataError, match="pip install wordfreq"):
        load("words", "train")


def test_other_lists_are_refused(monkeypatch):
    """Splits must not move when the package does."""
    monkeypatch.setattr(
        words, "_frequencies", lambda code: {f"haus{k}": 1e-3 for k in "abcdef"} if code == "de" else {}
    )
    words._chosen.cache_clear()
    with pytest.raises(DataError, match="md5"):
        load("words", "test")
    words._chosen.cache_clear()
