"""``taskyard jobs``: find jobs, look at one, steer them. Everything but following them goes through operations."""

from __future__ import annotations

import argparse
import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.arguments import (
    actor_of,
    add_actor,
    add_filter,
    add_json,
    add_order,
    add_reason,
    add_tenant,
    chosen,
    chosen_ids,
    count,
    json_of,
    length,
    one_id,
)  # fmt: skip
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen, ago

if TYPE_CHECKING:
    from taskyard.operations import Actor
    from taskyard.operations.bulk.order import Order
    from taskyard.operations.bulk.run import Run


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("jobs", help="list, show, steer, prune or follow jobs")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="jobs, newest first")
    add_filter(listing)
    listing.add_argument("--limit", type=count, default=20)
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=list_jobs)
    show = verbs.add_parser("show", help="everything about one job")
    show.add_argument("id")
    add_tenant(show)
    add_json(show)
    add_actor(show)
    show.set_defaults(run=show_job)
    _add_steering(verbs, "retry", "bring failed or cancelled jobs back, each with one more attempt")
    _add_steering(verbs, "cancel", "cancel jobs that have not ended; running ones are asked to stop")
    _add_steering(verbs, "discard", "set failed jobs aside as cancelled")
    text = "change the arguments of a job that failed or was cancelled, and retry it"
    _add_again(verbs, "edit", text).set_defaults(run=edit_job)
    _add_again(verbs, "copy", "enqueue a new job like one that ended").set_defaults(run=copy_job)
    prune = verbs.add_parser("prune", help="delete jobs that ended long ago (default: by TASKYARD['RETENTION'])")
    prune.add_argument(
        "--before", type=length, default=None, metavar="AGE", help="ended longer ago than this, e.g. 30d"
    )
    prune.add_argument("--dry-run", action="store_true")
    add_tenant(prune)
    add_reason(prune)
    add_json(prune)
    add_actor(prune)
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
    add_order(parser)
    add_reason(parser)
    add_json(parser)
    add_actor(parser)
    parser.set_defaults(run=steer)


def _add_again(verbs: Any, verb: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(verb, help=text, description=text)
    parser.add_argument("id")
    for name, kind in (("args", list), ("kwargs", dict)):
        form = "list" if kind is list else "object"
        parser.add_argument(f"--{name}", type=json_of(kind), default=None, metavar="JSON",
                            help=f"all of them, as a JSON {form}; default: as they are")  # fmt: skip
    add_tenant(parser)
    add_reason(parser)
    add_json(parser)
    add_actor(parser)
    return parser


def list_jobs(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if none matches."""
    from taskyard.operations import jobs as verbs

    jobs = verbs.list_(actor_of(options), chosen(options), limit=options.limit)
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
    if job.available_at > now or job.state == "retrying":
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
    from taskyard.entrypoint.pages.job import show
    from taskyard.errors import NotFound
    from taskyard.operations import jobs as verbs

    actor = actor_of(options)
    try:
        detail = verbs.show(actor, one_id(options.id))
    except NotFound:
        screen.note(f"There is no job {options.id}: it was never committed, or was pruned.")
        return Exit.WRONG
    if options.json:
        about = {"attempts": detail.attempts, "children": detail.children, "waits_because": detail.waits_because}
        blind = {} if actor.sees_payload else {"payload_hidden": True}
        screen.json({**detail.fields, "worker_name": detail.worker_name, **about, **blind})
    else:
        show(screen, detail, now=dt.datetime.now(dt.UTC))
        if not actor.sees_payload:
            screen.note("Arguments, results and the words of errors are not shown to you.")
    return Exit.OK


_DONE = {"retry": "brought back", "cancel": "cancelled or asked to stop", "discard": "set aside"}


def steer(options: argparse.Namespace, screen: Screen) -> int:
    """Retry, cancel or discard; 1 if no job could be."""
    from taskyard.operations.bulk import order as orders

    ids, actor = chosen_ids(options), actor_of(options)
    if ids:
        return _steer_named(options, screen, actor, ids)
    order = orders.order(actor, options.verb, chosen(options), rate=options.rate, reason=options.reason)
    return see_to(options, screen, actor=actor, order=order)


def see_to(options: argparse.Namespace, screen: Screen, *, actor: Actor, order: Order) -> int:
    """Preview an order, have it done by a worker, or do it here, as :func:`add_order` was told; 1 if it is for none."""
    from taskyard.operations.bulk import order as orders

    if options.dry_run:
        return show_preview(actor, order, screen=screen, as_json=options.json)
    if options.background:
        job = orders.start(actor, order)
        say = {"verb": options.verb, "job": job.id}
        screen.json(say) if options.json else screen.line(f"Job {job.id} does it: taskyard jobs show {job.id}")
        return Exit.OK
    run = carry_out(actor, order, screen=screen)
    return _told(options, screen, matched=run.seen, changed=run.changed)


def carry_out(actor: Actor, order: Order, *, screen: Screen) -> Run:
    """Do it in this process; Ctrl-C aborts it."""
    from taskyard.operations.bulk import order as orders

    with orders.here(actor, order) as run:
        try:
            for _ in run.steps():
                pass
        except KeyboardInterrupt:
            screen.note(f"Stopped: {run.changed:,} done, the rest is as it was.")
            raise
    return run


def _steer_named(options: argparse.Namespace, screen: Screen, actor: Actor, ids: list[uuid.UUID]) -> int:
    from taskyard.jobs import queries
    from taskyard.operations import jobs as verbs
    from taskyard.operations.acting.verbs import find_verb

    if options.rate is not None or options.background:
        raise UsageError("--rate and --background are for jobs that are chosen by options, not by their ids.")
    if not options.dry_run:
        outcome = getattr(verbs, options.verb)(actor, ids, reason=options.reason)
        return _told(options, screen, matched=outcome.found, changed=outcome.changed)
    verb = find_verb("job", options.verb)
    actor.require(verb.permission)
    found = queries.summaries(ids, tenant=actor.tenant)
    jobs = [found[job_id] for job_id in dict.fromkeys(ids) if job_id in found and found[job_id].state in verb.takes]
    return _show_meant(options.verb, jobs, screen, count=f"{len(jobs):,}", as_json=options.json)


def _told(options: argparse.Namespace, screen: Screen, *, matched: int, changed: int) -> int:
    if options.json:
        screen.json({"verb": options.verb, "matched": matched, "changed": changed})
    else:
        screen.line(_outcome(options.verb, matched, changed))
    return Exit.OK if changed else Exit.WRONG


def _outcome(verb: str, matched: int, changed: int) -> str:
    from taskyard.operations.acting.verbs import find_verb

    if not changed:
        return f"No job that {verb} could act on: it takes jobs that are {' or '.join(find_verb('job', verb).takes)}."
    left = matched - changed
    why = "not in a state for it, or their unique key is held" if verb == "retry" else "not in a state for it"
    return f"{changed:,} {'job' if changed == 1 else 'jobs'} {_DONE[verb]}." + (
        f" {left:,} were not: {why}." if left else ""
    )


def show_preview(actor: Actor, order: Order, *, screen: Screen, as_json: bool) -> int:
    """Which jobs an order is about; 1 if it is about none."""
    from taskyard.operations.bulk import order as orders

    seen = orders.preview(actor, order)
    count = f"{'more than ' if seen.is_more else ''}{seen.count:,}"
    return _show_meant(order.verb, seen.sample, screen, count=count, as_json=as_json, matched=seen.count)


def _show_meant(
    verb: str, jobs: list[Any], screen: Screen, *, count: str, as_json: bool, matched: int | None = None
) -> int:
    matched = len(jobs) if matched is None else matched
    if as_json:
        screen.json({"verb": verb, "dry_run": True, "matched": matched, "ids": [job.id for job in jobs]})
    elif not matched:
        screen.line(f"No job that {verb} could act on.")
    else:
        _table(screen, jobs)
        screen.line(f"{verb} would act on {count} {'job' if matched == 1 else 'jobs'}. Nothing was changed.")
    return Exit.OK if matched else Exit.WRONG


def edit_job(options: argparse.Namespace, screen: Screen) -> int:
    """Change its arguments and retry it."""
    from taskyard.operations import jobs as verbs

    if options.args is None and options.kwargs is None:
        raise UsageError("Which arguments? Say --kwargs or --args; taskyard jobs retry brings it back as it is.")
    job_id = one_id(options.id)
    try:
        verbs.edit(actor_of(options), job_id, args=options.args, kwargs=options.kwargs, reason=options.reason)
    except TypeError as error:
        raise UsageError(str(error)) from error
    screen.json({"verb": "edit", "id": job_id}) if options.json else screen.line(f"Job {job_id} was brought back.")
    return Exit.OK


def copy_job(options: argparse.Namespace, screen: Screen) -> int:
    """Enqueue one like it."""
    from taskyard.operations import jobs as verbs

    given = {"args": options.args, "kwargs": options.kwargs, "reason": options.reason}
    try:
        job = verbs.copy(actor_of(options), one_id(options.id), **given)
    except TypeError as error:
        raise UsageError(str(error)) from error
    screen.json({"verb": "copy", "id": job.id}) if options.json else screen.line(f"Job {job.id}.")
    return Exit.OK


def prune_jobs(options: argparse.Namespace, screen: Screen) -> int:
    """Delete what is over; 0 also if that is nothing."""
    from taskyard.operations import jobs as verbs
    from taskyard.settings import get_settings

    now, actor = dt.datetime.now(dt.UTC), actor_of(options)
    ages = {
        state: keep if options.before is None else options.before for state, keep in get_settings().retention.items()
    }
    until = {state: now - age for state, age in ages.items() if age is not None}
    if options.dry_run:
        counts = verbs.count_prunable(actor, until)
    else:
        counts = verbs.prune(actor, until, reason=options.reason)
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
