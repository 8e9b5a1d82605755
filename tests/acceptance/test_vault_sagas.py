"""The sagas of the vault, started by their one command: real processes, one of them killed, a service that refuses."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "vault"


def test_customers_are_taken_in_or_nothing_is_left_of_them_in_any_of_three_places() -> None:
    """One run for all: processes take most of its time."""
    names = os.environ.keys() - {"DJANGO_SETTINGS_MODULE", "DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "show_sagas.py")], capture_output=True, text=True, timeout=115, check=False,
        env={name: os.environ[name] for name in names},
    )  # fmt: skip
    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    # N3: another organisation's, an orchestrator that nobody declared, and a member who is gone by now.
    assert told.count("is of tenant 'brill', but the current tenant is 'acme'") == 2
    assert "nameless: failed No orchestrator named 'onbording' is declared here." in told
    assert "UserGone: user 2 does not exist any more" in told
    assert "refused, an approval from elsewhere: NotFound" in told
    assert "NOT refused" not in told
    # A saga that is started in an organisation's own transaction is there exactly if that commits, and at once.
    assert "rolled back: 0 sagas\ncommitted: 1 saga, which is running" in told
    # N4: a worker that is killed in the middle of a step has another go on; what the service did, it did once.
    assert "killed with -9 in the middle of a step: 2 accounts are open" in told
    assert "large: completed {'customer': 1, 'account': 'A" in told
    assert "'Large'" in told.partition("\naccounts: ")[2].partition("\n")[0]
    assert "asked again with a key that is known: True" in told
    assert told.partition("\naccounts: ")[2].partition("}")[0].count("': '") == 2
    # A signal counts once.
    assert "approved: True, and once more: False" in told
    # The thin task started one in its own organisation.
    assert "thin: completed in brill" in told
    # B5: a step on a queue of its own, with the library that only its workers have.
    assert "report: [['plans', 1], ['secret', 1]]" in told
    # N4: a refusal by the service undoes what stands in the database, in the folder and at the service itself.
    assert "is compensated: customers.billing.CardDeclined" in told
    assert "undone in all three places: compensated True" in told
    assert "4000-9999" not in told
    # N11: the same in a request is an answer with the declared status, and nothing is left of it either.
    declined = "urn:taskyard:task-error:card-declined The card was declined. compensated True"
    assert f"inline, declined: 402 {declined}" in told
    assert "inline: 201 ['account', 'customer', 'saga']" in told
    assert "inline, to be approved: 202" in told
    assert "no such orchestrator: 422" in told
    assert "no such organisation: 404" in told
