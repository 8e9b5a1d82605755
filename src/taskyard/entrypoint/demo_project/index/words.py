"""Reading, counting, storing: plain Django, nothing of Taskyard."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from django.db import transaction
from django.db.models import Sum

from .models import File, WordCount

#: Words kept per file.
KEPT = 100
_WORD = re.compile(r"[^\W\d_]{2,40}")
_TEXT = {
    ".c",
    ".css",
    ".go",
    ".h",
    ".html",
    ".java",
    ".js",
    ".md",
    ".php",
    ".py",
    ".rb",
    ".rs",
    ".rst",
    ".toml",
    ".ts",
    ".txt",
}
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages"}
#: Folders about encodings are always part of a sample: they have the interesting failures.
_ALWAYS = ("cjkencodings", "encoded_modules")


def text_files(folder: Path, limit: int | None) -> list[str]:
    """Paths of the folder's text files; with a limit, an even sample of them."""
    found = sorted(_walk(folder))
    if limit is None or len(found) <= limit:
        return found
    first = [path for path in found if any(name in path for name in _ALWAYS)][: limit // 4]
    rest = [path for path in found if path not in set(first)]
    wanted = limit - len(first)
    return sorted(first + [rest[place * len(rest) // wanted] for place in range(wanted)])


def _walk(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in _SKIPPED or path.is_symlink():
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.suffix in _TEXT:
            yield str(path)


def count_words(text: str) -> Counter[str]:
    """How often each word occurs."""
    return Counter(match.lower() for match in _WORD.findall(text))


def store(path: str, counts: Counter[str], *, size_bytes: int, seconds: float) -> None:
    """Replace what is stored about a file: storing twice leaves the same rows as storing once."""
    with transaction.atomic():
        file, _ = File.objects.update_or_create(
            path=path, defaults={"size_bytes": size_bytes, "words": counts.total(), "seconds": seconds}
        )
        WordCount.objects.filter(file=file).delete()
        WordCount.objects.bulk_create(
            WordCount(file=file, word=word, count=count) for word, count in counts.most_common(KEPT)
        )


def most_frequent(number: int) -> list[tuple[str, int]]:
    """The words that occur most often in all files."""
    totals = WordCount.objects.values_list("word").annotate(total=Sum("count")).order_by("-total", "word")
    return [(word, total) for word, total in totals[:number]]
