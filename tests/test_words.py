"""Words: splits that share none, one language each, rows that spell back, and the way out where wordfreq is missing."""

import hashlib
import re
import sys

import pytest
import torch

from cvae_lib.data import DataError, load, words


def sets():
    return {split: load("words", split) for split in words.PER_SPLIT}


def every():
    """Every word of the three splits with its language."""
    return [
        (w, words.LANGUAGES[y]) for d in sets().values() for w, y in zip(words.spell(d.x), d.y.tolist(), strict=True)
    ]


def test_sizes_types_and_balance():
    for split, data in sets().items():
        count = words.PER_SPLIT[split]
        assert data.x.shape == (4 * count, 13) and data.x.dtype == data.y.dtype == torch.int64
        assert data.y.bincount().tolist() == [count] * 4
        assert data.source == "words: wordfreq package"


@pytest.mark.parametrize("split, md5", [*zip(words.PER_SPLIT, ["bfa000c8b41a", "cf2079fe2949", "cc645fcb4485"])])
def test_the_splits_are_those_that_the_baselines_rest_on(split, md5):
    data = load("words", split)
    content = data.x.numpy().astype("uint8").tobytes() + data.y.numpy().astype("uint8").tobytes()
    assert hashlib.md5(content).hexdigest().startswith(md5)


def test_no_word_is_in_two_splits_or_two_languages():
    found = every()
    assert len(found) == len({word for word, _ in found}) == 24_000


def test_words_keep_to_their_language_and_length():
    assert all(4 <= len(word) <= 12 and set(word) <= set(words.LETTERS[language]) for word, language in every())


def test_languages_are_mixed_within_a_split():
    """A batch of neighbours must not hold one language."""
    assert all(len(data.y[:100].unique()) == 4 for data in sets().values())


def test_rows_are_letters_then_ends():
    for data in sets().values():
        ended = data.x == words.END
        assert ended[:, -1].all() and (ended.int().diff(dim=1) >= 0).all() and not ended[:, :4].any()


def test_known_words_are_in_the_language_they_belong_to():
    of = dict(every())
    known = {"perfectly": "English", "einwohner": "German", "yhteistyö": "Finnish", "organizzare": "Italian"}
    assert {word: of[word] for word in known} == known


def test_names_and_words_of_many_languages_are_left_out():
    spelt = {word for word, _ in every()}
    assert not spelt & set("giuseppe jörg pekka korhonen william katarzyna anna hotel internet taxi".split())


def test_every_word_of_the_splits_is_listed_and_a_made_up_one_is_not():
    lists = {language: words.listed(language) for language in words.LANGUAGES}
    assert all(word in lists[language] for word, language in every())
    assert "organizzarexq" not in lists["Italian"]


def test_tokens_and_spell_are_inverse():
    spelt = ["a", "perché", "yhteistyötä", "abcdefghijkl"]
    x = words.tokens(spelt)
    assert words.spell(x) == spelt and x.shape == (4, 13)
    assert words.spell(torch.tensor([[3, 0, 5]])) == [words.ALPHABET[3]]  # nothing after the end is read


@pytest.mark.parametrize("word", ["", "abcdefghijklm", "Haus", "a·b", "łódź"])
def test_words_that_have_no_row_are_refused(word):
    with pytest.raises(ValueError, match=re.escape(f"word: got {word!r}, allowed are 1 to 12 of the letters abc")):
        words.tokens([word])


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="language: got 'Latin', allowed are English, Finnish, German, Italian$"):
        words.listed("Latin")


def test_without_wordfreq_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    words._chosen.cache_clear()
    with pytest.raises(DataError, match="^words: the package wordfreq is missing .pip install wordfreq.$"):
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
