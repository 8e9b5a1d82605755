"""Documents that are near to a text. All vectors are compared: a few thousand take a tenth of a second."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from heapq import nlargest
from operator import mul

from django.core.cache import cache
from django.db.models import Count, Max

from documents import hashing
from documents.models import Document, Embedding

#: Findings are kept in Django's cache for as long, and while no vector changes.
_KEPT_SECONDS = 600


@dataclass(frozen=True)
class Found:
    document: Document
    similarity: float


def nearest(text: str, count: int = 3) -> list[Found]:
    """The documents most similar to a text, the best first."""
    edition = _edition()
    key = f"nearest:{count}:{edition}:{blake2b(text.encode(), digest_size=16).hexdigest()}"
    ranked = cache.get(key)
    if ranked is None:
        ranked = _rank(text, count, edition)
        cache.set(key, ranked, _KEPT_SECONDS)
    documents = Document.objects.select_related("source").in_bulk([pk for pk, _ in ranked])
    return [Found(documents[pk], score) for pk, score in ranked if pk in documents]


def _edition() -> str:
    """Another one as soon as a vector is written or removed."""
    said = Embedding.objects.aggregate(rows=Count("pk"), latest=Max("pk"))
    return f"{said['rows']}-{said['latest']}"


def _rank(text: str, count: int, edition: str) -> list[tuple[int, float]]:
    vectors, rarity = _collection(edition)
    asked = hashing.scaled(map(mul, hashing.embed(text), rarity))
    near = ((pk, hashing.similarity(asked, vector)) for pk, vector in vectors.items())
    return [found for found in nlargest(count, near, key=lambda one: one[1]) if found[1] > 0]


@lru_cache(maxsize=1)
def _collection(edition: str) -> tuple[dict[int, array[float]], list[float]]:
    """All vectors, and what each place counts: one that many documents use says little about one of them."""
    vectors = {pk: array("f", bytes(vector)) for pk, vector in Embedding.objects.values_list("document", "vector")}
    used = [sum(map(bool, place)) for place in zip(*vectors.values(), strict=True)]
    rarity = [0.1 + math.log((1 + len(vectors)) / (1 + often)) for often in used]
    return {pk: hashing.scaled(map(mul, vector, rarity)) for pk, vector in vectors.items()}, rarity
