"""One call, from its arguments to its result. How an answer is waited for differs; what is done is the same."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..client import ToolUseBlock
from ._executor import CallState, ToolResult
from ._results import describe_failure, outcome_of, taken_async
from ._signature import BadArgumentsError
from ._toolbox import Toolbox

REFUSED = "The user refused this call."
NOBODY = (
    "Nobody could be asked whether this call may run, so it did not. "
    '(The user can allow calls with --approve never; in Python, approve="never".)'
)

_MAX_SHOWN_CHARS = 2_000
_PAGE_CHARS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that waits for a person's word.

    Attributes:
        name: The tool.
        arguments: What it is called with.
    """

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        """The call as Python would write it, on one line, and shortened where it is long: nothing to decide by."""
        whole = self._written()
        if len(whole) <= _MAX_SHOWN_CHARS:
            return whole
        return f"{whole[:_MAX_SHOWN_CHARS]}… [{len(whole):,} characters]"

    def pages(self) -> tuple[str, ...]:
        """The whole call as Python would write it, in pieces that a person can read. Who decides on it has to see all.

        A model cannot make it look like another one: line ends, marks that turn the direction of writing, and characters
        that nobody sees are written as what they are.
        """
        whole = self._written()
        return tuple(whole[start : start + _PAGE_CHARS] for start in range(0, len(whole), _PAGE_CHARS))

    def _written(self) -> str:
        arguments = (f"{_as_name(name)}={visible(repr(value))}" for name, value in self.arguments.items())
        return f"{visible(self.name)}({', '.join(arguments)})"


class CallReading:
    """A call as far as the person has seen it who decides on it.

    Args:
        call: The call. Its first page is seen at once.
    """

    def __init__(self, call: ToolCall) -> None:
        self._pages = call.pages()
        self._seen = 1

    @property
    def text(self) -> str:
        """What was shown so far."""
        return "".join(self._pages[: self._seen]) + ("" if self.is_complete else "…")

    @property
    def is_complete(self) -> bool:
        """Whether all of it was shown, so that it may be allowed."""
        return self._seen == len(self._pages)

    def show_more(self) -> None:
        """Show the next page."""
        self._seen = min(self._seen + 1, len(self._pages))


def _as_name(name: str) -> str:
    return name if name.isidentifier() and visible(name) == name else visible(repr(name))


# The default-ignorable characters of Unicode that are not of category Cf, and the Braille pattern without a dot.
_UNSEEN = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    r"\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """Return a text with every character escaped that has no shape of its own, or turns the direction of writing."""
    shown = "".join(each if each.isprintable() else _escaped(each) for each in text)
    return _UNSEEN.sub(lambda found: _escaped(found[0]), shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class RunningCall:
    """A call on its way to a result.

    Args:
        toolbox: The tools there are.
        call: The call.
        report: Takes note of how far it is.
    """

    def __init__(
        self, toolbox: Toolbox, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> None:
        self.call = ToolCall(name=call.name, arguments=call.input)
        self.report = report
        self._toolbox = toolbox
        self._block = call
        self._tool = toolbox.find(call.name)
        self._bound: Callable[[], Any] | None = None

    @property
    def is_async(self) -> bool:
        """Whether it runs beside other tasks, as far as its function tells."""
        return self._tool is not None and self._tool.is_async

    def unfit(self) -> ToolResult | None:
        """Return what to answer a call that cannot be made, or None if it can. Nobody need be asked about the former."""
        if self._block.raw_input is not None:
            return self._failed(json.dumps({"INVALID_JSON": self._block.raw_input}))
        if self._tool is None:
            return self._failed(f"There is no tool {self.call.name}, only {', '.join(self._toolbox.names)}.")
        try:
            self._bound = self._tool.bind(self.call.arguments)
        except BadArgumentsError as error:
            return self._failed(f"The arguments do not fit: {error}.")
        except Exception as error:  # types of the user's own have their own ways to refuse a value
            return self.failed(error)
        return None

    def run(self) -> Any:
        """Call the function; only what is not `unfit` can be. What an async function or generator gives is to be awaited."""
        if self._bound is None:
            raise RuntimeError("This call was not checked.")
        value = self._bound()
        return taken_async(value) if inspect.isasyncgen(value) else value

    def refused(self, reason: str) -> ToolResult:
        """Return what to answer a call that was not allowed."""
        note = f"{self.call.name} was not called: nobody could be asked. --approve never allows it."
        return self._result(reason, CallState.REFUSED, is_error=True, note=note if reason == NOBODY else "")

    def done(self, value: object) -> ToolResult:
        """Return what a call gave back. A generator runs now, and fails as its own code does."""
        outcome = outcome_of(value)
        return self._result(outcome.content, CallState.DONE, note=" ".join(outcome.notes))

    def failed(self, error: BaseException) -> ToolResult:
        """Return how a call failed."""
        return self._failed(describe_failure(error))

    def _failed(self, text: str) -> ToolResult:
        return self._result(text, CallState.FAILED, is_error=True)

    def _result(
        self,
        content: str | list[dict[str, Any]],
        state: CallState,
        *,
        is_error: bool = False,
        note: str = "",
    ) -> ToolResult:
        return ToolResult(
            tool_use_id=self._block.id, content=content, is_error=is_error, state=state, note=note
        )
