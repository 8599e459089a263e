"""Rules for all tests: no network traffic leaves this machine, and no settings of the developer are used."""

from __future__ import annotations

import atexit
import ipaddress
import os
import signal
import sys
import tempfile
from typing import Any

import pytest

from .cores import usable

for _name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE_MAGIC_"))]:
    del os.environ[_name]

# No test uses the developer's settings files or keyring.
_configuration = tempfile.TemporaryDirectory(prefix="claude-magic-tests-")
atexit.register(_configuration.cleanup)
os.environ |= dict.fromkeys(("XDG_CONFIG_HOME", "APPDATA"), _configuration.name)
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"


# A process that a shell starts in the background ignores SIGINT, and so do its children. Tests need SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# jsonschema, which nbformat imports, would compile grammars for seconds, for URL checks that are not used here.
sys.modules.setdefault("rfc3987_syntax", None)


def _refuse_other_hosts(event: str, arguments: tuple[Any, ...]) -> None:
    """Make a test fail that connects to another host, with any library (an audit hook)."""
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = arguments[1][0]
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local:
        raise PermissionError(f"tests may talk to this machine only, not to {host}")


sys.addaudithook(_refuse_other_hosts)


_MORE_WORKERS = {"kernel": 2, "server": 1}
"""Additional workers for folders whose tests often wait."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of workers for `-n auto`: the processors available to this run, and more for tests that often wait."""
    more = [count for name, count in _MORE_WORKERS.items() if any(name in str(each) for each in config.args)]
    return usable() + max(more, default=0)
