"""Takes secrets out of what is shown, stored as text or logged.

A net, not a proof: what has neither a telling name nor a telling form, and is no argument of the job, stays. Names are
built in, and come from ``TASKYARD["SENSITIVE"]`` and ``@task(sensitive=...)``. The payload columns of a row
(:data:`PAYLOAD`) hold what was given and are redacted whenever they are shown; every other text is redacted before
it is written.
"""

from taskyard.jobs.redaction.job import PAYLOAD, names_of, restored_arguments, secrets_of, shown, shown_arguments
from taskyard.jobs.redaction.names import is_sensitive
from taskyard.jobs.redaction.text import REDACTED, redact_text
from taskyard.jobs.redaction.values import redact, restored, secrets_in

__all__ = [
    "PAYLOAD",
    "REDACTED",
    "is_sensitive",
    "names_of",
    "redact",
    "redact_text",
    "restored",
    "restored_arguments",
    "secrets_in",
    "secrets_of",
    "shown",
    "shown_arguments",
]
