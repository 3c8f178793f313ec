"""Words of four languages as rows of letters, out of the package wordfreq (Speer, 2022), which needs no network."""

from __future__ import annotations

import functools
import hashlib
import re

import torch
from torch import Tensor

from cvae_lib.data.dataset import Data
from cvae_lib.data.files import DataError

LETTERS = {  # of each language, in the order of the labels y = 0, 1, 2, 3
    "English": "abcdefghijklmnopqrstuvwxyz",
    "Finnish": "abcdefghijklmnopqrstuvwxyzäö",
    "German": "abcdefghijklmnopqrstuvwxyzäöü",
    "Italian": "abcdefghilmnopqrstuvzàèéìòù",
}
LANGUAGES = tuple(LETTERS)
END = 0  # the token after the last letter, and after it up to the end of the row
ALPHABET = "·" + "".join(sorted(set("".join(LETTERS.values()))))  # a token is a place in it
LONGEST = 12  # letters; a row has one place more, for the end
PER_SPLIT = {"train": 5_000, "validation": 500, "test": 500}  # words of each language

_CODES = {"English": "en", "Finnish": "fi", "German": "de", "Italian": "it"}
_OTHERS = ("de", "en", "es", "fi", "fr", "it", "nl", "sv")  # lists that a word is looked up in
_TIMES = {"English": 100, "Finnish": 300, "German": 300, "Italian": 300}
_RAREST = 1e-6  # once in a million words
_SEED = 2026
_MD5 = "4bf5e765c60e16fcc74a0ff2ad12dc83"


def by_language(split: str) -> Data:
    """The words of one split, 5,000 to train, 500 to validate and 500 to test in each language.

    wordfreq's lists are lower-case, and hold names, places and words of other languages. A word is kept where it has 4
    to 12 letters, all of them its language's; comes at least once in a million words there; and comes there at least
    300 times as often (English, words of which stand in every list: 100 times) as in each other list of Dutch, English,
    Finnish, French, German, Italian, Spanish and Swedish.

    Names are much alike everywhere, so the last rule takes most of them away: among 300 words a language that were read
    one by one stood no personal name, a dozen places and peoples, most of them Finnish with a case ending (turun,
    kiinaan), a few run-together words (atleast) and one abbreviation (stgb). wordfreq writes ss for the German ß.

    Of what is kept the 6,000 most frequent are taken and dealt at random into the splits, so a word is in one language
    and one split only. Its inflected forms are words of their own and may be in another split.

    Args:
        split: "train", "validation" or "test".

    Returns:
        `Data`: x int64 tokens (N, 13), places in `ALPHABET`, `END` after the last letter; y the language (N,).

    Raises:
        DataError: Where wordfreq is missing, or its lists are not those of version 3.1.1.
    """
    parts = []
    for label, language in enumerate(LANGUAGES):
        chosen = _chosen()[language]
        order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(_SEED + label))
        rows = order.split(list(PER_SPLIT.values()))[list(PER_SPLIT).index(split)]
        parts += [(chosen[row], label) for row in rows.tolist()]
    mixed = torch.randperm(len(parts), generator=torch.Generator().manual_seed(_SEED)).tolist()
    spelt, labels = zip(*(parts[row] for row in mixed), strict=True)
    return Data(tokens(spelt), torch.tensor(labels), "words: wordfreq package")


def tokens(spelt: list[str] | tuple[str, ...]) -> Tensor:
    """Words as rows of tokens, int64 (N, 13).

    Raises:
        ValueError: For a word that is empty, over 12 letters, or has a letter that none of the languages has.
    """
    for word in spelt:
        if not 1 <= len(word) <= LONGEST or set(word) - set(ALPHABET[1:]):
            raise ValueError(f"word: got {word!r}, allowed are 1 to {LONGEST} of the letters {ALPHABET[1:]}")
    return torch.tensor([[ALPHABET.index(k) for k in word.ljust(LONGEST + 1, ALPHABET[END])] for word in spelt])


def spell(x: Tensor) -> list[str]:
    """The words of rows of tokens (N, T), each up to its first `END`; the inverse of `tokens`."""
    return ["".join(ALPHABET[int(token)] for token in row).split(ALPHABET[END])[0] for row in x.cpu()]


def listed(language: str) -> frozenset[str]:
    """Every word of a language that wordfreq lists, some hundred thousand: what is in none of them looks new.

    Raises:
        ValueError: For a language that is none of `LANGUAGES`.
    """
    if language not in _CODES:
        raise ValueError(f"language: got {language!r}, allowed are {', '.join(LANGUAGES)}")
    return frozenset(_frequencies(_CODES[language]))


def _frequencies(code: str) -> dict[str, float]:
    try:
        from wordfreq import get_frequency_dict, get_frequency_list
    except ImportError:
        raise DataError("words: the package wordfreq is missing (pip install wordfreq)") from None
    frequencies = get_frequency_dict(code, "best")
    get_frequency_dict.cache_clear(), get_frequency_list.cache_clear()  # it would keep every list, some 100 MB each
    return frequencies


@functools.lru_cache(maxsize=1)
def _chosen() -> dict[str, list[str]]:
    """Language to its 6,000 words, the most frequent first."""
    lists, chosen = {code: _frequencies(code) for code in _OTHERS}, {}
    for language, code in _CODES.items():
        others, times = [lists[k] for k in _OTHERS if k != code], _TIMES[language]
        fits = re.compile(f"[{LETTERS[language]}]{{4,{LONGEST}}}")
        often = {word: f for word, f in lists[code].items() if f >= _RAREST and fits.fullmatch(word)}
        kept = [word for word, f in often.items() if all(f >= times * other.get(word, 0) for other in others)]
        chosen[language] = sorted(kept, key=lambda word: (-often[word], word))[: sum(PER_SPLIT.values())]
    found = hashlib.md5("\n".join(" ".join(chosen[k]) for k in LANGUAGES).encode()).hexdigest()
    if found != _MD5:
        raise DataError(f"words: wordfreq's lists are not those of version 3.1.1: md5 {found}, expected {_MD5}")
    return chosen
