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

        A long call is shown page by page, and can be allowed once all of it was seen.

        Raises:
            KeyboardInterrupt: Ctrl-C, instead of an answer.
        """
        if self._is_all_allowed:
            return ""
        *before, last = call.pages()
        try:
            for number, page in enumerate(before, 1):
                begins = "Run " if number == 1 else ""
                typed = input(f"{begins}{page}… [{number} of {len(before) + 1}; Enter shows more, [n]o]: ")
                if _meaning(typed) == "no":
                    return REFUSED
            begins = "" if before else "Run "
            while (
                meaning := _meaning(input(f"{begins}{last}? [y]es, [n]o, [a]ll of this answer: "))
            ) is None:
                pass
        except (RuntimeError, EOFError, OSError):  # kernels and closed terminals, where nobody can type
            return NOBODY
        self._is_all_allowed = meaning == _ALL
        return REFUSED if meaning == "no" else ""

    async def ask_on_loop(self, call: ToolCall) -> str:
        """Do the same on an event loop, which stands still meanwhile."""
        with interrupts_raised():
            return self.ask(call)


def _meaning(typed: str) -> str | None:
    return _MEANINGS.get(typed.strip().lower())
