"""Jobs as pages of a list: each way to ask has an index that gives its order, and the rest is looked at row by row."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db.models import Q

from taskyard.jobs.ids import job_id
from taskyard.jobs.models import Job, JobQuerySet
from taskyard.jobs.pages.keyset import Page, page_of, place_from
from taskyard.jobs.queries import JobFilter, JobSummary, among
from taskyard.jobs.states import LANE_DUE, LANE_LATER, LANE_OUT, State

_BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: Fewer than these are sorted; of more an index has to have the order.
MOST_SORTED = 10_000
_COLUMNS = tuple(field.name for field in dataclasses.fields(JobSummary))
#: A row of the project's own.
_SUBJECT = re.compile(r"(\w+\.\w+)[: ]\s*(\S.*)")
_CREATED, _FINISHED = ("created_at", "id"), ("finished_at", "id")
_LANES = {
    State.PENDING: {LANE_LATER, LANE_DUE}, State.RETRYING: {LANE_LATER, LANE_DUE}, State.QUEUED: {LANE_OUT},
    State.RUNNING: {LANE_OUT},
}  # fmt: skip


class _Way(NamedTuple):
    #: What an index gives in this order, and what is still to be looked for among that.
    rows: JobQuerySet
    order: tuple[str, str]
    wanted: Q


def find_page(wanted: JobFilter, *, text: str = "", after: str = "", limit: int) -> Page[JobSummary]:
    """The next jobs that a filter means, the newest first; all that have ended: what ended last first.

    ``text``: a job's id, also one that a caller of Celery chose; ``label.model:key``, the row that jobs are about; or
    the beginning of a task's name. ``after``: the place of a page before, as text. Every page looks at 20,000 rows at
    most: where few of them are meant it is cut, says so, and the next one goes on there.
    """
    named = Job.objects.visible_to(wanted.tenant).filter(id=job_id(text)).only(*_COLUMNS).first() if text else None
    if named is not None:
        return Page((summary_of(named),))
    way = _way_of_text(wanted, text) if text else _way(wanted)
    place = place_from(after, Job, order=way.order) if after else None
    found = page_of(way.rows.only(*_COLUMNS), way.order, wanted=way.wanted, after=place, limit=limit)
    return dataclasses.replace(found, rows=tuple(map(summary_of, found.rows)))


def find_children(job: Mapping[str, Any], *, limit: int, tenant: str | None = None) -> list[JobSummary]:
    """Some of the jobs that the attempts of a job enqueued."""
    family = Job.objects.visible_to(tenant).filter(root=job["root"] or job["id"], parent=job["id"])
    return [summary_of(each) for each in family.only(*_COLUMNS)[:limit]]


def summary_of(job: Job) -> JobSummary:
    """A row as a value."""
    return JobSummary(**{name: getattr(job, name) for name in _COLUMNS})


def _way(wanted: JobFilter) -> _Way:
    # Jobs of no tenant are in the list of all alone.
    rows = among(Job.objects.visible_to(wanted.tenant or None), wanted)
    rest = _rest(wanted)
    if wanted.tenant == "":
        rest &= Q(tenant="")
    if wanted.is_final_only and not wanted.tenant:
        ended = rows.filter(finished_at__isnull=False)
        return _Way(ended.filter(finished_at__gte=wanted.since) if wanted.since else ended, _FINISHED, rest)
    if wanted.since:
        if wanted.is_final_only:
            rest &= Q(finished_at__gte=wanted.since)
        else:
            rows = rows.filter(created_at__gte=wanted.since)
    if wanted.tenant:
        # Says nothing, but that the index of lists will do (taskyard.jobs.indexes).
        rows = rows.filter(~Q(tenant=""), created_at__gte=_BEGINNING)
    few = _few_in_line(wanted)
    return _Way(rows if few is None else rows.filter(few), _CREATED, rest)


def _way_of_text(wanted: JobFilter, text: str) -> _Way:
    about = _SUBJECT.fullmatch(text)
    if about is None:
        way = _way(wanted)
        return way._replace(wanted=way.wanted & Q(task__startswith=text))
    rows = among(Job.objects.visible_to(wanted.tenant), wanted)
    rows = rows.filter(subject_type=about[1].lower(), subject_id=about[2])
    return _Way(rows, _CREATED, _rest(wanted))


def _rest(wanted: JobFilter) -> Q:
    found = Q()
    if wanted.states:
        found &= Q(state__in=wanted.states)
    if wanted.task:
        found &= Q(task__startswith=wanted.task[:-1]) if wanted.task.endswith("*") else Q(task=wanted.task)
    if wanted.queue:
        found &= Q(queue=wanted.queue)
    return found


def _few_in_line(wanted: JobFilter) -> Q | None:
    """The lanes in which jobs of these states stand, if few do: then they are read and sorted."""
    if not wanted.states or not all(state in _LANES for state in wanted.states):
        return None
    # One by one, and not as a set: each lane has a partial index of its own on PostgreSQL.
    lanes, found, count = set().union(*(_LANES[State(state)] for state in wanted.states)), Q(), 0
    for lane in sorted(lanes):
        found |= Q(lane=lane)
        count += Job.objects.visible_to(None).filter(lane=lane)[: MOST_SORTED + 1].count()
        if count > MOST_SORTED:
            return None
    return found
