"""What cannot be used, and what would stop a worker before anybody can look at it."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery.utils.log import get_logger
from celery.worker import state as worker_state
from kombu import compression
from kombu.exceptions import DecodeError

logger = get_logger(__name__)

#: How much of a message that cannot be used is kept, in the log.
KEPT_BYTES = 4096
#: Its place among the counts of ``celery inspect stats``.
COUNT = "taskyard.quarantined"
#: A compressed message may not become larger than this; a kilobyte can stand for a megabyte.
INFLATED_BYTES = 16 * 1024 * 1024
#: Whoever can send a pickle can run any code; a worker that accepts it does not start.
PICKLE = frozenset({"pickle", "application/x-python-serialize"})
#: Characters of the longest name or id.
MAX_WORD = 255


def record(what: str, why: str) -> None:
    """Log in one line, capped, what a message held, and count it."""
    worker_state.total_count[COUNT] += 1
    logger.error("Message dropped, %.500s: %s", _one_line(why[:500]), _one_line(what[:KEPT_BYTES])[:KEPT_BYTES])


def shown(message: Any) -> str:
    """Headers and body of a message, as much as is kept of them."""
    body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="replace")
    half = KEPT_BYTES // 2
    return f"headers {_repr(message.headers)[:half]}, body {body[:half]!r}"


_WORDS = ("task", "id", "shadow")


def odd_word(headers: dict[str, Any]) -> str:
    """What is wrong with the names a message goes by, which stand in logs and events; empty if nothing is."""
    for name in _WORDS:
        word = headers.get(name, "")
        if word is None and name == "shadow":
            continue
        if not isinstance(word, str) or len(word) > MAX_WORD or not word.isprintable():
            return f"its {name} is {word!r:.100}"
    return ""


def guard(transport: Any, passed_on: tuple[type[BaseException], ...]) -> None:
    """Have a virtual transport survive what it cannot read: its own code lets that end the worker.

    Errors of the connection are passed on: the consumer knows what to do.
    """
    if hasattr(transport, "_deliver"):
        transport._deliver = _surviving(transport._deliver, passed_on, is_message_first=True)
        transport.drain_events = _surviving(transport.drain_events, passed_on)
    if hasattr(transport, "on_readable"):
        transport.on_readable = _surviving(transport.on_readable, passed_on)


def errors_of_connection(*kinds: type[BaseException]) -> tuple[type[BaseException], ...]:
    """What means a lost connection. kombu counts KeyError, which a message without a field raises as well."""
    return (*(kind for kind in kinds if not issubclass(KeyError, kind)), Empty, OSError)


def _surviving(
    call: Callable[..., Any], passed_on: tuple[type[BaseException], ...], *, is_message_first: bool = False
) -> Callable[..., Any]:
    def survive(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except passed_on:
            raise
        except Exception as error:  # whatever lies in a queue must not stop the worker
            read = getattr(error, "doc", args[0] if is_message_first else "")
            record(_repr(read), f"it is no message at all ({type(error).__name__}: {error})")

    return survive


def limit_inflating() -> None:
    """Have this process refuse compressed messages that would become huge; the others are inflated as before."""
    for decoder, name, aliases in (
        (_inflate, "application/x-gzip", ("gzip", "zlib")),
        (lambda body: _bounded(bz2.BZ2Decompressor(), body), "application/x-bz2", ("bzip2", "bzip")),
        (lambda body: _bounded(lzma.LZMADecompressor(), body), "application/x-lzma", ("lzma", "xz")),
    ):
        compression.register(compression.get_encoder(name)[0], decoder, name, aliases=list(aliases))
    for name in ("application/x-brotli", "application/zstd"):
        # Optional libraries, each with an interface of its own.
        if name in compression.encoders():
            compression.register(compression.get_encoder(name)[0], _refuse, name)


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(body, INFLATED_BYTES)
    if inflater.unconsumed_tail or not inflater.eof:
        raise DecodeError(f"compressed, and broken or larger than {INFLATED_BYTES:,} bytes")
    return inflated


def _bounded(inflater: Any, body: bytes) -> bytes:
    inflated: bytes = inflater.decompress(body, INFLATED_BYTES)
    if not inflater.eof:
        raise DecodeError(f"compressed, and broken or larger than {INFLATED_BYTES:,} bytes")
    return inflated


def _refuse(body: bytes) -> bytes:
    raise DecodeError("compressed in a way whose size cannot be limited: use gzip, bzip2 or lzma")


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except (RecursionError, ValueError) as error:
        # Nested too deep, or a number of too many digits.
        return f"<{type(error).__name__}>"


def _one_line(text: str) -> str:
    # Nothing a message holds may begin a new line of the log, or colour a terminal.
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
