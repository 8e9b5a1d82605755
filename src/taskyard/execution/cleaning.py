"""Takes secrets out of what an attempt leaves behind, before it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from taskyard.execution.claim import Claim
from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Snoozed, Trouble
from taskyard.jobs.redaction import names_of, redact_text, secrets_of

#: Longest stored message and traceback, in characters.
MAX_MESSAGE, MAX_TRACEBACK = 10_000, 50_000
#: So much more is looked at: what is cut in two is not recognised.
MARGIN = 5_000


def cleaned(claim: Claim, outcome: Outcome) -> Outcome:
    """The outcome as it may be stored: without the secrets among the job's arguments, nor what looks like one."""
    if not isinstance(outcome, (RetryAt, Failed, Cancelled, Snoozed)):
        return outcome
    secrets = secrets_of(claim.task, args=claim.args, kwargs=claim.kwargs)
    clean = partial(redact_text, secrets=secrets, names=names_of(claim.task))
    if isinstance(outcome, Cancelled):
        return Cancelled(clean(outcome.reason), clean(outcome.message)[:MAX_MESSAGE])
    if isinstance(outcome, Snoozed):
        waits_for = outcome.waits_for and clean_trouble(outcome.waits_for, clean)
        return dataclasses.replace(outcome, reason=clean(outcome.reason), waits_for=waits_for)
    return dataclasses.replace(outcome, trouble=clean_trouble(outcome.trouble, clean))


def clean_trouble(trouble: Trouble, clean: Callable[[str], str]) -> Trouble:
    """Its texts without what ``clean`` takes out, cut to what is stored."""
    return dataclasses.replace(
        trouble, message=clean(trouble.message)[:MAX_MESSAGE], traceback=clean(trouble.traceback)[-MAX_TRACEBACK:]
    )
