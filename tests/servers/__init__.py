"""The servers that tests run against: found, started where there are none, and private ones to break.

Shared servers are looked for in this order: the environment (`TASKYARD_TEST_PG_URL`, `…_MYSQL_URL`, `…_REDIS_URL`,
`…_AMQP_URL`), the usual port of this machine, a binary of this machine started on a free port, a server from the
package index. Tests never stop, flush or reconfigure a shared server: they take a database, a virtual host or a
database number of their own from it, or a private server.
"""

import atexit
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.servers import mysql, postgres, rabbitmq, redis
from tests.servers import pgbouncer as _pgbouncer
from tests.servers.pgbouncer import PrivatePgBouncer
from tests.servers.process import PrivateServer, ServerMissing, wait_until

__all__ = [
    "KINDS",
    "PrivatePgBouncer",
    "PrivateServer",
    "ServerMissing",
    "describe",
    "django_database",
    "environment",
    "fresh_database",
    "fresh_name",
    "fresh_redis",
    "fresh_vhost",
    "missing",
    "pgbouncer",
    "private_mysql",
    "private_postgres",
    "private_rabbitmq",
    "private_redis",
    "require",
    "required",
    "start_own",
    "stop_all",
    "url",
    "wait_until",
]


@dataclass(frozen=True)
class Kind:
    variable: str
    #: Where it usually listens, with the account it usually has; the first that answers is taken.
    usual: tuple[str, ...]
    answers: Callable[[str], bool]
    sources: tuple[Callable[[], PrivateServer], ...]


KINDS = {
    "postgres": Kind(
        "TASKYARD_TEST_PG_URL",
        ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql://root@127.0.0.1:5432/postgres"),
        postgres.answers,
        (postgres.from_machine, postgres.from_package),
    ),
    "mysql": Kind(
        "TASKYARD_TEST_MYSQL_URL",
        ("mysql://root@127.0.0.1:3306/",),
        mysql.answers,
        (mysql.from_machine, mysql.from_package),
    ),
    "redis": Kind(
        "TASKYARD_TEST_REDIS_URL",
        ("redis://127.0.0.1:6379/0",),
        redis.answers,
        (redis.from_machine, redis.from_package),
    ),
    "amqp": Kind(
        "TASKYARD_TEST_AMQP_URL",
        ("amqp://guest:guest@127.0.0.1:5672//",),
        rabbitmq.answers,
        (rabbitmq.from_machine, rabbitmq.from_package),
    ),
}

_found: dict[str, tuple[str, str]] = {}
_missing: dict[str, str] = {}
_started = ExitStack()


def url(kind: str, *, start: bool = True) -> str | None:
    """Where the shared server of that kind is; None when there is none. `start=False` only looks."""
    if kind not in _found and kind not in _missing:
        _look(kind, start)
    return _found[kind][0] if kind in _found else None


def require(kind: str) -> str:
    """The same for a test that cannot do without: skips it, or fails it where `CI=true`."""
    found = url(kind)
    if found is None:
        # The benchmarks come here as well, in an environment without it.
        import pytest

        (pytest.fail if required() else pytest.skip)(f"no {kind} server: {_missing[kind]}")
    return found


def describe(kind: str) -> str:
    """Where it was found, or why not, for a person."""
    address = url(kind)
    if address is None:
        return f"MISSING: {_missing[kind]}"
    return f"{urlsplit(address).hostname}:{urlsplit(address).port} ({_found[kind][1]})"


def missing() -> dict[str, str]:
    """The kinds that were looked for and not found, with what was tried."""
    return dict(_missing)


def required() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def environment() -> dict[str, str]:
    """The variables that let a child process use what this one found."""
    return {KINDS[kind].variable: address for kind, (address, _) in _found.items()}


def start_own(kind: str) -> None:
    """Start one that is hasty even where the machine has one, unless somebody names one; children of ours share it."""
    if not os.environ.get(KINDS[kind].variable):
        _start(kind, is_hasty=True)


def stop_all() -> None:
    """End the servers this process started; done at exit anyway."""
    _started.close()
    _found.clear()


atexit.register(stop_all)


def _look(kind: str, start: bool) -> None:
    known = KINDS[kind]
    given = os.environ.get(known.variable)
    if given:
        # What somebody names explicitly is used or reported, never silently replaced.
        if known.answers(given):
            _found[kind] = (given, known.variable)
        else:
            _missing[kind] = f"{known.variable} names a server that does not answer"
        return
    for address in known.usual:
        if known.answers(address):
            _found[kind] = (address, "usual port")
            return
    if start and (reasons := _start(kind)):
        tried = f"nothing on {urlsplit(known.usual[0]).hostname}:{urlsplit(known.usual[0]).port}"
        _missing[kind] = "; ".join([tried, *reasons])


def _start(kind: str, *, is_hasty: bool = False) -> list[str]:
    """Nothing if it has started; else why not."""
    reasons = []
    for source in KINDS[kind].sources:
        try:
            server = source()
            server.is_hasty = is_hasty
            _started.enter_context(server)
        except (ServerMissing, RuntimeError, TimeoutError, OSError) as error:
            reasons.append(str(error))
            continue
        _found[kind] = (server.url, source.__name__.replace("_", " "))
        # Processes that a test starts look in the same places, and must find this one instead of starting their own.
        os.environ[KINDS[kind].variable] = server.url
        _started.callback(os.environ.pop, KINDS[kind].variable, None)
        return []
    return reasons


# ---- something of one's own on a shared server


def fresh_name(prefix: str = "taskyard") -> str:
    return f"{prefix}_{os.getpid()}_{secrets.token_hex(4)}"


@contextmanager
def fresh_database(kind: str, address: str | None = None) -> Iterator[str]:
    """The address of a new, empty PostgreSQL or MySQL database, dropped afterwards. SQLite needs none: use tmp_path."""
    room = {"postgres": postgres, "mysql": mysql}[kind]
    server = address or require(kind)
    name = fresh_name()
    room.create_database(server, name)
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        room.drop_database(server, name)


def fresh_redis() -> AbstractContextManager[str]:
    """The address of an empty Redis database number that is ours until the end of the block."""
    return redis.claimed_database(require("redis"))


@contextmanager
def fresh_vhost() -> Iterator[str]:
    """The address of a new virtual host on RabbitMQ, deleted afterwards; on a private broker if need be."""
    address = require("amqp")
    with ExitStack() as stack:
        try:
            mine = stack.enter_context(rabbitmq.own_vhost(address))
        except ServerMissing:
            mine = stack.enter_context(private_rabbitmq()).url
        yield mine


def django_database(address: str) -> dict[str, Any]:
    """The DATABASES entry for an address; for MySQL it also puts the driver in place."""
    parts = urlsplit(address)
    engine = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql"}[parts.scheme]
    if engine == "mysql":
        mysql.install_driver()
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": parts.path[1:],
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "127.0.0.1",
        "PORT": str(parts.port or ""),
        "OPTIONS": {"charset": "utf8mb4"} if engine == "mysql" else {},
    }


# ---- servers to stop, kill, freeze and flush


def private_redis() -> redis.PrivateRedis:
    return _private("redis")


def private_postgres() -> postgres.PrivatePostgres:
    return _private("postgres")


def private_mysql() -> mysql.PrivateMariaDB:
    return _private("mysql")


def private_rabbitmq() -> rabbitmq.PrivateRabbitMQ:
    return _private("amqp")


def pgbouncer(postgres_url: str) -> PrivatePgBouncer:
    """PgBouncer in transaction mode before that server (any database of it); not started yet, use it with `with`."""
    try:
        return PrivatePgBouncer(_pgbouncer.find_binary(), postgres_url)
    except ServerMissing as error:
        return _give_up("pgbouncer", str(error))


def _private(kind: str) -> Any:
    reasons = []
    for source in KINDS[kind].sources:
        try:
            return source()
        except ServerMissing as error:
            reasons.append(str(error))
    return _give_up(f"private {kind}", "; ".join(reasons))


def _give_up(what: str, reason: str) -> Any:
    import pytest

    _missing[what] = reason
    return (pytest.fail if required() else pytest.skip)(f"no {what}: {reason}")
