"""A billing service, as small as can be: ``python billing_service.py PORT``. It fails when it is told to.

It keeps its accounts in memory, and honours ``Idempotency-Key``: who asks again with a key gets the same answer, and
nothing happens again. ``PUT /mood`` says how it is: ``well``; ``down`` (503); ``declines`` charges (402); ``slow``: it
opens accounts, and keeps the answers to itself until its mood changes.
"""

import itertools
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]


class Books:
    """The accounts, and who has asked for what."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.mood = "well"
        self.accounts: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.numbers = itertools.count(1)
        self.asked = self.repeated = self.holding = 0

    def answer(self, method: str, path: str, said: dict[str, Any], key: str) -> Answer:
        with self.changed:
            if path == "/mood":
                self.mood = said["mood"]
                self.changed.notify_all()
                return 200, {}
            if path == "/books":
                told = {name: getattr(self, name) for name in ("accounts", "asked", "repeated", "holding")}
                return 200, told
            self.asked += 1
            if self.mood == "down":
                return 503, {}
            self.repeated += key in self.answers
            # What is refused may be asked for again.
            found = self.answers.get(key) or self._do(method, path, said)
            if found[0] < 400:
                self.answers[key] = found
            if self.mood == "slow" and path == "/accounts":
                self.holding += 1
                self.changed.wait_for(lambda: self.mood != "slow")
                self.holding -= 1
            return found

    def _do(self, method: str, path: str, said: dict[str, Any]) -> Answer:
        _, _, account, *what = path.split("/") if path != "/accounts" else ("", "", "")
        if method == "DELETE":
            self.accounts.pop(account, None)
            return 200, {}
        if what == ["charges"]:
            return (402, {}) if self.mood == "declines" else (201, {})
        number = f"A{next(self.numbers)}"
        self.accounts[number] = said["name"]
        return 201, {"account": number}


BOOKS = Books()


class Handler(BaseHTTPRequestHandler):
    def _serve(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        status, told = BOOKS.answer(self.command, self.path, said, self.headers.get("Idempotency-Key", ""))
        body = json.dumps(told).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # Whoever asked is gone.
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
