"""An issuer of tokens: an RSA key pair of its own, and a local HTTP server that publishes the public half."""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa


@cache
def key_pair(name: str) -> rsa.RSAPrivateKey:
    """One of each name for all tests: making them takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


class Issuer:
    """Gives tokens, and publishes what ``kids`` lists."""

    name = "https://issuer.example"
    audience = "https://app.example/schedules/{schedule}"
    subject = "clock@app.example"

    def __init__(self) -> None:
        self.kids = ["first"]
        self.requests = 0
        #: What the server answers with instead.
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.url = ""

    def jwks(self) -> dict[str, Any]:
        public = [(kid, key_pair(kid).public_key()) for kid in self.kids]
        return {
            "keys": [
                json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key)) | {"kid": kid, "alg": "RS256", "use": "sig"}
                for kid, key in public
            ]
        }

    def token(self, schedule: str, now: dt.datetime, *, kid: str = "first", key: Any = None, **claims: Any) -> str:
        """A token as Google's look; a claim of None is left out."""
        said = {
            "iss": self.name, "aud": self.audience.replace("{schedule}", schedule), "sub": "1234567890",
            "email": self.subject, "email_verified": True,
            "iat": int(now.timestamp()), "exp": int(now.timestamp()) + 3_600,
        } | claims  # fmt: skip
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key or key_pair(kid), algorithm="RS256", headers={"kid": kid})

    def settings(self, **more: Any) -> dict[str, Any]:
        """``TASKYARD["TRIGGER"]`` of somebody who trusts it."""
        said = {
            "ISSUER": self.name, "AUDIENCE": self.audience, "SUBJECTS": [self.subject], "JWKS_URL": self.url,
        } | more  # fmt: skip
        return {name: value for name, value in said.items() if value is not None}

    @contextmanager
    def serving(self) -> Iterator["Issuer"]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                status, headers, body = issuer.answer or (200, {}, json.dumps(issuer.jwks()).encode())
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Not on the terminal of the tests."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/keys"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
