"""Text as a vector, by hashing its words: small, and without a model to download. Pure."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from operator import mul

DIMENSIONS = 2048

_WORD = re.compile(r"[^\W_]{2,}")
_ENDINGS = re.compile(r"(?<=\w{3})(?:ing|ed|es|s)$")
_SMALL_WORDS = """
    a all an and any are as at be been before but by can do does each for from had has have how if in into is it its
    may more most must no not of on one only or other out over so such than that the their them then there these they
    this to until up was we what when where which while who why will with without you your
"""
_SMALL = frozenset(_SMALL_WORDS.split())


def words(text: str) -> list[str]:
    """Those that say something, without their endings."""
    found = (word.lower() for word in _WORD.findall(text))
    return [_ENDINGS.sub("", word) for word in found if word not in _SMALL]


def embed(text: str) -> array[float]:
    """A vector of length 1; of length 0 for a text without words."""
    vector = [0.0] * DIMENSIONS
    for word, count in Counter(words(text)).items():
        place, sign = _hashed(word)
        vector[place] += sign * (1 + math.log(count))
    return scaled(vector)


def scaled(vector: Iterable[float]) -> array[float]:
    """The same direction, of length 1."""
    numbers = array("f", vector)
    length = math.sqrt(sum(map(mul, numbers, numbers)))
    return array("f", (number / length for number in numbers)) if length else numbers


def similarity(one: Iterable[float], other: Iterable[float]) -> float:
    """From -1 to 1, of vectors of length 1."""
    return sum(map(mul, one, other))


def _hashed(word: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
    # With a sign, words that share a place cancel each other out as often as they add up.
    return number % DIMENSIONS, 1.0 if number >> 63 else -1.0
