"""results.json: every round of every measurement, with what it was measured on."""

import json
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.stage import ROOT
from tests import servers

PACKAGES = {
    "Django": "Django", "celery": "Celery", "kombu": "kombu", "psycopg": "psycopg", "redis": "redis-py",
    "django-celery-results": "django-celery-results", "procrastinate": "Procrastinate",
    "django-tasks-db": "django-tasks-db", "dramatiq": "Dramatiq", "huey": "Huey",
}  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    file = folder / "results.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def write(folder: Path, results: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def refuse_other_rounds(saved: dict[str, Any], about: dict[str, Any]) -> None:
    """End with a sentence if what is about to be measured cannot stand beside what is saved."""
    for what, beside in (("options", {"rounds": 0}), ("versions", {}), ("machine", {"load_before": 0})):
        if saved[what] | beside != about[what] | beside:
            raise SystemExit(f"--more: the saved rounds were measured with other {what}; measure all anew without it.")


def added(saved: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What was saved, and the rounds of another run of the same measurement."""
    return {
        **saved, "rounds": saved["rounds"] + found["rounds"], "failed": saved["failed"] | found["failed"],
        "command": f"{saved['command']}; {found['command']}",
    }  # fmt: skip


def circumstances(words: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """What belongs to a number: when, how, with which versions, on which machine."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "bench", *words]),
        "options": options,
        "commit": commit(),
        "versions": {
            "Python": platform.python_version(),
            **installed(),
            **server_versions(),
        },
        "machine": machine(),
    }


def installed() -> dict[str, str]:
    """The packages that are here: a peer that is not cannot take part."""
    found = {}
    for name, shown in PACKAGES.items():
        with suppress(PackageNotFoundError):
            found[shown] = version(name)
    return found


def machine() -> dict[str, Any]:
    cpu = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory[0]) / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def server_versions() -> dict[str, str]:
    """Of those that can be asked from here."""
    asked = {"PostgreSQL": _postgres(), "Redis": _redis(), "RabbitMQ": _rabbit()}
    return {name: said for name, said in asked.items() if said}


def _postgres() -> str:
    import psycopg

    address = servers.url("postgres")
    if address is None:
        return ""
    with psycopg.connect(address) as connection:
        found = [
            connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        ]
    release, fsync, commits, buffers = (str(one[0]) if one else "?" for one in found)
    return f"{release.split()[0]} (fsync {fsync}, synchronous_commit {commits}, shared_buffers {buffers})"


def _redis() -> str:
    import redis

    address = servers.url("redis")
    return str(redis.Redis.from_url(address).info("server")["redis_version"]) if address else ""


def _rabbit() -> str:
    from amqp import Connection

    address = servers.url("amqp")
    if address is None:
        return ""
    parts = urlsplit(address)
    login = {"userid": parts.username or "guest", "password": parts.password or "guest"}
    with Connection(host=f"{parts.hostname}:{parts.port or 5672}", **login) as connection:
        return str(connection.server_properties.get("version", ""))


def commit() -> str:
    """The commit that was measured; with a plus sign when files differ from it."""
    said = [
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--", "src"))
    ]
    return said[0] + ("+" if said[1] else "")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if sys.platform == "linux" else []
