"""What a worker gets through a broker: the job's id, its task and its limits, and nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings as django_settings

from taskyard.jobs.ids import job_id
from taskyard.outbox import outgoing
from taskyard.outbox.outgoing import Outgoing
from taskyard.settings import get_settings

#: Marks our messages; the value is the version of this format.
MARK = "taskyard"
VERSION = 1
TENANT = "taskyard_tenant"
#: The tenant as tenant-schemas-celery writes it, in a header (before its 4.0: as an argument), and its mark for what
#: Beat is to send for every tenant, which it lets out by mistake.
SCHEMA = "_schema_name"
ALL_TENANTS = "_all_tenants_only"
#: Ids of the jobs of one task that travel together.
PACK = "taskyard_pack"
#: Jobs of one task that share a message, and nothing else: ``[id, root, parent, tenant]`` of each.
SHARE = "taskyard_share"
#: No publisher puts more jobs into one message.
MOST_IN_PACK = 1000
#: Carries what the row keeps and the broker must not see, from ``send_task`` to the seam.
CALL = "taskyard_call"

#: Our task that calls an errback of the form ``(request, exc, traceback)``.
CALL_ERRBACK = "taskyard.call_errback"

#: Body of a thin message: no arguments, no continuations. They come from the row with the claim.
EMPTY_BODY = '[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'

outgoing_columns = outgoing.COLUMNS
outgoing_from_row = outgoing.from_row


def schema_header(tenant: str) -> dict[str, str]:
    """What workers with tenant-schemas-celery read; nothing unless ``TASKYARD["SCHEMA_HEADER"]`` is on."""
    return {SCHEMA: tenant or _public()} if get_settings().schema_header else {}


def tenant_of_schema(schema: str) -> str:
    """The tenant that tenant-schemas-celery names; empty for public."""
    return "" if schema == _public() else schema


def _public() -> str:
    # As django-tenants reads it, which need not be installed where its messages arrive.
    return str(getattr(django_settings, "PUBLIC_SCHEMA_NAME", "public"))


def thin_message(out: Outgoing) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Body (JSON text), headers and properties of a job's message, in Celery's protocol 2."""
    headers = {
        MARK: VERSION,
        TENANT: out.tenant,
        **schema_header(out.tenant),
        "lang": "py",
        "task": out.task,
        "id": out.task_id,
        "root_id": out.root,
        "parent_id": out.parent or None,
        "retries": out.attempt,
        "timelimit": [out.time_limit, out.soft_time_limit],
        "argsrepr": "",
        "kwargsrepr": "",
        "origin": "taskyard",
    }
    return EMPTY_BODY, headers, {"correlation_id": out.task_id, "reply_to": ""}


def pack_message(outs: Sequence[Outgoing]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """One thin message for several jobs of a task; it has an id of its own."""
    body, headers, properties = thin_message(outs[0])
    own_id = str(uuid.uuid4())
    # Each row says for which tenant; the jobs of one message need not agree.
    headers |= {"id": own_id, "root_id": own_id, "parent_id": None, TENANT: "", PACK: [str(out.id) for out in outs]}
    headers.pop(SCHEMA, None)
    return body, headers, properties | {"correlation_id": own_id}


def shared_message(outs: Sequence[Outgoing]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """One thin message for several jobs of a task that have nothing to do with each other; it has an id of its own."""
    body, headers, properties = thin_message(outs[0])
    own_id = str(uuid.uuid4())
    share = [[out.task_id, out.root, out.parent, out.tenant] for out in outs]
    headers |= {"id": own_id, "root_id": own_id, "parent_id": None, TENANT: "", SHARE: share}
    headers.pop(SCHEMA, None)
    return body, headers, properties | {"correlation_id": own_id}


def headers_of_each(headers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The headers that each job of a shared message would have in one of its own; raises ``ValueError``."""
    share = headers[SHARE]
    if not (isinstance(share, list) and 0 < len(share) <= MOST_IN_PACK and all(map(_is_part, share))):
        raise ValueError(f"the shared message is of {share!r:.100}")
    rest = {name: value for name, value in headers.items() if name != SHARE}
    return [
        {**rest, "id": task_id, "root_id": root, "parent_id": parent or None, TENANT: tenant}
        for task_id, root, parent, tenant in share
    ]


def _is_part(part: object) -> bool:
    return isinstance(part, list) and len(part) == 4 and all(isinstance(text, str) for text in part)


def jobs_of(headers: Mapping[str, Any]) -> list[uuid.UUID]:
    """The jobs a message is about, each once; raises ``ValueError`` for a pack or share no publisher makes."""
    if headers.get(SHARE) is not None:
        return [job_id(one["id"]) for one in headers_of_each(headers)]
    pack = headers.get(PACK)
    if pack is None:
        return [job_id(headers["id"])]
    if not (isinstance(pack, list) and 0 < len(pack) <= MOST_IN_PACK and all(isinstance(one, str) for one in pack)):
        raise ValueError(f"the pack is {pack!r:.100}")
    return list(dict.fromkeys(map(uuid.UUID, pack)))


def full_message(out: Outgoing, args: str, kwargs: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The message as the caller sent it, for queues whose consumers are not ours."""
    stored = json.loads(out.message) if out.message else {}
    embed = stored.get("embed") or {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    _, headers, properties = thin_message(out)
    del headers[MARK]
    headers |= {"retries": 0, "argsrepr": args[:1024], "kwargsrepr": kwargs[:1024]} | stored.get("headers", {})
    properties |= {"reply_to": stored.get("reply_to", "")}
    return f"[{args}, {kwargs}, {json.dumps(embed)}]", headers, properties
