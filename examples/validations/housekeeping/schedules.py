"""The registry: what runs when. ``manage.py sync_schedules`` carries it there."""

from housekeeping import tasks
from taskyard.schedules import Cron, register

for name, cron, task, description in (
    (
        "purge-expired-submissions", "0 * * * *", tasks.purge_expired_submissions,
        "Removes customers' files that we kept for as long as we promised.",
    ),
    (
        "purge-expired-outputs", "0 * * * *", tasks.purge_expired_outputs,
        "Removes what validations wrote, when its time has come.",
    ),
    (
        "retry-failed-purges", "*/5 * * * *", tasks.retry_failed_purges,
        "Tries again to remove files that could not be removed.",
    ),
    (
        "mark-hung-runs-failed", "*/10 * * * *", tasks.mark_hung_runs_failed,
        "Ends runs that nothing was heard of for half an hour.",
    ),
    (
        "remove-orphaned-containers", "*/10 * * * *", tasks.remove_orphaned_containers,
        "Removes containers whose run has ended.",
    ),
    (
        "clean-idempotency-keys", "0 3 * * *", tasks.clean_idempotency_keys,
        "Forgets answers to requests that nobody repeats any more.",
    ),
    (
        "clean-receipts", "0 4 * * SUN", tasks.clean_receipts,
        "Forgets callbacks of a month ago.",
    ),
    (
        "clean-sessions", "0 2 * * *", tasks.clean_sessions,
        "Removes sessions that have expired.",
    ),
    (
        "send-periodic-emails", "0 */6 * * *", tasks.send_periodic_emails,
        "Sends the e-mails that packages have registered.",
    ),
):  # fmt: skip
    register(
        name, Cron(cron), task=task, kwargs={"everything": True}, description=description,
        # Where clouds call for it, and for whom it makes sense: a cloud cleans up its own containers.
        http_path=f"/tasks/{name}/", targets=["builtin"] if name == "remove-orphaned-containers" else None,
    )  # fmt: skip
