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
from urllib.parse import quote, urlsplit

from bench import pages_report
from bench.pages_fill import fill
from bench.results import circumstances
from tests import servers

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Fill, serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--tenants", type=int, default=5_000)
    parser.add_argument("--failures", type=int, default=100_000)
    parser.add_argument("--backlog", type=int, default=100_000, help="how many of the rows wait")
    parser.add_argument("--requests", type=int, default=100, help="of each page")
    parser.add_argument("--url", default="", help="a database that an earlier run kept")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", default="", metavar="FILE")
    parser.add_argument("--save", action="store_true", help="write bench/PAGES.md")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = options.url or _database(stack, keep=options.keep)
        os.environ.update(TASKYARD_BENCH_URL=url, DJANGO_SETTINGS_MODULE="bench.pages_settings")
        import django

        django.setup()
        if not options.url:
            fill(options)
        print(f"database: {url}", file=sys.stderr)
        headers, cookie, names = _callers()
        about = circumstances([], vars(options))
        port = stack.enter_context(_server())
        found = {
            page: _measure(port, page, headers if page.startswith("/taskyard") else cookie, options.requests)
            for page in _pages(names)
        }
    _show(found, options)
    if options.save:
        pages_report.save(found, options, about)


def _database(stack: contextlib.ExitStack, *, keep: bool) -> str:
    if not keep:
        return stack.enter_context(servers.fresh_database("postgres"))
    server, name = servers.require("postgres"), servers.fresh_name()
    servers.postgres.create_database(server, name)
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def _callers() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Headers of a program and of a superuser's browser, and what pages need to name."""
    from django.contrib.auth.models import User
    from django.test import Client

    from taskyard.models import Batch, Failure, Job
    from taskyard.operations import Actor, tokens

    secret = tokens.create(Actor.system("bench"), "bench", scopes=["read", "view_payload"]).secret
    root = User.objects.filter(username="root").first() or User.objects.create_superuser("root")
    browser = Client()
    browser.force_login(root)
    failed = Failure.objects.order_by("job_id")[0]
    batch = Batch.objects.filter(state="running").order_by("created_at")[9]
    names = {
        "job": str(Job.objects.order_by("id")[1000].id), "group": failed.group_id, "batch": str(batch.id),
        "tenant": Failure.objects.exclude(tenant__in=["", "large"]).order_by("job_id")[0].tenant,
    }  # fmt: skip
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    return {"Authorization": f"Bearer {secret}"}, {"Cookie": cookie}, names


def _pages(names: dict[str, str]) -> list[str]:
    api, admin = "/taskyard/api/v1/", "/admin/taskyard/"
    tenant, group, job, batch = names["tenant"], names["group"], names["job"], names["batch"]
    asked = [
        "jobs", "jobs?limit=200", "jobs?state=failed", "jobs?state=pending", "jobs?state=running", "jobs?state=waiting",
        "jobs?state=pending&state=failed", "jobs?task=app.task7", "jobs?task=app.none", "jobs?queue=queue3",
        "jobs?queue=none", f"jobs?tenant={tenant}", f"jobs?tenant={tenant}&state=failed",
        f"jobs?tenant={tenant}&task=app.none", "jobs?tenant=large", "jobs?tenant=large&state=failed",
        "jobs?tenant=large&task=app.none", "jobs?tenant=", "jobs?tenant=&state=failed", "jobs?tenant=&task=app.none",
        f"jobs/{job}",
        "failures", f"failures?tenant={tenant}", f"failures/{group}", f"failures/{group}/jobs", "batches",
        "batches?state=running", f"batches?tenant={tenant}", "batches?name=none", f"batches/{batch}",
        "queues", "tenants", "status", "workers", "schedules", f"schedules?tenant={tenant}", "schedules?name=none",
        "audit", "audit?who=none", f"audit?target={job}",
    ]  # fmt: skip
    shown = [
        "job/", "job/?state=failed", "job/?state=pending", f"job/?tenant={tenant}", "job/?tenant=large&state=failed",
        "job/?tenant=", "job/?task=app.task7", "job/?task=app.none", f"job/?q={job}", "job/?q=app.ta",
        f"job/{job}/change/", "failuregroup/", f"failuregroup/{group}/change/", "batch/", f"batch/{batch}/change/",
        "queuesetting/", "worker/", "schedule/", "schedule/?q=report 7", "auditentry/",
    ]  # fmt: skip
    return [f"{api}{each}" for each in asked] + [f"{admin}{quote(each, safe='/?=&:')}" for each in shown]


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
