"""What is kept of a command's output: its beginning and its end."""

from __future__ import annotations

#: Bytes; together with the sentence around them they fit into the message of an error.
HEAD, TAIL = 3_000, 6_000


class Output:
    """Takes any amount in bounded memory."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._head = bytearray()
        self._tail = bytearray()

    def take(self, chunk: bytes) -> None:
        """More of it."""
        self.size_bytes += len(chunk)
        first = chunk[: HEAD - len(self._head)]
        self._head += first
        self._tail += chunk[len(first) :]
        del self._tail[:-TAIL]

    def text(self) -> str:
        """The beginning and the end, with a word between them on what is left out."""
        left_out = self.size_bytes - len(self._head) - len(self._tail)
        middle = f"\n[... {left_out:,} bytes left out ...]\n".encode() if left_out else b""
        return (bytes(self._head) + middle + bytes(self._tail)).decode(errors="replace")
