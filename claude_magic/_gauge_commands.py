"""`%claude limits`: a table, or a gauge that moves. Above the rooms of magics and of panels, because neither knows the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from IPython.display import display

if TYPE_CHECKING:
    from .notebook import ClaudeMagics

_NOT_LIVE = "It does not move: {why}. This is how things stand now."


def show_limits(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Show what can hold a request up, once, or with `--live` for as long as somebody looks."""
    from .notebook._clicks import shows_widgets
    from .notebook._usage_commands import limits

    runtime = magics.runtime()  # with the settings of `%config`
    if not arguments:
        limits(magics, arguments)
    elif not runtime.settings().values.live:
        limits(magics, arguments)
        print(_NOT_LIVE.format(why="the setting `live` is off"))
    elif not shows_widgets(magics.shell):
        limits(magics, arguments)
        print(_NOT_LIVE.format(why="there are no widgets here, or nobody who looks at them"))
    else:
        from .panels import shown_gauge  # late: this imports ipywidgets

        display(shown_gauge())
