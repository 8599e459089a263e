"""A tool call, from its arguments to its result, independent of the executor."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import enum
import inspect
import json
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Protocol, TypeAlias

from pydantic import BaseModel
from pydantic_core import to_json

from ..client import ConfigurationError, ToolUseBlock, mended
from ..context import DEFAULT_TOKENS, Collected, Lifted, content_of, describe, redact, unread
from ..schema import HIDDEN
from ._tool import BadArgumentsError, Toolbox

# The return value or the error of a function, as sent to the model: of limited length, and redacted.
#
# It is redacted like all collected content, because the user did not type it, and the model chose the call.
_MAX_CHARS = 60_000
_MAX_INNER_TOKENS = 1_000
"""Tokens of an object inside a container; longer tables are hard to read there."""
_MAX_INNER_NUMBERS = 10_000
_MAX_DEPTH = 20
_MAX_MESSAGE_CHARS = 1_000
_MAX_TRACEBACK_CHARS = 3_000
MAX_YIELDED = 1_000
"""Values that are taken from a generator, which may be infinite."""
_DATA = (BaseModel, dict, list, tuple, set, frozenset, bool, int, float, enum.Enum)

Content = str | list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The content of a result.

    Attributes:
        content: Text or content blocks.
        notes: Sentences for the user.
    """

    content: Content
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Yielded:
    """The values of a generator, and whether it was stopped before its end."""

    values: list[Any]
    is_cut: bool


def outcome_of(value: object) -> Outcome:
    """Return a value for the model: data as JSON, with tables and images in it described as in a prompt.

    A generator runs here, so this may raise any exception of the function.
    """
    if value is None:
        return Outcome("Done; the function returned nothing.")
    if isinstance(value, str):
        return Outcome(_bounded(value) or "The function returned an empty string.")
    if isinstance(value, Yielded):
        return _outcome_of_yielded(value)
    if isinstance(value, Iterator) and unread(value) is not None:
        return _outcome_of_yielded(_take(value))
    if _is_data(value):
        # Recursive data, lone surrogates and objects that raise are described below.
        with suppress(Exception):
            return _outcome_of_data(value)
    return _outcome_described(value)


async def take_async(values: AsyncIterator[Any]) -> Yielded:
    """Return the first values of an async generator, and close the generator."""
    taken: list[Any] = []
    try:
        async for value in values:
            if len(taken) == MAX_YIELDED:
                return Yielded(taken, is_cut=True)
            taken.append(value)
        return Yielded(taken, is_cut=False)
    finally:
        if (close := getattr(values, "aclose", None)) is not None:
            await close()


def _take(values: Iterator[Any]) -> Yielded:
    """Return the first values of a generator, and close the generator."""
    try:
        taken = list(islice(values, MAX_YIELDED + 1))
    finally:
        if (close := getattr(values, "close", None)) is not None:
            close()
    return Yielded(taken[:MAX_YIELDED], is_cut=len(taken) > MAX_YIELDED)


def _outcome_of_yielded(yielded: Yielded) -> Outcome:
    outcome = outcome_of(yielded.values)
    if not yielded.is_cut:
        return outcome
    note = f"[The function yields more; it was stopped after {MAX_YIELDED:,} values.]"
    content = outcome.content
    whole = f"{content}\n{note}" if isinstance(content, str) else [*content, {"type": "text", "text": note}]
    return Outcome(whole, outcome.notes)


def describe_failure(error: BaseException) -> str:
    """Return the traceback of an error in a tool, without the frames of this package."""
    shown = traceback.TracebackException(type(error), error, _own_frames(error.__traceback__))
    text = redact("".join(shown.format())[-_MAX_CHARS:])[0]
    if len(text) <= _MAX_TRACEBACK_CHARS:
        return text
    message = redact("".join(shown.format_exception_only())[:_MAX_CHARS])[0][:_MAX_MESSAGE_CHARS].rstrip()
    return (
        f"{message}\n[… the start of the traceback is cut …]\n{text[len(message) - _MAX_TRACEBACK_CHARS :]}"
    )


def _is_data(value: object) -> bool:
    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return (isinstance(value, _DATA) or is_record) and not hasattr(type(value), "_repr_claude_")


def _outcome_of_data(value: object) -> Outcome:
    """Return data as JSON, with image blocks in place."""
    lifted = Lifted()
    notes: dict[str, None] = {}
    text = to_json(
        _prepared(value, 0), fallback=lambda inner: _inside(inner, lifted, notes), inf_nan_mode="strings"
    ).decode("utf-8")
    return Outcome(content_of([lifted.parts(_bounded(text))]), (*notes, *lifted.notes()))


class _Wrapped:
    """A wrapper for a value that JSON serialization would consume or fail on."""

    def __init__(self, value: object) -> None:
        self.value = value


def _prepared(value: Any, depth: int) -> Any:
    """Return data that can be serialized: the first values of iterators, and wrapped bytes that are not UTF-8."""
    if depth > _MAX_DEPTH:
        return value
    if type(value) is dict:
        return {key: _prepared(item, depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_prepared(item, depth + 1) for item in value]
    if isinstance(value, Iterator):
        return _prepared(_take(value).values, depth) if unread(value) is not None else _Wrapped(value)
    return _Wrapped(value) if isinstance(value, bytes | bytearray) and not _is_text(value) else value


def _is_text(data: bytes | bytearray) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _inside(value: object, lifted: Lifted, notes: dict[str, None]) -> Any:
    """Return the JSON value for an object in data: numpy values as numbers or lists, anything else described."""
    if isinstance(value, _Wrapped):
        value = value.value
    to_list = getattr(value, "tolist", None)
    if (
        to_list is not None
        and type(value).__module__ == "numpy"
        and getattr(value, "size", 0) <= _MAX_INNER_NUMBERS
        and getattr(getattr(value, "dtype", None), "kind", "") != "O"
    ):
        return to_list()
    described = _described(value, _MAX_INNER_TOKENS)
    notes |= dict.fromkeys(described.notes)
    return lifted.marked(described.parts) or f"<{type(value).__name__}>"


def _described(value: object, max_tokens: int = DEFAULT_TOKENS) -> Collected:
    """Describe an object; an error for the user, such as a damaged image, becomes text for the model."""
    try:
        return describe(value, name="the result", max_tokens=max_tokens)
    except ConfigurationError as error:
        reason = str(error).removesuffix(" Nothing was sent.")
        return Collected(parts=(f"[It cannot be shown: {reason}]",), notes=(f"Result of a tool: {reason}",))


def _outcome_described(value: object) -> Outcome:
    described = _described(value)
    if all(isinstance(part, str) for part in described.parts):
        text = _bounded(described.text.strip())
        return Outcome(text or "The function returned an object without text.", described.notes)
    return Outcome(content_of([described.parts]), described.notes)


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame outside this package."""
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(__package__):
        trace = trace.tb_next
    return trace


def _bounded(text: str) -> str:
    """Redact a text, then cut it, because half a secret is no longer recognised."""
    clean = redact(text[: 2 * _MAX_CHARS])[0]
    if len(text) <= _MAX_CHARS:
        return clean
    return f"{clean[:_MAX_CHARS]}\n[… cut: the result has {len(text):,} characters]"


class CallState(enum.Enum):
    """The state of a tool call."""

    WRITTEN = "written"
    """The model writes the call, or has written it; execution has not begun."""
    WAITING = "waiting"
    """The call waits for its thread, which is running a cell."""
    APPROVAL = "approval"
    """The user is asked for approval."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether the call has ended."""
        return self not in (CallState.WRITTEN, CallState.WAITING, CallState.APPROVAL, CallState.RUNNING)


Report: TypeAlias = Callable[[CallState, str], None]
"""Called with each new state of a call, and a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The result of a call.

    Attributes:
        tool_use_id: The id of the call.
        content: Text or content blocks, for the model.
        is_error: Whether the call failed; the content is the reason.
        state: The final state of the call.
        note: A sentence for the user; "" if there is none.
    """

    tool_use_id: str
    content: str | Sequence[dict[str, Any]]
    is_error: bool = False
    state: CallState = CallState.DONE
    note: str = ""

    def __post_init__(self) -> None:
        # Lone surrogates are replaced, so that the shown content is the sent content.
        object.__setattr__(self, "content", mended(self.content))

    @property
    def text(self) -> str:
        """The content as text, for display."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(
            block["text"] if block.get("type") == "text" else f"[{block.get('type')}]"
            for block in self.content
        )

    def to_param(self) -> dict[str, Any]:
        """Return the result as a content block of the API."""
        content = self.content if isinstance(self.content, str) else list(self.content)
        result = {"type": "tool_result", "tool_use_id": self.tool_use_id, "content": content}
        return {**result, "is_error": True} if self.is_error else result


class ToolExecutor(Protocol):
    """Runs tool calls."""

    @property
    def toolbox(self) -> Toolbox:
        """The tools."""
        ...

    @property
    def is_asked(self) -> bool:
        """Whether the user is asked before each call."""
        ...

    def submit(self, call: ToolUseBlock, report: Report) -> concurrent.futures.Future[ToolResult]:
        """Start a call and return immediately; called on the bridge's thread.

        Args:
            call: The call.
            report: Called with each new state and a text, on any thread.

        Returns:
            A future for the result. Cancelling it interrupts the call.
        """
        ...


REFUSED = "The user refused this call."
NOBODY = (
    "Nobody could be asked whether this call may run, so it did not. "
    '(The user can allow calls with --approve never; in Python, approve="never".)'
)

_MAX_SHOWN_CHARS = 2_000
_PAGE_CHARS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that waits for the user's approval.

    Attributes:
        name: The name of the tool.
        arguments: The arguments.
    """

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        """The call in Python notation on one line, shortened, so it is not sufficient for approval."""
        whole = self._written()
        if len(whole) <= _MAX_SHOWN_CHARS:
            return whole
        return f"{whole[:_MAX_SHOWN_CHARS]}… [{len(whole):,} characters]"

    def pages(self) -> tuple[str, ...]:
        """Return the whole call in Python notation, in pages of readable length. All pages must be shown before approval.

        A model cannot disguise a call: newlines, characters that change the text direction, and invisible characters are
        escaped.
        """
        whole = self._written()
        return tuple(whole[start : start + _PAGE_CHARS] for start in range(0, len(whole), _PAGE_CHARS))

    def _written(self) -> str:
        arguments = (f"{_as_name(name)}={visible(repr(value))}" for name, value in self.arguments.items())
        return f"{visible(self.name)}({', '.join(arguments)})"


class CallReading:
    """The part of a call that the user has seen.

    Args:
        call: The call. Its first page counts as seen.
    """

    def __init__(self, call: ToolCall) -> None:
        self._pages = call.pages()
        self._seen = 1

    @property
    def text(self) -> str:
        """The text shown so far."""
        return "".join(self._pages[: self._seen]) + ("" if self.is_complete else "…")

    @property
    def is_complete(self) -> bool:
        """Whether the whole call was shown, so that it may be approved."""
        return self._seen == len(self._pages)

    def show_more(self) -> None:
        """Show the next page."""
        self._seen = min(self._seen + 1, len(self._pages))


def _as_name(name: str) -> str:
    return name if name.isidentifier() and visible(name) == name else visible(repr(name))


def visible(text: str) -> str:
    """Return a text with invisible characters, and those that change the text direction, escaped."""
    shown = "".join(each if each.isprintable() else _escaped(each) for each in text)
    return HIDDEN.sub(lambda found: _escaped(found[0]), shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class RunningCall:
    """A call in progress.

    Args:
        toolbox: The available tools.
        call: The call.
        report: Called with each new state and a text.
    """

    def __init__(self, toolbox: Toolbox, call: ToolUseBlock, report: Report) -> None:
        self.call = ToolCall(name=call.name, arguments=call.input)
        self.report = report
        self._toolbox = toolbox
        self._block = call
        self._tool = toolbox.find(call.name)
        self._bound: Callable[[], Any] | None = None

    @property
    def is_async(self) -> bool:
        """Whether the function is known to be async, so that it runs concurrently with other tasks."""
        return self._tool is not None and self._tool.is_async

    def check(self) -> ToolResult | None:
        """Return the result of an invalid call, which needs no approval; None if the call is valid."""
        if self._block.raw_input is not None:
            return self._failed(json.dumps({"INVALID_JSON": self._block.raw_input}))
        if self._tool is None:
            return self._failed(f"There is no tool {self.call.name}, only {', '.join(self._toolbox.names)}.")
        try:
            self._bound = self._tool.bind(self.call.arguments)
        except BadArgumentsError as error:
            return self._failed(f"The arguments do not fit: {error}.")
        except Exception as error:  # the user's own types may raise anything
            return self.failed(error)
        return None

    def run(self) -> Any:
        """Call the function, after `check`. The result of an async function or generator must be awaited."""
        if self._bound is None:
            raise RuntimeError("This call was not checked.")
        value = self._bound()
        return take_async(value) if inspect.isasyncgen(value) else value

    def refused(self, reason: str) -> ToolResult:
        """Return the result of a call that was not approved."""
        note = f"{self.call.name} was not called: no approval could be requested. `--approve never` skips the approval."
        return self._result(reason, CallState.REFUSED, is_error=True, note=note if reason == NOBODY else "")

    def done(self, value: object) -> ToolResult:
        """Return the result of a successful call. A generator runs here, and may raise."""
        outcome = outcome_of(value)
        return self._result(outcome.content, CallState.DONE, note=" ".join(outcome.notes))

    def failed(self, error: BaseException) -> ToolResult:
        """Return the result of a failed call."""
        return self._failed(describe_failure(error))

    def _failed(self, text: str) -> ToolResult:
        return self._result(text, CallState.FAILED, is_error=True)

    def _result(
        self, content: str | list[dict[str, Any]], state: CallState, *, is_error: bool = False, note: str = ""
    ) -> ToolResult:
        return ToolResult(
            tool_use_id=self._block.id, content=content, is_error=is_error, state=state, note=note
        )
