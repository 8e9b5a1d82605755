"""The examples, started by their one command, as somebody who tries them would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def shown(example: str, **environment: str) -> str:
    """What it prints; it exits with 0."""
    inherited = {name: os.environ[name] for name in os.environ.keys() - {"DJANGO_SETTINGS_MODULE", "DATABASE_URL"}}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example / "show.py"), "--check"],
        capture_output=True, text=True, timeout=110, check=False, env={**inherited, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_towns_of_the_library_each_have_their_own_jobs_run_in_their_own_schema() -> None:
    told = shown("schemas", DATABASE_URL=servers.require("postgres"))
    # T4: a job for each town that is ready, from one call.
    assert "a job for each town that is ready: 2 written" in told
    # T1: any base class, retries and chords stay with the town that began them.
    aldea = told.partition("\naldea: ")[2].partition("\nbrook: ")[0]
    assert aldea.count("try 1") == aldea.count("try 2") == 2
    assert "2 books ordered" in aldea
    assert re.search(r"[0-2] books under aldea:catalogue", aldea)
    assert "try 2 to order Ulysses" in told.partition("\nbrook: ")[2].partition("\ncairn: ")[0]
    # Who is not ready waits and says so; who is unknown fails.
    assert "Tenant 'cairn' is not ready: it has not opened yet" in told
    assert "dell: failed, There is no tenant 'dell'" in told


@pytest.mark.parametrize("server", ["files", "postgres"])
def test_the_vault_works_for_each_organisation_in_its_own_database(server: str) -> None:
    told = shown("vault", **({"DATABASE_URL": servers.require("postgres")} if server == "postgres" else {}))
    refusals, _, rest = told.partition("cairn's job waits: ")
    acme, brill = (rest.partition(f"\n{name}: [")[2].partition("\n\n")[0] for name in ("acme", "brill"))
    # N3: the wrapper enters the organisation's database, finds the member there and runs an action by its name.
    assert "acme: run_action succeeded: Plans" in told
    assert "Plans published, by ada@acme.example" in acme
    assert "Letters published, by bo@brill.example" in brill
    # N3: a name that nobody registered is refused, and so is one of a plugin that is not active.
    assert "no such action: UnknownAction: There is no action documents.shred." in refusals
    assert "its plugin is not active: UnknownAction: There is no action telex.send." in refusals
    # N3: the argument that names the organisation must agree, wherever in the arguments it stands.
    assert refusals.count("is of tenant 'brill', but the current tenant is 'acme'") == 2
    assert "refused, nobody's: NoTenant" in refusals
    assert "NOT refused" not in told
    assert "brill: count_words succeeded: 2" in told
    # N3: a member who is gone by now fails the run, and nothing of it happened.
    assert "acme: run_action failed: Member matching query does not exist." in told
    assert "farewell" not in acme
    # N3: tasks of active plugins are found.
    assert "Plans labelled urgent, by ada@acme.example" in acme
    assert "acme: count_labelled succeeded: 1" in told
    # What an action wrote before it failed is undone, what it enqueued never was; so it is when a page fails.
    assert "acme: run_action failed: A document needs a title." in told
    assert acme.startswith("'Plans [urgent]']")
    # N8: a job for each organisation, and one job that walks from one to the next.
    assert "public: reindex_everyone succeeded: 2" in told
    assert "public: count_everywhere succeeded: {'acme': 1, 'brill': 1}" in told
    # N8: the cache, the index and the names given to the outside are the organisation's own.
    assert ("last published: Plans" in acme, "last published: Letters" in brill) == (True, True)
    assert "'secret' finds ['acme:document-1']" in acme
    assert "'secret' finds ['brill:document-1']" in brill
    # Who has not moved in yet waits and says so; who is unknown fails.
    assert rest.startswith("Tenant 'cairn' is not ready: it has not moved in yet.")
    assert "cairn: reindex succeeded: cairn:documents" in told
    assert "dell: run_action failed: There is no tenant 'dell'" in told
    # N5: lines run as they stood: a program, a shell's syntax, the redirect; one that fails is a failed job.
    assert re.search(r"\ndisk\.log: \['.*\d", told)
    assert "public: run_command failed: exit code 1\ntelex" in told
    assert "tape.log: ['telex']" in told
    # N5, N8: for each organisation a job in its own database, with a log of its own.
    for name, count in (("acme", 1), ("brill", 1), ("cairn", 0)):
        assert f"crontab.count.{name}.log: ['{name}: {count} documents']" in told
    # N6: a crontab for each active plugin, and none from the moment it is switched off.
    assert "crontab line labels/tidy: echo labels tidied" in told
    assert "labels.tidy.log: ['labels tidied']" in told
    left = told.partition("labels is switched off; lines left: ")[2].partition("\n")[0]
    assert left.count("crontab/") == 3
    assert "labels/" not in left
    assert "2008" not in told
    # N7: members' own schedules: edited in place, switched off by a flag, run for the right organisation.
    for name, title in (("acme", "Plans"), ("brill", "Letters")):
        assert f"{name} has ordered report-1-{name}: one row: True" in told
        assert re.search(rf"{name}: send_report succeeded: to \w+@{name}.example: documents with secret: {title}", told)
    assert "switched off: ['report-1-acme of acme', 'report-1-brill of brill']" in told
