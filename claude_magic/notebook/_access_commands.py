"""`%claude status`, `login`, `logout` and `demo`: who answers, and with which key."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from ._status import render_status

if TYPE_CHECKING:
    from ._magics import ClaudeMagics


def status(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Show the client, the limiter, and every setting with its source."""
    bundle = render_status(magics.runtime().status())
    magics.show(bundle.data, bundle.metadata)


def login(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Ask for a key, and use it from now on.

    Raises:
        UsageError: Nobody can be asked.
    """
    runtime = magics.runtime()
    try:
        key = getpass.getpass("Anthropic API key (stays in this kernel's memory): ")
    except NotImplementedError:  # what a kernel raises where nobody can be asked
        raise UsageError(
            "This front end cannot ask for input, so it cannot ask for a key. Set ANTHROPIC_API_KEY where Jupyter "
            "starts, then restart the kernel."
        ) from None
    if not key.strip():
        print("Nothing was entered; nothing has changed.")
        return
    runtime.login(key)
    print("Logged in, until this kernel ends or %claude logout.")


def logout(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Forget the key that was typed in."""
    magics.runtime().logout()
    print("The key that was typed in is forgotten. %claude status tells whether another one is configured.")


def demo(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Let the simulator answer, or stop that."""
    if arguments["state"] == "on":
        magics.runtime().demo_on()
        print("The simulator answers from now on, not Claude. %claude demo off ends that.")
    else:
        magics.runtime().demo_off()
        print("The simulator no longer answers.")
