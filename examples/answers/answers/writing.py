"""The two stages of an answer: passages that are near to the question, then the sentences that say it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from documents import hashing

#: Less similar than this is chance.
LEAST_SIMILARITY = 0.1
MOST_SENTENCES = 3
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\w`*])")
_MARKUP = re.compile(r"[*`]|(?<=\])\([^)]*\)|[\[\]]|^\s*[*-] ", re.MULTILINE)


class NothingFound(Exception):
    """No document says anything about it."""


@dataclass(frozen=True)
class Text:
    """A document that was found for a question."""

    id: int
    title: str
    text: str
    similarity: float


def passages(question: str, texts: Sequence[Text]) -> list[dict[str, object]]:
    """Of each text that is near enough the paragraph that is nearest; raises :class:`NothingFound`."""
    near = [text for text in texts if text.similarity >= LEAST_SIMILARITY]
    if not near:
        raise NothingFound("no document says anything about this")
    asked = hashing.embed(question)
    return [
        {"document": text.id, "title": text.title, "text": _nearest(asked, paragraphs(text.text)),
         "similarity": round(text.similarity, 3)}
        for text in near
    ]  # fmt: skip


def answer(question: str, found: Sequence[dict[str, object]]) -> str:
    """The sentences that say most about it, in the order in which they were found, each with its source."""
    asked = hashing.embed(question)
    sentences = [
        (sentence, place)
        for place, passage in enumerate(found, 1)
        for sentence in _SENTENCE.split(str(passage["text"]))
    ]
    near = {one: hashing.similarity(asked, hashing.embed(one[0])) for one in sentences}
    best = nlargest(MOST_SENTENCES, near, key=lambda one: near[one])
    # The first sentence stands for a passage that answers in other words.
    chosen = [one for one in near if one in best and near[one] > 0] or sentences[:1]
    return " ".join(f"{sentence} [{place}]" for sentence, place in chosen)


def paragraphs(text: str) -> list[str]:
    """As plain text, without Markdown's signs."""
    return [" ".join(_MARKUP.sub("", block).split()) for block in _PARAGRAPH.split(text.strip())]


def _nearest(asked: Sequence[float], texts: Sequence[str]) -> str:
    return max(texts, key=lambda text: hashing.similarity(asked, hashing.embed(text)))
