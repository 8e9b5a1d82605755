"""How long pages of the API and the admin take on very many rows, through HTTP: `python -m bench.pages`.

Fills a database of its own on PostgreSQL by SQL (10,000,000 jobs of 5,000 tenants, 100,000 of them failed) and asks a
server of Django's for each page again and again, one request at a time. `--keep` leaves the database, `--url` uses one
that was kept; `--rows` makes it smaller.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import servers

ROOT = Path(__file__).parent.parent
QUEUES, TASKS, GROUPS = 5, 50, 200


def main() -> None:
    """Fill, serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--tenants", type=int, default=5_000)
    parser.add_argument("--failures", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=100, help="of each page")
    parser.add_argument("--url", default="", help="a database that an earlier run kept")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", default="", metavar="FILE")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = options.url or _database(stack, keep=options.keep)
        os.environ.update(TASKYARD_BENCH_URL=url, DJANGO_SETTINGS_MODULE="bench.pages_settings")
        import django

        django.setup()
        if not options.url:
            _fill(options)
        print(f"database: {url}", file=sys.stderr)
        headers, cookie, names = _callers()
        port = stack.enter_context(_server())
        found = {
            page: _measure(port, page, headers if page.startswith("/taskyard") else cookie, options.requests)
            for page in _pages(names)
        }
    _show(found, options)


def _database(stack: contextlib.ExitStack, *, keep: bool) -> str:
    made = servers.fresh_database("postgres")
    return made.__enter__() if keep else stack.enter_context(made)


def _fill(options: argparse.Namespace) -> None:
    from django.core.management import call_command
    from django.db import connection

    from taskyard.models import Job
    from tests.app.tasks import nothing

    call_command("migrate", verbosity=0)
    pattern = nothing.enqueue()
    columns = [f.column for f in Job._meta.concrete_fields if not getattr(f, "generated", False)]
    own = _own_columns(options)
    chosen = ", ".join(f"{own[name]} AS {name}" if name in own else f"p.{name}" for name in columns)
    chosen = chosen.replace("%", "%%")
    with connection.cursor() as cursor:
        began = time.monotonic()
        for first in range(1, options.rows + 1, 500_000):
            last = min(options.rows, first + 499_999)
            cursor.execute(
                f"INSERT INTO taskyard_job ({', '.join(columns)}) SELECT {chosen}"
                f" FROM taskyard_job p, generate_series({first}, {last}) AS i WHERE p.id = %s",
                [pattern.id],
            )
            print(f"{last:,} rows after {time.monotonic() - began:,.0f} s", file=sys.stderr)
        cursor.execute("DELETE FROM taskyard_job WHERE id = %s", [pattern.id])
        cursor.execute(
            "INSERT INTO taskyard_failuregroup (fingerprint, task, error_type, reason, message, frames, first_seen_at,"
            " first_release, seen_at, state, snoozed_release, note) SELECT '1-' || i, 'app.task' || i %% %s,"
            " 'ValueError', '', 'order <n> is gone', '[]', now() - interval '30 days', '', now(), 'open', '', ''"
            " FROM generate_series(0, %s) AS i", [TASKS, GROUPS - 1],
        )  # fmt: skip
        cursor.execute(
            "INSERT INTO taskyard_failure (job_id, group_id, tenant, failed_at) SELECT id, '1-' || abs(hashtext("
            "id::text)) %% %s, tenant, finished_at FROM taskyard_job WHERE state = 'failed'", [GROUPS],
        )  # fmt: skip
        cursor.execute("VACUUM ANALYZE")


def _own_columns(options: argparse.Namespace) -> dict[str, str]:
    """What differs from row to row: thirty days of jobs, a backlog of the last 10,000, failures here and there."""
    rows = options.rows
    every = max(1, rows // options.failures)
    waits = f"i > {rows} - 10000"
    created = f"now() - interval '30 days' * ({rows} - i) / {rows}"
    state = (
        f"CASE WHEN i > {rows} - 20 THEN 'running' WHEN {waits} THEN 'pending' WHEN i % {every} = 0 THEN 'failed'"
        " WHEN i % 37 = 0 THEN 'cancelled' ELSE 'succeeded' END"
    )
    milliseconds = f"lpad(to_hex((extract(epoch FROM {created}) * 1000)::bigint), 12, '0')"
    job_id = f"({milliseconds} || '7' || lpad(to_hex(i % 4096), 3, '0') || '8' || substr(md5(i::text), 1, 15))::uuid"
    return {
        "id": job_id, "root": job_id,
        "task": f"'app.task' || i % {TASKS}", "queue": f"'queue' || i % {QUEUES}",
        "tenant": f"'tenant-' || (hashint4(i) & 2147483647) % {options.tenants}", "state": state, "created_at": created,
        "available_at": created, "started_at": f"CASE WHEN {waits} THEN NULL ELSE {created} END",
        "finished_at": f"CASE WHEN {waits} THEN NULL ELSE {created} + interval '1 second' END", "attempt": "1",
        "error": f"CASE WHEN i % {every} = 0 AND NOT {waits} THEN"
        """ '{"type":"ValueError","message":"order 17 is gone","reason":""}' END""",
    }  # fmt: skip


def _callers() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Headers of a program and of a superuser's browser, and what pages need to name."""
    from django.contrib.auth.models import User
    from django.test import Client

    from taskyard.models import Failure, Job
    from taskyard.operations import Actor, tokens

    secret = tokens.create(Actor.system("bench"), "bench", scopes=["read", "view_payload"]).secret
    root = User.objects.filter(username="root").first() or User.objects.create_superuser("root")
    browser = Client()
    browser.force_login(root)
    failed = Failure.objects.order_by("job_id")[0]
    names = {"job": str(Job.objects.order_by("id")[1000].id), "group": failed.group_id, "tenant": failed.tenant}
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    return {"Authorization": f"Bearer {secret}"}, {"Cookie": cookie}, names


def _pages(names: dict[str, str]) -> list[str]:
    api, admin = "/taskyard/api/v1/", "/admin/taskyard/"
    tenant, group, job = names["tenant"], names["group"], names["job"]
    asked = [
        "jobs", "jobs?limit=200", "jobs?state=failed", "jobs?state=pending", "jobs?state=running", "jobs?state=waiting",
        "jobs?state=pending&state=failed", "jobs?task=app.task7", "jobs?task=app.none", "jobs?queue=queue3",
        f"jobs?tenant={tenant}", f"jobs?tenant={tenant}&state=failed", f"jobs?tenant={tenant}&task=app.none",
        f"jobs/{job}", "failures", f"failures?tenant={tenant}", f"failures/{group}", f"failures/{group}/jobs",
        "batches", "schedules", "audit",
    ]  # fmt: skip
    shown = [
        "job/", "job/?state=failed", "job/?state=pending", f"job/?tenant={tenant}", "job/?task=app.task7",
        f"job/?q={job}", f"job/{job}/change/", "failuregroup/", f"failuregroup/{group}/change/", "batch/",
        "auditentry/",
    ]  # fmt: skip
    return [f"{api}{each}" for each in asked] + [f"{admin}{each}" for each in shown]


@contextlib.contextmanager
def _server() -> Iterator[int]:
    port = 20_000 + os.getpid() % 20_000
    command = [sys.executable, "-m", "django", "runserver", "--noreload", "--nostatic", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        servers.wait_until(lambda: _answers(port), 60, "the server to answer")
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return _ask(http.client.HTTPConnection("127.0.0.1", port), "/taskyard/livez", {})[0] == 200
    except OSError:
        return False


def _ask(connection: http.client.HTTPConnection, page: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection.request("GET", page, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def _measure(port: int, page: str, headers: dict[str, str], requests: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times, status = [], 0
    for _ in range(requests):
        began = time.perf_counter()
        status, _ = _ask(connection, page, headers)
        times.append((time.perf_counter() - began) * 1000)
        if status != 200:
            break
    connection.close()
    p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return {"status": status, "p50_ms": statistics.median(times), "p95_ms": p95, "max_ms": max(times)}


def _show(found: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"{'page':64} status      p50      p95      max (ms)")
    for page, figures in found.items():
        times = "".join(f"{figures[name]:9.1f}" for name in ("p50_ms", "p95_ms", "max_ms"))
        print(f"{page[:64]:64} {figures['status']:6}{times}")
    if options.json:
        Path(options.json).write_text(json.dumps({"rows": options.rows, "pages": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
