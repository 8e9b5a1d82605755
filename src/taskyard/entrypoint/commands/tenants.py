"""``taskyard tenants``: look at tenants, and run a management command for each of them."""

from __future__ import annotations

import argparse
import io
import os
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json, count
from taskyard.entrypoint.commands.limits import add_verbs
from taskyard.entrypoint.each_tenant import Account, EachTenant, described
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen

#: Tenants that a summary names of those that were not begun.
_NAMED = 50
#: Set for the commands of crontab files that run for each tenant.
_OF_JOB = "TASKYARD_TENANT"


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("tenants", help="list, limit, pause or resume tenants, run a command for each")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every tenant that is ready or has jobs, and what it has to do")
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=list_tenants)
    _add_run(verbs)
    add_verbs(verbs, "tenant", with_weight=True)


def _add_run(verbs: Any) -> None:
    run = verbs.add_parser(
        "run", usage="%(prog)s [options] -- COMMAND ...", help="run a management command once for each tenant",
        description="Runs a management command once for each ready tenant, in a process each in which that tenant is"
        " current. Exit codes: 0 all ok; 1 some failed; 2 the command line cannot be meant like this; 130 Ctrl-C.",
    )  # fmt: skip
    run.add_argument("--parallel", type=count, default=1, metavar="N", help="how many at a time (default: 1)")
    run.add_argument("--tenants", default="", metavar="A,B", help="these tenants alone (default: all that are ready)")
    run.add_argument("--fail-fast", action="store_true", help="begin no more once one has failed")
    run.add_argument("--here", action="store_true",
                     help="one tenant, in this process: for commands that ask questions, such as shell; without"
                          f" --tenants that of {_OF_JOB}")  # fmt: skip
    add_json(run)
    run.set_defaults(run=run_for_tenants)


def list_tenants(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from taskyard.jobs import queries
    from taskyard.operations import tenants as verbs

    actor = actor_of(options)
    overview = {row.name: row for row in verbs.list_(actor)}
    states = {name: state for name, state in _states(overview).items() if actor.owns(name)}
    rows = [(name, state, overview.get(name, queries.TenantOverview(name))) for name, state in sorted(states.items())]
    if options.json:
        screen.json([
            {"name": name, "state": state, "waiting": row.waiting, "running": row.running, "failed": row.failed}
            for name, state, row in rows
        ])  # fmt: skip
    elif rows:
        columns = ("TENANT", "STATE", "WAITING", "RUNNING", "FAILED")
        screen.table(columns, [(name, state, row.waiting, row.running, row.failed) for name, state, row in rows])
    else:
        screen.note("No tenant is ready, and none has jobs.")
    return Exit.OK if rows else Exit.WRONG


def _states(with_jobs: Any) -> dict[str, str | None]:
    """Every tenant that is listed or has jobs: ``ready``, ``not ready``, ``unknown``; None where nobody can tell."""
    from taskyard.errors import ConfigurationError, TenantNotReady, UnknownTenant
    from taskyard.tenancy import tenant_context
    from taskyard.tenancy.context import get_tenancy

    try:
        states: dict[str, str | None] = dict.fromkeys(get_tenancy().ready(), "ready")
    except ConfigurationError:
        return dict.fromkeys(with_jobs)
    for name in with_jobs:
        if name in states:
            continue
        try:
            with tenant_context(name):
                # Known and not listed: the project's listing and its look-up say different things.
                states[name] = None
        except UnknownTenant:
            states[name] = "unknown"
        except TenantNotReady:
            states[name] = "not ready"
    return states


def run_for_tenants(options: argparse.Namespace, screen: Screen) -> int:
    """Run it; 1 if it failed for some, 130 after Ctrl-C."""
    from taskyard.entrypoint.project import own_command
    from taskyard.tenancy.context import find_tenancy

    if not options.words:
        raise UsageError("Which command? Write it after --, for example: tenants run -- migrate --check")
    if find_tenancy() is None:
        raise UsageError("This project has no tenants: TASKYARD['TENANCY'] is not set.")
    if options.here:
        return _run_here(options)
    tenants = _chosen(options)
    if not tenants:
        screen.note("No tenant is ready.")
        return Exit.WRONG

    def command(tenant: str) -> list[str]:
        return own_command("tenants", "run", "--here", f"--tenants={tenant}", "--", *options.words)

    shown = Screen(screen.err, io.StringIO()) if options.json else screen
    each = EachTenant(command, tenants, screen=shown, parallel=options.parallel, is_fail_fast=options.fail_fast)
    account = each.run()
    _show(screen, account, as_json=options.json)
    if account.signal is not None:
        return 128 + account.signal
    return Exit.WRONG if account.failed else Exit.OK


def _run_here(options: argparse.Namespace) -> int:
    import sys

    from django.core.management import execute_from_command_line

    from taskyard.tenancy import tenant_context

    tenant = options.tenants or os.environ.get(_OF_JOB)
    if not tenant:
        raise UsageError(f"--here runs for one tenant: name it with --tenants, or in {_OF_JOB}.")
    # Not taken apart: the name of one tenant may hold a comma.
    with tenant_context(tenant):
        # From here on errors are the command's own, and shown as it would show them.
        options.traceback = True
        execute_from_command_line([sys.argv[0], *options.words])
    return Exit.OK


def _chosen(options: argparse.Namespace) -> list[str]:
    from taskyard.errors import TenantNotReady, UnknownTenant
    from taskyard.tenancy import tenant_context
    from taskyard.tenancy.context import get_tenancy

    if not options.tenants:
        return list(get_tenancy().ready())
    names = list(dict.fromkeys(name.strip() for name in options.tenants.split(",") if name.strip()))
    for name in names:
        try:
            with tenant_context(name):
                pass
        except UnknownTenant as error:
            # Nothing has run yet: a typing error should not leave half of it done.
            raise UsageError(str(error)) from None
        except TenantNotReady:
            # Fails for that one.
            continue
    return names


def _show(screen: Screen, account: Account, *, as_json: bool) -> None:
    not_done = account.stopped + account.not_begun
    if as_json:
        failed = [{"tenant": name, "exit_code": code} for name, code in account.failed.items()]
        screen.json({"ok": account.ok, "failed": failed, "stopped": account.stopped, "not_begun": account.not_begun})
        return
    total = len(account.ok) + len(account.failed) + len(not_done)
    screen.line(f"{len(account.ok):,} of {total:,} {'tenant' if total == 1 else 'tenants'} ok.")
    if account.failed:
        names = ", ".join(f"{name} ({described(code)})" for name, code in account.failed.items())
        screen.line(screen.paint(f"{len(account.failed):,} failed: {names}", "red"))
    if account.stopped:
        screen.line(screen.paint(f"{len(account.stopped):,} stopped midway: {', '.join(account.stopped)}", "yellow"))
    if account.not_begun:
        more = f" and {len(account.not_begun) - _NAMED:,} more" if len(account.not_begun) > _NAMED else ""
        names = ", ".join(account.not_begun[:_NAMED])
        screen.line(screen.paint(f"{len(account.not_begun):,} not begun: {names}{more}", "yellow"))
