"""Server-sent events: the same stream for a server that waits in threads (WSGI) and for one that awaits (ASGI).

The wrong kind of iterator makes Django collect the whole stream before it sends any of it, in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from asgiref.sync import sync_to_async
from django.db import connections

from taskyard.integrations.progress.access import Reference, Subject
from taskyard.integrations.progress.shape import as_json
from taskyard.integrations.progress.watcher import Subscription, watcher
from taskyard.jobs.progress.reading import JobProgress

#: A line that says nothing but keeps proxies from taking the connection for dead.
HEARTBEAT = dt.timedelta(seconds=15)
#: A stream ends after this, and the browser opens the next one where it left off. Under WSGI it holds a thread
#: meanwhile; under ASGI whether the viewer may still see it is asked again by then.
LENGTH = {"wsgi": dt.timedelta(seconds=30), "asgi": dt.timedelta(minutes=5)}
#: After which a browser opens the next one.
_RETRY_MILLISECONDS = 1000
#: A subscription whose stream was never begun nor closed ends by itself.
_MARGIN_SECONDS = 30.0


def stamp_of(told: Mapping[Subject, str]) -> str:
    """The id of an event: what its reader knows by then."""
    text = "".join(f"{subject}{stamp}" for subject, stamp in sorted(told.items(), key=lambda one: str(one[0])))
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


class Stream:
    """The texts of one stream; its subscription begins with it, so that a refusal is an answer of its own."""

    def __init__(
        self, references: list[Reference], first: Mapping[Subject, JobProgress], *, viewer: str, last_id: str,
        kind: str, most: int,
    ) -> None:  # fmt: skip
        self._references = references
        self._ends_at = time.monotonic() + LENGTH[kind].total_seconds()
        self._latest = dict(first)
        told = {subject: progress.stamp for subject, progress in first.items()}
        #: Nothing where the reader knows it: it comes back after a stream that ended.
        self._first = {} if stamp_of(told) == last_id else dict(first)
        self._wake: Callable[[], None] = lambda: None
        subjects = frozenset(one.subject for one in references)
        self._subscription = Subscription(subjects, viewer, self._ends_at + _MARGIN_SECONDS, lambda: self._wake(), told)
        watcher().subscribe(self._subscription, most=most)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to any of the jobs, or the time of this stream is up."""
        return self.are_final or time.monotonic() >= self._ends_at

    @property
    def are_final(self) -> bool:
        """Whether all of them have ended."""
        return all(progress.is_final for progress in self._latest.values())

    @property
    def _patience(self) -> float:
        return max(0.0, min(HEARTBEAT.total_seconds(), self._ends_at - time.monotonic()))

    def close(self) -> None:
        """Nobody reads it any more."""
        watcher().unsubscribe(self._subscription)

    def _opening(self) -> str:
        return f"retry: {_RETRY_MILLISECONDS}\n\n" + (self._event(self._first) if self._first else "") + self._end()

    def _next(self) -> str:
        fresh = watcher().news(self._subscription)
        self._latest.update(fresh)
        return (self._event(fresh) if fresh else ": still here\n\n") + self._end()

    def _event(self, fresh: Mapping[Subject, JobProgress]) -> str:
        jobs = [as_json(one.text, fresh[one.subject]) for one in self._references if one.subject in fresh]
        return f"id: {stamp_of(self._subscription.told)}\nevent: progress\ndata: {json.dumps({'jobs': jobs})}\n\n"

    def _end(self) -> str:
        return "event: end\ndata: {}\n\n" if self.are_final else ""


class SyncStream(Stream):
    """For a thread of its own."""

    def __iter__(self) -> Iterator[str]:
        try:
            # The request's own connection is not needed for the rest of it.
            give_back_connections()
            bell = threading.Event()
            self._wake = bell.set
            yield self._opening()
            while not self.is_over:
                bell.wait(self._patience)
                bell.clear()
                yield self._next()
        finally:
            self.close()


class AsyncStream(Stream):
    """For an event loop."""

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            await sync_to_async(give_back_connections)()
            bell, loop = asyncio.Event(), asyncio.get_running_loop()

            def wake() -> None:
                # Closed: its server is gone, and nobody waits.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(bell.set)

            self._wake = wake
            yield self._opening()
            while not self.is_over:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bell.wait(), self._patience)
                bell.clear()
                yield self._next()
        finally:
            self.close()


def give_back_connections() -> None:
    """Close what this thread holds: a stream outlives its queries by minutes."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
