"""A consumer's sockets, with fewer system calls for each message.

They are a good part of what a worker does for a small job. Redis: a socket of Python's that has a time-out asks
``poll`` before each read and each write; a blocking one with ``SO_RCVTIMEO`` and ``SO_SNDTIMEO`` (``socket(7)``) gives
up after the same time without being asked. RabbitMQ: py-amqp reads each frame in three pieces; what is there is taken
at once and kept in the buffer that py-amqp has anyway.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import nullcontext
from typing import Any

#: What RabbitMQ has sent is taken in pieces of this size: a few messages, and quickly copied.
AHEAD_BYTES = 8192
#: What a frame has beside its payload (AMQP 0-9-1, 2.3.5).
_FRAME_BYTES = 8


def read_ahead(connection: Any) -> None:
    """Have a connection of kombu's, if it is one of py-amqp's, read what there is; others stay as they are.

    Only where it is read until there is nothing left, as the event loop does (with a time-out of zero): whoever waits
    for one answer would leave what came behind it where no ``epoll`` sees it.
    """
    if connection.transport.driver_name == "py-amqp":
        link = connection.connection.transport
        receive, sock = link._quick_recv, link.sock
        link._quick_recv = lambda count: receive(max(count, AHEAD_BYTES) if sock.gettimeout() == 0 else count)
        time_out = link.having_timeout
        # For a frame that is there nobody waits: its time-out, two more system calls, need not be set.
        link.having_timeout = lambda seconds: (
            nullcontext(sock) if _holds_frame(link._read_buffer) else time_out(seconds)
        )


def _holds_frame(read: bytes) -> bool:
    """Whether a whole frame stands at the beginning: type, channel, size of the payload, payload, end."""
    return len(read) >= _FRAME_BYTES and len(read) >= _FRAME_BYTES + int.from_bytes(read[3:7])


def timed_by_kernel(connection_class: Any) -> Any:
    """A class of Redis connections like this one, whose sockets block for as long as its ``socket_timeout`` says.

    The driver reports it as a lost connection when that time is over, which is what becomes of it anyway.
    """
    return type(connection_class.__name__, (_TimedByKernel, connection_class), {})


class _TimedByKernel:
    socket_timeout: float | None
    _seconds: float | None = None

    def _connect(self) -> Any:
        self.socket_timeout = self.socket_timeout or self._seconds
        sock = super()._connect()  # type: ignore[misc]
        seconds = sock.gettimeout()
        # What encrypts takes an unready socket for one that asks to be tried again.
        if seconds and not isinstance(sock, ssl.SSLSocket):
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                sock.setsockopt(socket.SOL_SOCKET, option, _timeval(seconds))
            sock.settimeout(None)
            # The driver goes back to this one after each wait of a length of its own.
            self.socket_timeout, self._seconds = None, seconds
        return sock


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))
