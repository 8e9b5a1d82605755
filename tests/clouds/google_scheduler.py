"""Google's Cloud Scheduler on this machine: version 1 of its REST interface, as far as jobs with an HTTP target go.

It checks what Google checks (names, cron, zones, limits), fills in what Google fills in, and answers in pages.
"""

import datetime as dt
import json
import re
import threading
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_PARENT = re.compile(r"/v1/(projects/[\w:.-]+/locations/[a-z0-9-]+)/jobs")
_JOB = re.compile(r"/v1/((projects/[\w:.-]+/locations/[a-z0-9-]+)/jobs/([^/:]+))(?::(\w+))?")
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_METHODS = ["HTTP_METHOD_UNSPECIFIED", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]
_TARGETS = {"httpTarget", "pubsubTarget", "appEngineHttpTarget"}
_WRITABLE = {"description", "schedule", "timeZone", "attemptDeadline", "retryConfig", *_TARGETS}


class Refusal(Exception):
    """An error as Google answers it."""

    def __init__(self, code: int, status: str, message: str) -> None:
        self.code, self.status = code, status
        super().__init__(message)


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)


def _seconds(text: Any, what: str) -> float:
    if not isinstance(text, str) or not re.fullmatch(r"\d+(\.\d{1,9})?s", text):
        raise _invalid(f"{what} is no duration: {text!r}")
    return float(text[:-1])


def _check_cron(text: Any) -> None:
    fields = str(text).split(" ")
    if len(fields) != len(_LIMITS):
        raise _invalid(f"Schedule or time zone is invalid: {text!r}")
    for field, (low, high) in zip(fields, _LIMITS, strict=True):
        for entry in field.split(","):
            found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", entry)
            if not found:
                raise _invalid(f"Schedule or time zone is invalid: {text!r}")
            numbers = [int(number) for number in found.groups()[:2] if number is not None]
            is_in = all(low <= number <= high for number in numbers) and numbers == sorted(numbers)
            if not is_in or found[3] == "0" or (found[3] and len(numbers) == 1):
                raise _invalid(f"Schedule or time zone is invalid: {text!r}")


class GoogleScheduler:
    """Jobs by their full names, as JSON."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.page_size = 500
        #: Method and path of every request.
        self.requests: list[str] = []
        self.url = ""

    # -- what it does --

    def list(self, parent: str, query: dict[str, str]) -> dict[str, Any]:
        names = sorted(name for name in self.jobs if name.startswith(f"{parent}/jobs/"))
        start = int(query.get("pageToken") or 0)
        page = {"jobs": [self.jobs[name] for name in names[start : start + self.page_size]]}
        if start + self.page_size < len(names):
            page["nextPageToken"] = str(start + self.page_size)  # type: ignore[assignment]
        return page

    def create(self, parent: str, job: dict[str, Any]) -> dict[str, Any]:
        name = job.get("name", "")
        if not re.fullmatch(re.escape(parent) + r"/jobs/[A-Za-z0-9_-]{1,500}", name):
            raise _invalid(f"Job name must be formatted: projects/.../jobs/<JOB_ID>: {name!r}")
        if name in self.jobs:
            raise Refusal(409, "ALREADY_EXISTS", f"Job {name} already exists.")
        self.jobs[name] = self._whole({"name": name, "state": "ENABLED"}, job)
        return self.jobs[name]

    def patch(self, name: str, job: dict[str, Any], mask: str) -> dict[str, Any]:
        paths = [re.sub(r"_(\w)", lambda found: found[1].upper(), path) for path in mask.split(",") if path]
        if unknown := set(paths) - _WRITABLE:
            raise _invalid(f"Invalid update mask: {sorted(unknown)}")
        there = self._found(name)
        # A job has one target: another one takes its place.
        replaced = {*paths, *(_TARGETS if _TARGETS & set(paths) else ())}
        merged = {key: value for key, value in there.items() if key not in replaced}
        merged |= {key: job[key] for key in (paths or job) if key in job and key in _WRITABLE}
        self.jobs[name] = self._whole({"name": name, "state": there["state"]}, merged)
        return self.jobs[name]

    def delete(self, name: str) -> dict[str, Any]:
        self._found(name)
        del self.jobs[name]
        return {}

    def move(self, name: str, verb: str) -> dict[str, Any]:
        before, after = {"pause": ("ENABLED", "PAUSED"), "resume": ("PAUSED", "ENABLED")}[verb]
        job = self._found(name)
        if job["state"] != before:
            raise Refusal(400, "FAILED_PRECONDITION", f"Job must be in state {before} to {verb}.")
        job["state"] = after
        return job

    def _found(self, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise Refusal(404, "NOT_FOUND", f"Job not found: {name}")
        return self.jobs[name]

    # -- what it checks and fills in --

    def _whole(self, job: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
        if not said.get("schedule"):
            raise _invalid("Schedule is required")
        _check_cron(said["schedule"])
        zone = said.get("timeZone") or "Etc/UTC"
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise _invalid(f"Schedule or time zone is invalid: {zone!r}") from None
        if len(said.get("description", "")) > 500:
            raise _invalid("Description must not be longer than 500 characters")
        deadline = said.get("attemptDeadline") or "180s"
        if not 15 <= _seconds(deadline, "attemptDeadline") <= 1_800:
            raise _invalid("AttemptDeadline must be between [15s, 30m]")
        return job | {
            "description": said.get("description", ""), "schedule": said["schedule"], "timeZone": zone,
            "attemptDeadline": deadline, "retryConfig": self._retries(said.get("retryConfig") or {}),
            "userUpdateTime": dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z"),
            **self._target(said),
        }  # fmt: skip

    def _retries(self, said: dict[str, Any]) -> dict[str, Any]:
        if not 0 <= said.get("retryCount", 0) <= 5:
            raise _invalid("RetryCount must be between [0, 5]")
        whole = {
            "retryCount": said.get("retryCount", 0),
            "maxRetryDuration": said.get("maxRetryDuration") or "0s",
            "minBackoffDuration": said.get("minBackoffDuration") or "5s",
            "maxBackoffDuration": said.get("maxBackoffDuration") or "3600s",
            "maxDoublings": said.get("maxDoublings") or 5,
        }
        if _seconds(whole["minBackoffDuration"], "min") > _seconds(whole["maxBackoffDuration"], "max"):
            raise _invalid("MinBackoffDuration must not exceed MaxBackoffDuration")
        return whole

    def _target(self, said: dict[str, Any]) -> dict[str, Any]:
        kinds = [kind for kind in sorted(_TARGETS) if kind in said]
        if len(kinds) != 1:
            raise _invalid("Exactly one target is required")
        if kinds != ["httpTarget"]:
            return {kinds[0]: said[kinds[0]]}
        target = dict(said["httpTarget"])
        if urlsplit(target.get("uri", "")).scheme not in ("http", "https"):
            raise _invalid(f"HttpTarget.uri must begin with http:// or https://: {target.get('uri')!r}")
        method = target.get("httpMethod") or "POST"
        target["httpMethod"] = _METHODS[method] if isinstance(method, int) else method
        if target.get("body") and target["httpMethod"] not in ("POST", "PUT", "PATCH"):
            raise _invalid("HTTP request body is not allowed for this method")
        oidc = target.get("oidcToken")
        if oidc is not None:
            if not re.fullmatch(r"[^@\s]+@[^@\s]+", oidc.get("serviceAccountEmail", "")):
                raise _invalid("OidcToken.service_account_email must be an e-mail address")
            target["oidcToken"] = {"audience": target["uri"], **oidc}
        target["headers"] = {"User-Agent": "Google-Cloud-Scheduler", **(target.get("headers") or {})}
        return {"httpTarget": target}

    # -- how it is asked --

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(f"{method} {path}")
        if found := _PARENT.fullmatch(path):
            if method == "GET":
                return self.list(found[1], query)
            if method == "POST":
                return self.create(found[1], body)
        if found := _JOB.fullmatch(path):
            name, verb = found[1], found[4]
            if method == "POST" and verb in ("pause", "resume"):
                return self.move(name, verb)
            if method == "PATCH" and not verb:
                return self.patch(name, body, query.get("updateMask", ""))
            if method == "DELETE" and not verb:
                return self.delete(name)
        raise Refusal(404, "NOT_FOUND", f"{method} {path}")

    @contextmanager
    def serving(self) -> Iterator["GoogleScheduler"]:
        google = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    status, body = 200, google.answer(
                        self.command, unquote(parts.path), query, json.loads(text) if text else {}
                    )  # fmt: skip
                except Refusal as error:
                    status = error.code
                    body = {"error": {"code": error.code, "message": str(error), "status": error.status}}
                answer = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve

            def log_message(self, format: str, *args: Any) -> None:
                """Not on the terminal of the tests."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
