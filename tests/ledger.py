"""The ledger of the tests' sagas: what their steps did, outside of all transactions."""

import json
from pathlib import Path


class Ledger:
    """What steps did, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    @property
    def effects(self) -> list[str]:
        return [line["what"] for line in self.lines]
