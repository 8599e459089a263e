"""The subcommands of `%claude`. A line is one only if the whole of it is; any other line is a prompt."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from ._help import FULL_HELP, SHORT_HELP

if TYPE_CHECKING:
    from ._magics import ClaudeMagics


def find_command(line: str) -> Callable[[ClaudeMagics], None] | None:
    """Return the subcommand that a `%claude` line is, or `None` if it is a prompt."""
    return _COMMANDS.get(" ".join(line.split()))


def _show_short_help(_magics: ClaudeMagics) -> None:
    print(SHORT_HELP, end="")


def _show_full_help(_magics: ClaudeMagics) -> None:
    print(FULL_HELP, end="")


def _show_status(magics: ClaudeMagics) -> None:
    from ._status import render_status

    bundle = render_status(magics.runtime().status())
    magics.show(bundle.data, bundle.metadata)


def _log_in(magics: ClaudeMagics) -> None:
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


def _log_out(magics: ClaudeMagics) -> None:
    magics.runtime().logout()
    print("The key that was typed in is forgotten. %claude status tells whether another one is configured.")


def _switch_demo_on(magics: ClaudeMagics) -> None:
    magics.runtime().demo_on()
    print("The simulator answers from now on, not Claude. %claude demo off ends that.")


def _switch_demo_off(magics: ClaudeMagics) -> None:
    magics.runtime().demo_off()
    print("The simulator no longer answers.")


_COMMANDS: dict[str, Callable[[ClaudeMagics], None]] = {
    "": _show_short_help,
    "help": _show_full_help,
    "status": _show_status,
    "login": _log_in,
    "logout": _log_out,
    "demo on": _switch_demo_on,
    "demo off": _switch_demo_off,
}
