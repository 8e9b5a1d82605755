"""``taskyard jobs``: find jobs, look at one, steer them."""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from taskyard.entrypoint.arguments import add_filter, add_json, add_tenant, chosen, chosen_ids, count, length, one_id
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, ago

#: Jobs a --dry-run names one by one.
_SHOWN = 20


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("jobs", help="list, show, retry, cancel, discard, prune or follow jobs")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="jobs, newest first")
    add_filter(listing)
    listing.add_argument("--limit", type=count, default=20)
    add_json(listing)
    listing.set_defaults(run=list_jobs)
    show = verbs.add_parser("show", help="everything about one job")
    show.add_argument("id")
    add_tenant(show)
    add_json(show)
    show.set_defaults(run=show_job)
    _add_steering(verbs, "retry", "bring failed or cancelled jobs back, each with one more attempt")
    _add_steering(verbs, "cancel", "cancel jobs that have not ended; running ones are asked to stop")
    _add_steering(verbs, "discard", "set failed jobs aside as cancelled")
    prune = verbs.add_parser("prune", help="delete jobs that ended long ago (default: by TASKYARD['RETENTION'])")
    prune.add_argument(
        "--before", type=length, default=None, metavar="AGE", help="ended longer ago than this, e.g. 30d"
    )
    prune.add_argument("--dry-run", action="store_true")
    add_tenant(prune)
    add_json(prune)
    prune.set_defaults(run=prune_jobs)
    tail = verbs.add_parser("tail", help="follow jobs as they come, run and end")
    tail.add_argument("--until-idle", action="store_true",
                      help="end when no job is due, queued, running or to be tried again")  # fmt: skip
    add_tenant(tail)
    add_json(tail)
    tail.set_defaults(run=tail_jobs)


def _add_steering(verbs: Any, verb: str, text: str) -> None:
    parser = verbs.add_parser(verb, help=text, description=f"{text}. Give ids, or choose jobs by options.")
    parser.add_argument("ids", nargs="*", metavar="ID")
    add_filter(parser)
    parser.add_argument("--dry-run", action="store_true", help="say which jobs are meant, change nothing")
    add_json(parser)
    parser.set_defaults(run=steer)


def list_jobs(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if none matches."""
    from taskyard.jobs import queries

    jobs = queries.list_jobs(chosen(options), limit=options.limit)
    if options.json:
        screen.json(jobs)
    elif jobs:
        _table(screen, jobs)
    else:
        screen.note("No job matches.")
    return Exit.OK if jobs else Exit.WRONG


def _table(screen: Screen, jobs: list[Any]) -> None:
    now = dt.datetime.now(dt.UTC)
    has_tenants = any(job.tenant for job in jobs)
    columns = ["ID", "TASK", "STATE", "QUEUE", *(["TENANT"] if has_tenants else []), "TRY", "WHEN", "NEWS"]
    rows = [
        (
            job.id, job.task, job.state, job.queue, *([job.tenant] if has_tenants else []),
            f"{job.attempt}/{job.max_attempts}", when(job, now), news(job),
        )
        for job in jobs
    ]  # fmt: skip
    screen.table(columns, rows)


def when(job: Any, now: dt.datetime) -> str:
    """The moment that matters most about a job."""
    if job.finished_at:
        return f"ended {ago(job.finished_at, now)}"
    if job.state == "running":
        return f"started {ago(job.started_at, now)}"
    if job.available_at > now:
        return f"due {ago(job.available_at, now)}"
    return f"created {ago(job.created_at, now)}"


def news(job: Any) -> str:
    """Progress of a job that runs, the reason of one that does not go well."""
    if job.state == "running" and job.progress_total:
        share = f"{100 * (job.progress_current or 0) / job.progress_total:.0f} %"
        return f"{share} {job.progress_message}".strip()
    if job.state == "running":
        return str(job.progress_message)
    return str(job.reason)


def show_job(options: argparse.Namespace, screen: Screen) -> int:
    """Show one; 1 if there is none of that id."""
    from taskyard.entrypoint.commands.limits import held_back
    from taskyard.entrypoint.job_page import show
    from taskyard.jobs.detail import find_job

    now = dt.datetime.now(dt.UTC)
    how_held = functools.partial(held_back, is_operator=options.tenant is None)
    detail = find_job(one_id(options.id), now, held_back=how_held, tenant=options.tenant)
    if detail is None:
        screen.note(f"There is no job {options.id}: it was never committed, or was pruned.")
        return Exit.WRONG
    if options.json:
        about = {"attempts": detail.attempts, "children": detail.children, "waits_because": detail.waits_because}
        screen.json({**detail.fields, "worker_name": detail.worker_name, **about})
    else:
        show(screen, detail, now=now)
    return Exit.OK


def _action(verb: str, tenant: str | None) -> Callable[[Iterable[uuid.UUID], dt.datetime], int]:
    from taskyard.execution import steering

    actions = {"retry": steering.retry, "cancel": steering.cancel, "discard": steering.discard}
    return functools.partial(actions[verb], tenant=tenant)


_TAKES = {
    "retry": ("failed", "cancelled"),
    "cancel": ("pending", "queued", "running", "waiting", "retrying"),
    "discard": ("failed",),
}
_DONE = {"retry": "brought back", "cancel": "cancelled or asked to stop", "discard": "set aside"}


def steer(options: argparse.Namespace, screen: Screen) -> int:
    """Retry, cancel or discard; 1 if no job could be."""
    ids = chosen_ids(options)
    batches = _narrowed([ids], options.verb, options.tenant) if ids else _matching(options)
    if options.dry_run:
        return _dry_run(options, screen, [job_id for batch in batches for job_id in batch])
    act, matched, moved = _action(options.verb, options.tenant), 0, 0
    for batch in batches:
        matched += len(batch)
        moved += act(batch, dt.datetime.now(dt.UTC))
    if options.json:
        screen.json({"verb": options.verb, "matched": matched, "changed": moved})
    else:
        screen.line(_outcome(options.verb, matched, moved))
    return Exit.OK if moved else Exit.WRONG


def _matching(options: argparse.Namespace) -> Iterator[list[uuid.UUID]]:
    from taskyard.jobs import queries

    wanted = chosen(options)
    return _narrowed(queries.matching_ids(wanted), options.verb, options.tenant)


def _narrowed(batches: Iterable[list[uuid.UUID]], verb: str, tenant: str | None) -> Iterator[list[uuid.UUID]]:
    from taskyard.jobs import queries

    for batch in batches:
        found = queries.summaries(batch, tenant=tenant)
        yield [job_id for job_id in batch if job_id in found and found[job_id].state in _TAKES[verb]]


def _outcome(verb: str, matched: int, moved: int) -> str:
    if not matched:
        return f"No job that {verb} could act on: it takes jobs that are {' or '.join(_TAKES[verb])}."
    left = matched - moved
    why = "another unfinished job holds their unique key" if verb == "retry" else "they moved on meanwhile"
    return f"{moved:,} {'job' if moved == 1 else 'jobs'} {_DONE[verb]}." + (
        f" {left:,} were not: {why}." if left else ""
    )


def _dry_run(options: argparse.Namespace, screen: Screen, ids: list[uuid.UUID]) -> int:
    from taskyard.jobs import queries

    if options.json:
        screen.json({"verb": options.verb, "dry_run": True, "matched": len(ids), "ids": ids})
    elif not ids:
        screen.line(_outcome(options.verb, 0, 0))
    else:
        found = queries.summaries(ids[:_SHOWN], tenant=options.tenant)
        _table(screen, [found[job_id] for job_id in ids[:_SHOWN] if job_id in found])
        screen.line(
            f"{options.verb} would act on {len(ids):,} {'job' if len(ids) == 1 else 'jobs'}. Nothing was changed."
        )
    return Exit.OK if ids else Exit.WRONG


def prune_jobs(options: argparse.Namespace, screen: Screen) -> int:
    """Delete what is over; 0 also if that is nothing."""
    from taskyard.execution.pruner import Pruner
    from taskyard.jobs import queries
    from taskyard.settings import get_settings

    now = dt.datetime.now(dt.UTC)
    ages = {state: options.before or keep for state, keep in get_settings().retention.items()}
    counts: dict[str, int] = {}
    for state, age in ages.items():
        if age is None:
            continue
        if options.dry_run:
            counts[state] = queries.count_final([state], now - age, tenant=options.tenant).get(state, 0)
            continue
        pruner = Pruner()
        while deleted := pruner.prune(state, now - age, tenant=options.tenant):
            counts[state] = counts.get(state, 0) + deleted
        counts.setdefault(state, 0)
    if options.json:
        screen.json({"dry_run": options.dry_run, "deleted": counts})
        return Exit.OK
    what = ", ".join(f"{number:,} {state}" for state, number in counts.items())
    screen.line(f"Would delete: {what}." if options.dry_run else f"Deleted: {what}.")
    return Exit.OK


def tail_jobs(options: argparse.Namespace, screen: Screen) -> int:
    """Follow jobs until interrupted, or until idle."""
    from taskyard.entrypoint.tail import Tail

    return Tail(screen, as_json=options.json, tenant=options.tenant).follow(until_idle=options.until_idle)
