"""How each kind of fault is done, held and healed."""

import contextlib
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection

from taskyard.testing.history import History
from taskyard.testing.processes import Process, stopped
from tests.servers import wait_until
from tests.soak import release
from tests.soak.crew import Crew
from tests.soak.plan import Fault
from tests.soak.stage import Stage


class Breaker:
    """One verb for each kind of fault; it returns when the fault is healed and the workers it took are started anew."""

    def __init__(self, stage: Stage, crew: Crew, history: History, *, rest: Callable[[float], None]) -> None:
        self.stage, self.crew, self.history = stage, crew, history
        #: Waits so many seconds, or until the run is given up.
        self.rest = rest
        #: Called when the new release is rolled out, with the producer's part of it.
        self.on_deploy: Callable[[], None] = lambda: None
        self.on_deployed: Callable[[], None] = lambda: None

    def strike(self, fault: Fault) -> None:
        """Do it, hold it, heal it."""
        # An earlier fault may have cut it.
        connection.close()
        getattr(self, fault.kind.replace("-", "_"))(fault)

    # -- workers

    def kill_main(self, fault: Fault) -> None:
        self._lose(fault, lambda: self.crew.kill(fault.worker, group=False))

    def kill_group(self, fault: Fault) -> None:
        self._lose(fault, lambda: self.crew.kill(fault.worker, group=True))

    def terminate(self, fault: Fault) -> None:
        self._lose(fault, lambda: self.crew.terminate(fault.worker))

    def _lose(self, fault: Fault, end: Callable[[], None]) -> None:
        end()
        self.rest(fault.hold)
        self.crew.replace_the_dead(expected=frozenset([fault.worker]))

    def kill_child(self, fault: Fault) -> None:
        self.crew.kill_child(fault.worker)

    def kill_at_point(self, fault: Fault) -> None:
        """A worker whose processes die at a fault point, one of them, once."""
        mark = self.stage.folder / f"mark-{fault.number}"
        self.crew.terminate(fault.worker)
        self.crew.start(fault.worker, SOAK_FAULT=f"{fault.point}={mark}")
        with contextlib.suppress(TimeoutError):
            # On the database broker nothing is published; points of the feeder are reached when it holds a lease.
            wait_until(mark.exists, 12 + fault.hold, f"a process dies at {fault.point}")
        try:
            # Nobody came by: with the mark there it is a worker like any other from now on.
            mark.touch(exist_ok=False)
        except FileExistsError:
            if fault.point.startswith("feeder."):
                self.crew.workers[fault.worker].wait(10)
        if self.crew.workers[fault.worker].poll() is None:
            # Its children were forked with the point armed, but the mark is there.
            return
        self.crew.replace_the_dead(expected=frozenset([fault.worker]))

    def freeze_worker(self, fault: Fault) -> None:
        self._freeze(fault, self.crew.main(fault.worker).family)

    def freeze_main(self, fault: Fault) -> None:
        """Its children go on, and are taken for lost all the same."""
        family = self.crew.main(fault.worker).family
        self._freeze(fault, family[:1], cut_off=family)

    def _freeze(self, fault: Fault, processes: tuple[Process, ...], cut_off: tuple[Process, ...] = ()) -> None:
        pids = [one.pid for one in cut_off or processes]
        self.history.froze(pids)
        with stopped(processes):
            self.rest(self.stage.options.worker_timeout * 1.3 + fault.hold)
        self.history.thawed(pids)

    def deploy(self, fault: Fault) -> None:
        """Migrations first, then the producers, then the workers one after the other; old and new run side by side."""
        first = self.stage.project.release == release.OLD
        if first:
            self.stage.manage("migrate", "soak", "--verbosity", "0")
        self.stage.project.release = release.NEW
        self.on_deploy()
        for place in sorted(self.crew.workers):
            self.rest(fault.hold)
            self.crew.terminate(place)
            self.crew.start(place)
        self.on_deployed()

    # -- the broker

    def broker_restart(self, fault: Fault) -> None:
        self._away(fault, self.stage.broker.stop, self.stage.broker.start)

    def broker_killed(self, fault: Fault) -> None:
        self._away(fault, self.stage.broker.kill, self.stage.broker.start)

    def broker_frozen(self, fault: Fault) -> None:
        self._away(fault, self.stage.broker.freeze, self.stage.broker.thaw)

    def broker_flushed(self, fault: Fault) -> None:
        self.stage.broker.flush()

    def broker_cut(self, fault: Fault) -> None:
        """The broker itself closes every connection."""
        if self.stage.options.broker == "redis":
            self._redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        else:
            self.stage.broker.control("close_all_connections", "as asked")

    def broker_full(self, fault: Fault) -> None:
        """Redis refuses writes; RabbitMQ raises its memory alarm and blocks publishers."""
        if self.stage.options.broker == "redis":
            self._away(fault, lambda: self._redis("CONFIG", "SET", "maxmemory", "1"),
                       lambda: self._redis("CONFIG", "SET", "maxmemory", "0"))  # fmt: skip
        else:
            control = self.stage.broker.control
            self._away(fault, lambda: control("set_vm_memory_high_watermark", "0.0000001"),
                       lambda: control("set_vm_memory_high_watermark", "0.4"))  # fmt: skip

    def _redis(self, *words: str) -> Any:
        import redis

        with redis.Redis.from_url(self.stage.broker.url, socket_timeout=5) as client:
            return client.execute_command(*words)

    def tables_emptied(self, fault: Fault) -> None:
        """What of the database broker is not a job's row: remote control, events."""
        from taskyard.celery.broker.models import Binding, Message

        Message.objects.all().delete()
        Binding.objects.all().delete()

    # -- the network between workers and broker

    def network_reset(self, fault: Fault) -> None:
        self.stage.network.close_all(reset=True)

    def network_refused(self, fault: Fault) -> None:
        def refuse() -> None:
            self.stage.network.refuse()
            self.stage.network.close_all()

        self._away(fault, refuse, self.stage.network.heal)

    def network_lost(self, fault: Fault) -> None:
        self._away(fault, self.stage.network.drop, self.stage.network.heal)

    def network_half_open(self, fault: Fault) -> None:
        self.stage.network.half_open()

    # -- the database

    def database_cut(self, fault: Fault) -> None:
        """The server ends every session but the one that asks."""
        statement = {
            "postgres": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database()",
            "mysql": "",
        }[self.stage.options.database]  # fmt: skip
        if statement:
            self._sql(statement)
        else:
            self._kill_sessions()

    def _sql(self, statement: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def _kill_sessions(self) -> None:
        own, *_ = self._sql("SELECT CONNECTION_ID()")[0]
        for session, user in self._sql("SELECT id, user FROM information_schema.processlist"):
            if session != own and user == "root":
                with contextlib.suppress(Exception):
                    self._sql(f"KILL {session}")

    def database_restart(self, fault: Fault) -> None:
        self._away(fault, self.stage.database.stop, self.stage.database.start)

    def database_crash(self, fault: Fault) -> None:
        """It dies as in a power cut, as far as its files are concerned; PostgreSQL loses commits not yet on disk."""

        def crash() -> None:
            self.history.database_crashed()
            if self.stage.options.database == "postgres":
                # "Immediate": the postmaster's own way to crash, which takes its children along.
                self.stage.database.signal(signal.SIGQUIT)
                self.stage.database.reap()
            else:
                self.stage.database.kill()

        self._away(fault, crash, self.stage.database.start)

    def database_locked(self, fault: Fault) -> None:
        """Somebody holds the one write lock."""
        with contextlib.closing(sqlite3.connect(Path(self.stage.sqlite_file), timeout=20)) as holder:
            holder.isolation_level = None
            self._away(fault, lambda: holder.execute("BEGIN IMMEDIATE"), lambda: holder.execute("ROLLBACK"))

    def _away(self, fault: Fault, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
        begin()
        try:
            if fault.with_kill:
                self.rest(fault.hold / 2)
                self.crew.kill(fault.worker, group=True)
            self.rest(fault.hold / 2 if fault.with_kill else fault.hold)
        finally:
            end()
        if fault.with_kill:
            self.crew.replace_the_dead(expected=frozenset([fault.worker]))
