"""`%claude panel`: above the rooms of magics and of panels, because neither knows the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from IPython.display import display

from .client import ConfigurationError

if TYPE_CHECKING:
    from .notebook import ClaudeMagics

NO_WIDGETS = (
    "A panel is made of widgets, and a terminal shows none. Open a notebook (JupyterLab, Notebook 7, VS Code), "
    "or ask here: %claude and your question."
)


def show_panel(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Show a panel in the cell that runs.

    Raises:
        ConfigurationError: There is no kernel, so nothing that could show it; or a setting cannot be used.
    """
    if not hasattr(magics.shell, "kernel"):
        raise ConfigurationError(NO_WIDGETS)
    magics.runtime()  # with the settings of `%config`
    from .panels import PromptPanel  # late: this imports ipywidgets

    panel = PromptPanel(thread=arguments.get("thread"))
    display(panel)  # type: ignore[no-untyped-call]
