"""The commands of docs/api.md run as they stand, against a server."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from taskyard import task
from taskyard.models import AuditEntry, Job
from taskyard.operations import Actor, tokens

PAGE = Path(__file__).parent.parent.parent / "docs" / "api.md"
BLOCKS = re.findall(r"^```sh run\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@task(name="mail.send")
def send(to: str) -> None: ...


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_commands_of_the_page_do_what_it_says(live_server: Any) -> None:
    secret = tokens.create(Actor.system(), "docs", scopes=["read", "enqueue_job", "retry_job", "pause_queue"]).secret
    told = "".join(
        subprocess.run(
            ["bash", "-euc", block], check=True, capture_output=True, text=True, timeout=60,
            env={"TOKEN": secret, "API": f"{live_server.url}/taskyard/api/v1", "PATH": "/usr/bin:/bin"},
        ).stdout
        for block in BLOCKS
    )  # fmt: skip
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(told):
        document, place = decoder.raw_decode(told, place)
        found.append(document)
    assert not [each for each in found if "urn:" in str(each.get("type"))], found
    listed, enqueued, begun, queues, paused, status = found
    assert (listed, paused) == ({"items": [], "next": None}, {"changed": 1})
    assert Job.objects.get(id=enqueued["id"]).kwargs == {"to": "ann@example.org"}
    assert str(AuditEntry.objects.get(verb="retry").job) == begun["job"]
    # Of the two jobs, one waits for its time.
    assert [queue["later"] for queue in queues["items"]] == [queue["later"] for queue in status["queues"]] == [1]
