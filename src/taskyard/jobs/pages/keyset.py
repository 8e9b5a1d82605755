"""One page of a very long list: it begins where the page before ended, and looks at no more than so many rows."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet

#: Rows that one page looks at where an index cannot tell which of them are meant.
MOST_LOOKED = 20_000

Row = TypeVar("Row")
#: What a row is ordered by; of the last row of a page, where the next one begins.
Place = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, the latest first."""

    rows: tuple[Row, ...]
    #: Where the next page begins; None: this was the last one.
    after: Place | None = None
    #: It ended because it had looked at enough rows, not because it was full: there may be more behind.
    is_cut: bool = False


def page_of(
    rows: QuerySet[Any], order: Sequence[str], *, wanted: Q | None = None, after: Place | None = None, limit: int
) -> Page[Any]:
    """A page of ``rows``, which an index gives in this order backwards; of those the ones that are ``wanted``."""
    ordered = _behind(rows, order, after).order_by(*(f"-{name}" for name in order))
    edge: Place | None = None
    if wanted:
        edges = list(ordered.values_list(*order)[MOST_LOOKED : MOST_LOOKED + 1])
        edge = edges[0] if edges else None
        ordered = ordered.filter(wanted) if edge is None else _until(ordered, order, edge).filter(wanted)
    found = list(ordered[: limit + 1])
    if len(found) > limit:
        return Page(tuple(found[:limit]), tuple(getattr(found[limit - 1], name) for name in order))
    return Page(tuple(found), edge, is_cut=edge is not None)


def _behind(rows: QuerySet[Any], order: Sequence[str], after: Place | None) -> QuerySet[Any]:
    if after is None:
        return rows
    if len(order) == 1:
        return rows.filter(**{f"{order[0]}__lt": after[0]})
    first, second = order
    same = Q(**{first: after[0], f"{second}__lt": after[1]})
    # The last condition says no more than the first two: it is the one that an index begins at.
    return rows.filter(Q(**{f"{first}__lt": after[0]}) | same).filter(**{f"{first}__lte": after[0]})


def _until(rows: QuerySet[Any], order: Sequence[str], edge: Place) -> QuerySet[Any]:
    if len(order) == 1:
        return rows.filter(**{f"{order[0]}__gte": edge[0]})
    first, second = order
    same = Q(**{first: edge[0], f"{second}__gte": edge[1]})
    return rows.filter(Q(**{f"{first}__gt": edge[0]}) | same).filter(**{f"{first}__gte": edge[0]})


def place_text(place: Place) -> str:
    """A place for an address."""
    return "~".join(each.isoformat() if isinstance(each, dt.datetime) else str(each) for each in place)


def place_from(text: str, model: type[Model], *, order: Sequence[str]) -> Place | None:
    """What :func:`place_text` made; None for anything else."""
    parts = text.split("~")
    if len(parts) != len(order):
        return None
    try:
        found = tuple(_column(model, name).to_python(part) for name, part in zip(order, parts, strict=True))
    except ValidationError:
        return None
    return None if any(isinstance(each, dt.datetime) and each.tzinfo is None for each in found) else found


def _column(model: type[Model], name: str) -> Any:
    return model._meta.get_field(name)
