"""What goes wrong when a button is pressed is told in the panel: there is no cell in which it could be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..client import ClaudeError

logger = logging.getLogger("claude_magic.panels")


class FaultsTold:
    """Tells the user of errors that would otherwise vanish, or be printed into whichever cell runs.

    Args:
        complain: Shows the user what went wrong, as a sentence.
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain

    def told(self, act: Callable[..., None]) -> Callable[..., None]:
        """Return `act` as something that never raises."""

        def act_and_tell(*args: Any) -> None:
            try:
                act(*args)
            except Exception as error:
                self.tell(error)

        return act_and_tell

    def tell(self, error: Exception) -> None:
        """Show an error: one of ours in its own words, any other as the fault that it is."""
        if isinstance(error, ClaudeError):
            self._complain(error.message)
            return
        logger.error("A panel failed.", exc_info=error)
        self._complain(
            f"That did not work, because of a fault in claude_magic ({type(error).__name__}: {error}). Please report it."
        )
