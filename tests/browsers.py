"""A real browser, from the machine: Debian's chromium, steered by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from tests import servers

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_missing: dict[str, str] = {}


def missing() -> dict[str, str]:
    """Why there is none, if one was looked for in vain."""
    return dict(_missing)


def require() -> str:
    """Where it is; skips the test where there is none, or fails it where ``CI=true``."""
    found = os.environ.get("TASKYARD_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if find_spec("playwright") is None:
        _missing["browser"] = "playwright is not installed: pip install 'taskyard[browser]'"
    elif found is None:
        _missing["browser"] = "no chromium on this machine: apt-get install chromium, or set TASKYARD_TEST_CHROMIUM"
    if _missing or found is None:
        (pytest.fail if servers.required() else pytest.skip)(f"no browser: {_missing['browser']}")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser. While it is open, Django takes this thread for an asynchronous one: ask no queries."""
    path = require()
    from playwright.sync_api import expect, sync_playwright

    # A machine that runs two tiers at once may take its time.
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        # Root has no sandbox.
        with playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0) as browser:
            yield browser
