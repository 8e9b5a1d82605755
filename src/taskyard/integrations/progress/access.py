"""Which jobs and batches somebody asks about, and whether they may see them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

from django.core import signing
from django.http import HttpRequest

from taskyard.batches.models import Batch
from taskyard.jobs.models import Job
from taskyard.operations import Actor
from taskyard.settings import get_settings

#: Links that the template tag makes work for so long: pages stay open over night, and leak into logs for ever.
LINK_AGE = dt.timedelta(days=1)
_SALT = "taskyard.progress"
#: After the id: the jobs of its canvas or its children are meant with it.
_FAMILY = "*"
#: After the id: that of a batch.
_BATCH = "~"
_COLUMNS = ("id", "task", "tenant", "created_by", "root", "parent", "subject_type", "subject_id")


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at."""

    id: uuid.UUID
    #: With all jobs of that root, as one.
    family: bool = False
    batch: bool = False

    def __str__(self) -> str:
        return f"{self.id}{_FAMILY if self.family else _BATCH if self.batch else ''}"


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """What a request calls a job by: its id, or a signed link, which may be used by whoever has it."""

    text: str
    subject: Subject
    is_signed: bool


def sign(subject: Subject) -> str:
    """A reference to this one job that is good for a day, for anybody."""
    return signing.TimestampSigner(salt=_SALT).sign(str(subject))


def read(text: str) -> Reference | None:
    """What a text refers to; None where it refers to nothing, or its signature is wrong or too old."""
    is_signed = ":" in text
    try:
        plain = signing.TimestampSigner(salt=_SALT).unsign(text, max_age=LINK_AGE) if is_signed else text
        kind = {"family": plain.endswith(_FAMILY), "batch": plain.endswith(_BATCH)}
        subject = Subject(uuid.UUID(plain[:-1] if any(kind.values()) else plain), **kind)
    except (signing.BadSignature, ValueError):
        return None
    return Reference(text, subject, is_signed)


def visible(request: HttpRequest, references: list[Reference]) -> list[Reference]:
    """Those that this request may see; of the others it learns nothing, not even whether they exist."""
    asked = [one.subject for one in references if not one.is_signed]
    jobs, batches = _jobs([one for one in asked if not one.batch]), _batches([one for one in asked if one.batch])
    rows = [(subject, (batches if subject.batch else jobs).get(subject.id)) for subject in asked]
    allowed = {subject for subject, row in rows if row is not None and may_see(request, row)}
    return [one for one in references if one.is_signed or one.subject in allowed]


def _jobs(subjects: list[Subject]) -> dict[uuid.UUID, Job]:
    rows = Job.objects.visible_to(None).only(*_COLUMNS)
    found = {job.id: job for job in rows.filter(id__in=[subject.id for subject in subjects])}
    for subject in subjects:
        if subject.family and subject.id not in found:
            # A group has no job of its own: whoever sees one of its members sees how far it is.
            # Any of them; in an order, the planner may prefer to walk the whole table.
            for member in rows.filter(root=subject.id)[:1]:
                found[subject.id] = member
    return found


def _batches(subjects: list[Subject]) -> dict[uuid.UUID, Batch]:
    return Batch.objects.visible_to(None).in_bulk([subject.id for subject in subjects]) if subjects else {}


def may_see(request: HttpRequest, row: Job | Batch) -> bool:
    """Whether the user of a request may see how far it is, by ``TASKYARD["PROGRESS_ACCESS"]`` or the default."""
    decide = get_settings().progress_access
    if decide is not None:
        return bool(decide(request, row))
    return is_owner(request, row) or _is_operator(request, row, "view_job" if isinstance(row, Job) else "view_batch")


def may_see_result(request: HttpRequest, job: Job) -> bool:
    """Whether what the job returned, or the error it failed with, may be shown as well."""
    return is_owner(request, job) or _may(request, job, "view_payload")


def is_owner(request: HttpRequest, row: Job | Batch) -> bool:
    """Whether the user of a request has created it (``using(created_by=request.user)``)."""
    user = _user(request)
    return user is not None and bool(row.created_by) and row.created_by == str(user.pk)


def _is_operator(request: HttpRequest, row: Job | Batch, permission: str) -> bool:
    user = _user(request)
    return user is not None and user.is_staff and _may(request, row, permission)


def _may(request: HttpRequest, row: Job | Batch, permission: str) -> bool:
    if _user(request) is None:
        return False
    actor = Actor.of_request(request, via="progress")
    # Of one tenant, what is others' does not exist.
    return actor.may(permission) and actor.owns(row.tenant)


def _user(request: HttpRequest) -> Any:
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None


def viewer_of(request: HttpRequest, references: list[Reference]) -> str:
    """Whose streams are counted together."""
    user = _user(request)
    return f"user {user.pk}" if user is not None else f"link {references[0].subject}"
