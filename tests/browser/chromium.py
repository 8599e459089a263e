"""Finds Chromium on this machine, and defines arguments that prevent its own network traffic."""

from __future__ import annotations

import os
import shutil

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first is the same engine without windows: a page costs it a third less."""
ARGUMENTS = (
    "--no-sandbox",  # root, as in most CI containers, cannot use the sandbox; all pages are local
    # Pages can contact only this machine: other names and addresses do not resolve.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
)


def find_chromium() -> str:
    """Return the path of Chromium. If there is none, fail in CI, and skip with a message elsewhere."""
    named = os.environ.get("PLAYWRIGHT_CHROMIUM")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found:
        return found
    reason = (
        f"No browser test ran: none of {', '.join(NAMES)} is on PATH, and PLAYWRIGHT_CHROMIUM is not set."
    )
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
