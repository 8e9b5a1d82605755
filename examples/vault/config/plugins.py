"""Which plugins are active: what the administrators' page would write, here a file."""

import json
import os
from pathlib import Path

#: As it came, and as it was changed since.
SHIPPED = Path(__file__).with_name("plugins.json")
CHANGED = Path(os.environ.get("VAULT_DATA", SHIPPED.parent)) / "plugins.json"


def active() -> list[str]:
    """Their names, as they stand now; Taskyard asks each time before lines of crontab files are due."""
    return json.loads((CHANGED if CHANGED.exists() else SHIPPED).read_text())["active"]


def switch(name: str, *, on: bool) -> None:
    """Its tasks come and go with a restart, its crontab at once."""
    names = sorted({*active(), name} if on else {*active()} - {name})
    # In one step: somebody is reading.
    whole = CHANGED.with_suffix(".new")
    whole.write_text(json.dumps({"active": names}))
    whole.replace(CHANGED)
