"""Time-outs of a consumer's connections to Redis, kept by the kernel instead of by Python.

A socket of Python's that has a time-out asks ``poll`` before each read and each write: six system calls more for each
message. A blocking socket with ``SO_RCVTIMEO`` and ``SO_SNDTIMEO`` (``socket(7)``) gives up after the same time, and
the driver reports it as a lost connection, which is what becomes of it anyway.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any


def timed_by_kernel(connection_class: Any) -> Any:
    """A class of Redis connections like this one, whose sockets block for as long as its ``socket_timeout`` says."""
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
