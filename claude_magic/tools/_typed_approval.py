"""Asking the person at the keyboard whether a call may run."""

from __future__ import annotations

from ._interrupts import interrupts_raised
from ._running import NOBODY, REFUSED, ToolCall

_ALL = "all"
_MEANINGS = {"y": "yes", "yes": "yes", "n": "no", "no": "no", "a": _ALL, "all": _ALL}


class TypedApproval:
    """Asks about the calls of one answer through `input`. "All" holds to its end."""

    def __init__(self) -> None:
        self._is_all_allowed = False

    def ask(self, call: ToolCall) -> str:
        """Wait for a typed answer; return why the call may not run, or "" if it may.

        Raises:
            KeyboardInterrupt: Ctrl-C, instead of an answer.
        """
        while not self._is_all_allowed:
            try:
                answer = input(f"Run {call}? [y]es, [n]o, [a]ll of this answer: ")
            except (RuntimeError, EOFError, OSError):  # kernels and closed terminals, where nobody can type
                return NOBODY
            meaning = _MEANINGS.get(answer.strip().lower())
            if meaning is not None:
                self._is_all_allowed = meaning == _ALL
                return REFUSED if meaning == "no" else ""
        return ""

    async def ask_on_loop(self, call: ToolCall) -> str:
        """Do the same on an event loop, which stands still meanwhile."""
        with interrupts_raised():
            return self.ask(call)
