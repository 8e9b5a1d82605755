"""A TCP proxy that breaks as networks do: put it before a broker or a database, and call its verbs."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

_CHUNK_BYTES = 64 * 1024
#: SO_LINGER without time to linger: closing sends RST.
_RESET = struct.pack("ii", 1, 0)
_USUAL_PORTS = {
    "redis": 6379, "rediss": 6379, "valkey": 6379, "amqp": 5672, "amqps": 5671, "postgresql": 5432, "postgres": 5432,
    "mysql": 3306,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Weather:
    """What happens to the bytes of every connection; a verb replaces it as a whole."""

    is_swallowing: bool = False
    delay_seconds: float = 0.0
    is_corrupting: bool = False
    #: Bytes that each client still gets before it is cut off.
    client_bytes: int | None = None


class _Link:
    """A client's connection and its twin at the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = (client, server)
        self.is_half_open = False
        self.is_cut = False
        #: Bytes are missing in its stream.
        self.has_hole = False
        self.open_directions = 2
        #: Bytes handed to the client in this weather.
        self.weather = _Weather()
        self.handed = 0

    def left_for_client(self, weather: _Weather) -> int:
        """How many bytes the client may still get."""
        if weather is not self.weather:
            self.weather, self.handed = weather, 0
        return _CHUNK_BYTES if weather.client_bytes is None else max(0, weather.client_bytes - self.handed)

    def cut(self, *, reset: bool = False) -> None:
        """Close both ends, with FIN or with RST."""
        self.is_cut = True
        for end in self.ends:
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # While a thread reads it, a closed socket stays open: this wakes the thread. With RST to come, no FIN.
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Forwards TCP connections to one server until a verb says otherwise: ``with Proxy(url) as proxy: ...``.

    The verbs act on both directions, on connections there are and on new ones unless they say otherwise, and on pieces
    that are not under way yet. The last of `drop`, `delay`, `truncate` and `corrupt` is in force; `heal` ends what can
    end. Two threads for each connection: for tests, not for traffic. It sees bytes, so TLS passes through unread.
    """

    def __init__(self, upstream: str) -> None:
        """``upstream`` is the server's URL; a port left out is the usual one."""
        self.upstream: SplitResult = urlsplit(upstream)
        self.port = 0
        self._weather = _Weather()
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._closed = threading.Event()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's URL with the proxy's address, 127.0.0.1 and a port of its own, in it."""
        account, at, _ = self.upstream.netloc.rpartition("@")
        return self.upstream._replace(netloc=f"{account}{at}127.0.0.1:{self.port}").geturl()

    @property
    def connections(self) -> int:
        """How many connections it holds, half-open ones included."""
        with self._lock:
            return len(self._links)

    def close(self) -> None:
        """End everything, for good."""
        self._closed.set()
        self.refuse()
        self._flows.set()
        self.close_all()

    # ---- verbs

    def heal(self) -> None:
        """Everything passes again, and new connections are accepted.

        A connection that lost bytes is reset now, because no network hands on a stream with a hole in it. Half-open
        connections stay what they are.
        """
        self._weather = _Weather()
        self._flows.set()
        with self._lock:
            broken = [link for link in self._links if link.has_hole and not link.is_half_open]
        for link in broken:
            self._end(link, reset=True)
        if self._listener is None and not self._closed.is_set():
            self._listen()

    def drop(self) -> None:
        """Swallow every byte, as a route that is gone: nobody is told. New connections open and hear nothing."""
        self._weather = _Weather(is_swallowing=True)

    def freeze(self) -> None:
        """Hold every byte back, as a switch that hangs; after `heal` they arrive, none lost."""
        self._flows.clear()

    def half_open(self) -> int:
        """Forget the connections there are, as a firewall or a failover does, while new ones pass; how many.

        Both ends believe in them: what they send is swallowed, and neither is told when the other closes.
        """
        with self._lock:
            for link in self._links:
                link.is_half_open = True
            return len(self._links)

    def delay(self, seconds: float) -> None:
        """Hand each piece on this much later, in order; what comes meanwhile waits, and follows as one piece."""
        self._weather = _Weather(delay_seconds=seconds)

    def truncate(self, after_bytes: int) -> None:
        """Let clients have this many more bytes on each connection, then cut it, in the middle of whatever it says."""
        self._weather = _Weather(client_bytes=after_bytes)

    def corrupt(self) -> None:
        """Turn over the lowest bit of the byte in the middle of each piece."""
        self._weather = _Weather(is_corrupting=True)

    def refuse(self) -> None:
        """Refuse new connections, as a server that is down; the connections there are go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                # Wakes the thread that accepts: while it waits the port would stay open.
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def close_all(self, *, reset: bool = False) -> int:
        """End the connections there are, with FIN, or with RST; how many. New ones pass."""
        with self._lock:
            links = list(self._links)
        for link in links:
            self._end(link, reset=reset)
        return len(links)

    # ---- how it is done

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, name="proxy", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            self._start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        port = self.upstream.port or _USUAL_PORTS[self.upstream.scheme]
        try:
            server = socket.create_connection((self.upstream.hostname or "127.0.0.1", port), timeout=10)
        except OSError:
            # Nobody there: the client learns it as it would from the server's machine, only later.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            return
        server.settimeout(None)
        link = _Link(client, server)
        for end in link.ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._links.add(link)
        if self._closed.is_set():
            self._end(link)
        self._start(self._pump, link, client, server)
        self._start(self._pump, link, server, client)

    def _pump(self, link: _Link, source: socket.socket, target: socket.socket) -> None:
        while piece := _received(source):
            if not self._pass_on(link, piece, target):
                return
        self._flows.wait()
        if link.is_half_open or link.is_cut:
            return
        if self._weather.is_swallowing:
            link.has_hole = True
            return
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            link.open_directions -= 1
            is_over = link.open_directions == 0
        if is_over:
            self._end(link)

    def _pass_on(self, link: _Link, piece: bytes, target: socket.socket) -> bool:
        """Whatever the weather makes of one piece; False when the connection is over."""
        self._flows.wait()
        if self._weather.delay_seconds:
            self._closed.wait(self._weather.delay_seconds)
        weather = self._weather
        if link.is_half_open:
            return True
        if weather.is_swallowing:
            link.has_hole = True
            return True
        if weather.is_corrupting:
            piece = _corrupted(piece)
        whole = len(piece)
        if target is link.ends[0]:
            piece = piece[: link.left_for_client(weather)]
            link.handed += len(piece)
        try:
            target.sendall(piece)
        except OSError:
            self._end(link)
            return False
        if len(piece) < whole:
            self._end(link)
            return False
        return True

    def _end(self, link: _Link, *, reset: bool = False) -> None:
        with self._lock:
            self._links.discard(link)
        link.cut(reset=reset)


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK_BYTES)
    except OSError:
        return b""


def _corrupted(piece: bytes) -> bytes:
    middle = len(piece) // 2
    return piece[:middle] + bytes([piece[middle] ^ 1]) + piece[middle + 1 :]
