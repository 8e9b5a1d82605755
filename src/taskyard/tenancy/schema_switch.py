"""In which schema each connection stands, and that every statement is sent in the schema of the code it comes from.

A connection belongs to a thread, and several asyncio tasks may take turns on one. So who is wanted is a context
variable. Synchronous code that enters a tenant also puts the connections of its thread there (they are *held*), as
django-tenants does, and its statements pass with one comparison. A statement from another context (an asyncio task
that entered a tenant, or one that did not, on a thread that stands in one) is sent in its own schema, after which the
connection stands where it stood.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created

from taskyard.errors import ConfigurationError
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """What django-tenants keeps on a connection."""

    tenant: Any
    include_public: bool


@dataclasses.dataclass(eq=False, slots=True)
class Stay:
    """Being in one tenant, or in public, from its entry to its end; told apart by identity."""

    places: Mapping[str, Place]
    #: The alias that says who is current.
    main: str
    #: Where a connection stood before, where that is known: no sign of somebody who went elsewhere since.
    floors: weakref.WeakKeyDictionary[Any, Any] = dataclasses.field(default_factory=weakref.WeakKeyDictionary)


@dataclasses.dataclass(slots=True)
class _Standing:
    """What Taskyard knows of one connection."""

    #: The stay in which its thread holds it.
    stay: Stay | None = None
    #: Where it stood before the first of the stays in which it is held.
    base: Place | None = None
    #: The tenant object Taskyard put there last; another one there is the work of django-tenants' own API.
    put: Any = None


class Left(NamedTuple):
    """What was there before a stay."""

    stay: Stay | None
    connections: tuple[tuple[Any, Place, _Standing], ...] = ()


_here: ContextVar[Stay | None] = ContextVar("taskyard_schema", default=None)


def enter(stay: Stay) -> Left:
    """Become somebody in this context, on the connections of this thread; if that fails, nothing has changed."""
    met: list[tuple[Any, Place, _Standing]] = []
    with contextlib.ExitStack() as undo:
        undo.callback(lambda: leave(Left(_here.get(), tuple(met))))
        for alias, place in stay.places.items():
            connection: Any = connections[alias]
            before = _standing(connection)
            met.append((connection, _place(connection), before))
            base = _place(connection) if before.base is None else before.base
            _put(connection, place)
            connection.taskyard_standing = _Standing(stay, base, place.tenant)
        undo.pop_all()
    left = Left(_here.get(), tuple(met))
    _here.set(stay)
    return left


def enter_context(stay: Stay) -> Left:
    """Become somebody in this context alone: its statements are sent there, wherever their connections stand."""
    left = Left(_here.get())
    _here.set(stay)
    return left


def leave(left: Left) -> None:
    """Put everything back; a connection that cannot be put back is closed and starts anew in public. Never raises."""
    for connection, place, standing in reversed(left.connections):
        try:
            _put(connection, place)
            connection.taskyard_standing = standing
        except Exception:
            logger.exception("A connection (%r) could not be put back and is closed.", connection.alias)
            _abandon(connection)
            if left.stay is not None:
                left.stay.floors[connection] = connection.tenant
    _here.set(left.stay)


def note_floors(stay: Stay) -> None:
    """Remember where the connections of this thread stand when a stay begins in one of its contexts."""
    for alias in stay.places:
        connection: Any = connections[alias]
        stay.floors[connection] = connection.tenant


def current_schema() -> str:
    """The schema in which a statement of this context would be sent."""
    stay = _here.get()
    connection: Any = connections[get_settings().tenant_databases[0] if stay is None else stay.main]
    wanted = _wanted(connection)
    schema: str = (connection.tenant if wanted is None else wanted.tenant).schema_name
    return schema


def steer(execute: Callable[..., Any], *statement: Any) -> Any:
    """A wrapper around each statement (``connection.execute_wrappers``): sends it in the schema of its context."""
    connection = statement[-1]["connection"]
    if connection._setting_search_path:
        # Django-tenants, setting the path for a new cursor: nobody's statement.
        return execute(*statement)
    wanted = _wanted(connection)
    if wanted is None:
        if connection.search_path_set_schemas is None:
            # An older cursor, and another context's statement or a rollback changed the path since.
            _set_path(connection, statement[0])
        return execute(*statement)
    before = _place(connection)
    _put(connection, wanted)
    try:
        _set_path(connection, statement[0])
        return execute(*statement)
    finally:
        _put(connection, before)


def watch_connections() -> None:
    """Steer every connection that is opened from here on."""
    connection_created.connect(_watch, dispatch_uid="taskyard.tenancy.schemas")


def _watch(connection: Any, **_: object) -> None:
    try:
        is_ours = get_settings().tenancy == "schemas" and hasattr(connection, "set_tenant")
    except ConfigurationError:
        return
    if is_ours and steer not in connection.execute_wrappers:
        connection.execute_wrappers.append(steer)
    if is_ours:
        # Sets the path: statements that bypass Django's cursors must not find the one the server starts with.
        connection.search_path_set_schemas = None
        connection.cursor().close()


def _wanted(connection: Any) -> Place | None:
    """Where a statement of this context belongs, if not where the connection stands."""
    stay, standing = _here.get(), _standing(connection)
    if stay is standing.stay or _is_elsewhere(connection, stay, standing):
        return None
    place = None if stay is None else stay.places.get(connection.alias)
    # Held for others: what was there before them is what this context knows.
    return standing.base if place is None else place


def _is_elsewhere(connection: Any, stay: Stay | None, standing: _Standing) -> bool:
    """Whether django-tenants' own API was used within this context, and so decides."""
    if connection.schema_name == _public() or connection.tenant is standing.put:
        return False
    return stay is None or stay.floors.setdefault(connection, connection.tenant) is not connection.tenant


def _standing(connection: Any) -> _Standing:
    found: _Standing | None = vars(connection).get("taskyard_standing")
    return _NOWHERE if found is None else found


_NOWHERE = _Standing()


def _place(connection: Any) -> Place:
    return Place(connection.tenant, connection.include_public_schema)


def _put(connection: Any, place: Place) -> None:
    connection.set_tenant(place.tenant, place.include_public)


def _set_path(connection: Any, sql: str) -> None:
    """As django-tenants does for a new cursor, but aloud: a statement is never sent where it does not belong."""
    from django_tenants.utils import quote_schema_name

    schemas = connection._get_cursor_search_paths()
    paths = ", ".join(map(quote_schema_name, schemas))
    try:
        # On a cursor of its own: a named one can carry a single statement.
        with connection.wrap_database_errors, connection.connection.cursor() as own:
            own.execute(f"SET search_path = {paths}")
    except DatabaseError:
        # In a transaction that has failed already only its end is accepted, and has no schema.
        if not sql.startswith("ROLLBACK"):
            raise
    else:
        connection.search_path_set_schemas = schemas


def _abandon(connection: Any) -> None:
    from django_tenants.postgresql_backend.base import FakeTenant

    with contextlib.suppress(Exception):
        connection.close()
    connection.tenant, connection.schema_name = FakeTenant(schema_name=_public()), _public()
    connection.include_public_schema, connection.search_path_set_schemas = True, None
    connection.set_settings_schema(_public())
    connection.taskyard_standing = _Standing()


def _public() -> str:
    from django_tenants.utils import get_public_schema_name

    name: str = get_public_schema_name()
    return name
