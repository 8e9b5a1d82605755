"""What a step is given of the saga it belongs to."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The first argument of every step, rollback and condition. A subclass may add properties, no fields.

    Everything in it is as the rows say: JSON values, the same in each attempt.
    """

    saga_id: uuid.UUID
    name: str
    version: int
    tenant: str
    #: The user it acts for, or None. In a rollback also None if that user is gone by then.
    user: Any
    inputs: Mapping[str, Any]
    #: Of the steps that have succeeded, by their names.
    results: Mapping[str, Any]
    #: The step this is for.
    step: str
    #: Of the function, or of the rollback: counts from 1.
    attempt: int
    #: The same in every attempt of this step, another for its rollback, and another when it is done once more after it
    #: was compensated: what to hand to a service that takes such a key.
    idempotency_key: str
    #: When the saga turns round if it has not come further.
    deadline_at: dt.datetime | None = None
