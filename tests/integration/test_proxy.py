"""The proxy of the test kit: each verb over bare sockets, and what Redis and PostgreSQL make of it."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from taskyard.testing.proxy import Proxy
from tests import servers
from tests.servers import wait_until
from tests.servers.process import free_port

#: How long a test listens to be sure that nothing comes.
SILENCE_SECONDS = 0.3


class EchoServer:
    """Sends back what it gets; tells how its connections ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.got: list[bytes] = []
        self.ends: list[str] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.echo, args=(self.listener.accept()[0],), daemon=True).start()

    def echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(65536):
                    self.got.append(piece)
                    connection.sendall(piece)
                self.ends.append("FIN")
            except OSError:
                self.ends.append("RST")


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.listener.close()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[Proxy]:
    with Proxy(echo.url) as made:
        yield made


@pytest.fixture
def clients(proxy: Proxy) -> Iterator[list[socket.socket]]:
    """Two connections that work."""
    made = [connect(proxy) for _ in range(2)]
    assert [say(client, b"hello") for client in made] == [b"hello"] * 2
    yield made
    for client in made:
        client.close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def say(client: socket.socket, text: bytes) -> bytes:
    """What comes back, all of it or what came before the end."""
    client.sendall(text)
    got = b""
    while len(got) < len(text) and (piece := client.recv(65536)):
        got += piece
    return got


def hears_nothing(client: socket.socket, text: bytes = b"anybody?") -> bool:
    client.sendall(text)
    client.settimeout(SILENCE_SECONDS)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


def ends_with_reset(client: socket.socket) -> bool:
    try:
        return client.recv(1) != b""
    except ConnectionResetError:
        return True


def test_it_forwards_both_ways_and_hands_ends_on(proxy: Proxy, echo: EchoServer) -> None:
    client = connect(proxy)
    much = bytes(range(256)) * 4000
    threading.Thread(target=client.sendall, args=(much,), daemon=True).start()
    got = b""
    while len(got) < len(much):
        got += client.recv(65536)
    assert got == much
    assert proxy.connections == 1

    # The client's end reaches the server, what the server still says reaches the client.
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b"last words"
    assert client.recv(100) == b""
    wait_until(lambda: echo.ends == ["FIN"] and proxy.connections == 0, 10, "the server was told")
    client.close()


def test_the_address_is_the_servers_with_another_port() -> None:
    with Proxy("redis://user:pw@127.0.0.1/3") as proxy:
        assert proxy.url == f"redis://user:pw@127.0.0.1:{proxy.port}/3"


def test_dropped_bytes_never_arrive_and_their_connections_are_reset_when_the_route_is_back(
    proxy: Proxy, echo: EchoServer, clients: list[socket.socket]
) -> None:
    silent, quiet = clients
    proxy.drop()
    assert hears_nothing(silent)
    with connect(proxy) as new:
        assert hears_nothing(new)
        proxy.heal()
        assert ends_with_reset(new)
    assert ends_with_reset(silent)
    assert say(quiet, b"I said nothing") == b"I said nothing"
    assert b"anybody?" not in echo.got


def test_frozen_bytes_arrive_when_it_is_over(proxy: Proxy, clients: list[socket.socket]) -> None:
    proxy.freeze()
    assert hears_nothing(clients[0], b"later")
    proxy.heal()
    assert clients[0].recv(100) == b"later"


def test_half_open_connections_stay_silent_while_new_ones_pass(
    proxy: Proxy, echo: EchoServer, clients: list[socket.socket]
) -> None:
    assert proxy.half_open() == 2
    assert all(hears_nothing(client) for client in clients)
    with connect(proxy) as new:
        assert say(new, b"new") == b"new"
        clients[0].close()
        assert say(new, b"still") == b"still"
    wait_until(lambda: echo.ends == ["FIN"], 10, "the new one's end arrives")
    # The server was not told of the others' end, and healing brings nothing back.
    proxy.heal()
    assert hears_nothing(clients[1])
    assert echo.ends == ["FIN"]


def test_delayed_pieces_arrive_later_and_whole(proxy: Proxy, clients: list[socket.socket]) -> None:
    proxy.delay(2 * SILENCE_SECONDS)
    assert hears_nothing(clients[0], b"slow")
    assert clients[0].recv(100) == b"slow"
    proxy.heal()
    assert say(clients[0], b"fast") == b"fast"


def test_a_truncated_connection_ends_in_the_middle(proxy: Proxy, clients: list[socket.socket]) -> None:
    proxy.truncate(after_bytes=7)
    assert say(clients[0], b"12345") == b"12345"
    assert say(clients[0], b"67890") == b"67"
    with connect(proxy) as new:
        assert say(new, b"abcdefghij") == b"abcdefg"
    proxy.heal()
    assert say(clients[1], b"1234567890") == b"1234567890"


def test_corrupted_pieces_differ_in_one_bit(proxy: Proxy, echo: EchoServer, clients: list[socket.socket]) -> None:
    proxy.corrupt()
    # Once on the way there, once on the way back.
    assert say(clients[0], b"abc") == b"abc"
    assert echo.got[-1] == b"acc"


def test_refused_connections_are_refused_and_the_others_go_on(proxy: Proxy, clients: list[socket.socket]) -> None:
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    assert say(clients[0], b"old") == b"old"
    proxy.heal()
    assert proxy.port == port
    with connect(proxy) as new:
        assert say(new, b"new") == b"new"


@pytest.mark.parametrize("reset", [False, True])
def test_closed_connections_end_at_both_sides_and_new_ones_pass(
    proxy: Proxy, echo: EchoServer, clients: list[socket.socket], reset: bool
) -> None:
    assert proxy.close_all(reset=reset) == 2
    for client in clients:
        assert ends_with_reset(client) is reset
    wait_until(lambda: echo.ends == (["RST"] * 2 if reset else ["FIN"] * 2), 10, "the server learns it")
    with connect(proxy) as new:
        assert say(new, b"new") == b"new"


def test_a_client_of_a_server_that_is_down_is_cut_off(echo: EchoServer) -> None:
    with Proxy(f"tcp://127.0.0.1:{free_port()}") as proxy:
        # Perhaps before its call to connect returns.
        with pytest.raises(ConnectionResetError), connect(proxy) as client:
            client.recv(1)
        assert proxy.connections == 0


def test_closing_it_leaves_nothing_open(echo: EchoServer) -> None:
    with Proxy(echo.url) as proxy:
        client = connect(proxy)
        assert say(client, b"one") == b"one"
        proxy.freeze()
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    client.close()


def test_redis_clients_meet_each_fault_as_its_own_error(redis_url: str) -> None:
    import redis

    with Proxy(redis_url) as proxy:
        client = redis.Redis.from_url(proxy.url, socket_timeout=SILENCE_SECONDS, retry=None)
        client.set("key", "value" * 1000)
        for fault, error in (
            (proxy.drop, redis.TimeoutError),
            (proxy.half_open, redis.TimeoutError),
            (lambda: proxy.truncate(1000), redis.ConnectionError),
        ):
            assert client.get("key") == b"value" * 1000
            fault()
            with pytest.raises(error):
                client.get("key")
            proxy.heal()
            client.connection_pool.disconnect()
        proxy.refuse()
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        proxy.heal()
        client.close()


def test_postgresql_clients_meet_each_fault_as_its_own_error() -> None:
    import psycopg

    with Proxy(servers.require("postgres")) as proxy:
        for fault in (proxy.close_all, lambda: proxy.truncate(5), lambda: proxy.close_all(reset=True)):
            with psycopg.connect(proxy.url, autocommit=True) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
                fault()
                with pytest.raises(psycopg.OperationalError):
                    connection.execute("SELECT 1")
            proxy.heal()
        proxy.drop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{proxy.url}?connect_timeout=2")
        assert urlsplit(proxy.url).path == "/postgres"
