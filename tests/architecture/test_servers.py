"""The private servers do what the tests that break things rely on, and leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests import servers
from tests.servers import rabbitmq
from tests.servers.process import free_port

ROOT = Path(__file__).parent.parent.parent


def test_a_killed_server_comes_back_on_the_same_port_with_nothing_left_behind() -> None:
    with servers.private_redis() as server:
        folder, first = server.folder, server.pid
        address = server.url
        server.kill()
        assert not server.is_running
        with pytest.raises(redis.ConnectionError):
            redis.Redis.from_url(address).ping()
        server.start()
        assert redis.Redis.from_url(address).ping()
        assert (server.url, server.pid != first) == (address, True)
    assert folder is not None
    assert not folder.exists()
    assert not Path(f"/proc/{server.pid}").exists()


def test_a_frozen_server_answers_nothing_until_it_thaws() -> None:
    with servers.private_redis() as server, redis.Redis.from_url(server.url, socket_timeout=0.2) as client:
        client.ping()
        server.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.thaw()
        servers.wait_until(lambda: server.is_ready(), 5, "redis to thaw")


def test_flushing_a_private_server_leaves_the_shared_one_alone(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as shared, servers.private_redis() as server:
        shared.set("kept", "1")
        server.flush()
        assert shared.get("kept") == b"1"


def test_two_claims_on_the_shared_redis_never_meet() -> None:
    with servers.fresh_redis() as one, servers.fresh_redis() as two:
        assert one != two


def test_a_private_postgres_keeps_its_data_through_a_crash_though_it_waits_for_no_disk() -> None:
    hasty = servers.private_postgres()
    hasty.is_hasty = True
    with hasty as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("create table kept (id int)")
        server.kill()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_a_server_that_somebody_names_is_not_replaced_by_one_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_TEST_MYSQL_URL", "mysql://root@127.0.0.1:1/")
    before = servers.environment()
    servers.start_own("mysql")
    assert servers.environment() == before


def test_pgbouncer_hands_out_connections_per_transaction() -> None:
    with servers.fresh_database("postgres") as database, servers.pgbouncer(database) as bouncer:
        with psycopg.connect(bouncer.url, autocommit=True, prepare_threshold=None) as connection:
            connection.execute("listen nobody_hears_this")
            assert connection.execute("select current_database()").fetchone() == (database.rpartition("/")[2],)
        with psycopg.connect(bouncer.url.rpartition("/")[0] + "/pgbouncer", autocommit=True) as admin:
            rows = admin.execute("show config", prepare=False).fetchall()
        assert [row[1] for row in rows if row[0] == "pool_mode"] == ["transaction"]


def test_a_child_process_finds_the_servers_its_parent_found() -> None:
    servers.require("redis")
    assert set(servers.environment()) <= {kind.variable for kind in servers.KINDS.values()}
    assert all(address for address in servers.environment().values())
    assert os.environ.get("TASKYARD_TEST_RUN", "").startswith("taskyard_")


VHOSTS = """
from contextlib import ExitStack
from tests import servers
for _ in range(2):
    with ExitStack() as stack:
        print(*(stack.enter_context(servers.fresh_vhost()) for _ in range(3)))
"""


def test_no_virtual_host_is_used_twice_or_outlives_its_process() -> None:
    servers.require("amqp")
    done = subprocess.run([sys.executable, "-c", VHOSTS], capture_output=True, text=True, check=True, cwd=ROOT)
    addresses = done.stdout.split()
    assert len(set(addresses)) == 6
    assert not [address for address in addresses if rabbitmq.answers(address)]


def test_a_free_port_is_not_one_that_an_outgoing_connection_may_get() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in (free_port() for _ in range(50)) if low <= port <= high]
