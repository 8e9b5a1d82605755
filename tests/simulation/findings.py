"""What is expected of which planted fault: words of the promise it breaks."""

FOUND = {
    "settle-without-token": "ended the attempt",
    "settle-without-state": "(went from|said True, committed was False|leaves)",
    "settle-in-two-transactions": "links were not written",
    "claim-without-state": "(became|went from|claimed while|leaves)",
    "a-report-needs-no-token": "(checkpoint|fenced)",
    "sweep-never-runs": "not at rest .*queued",
    "feeder-marks-after-publishing": "(to queued|leaves)",
    "rescuer-trusts-the-first-sight": "taken for lost",
    "rescuer-does-not-notice-its-own-absence": "taken for lost",
    "unique-lock-is-kept": "holds its unique key",
    "a-retry-lets-go-of-the-key": "does not hold its unique key",
    "retry-forgets-the-cancel": "cancelled, and started all the same",
    "poison-is-tried-for-ever": "children in a row and is tried again",
    "a-lost-worker-spends-an-attempt": "(spent|failed after)",
    "feeder-does-not-wait-until-due": "before its time",
    "cancel-reaches-only-pending-jobs": "was cancelled, and is queued",
    "cancel-writes-after-it-looked": "(went from|leaves|was cancelled|holds)",
    "handed-over-before-it-is-confirmed": "counts as handed over",
    "an-enqueue-is-written-after-the-commit": "(lost: |links were not written)",
}
