"""``python -m taskyard``, and the ``taskyard`` script."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run the command line; its exit code."""
    from taskyard.entrypoint import cli

    prog = "taskyard" if Path(sys.argv[0]).name == "taskyard" else "python -m taskyard"
    return cli.run(sys.argv[1:], prog=prog)


if __name__ == "__main__":
    sys.exit(main())
