"""Tasks that say what they should not: secrets in every form, in everything that is written about a job."""

import base64
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from celery import shared_task

from taskyard import RetryPolicy, current_job, task
from taskyard.sagas import Context, Orchestrator, orchestrator, step

#: Texts about a secret that is no argument of the job: only its form tells it.
FORMS: dict[str, Callable[[str], str]] = {
    "pair": lambda s: f"cannot log in with password={s}",
    "quoted": lambda s: f"api_key = '{s} {s}' is refused",
    "json": lambda s: "answer was " + json.dumps({"user": "bob", "access_token": s}),
    "json-in-json": lambda s: "answer was " + json.dumps({"body": json.dumps({"client_secret": s})}),
    "basic": lambda s: f"sent Authorization: Basic {base64.b64encode(s.encode()).decode()}",
    "bearer": lambda s: f"sent headers { ({'authorization': 'Bearer ' + s})!r}",
    "cookie": lambda s: f"sent Cookie: theme=dark; sessionid={s}",
    "url": lambda s: f"cannot reach amqp://bob:{s}@broker:5672/vhost",
    "query": lambda s: f"GET https://example.com/?page=2&token={s} was refused",
    "dsn": lambda s: f"connection failed: host=db user=bob password={s} dbname=shop",
    "jwt": lambda s: f"cannot verify eyJhbGciOiJIUzI1NiJ9.{base64.urlsafe_b64encode(s.encode()).decode()}.c2ln",
    "pem": lambda s: f"bad key -----BEGIN PRIVATE KEY-----\n{s}\n{s}\n-----END PRIVATE KEY-----",
    "aws": lambda s: f"AWS_SECRET_ACCESS_KEY={s} is unknown",
    "command": lambda s: f"Command {['dump', '--password', s]!r} returned 1",
    "prefix": lambda s: f"push with ghp_{s}{'x' * 20} was refused",
}


def secret(form: str, seed: str) -> str:
    return f"Canary{form.replace('-', '')}{seed}7"


def spill(text: str) -> None:
    """Everywhere at once."""
    job = current_job()
    job.progress(1, 2, text)
    job.item_failed(text, ValueError(text))
    try:
        raise KeyError(text)
    except KeyError as error:
        raise ValueError(text) from error


@task(retry=RetryPolicy(max_retries=1, backoff=dt.timedelta(0)))
def by_form(form: str, seed: str) -> None:
    spill(FORMS[form](secret(form, seed)))


@task
def returns(form: str, seed: str) -> str:
    return FORMS[form](secret(form, seed))


@task(sensitive=("word",))
def blurts(word: str, answer: str = "", note: str = "", **more: Any) -> None:
    """Nothing in the text tells which of it is secret: only the arguments do."""
    spill(f"word {word}, answer {answer}, note {note}, {json.dumps(more)}")


@shared_task
def plainly(user: str, password: str) -> None:
    """Of Celery's alone: its parameters have names as well."""
    spill(f"{user} is not {password}")


@orchestrator("spilt", sensitive=("word",))
class Spilt(Orchestrator):
    """Every form at once in the error of a step, beside what only the inputs tell to be a secret."""

    @step(compensation_retry=RetryPolicy(max_retries=0))
    def keep(self, context: Context, word: str, login: dict[str, str]) -> dict[str, str]:
        return {"word": word}

    @keep.rollback
    def take_back(self, context: Context, result: dict[str, str]) -> None:
        """It needs attention, so that all that can be done about it is offered."""
        self.fail.function(self, context, **context.inputs)

    @step
    def fail(self, context: Context, word: str, login: dict[str, str]) -> None:
        forms = "\n".join(form(secret(name, "step")) for name, form in FORMS.items())
        raise ValueError(f"word {word}, login {login}\n{forms}")
