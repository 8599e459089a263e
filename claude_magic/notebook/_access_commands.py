"""`%claude status`, `login`, `logout` and `demo`: who answers, and with which key."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.display import display

from ..client import BucketState, ConfigurationError
from ..render import Bundle, render_rows
from ..runtime import RuntimeStatus

if TYPE_CHECKING:
    from ._cell import Cell

Row = tuple[str, ...]


NO_WIDGETS = (
    "A panel is made of widgets, and a terminal shows none. Open a notebook (JupyterLab, Notebook 7, VS Code), "
    "or ask here: %claude and your question."
)


def render_status(status: RuntimeStatus) -> Bundle:
    """Describe a runtime as tables, in HTML and in plain text."""
    return render_rows(
        [
            ("Client", list(_client_rows(status))),
            ("Limiter", list(limiter_rows(status.limiter))),
            ("Settings", [(row.name, row.value, row.source) for row in status.settings]),
        ]
    )


def _client_rows(status: RuntimeStatus) -> Iterator[Row]:
    yield "answers come from", status.base_url
    yield "credential", status.credential or "none"
    yield "connection", "open" if status.is_running else "made with the first request"
    yield "in flight", str(status.in_flight)
    if status.last_error is not None:
        yield "last error", status.last_error
    for note in status.notes:
        yield "note", note


def limiter_rows(state: BucketState) -> Iterator[Row]:
    """Describe the limiter: what is free, how fast it refills, who waits."""
    yield "free now", f"{max(0.0, state.level):.1f} of {state.capacity:g} requests"
    yield "rate", f"{state.refill_rate:g} requests/s"
    queue = f"{state.waiters} waiting"
    yield "queue", queue if state.next_grant is None else f"{queue}, the next for {state.next_grant:.1f} s"
    if state.paused_for:
        yield "paused", f"for {state.paused_for:.0f} s, as the server asked"


def status(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Show the client, the limiter, and every setting with its source."""
    bundle = render_status(cell.runtime.status())
    cell.front_end.show(bundle.data, bundle.metadata)


def login(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Ask for a key, and use it from now on.

    Raises:
        UsageError: Nobody can be asked.
    """
    runtime = cell.runtime
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


def logout(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Forget the key that was typed in."""
    cell.runtime.logout()
    print("The key that was typed in is forgotten. %claude status tells whether another one is configured.")


def demo(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Let the simulator answer, or stop that."""
    if arguments["state"] == "on":
        cell.runtime.demo_on()
        print("The simulator answers from now on, not Claude. %claude demo off ends that.")
    else:
        cell.runtime.demo_off()
        print("The simulator no longer answers.")


def panel(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Show a panel in the cell that runs.

    Raises:
        ConfigurationError: There is no kernel, so nothing that could show it; or a setting cannot be used.
    """
    if not cell.front_end.has_kernel:
        raise ConfigurationError(NO_WIDGETS)
    cell.runtime  # noqa: B018  (now the settings of `%config` are in force)
    from ..panels import PromptPanel  # late: this imports ipywidgets

    display(PromptPanel(thread=arguments.get("thread")))
