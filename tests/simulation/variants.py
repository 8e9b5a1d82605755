"""The core with one fault of its own each, to prove that the simulation would find it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from django.db import transaction

from taskyard import enqueue
from taskyard.execution import claim, outcome, rescuer, settle, steering
from taskyard.jobs import scribe
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.outbox import feeder, outgoing, sweep
from taskyard.outbox.outgoing import Publisher

_Patch = Callable[[], Any]


def _settle_without_token() -> Any:
    def move(alias: str, owned: Any, assign: str, params: list[Any], **_: Any) -> bool:
        return Sql(alias).change(owned.id, assign, "state = 'running'", params) is not None

    return mock.patch.object(settle, "_move", move)


def _settle_without_state() -> Any:
    def move(alias: str, owned: Any, assign: str, params: list[Any], **_: Any) -> bool:
        return Sql(alias).change(owned.id, assign, "claim = %s", [*params, owned.token]) is not None

    return mock.patch.object(settle, "_move", move)


def _settle_in_two_transactions() -> Any:
    real = settle._commit_along

    def commit_along(alias: str, *args: Any) -> None:
        transaction.on_commit(lambda: real(alias, *args), using=alias)

    return mock.patch.object(settle, "_commit_along", commit_along)


def _a_report_needs_no_token() -> Any:
    def report(sql: Sql, job: Any, values: Any) -> Any:
        assign = ", ".join(f"{name} = %s" for name in values)
        return sql.change(job.id, assign, "1 = 1", list(values.values()), returning="cancel_requested_at")

    return mock.patch.object(scribe, "_report", report)


def _claim_without_state() -> Any:
    class Careless(Sql):
        def change(self, job_id: uuid.UUID, assign: str, guard: str, params: Sequence[Any], **options: Any) -> Any:
            return super().change(job_id, assign, guard.replace("state = 'queued'", "1 = 1"), params, **options)

    return mock.patch.object(claim, "Sql", Careless)


def _sweep_never_runs() -> Any:
    return mock.patch.object(sweep.Sweep, "run", lambda *_, **__: 0)


def _feeder_marks_after_publishing() -> Any:
    def feed(self: Any, sql: Sql, queue: str, now: dt.datetime, settings: Any) -> int:
        if queue in settings.handover:
            return self._hand_over(sql, queue, now)
        rows = sql.query(
            f"SELECT {outgoing.COLUMNS} FROM {TABLE} WHERE lane = 1 AND queue = %s ORDER BY id LIMIT 10", [queue]
        )
        batch = [outgoing.from_row(sql, row) for row in rows]
        self._publish(sql, batch)
        for out in batch:
            sql.execute(
                f"UPDATE {TABLE} SET state = 'queued', published_at = %s, publishes = 1, worker = NULL WHERE id = %s",
                [sql.time(now), sql.uuid(out.id)],
            )
        return len(batch)

    return mock.patch.object(feeder.Feeder, "_feed", feed)


def _rescuer_trusts_the_first_sight() -> Any:
    real = rescuer.Rescuer._silent

    def silent(self: Any, beats: dict[uuid.UUID, int], *args: Any) -> Any:
        known = {worker for worker, sight in self._sights.items() if sight.beats == beats.get(worker)}
        real(self, beats, *args)
        return sorted(known)

    return mock.patch.object(rescuer.Rescuer, "_silent", silent)


def _rescuer_does_not_notice_its_own_absence() -> Any:
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(rescuer.Rescuer, "interrupted", lambda self: None))
    stack.enter_context(mock.patch.object(rescuer, "_LONGEST_GAP_SECONDS", 1e9))
    return stack


def _unique_lock_is_kept() -> Any:
    real = settle._assignment

    def assignment(*args: Any) -> tuple[str, list[Any]]:
        assign, params = real(*args)
        return assign.replace("unique_lock = %s", "unique_lock = COALESCE(unique_lock, %s)"), params

    return mock.patch.object(settle, "_assignment", assignment)


def _a_retry_lets_go_of_the_key() -> Any:
    real = settle._retry_values
    return mock.patch.object(settle, "_retry_values", lambda *args: {**real(*args), "unique_lock": None})


def _retry_forgets_the_cancel() -> Any:
    return mock.patch.object(settle, "_heed_cancel", lambda *_: None)


def _poison_is_tried_for_ever() -> Any:
    from taskyard.celery.worker import settler

    return mock.patch.object(
        settler, "lost", lambda *args, **kwargs: outcome.lost(*args, **{**kwargs, "poison_after": 99})
    )


def _a_lost_worker_spends_an_attempt() -> Any:
    def lost(*args: Any, **kwargs: Any) -> Any:
        return dataclasses.replace(outcome.lost(*args, **kwargs), counts=True)

    return mock.patch.object(rescuer, "lost", lost)


def _feeder_does_not_wait_until_due() -> Any:
    def promote(sql: Sql, now: dt.datetime) -> None:
        sql.execute(f"UPDATE {TABLE} SET due = %s WHERE lane = 0", [True])

    return mock.patch.object(feeder, "_promote", promote)


def _cancel_reaches_only_pending_jobs() -> Any:
    return mock.patch.object(steering, "_NOT_STARTED", ["pending", "retrying"])


def _cancel_writes_after_it_looked() -> Any:
    def cancel(job_ids: Any, now: dt.datetime, **_: Any) -> int:
        jobs = steering.Job.objects.filter(id__in=list(job_ids))
        found = list(jobs.filter(state__in=steering._NOT_STARTED).values_list("id", flat=True))
        asked = jobs.filter(state="running").update(cancel_requested_at=now)
        # What was claimed in between is cancelled under its worker's hands.
        return asked + jobs.filter(id__in=found).update(state="cancelled", finished_at=now, unique_lock=None)

    return mock.patch.object(steering, "cancel", cancel)


def _handed_over_before_it_is_confirmed() -> Any:
    class Trusting:
        def __init__(self, publisher: Publisher) -> None:
            self.publisher = publisher

        def __getattr__(self, name: str) -> Any:
            return getattr(self.publisher, name)

        def publish_in_full(self, batch: Any) -> Any:
            self.publisher.publish_in_full(batch)
            return []

    real = feeder.Feeder.__init__
    return mock.patch.object(
        feeder.Feeder, "__init__", lambda self, owner, publisher: real(self, owner, Trusting(publisher))
    )


def _an_enqueue_is_written_after_the_commit() -> Any:
    real = enqueue.write

    def write(jobs: Any, alias: str, **options: Any) -> Any:
        transaction.on_commit(lambda: real(jobs, alias, **options), using=alias)
        return {job.id for job in jobs}

    return mock.patch.object(enqueue, "write", write)


#: Name -> how to plant it.
VARIANTS: dict[str, _Patch] = {
    made.__name__.removeprefix("_").replace("_", "-"): made
    for made in (
        _settle_without_token, _settle_without_state, _settle_in_two_transactions, _claim_without_state,
        _a_report_needs_no_token, _sweep_never_runs, _feeder_marks_after_publishing, _rescuer_trusts_the_first_sight,
        _rescuer_does_not_notice_its_own_absence, _unique_lock_is_kept, _a_retry_lets_go_of_the_key,
        _retry_forgets_the_cancel, _poison_is_tried_for_ever, _a_lost_worker_spends_an_attempt,
        _feeder_does_not_wait_until_due, _cancel_reaches_only_pending_jobs, _cancel_writes_after_it_looked,
        _handed_over_before_it_is_confirmed, _an_enqueue_is_written_after_the_commit,
    )
}  # fmt: skip


@contextlib.contextmanager
def planted(name: str | None) -> Iterator[None]:
    """The core is broken in that way while the block runs; None: as it is."""
    with VARIANTS[name]() if name else contextlib.nullcontext():
        yield
