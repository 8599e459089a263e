"""One call, from its arguments to its result. How an answer is waited for differs; what is done is the same."""

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
from typing import Any, Protocol

from pydantic import BaseModel
from pydantic_core import to_json

from ..client import ConfigurationError, ToolUseBlock, mended
from ..context import DEFAULT_TOKENS, Collected, Lifted, content_of, describe, redact, unread
from ..schema import HIDDEN
from ._tool import BadArgumentsError, Toolbox

# What a function gave back, or how it failed, as the model gets it: bounded, and without what looks like a secret.
#
# Nobody typed it, and it was the model that chose what to call, so it is redacted as all else that is collected for the user.
_MAX_CHARS = 60_000
_MAX_INNER_TOKENS = 1_000
"""Of an object inside of data; about how much of a table is still good to read there."""
_MAX_INNER_NUMBERS = 10_000
_MAX_DEPTH = 20
_MAX_MESSAGE_CHARS = 1_000
_MAX_TRACEBACK_CHARS = 3_000
MAX_YIELDED = 1_000
"""Values that are taken from a generator; it may have no end."""
_DATA = (BaseModel, dict, list, tuple, set, frozenset, bool, int, float, enum.Enum)

Content = str | list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A result as the model gets it.

    Attributes:
        content: Text or content blocks.
        notes: What the reader should know about it, as sentences.
    """

    content: Content
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Yielded:
    """What a generator gave, and whether it was stopped before its end."""

    values: list[Any]
    is_cut: bool


def outcome_of(value: object) -> Outcome:
    """Return a value for the model: data as JSON, tables and pictures as in a prompt, in their places.

    It fails only as the function's own code does: what it yields is computed here.
    """
    if value is None:
        return Outcome("Done; the function returned nothing.")
    if isinstance(value, str):
        return Outcome(_bounded(value) or "The function returned an empty string.")
    if isinstance(value, Yielded):
        return _outcome_of_yielded(value)
    if isinstance(value, Iterator) and unread(value) is not None:
        return _outcome_of_yielded(_taken(value))
    if _is_data(value):
        # It holds itself, or half a character, or what breaks when looked at: see below.
        with suppress(Exception):
            return _outcome_of_data(value)
    return _outcome_described(value)


async def taken_async(values: AsyncIterator[Any]) -> Yielded:
    """Return the first values of an async generator, and close it."""
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


def _taken(values: Iterator[Any]) -> Yielded:
    """Return the first values of a generator, and close it."""
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
    said = f"[The function yields more; it was stopped after {MAX_YIELDED:,} values.]"
    content = outcome.content
    whole = f"{content}\n{said}" if isinstance(content, str) else [*content, {"type": "text", "text": said}]
    return Outcome(whole, outcome.notes)


def describe_failure(error: BaseException) -> str:
    """Return an error of a tool's own code, without the frames that led to it."""
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
    """Return data as JSON, with the pictures in it in their places."""
    lifted = Lifted()
    notes: dict[str, None] = {}
    text = to_json(
        _prepared(value, 0), fallback=lambda inner: _inside(inner, lifted, notes), inf_nan_mode="strings"
    ).decode("utf-8")
    return Outcome(content_of([lifted.parts(_bounded(text))]), (*notes, *lifted.notes()))


class _Held:
    """Holds what would be read, or break, if it were written as JSON."""

    def __init__(self, value: object) -> None:
        self.value = value


def _prepared(value: Any, depth: int) -> Any:
    """Return data that can be written as JSON: of iterators, which may have no end, the first values; no bytes that are no text."""
    if depth > _MAX_DEPTH:
        return value
    if type(value) is dict:
        return {key: _prepared(item, depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_prepared(item, depth + 1) for item in value]
    if isinstance(value, Iterator):
        return _prepared(_taken(value).values, depth) if unread(value) is not None else _Held(value)
    return _Held(value) if isinstance(value, bytes | bytearray) and not _is_text(value) else value


def _is_text(data: bytes | bytearray) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _inside(value: object, lifted: Lifted, notes: dict[str, None]) -> Any:
    """Return what stands in data for an object that is none: numbers of numpy as numbers, all else described."""
    if isinstance(value, _Held):
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
    """Describe an object; what a user would be refused, such as a damaged picture, is a text for the model."""
    try:
        return describe(value, name="the result", max_tokens=max_tokens)
    except ConfigurationError as error:
        reason = str(error).removesuffix(" Nothing was sent.")
        return Collected(parts=(f"[It cannot be shown: {reason}]",), notes=(f"Of a tool: {reason}",))


def _outcome_described(value: object) -> Outcome:
    described = _described(value)
    if all(isinstance(part, str) for part in described.parts):
        text = _bounded(described.text.strip())
        return Outcome(text or "The function returned an object without text.", described.notes)
    return Outcome(content_of([described.parts]), described.notes)


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame on that is not ours."""
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(__package__):
        trace = trace.tb_next
    return trace


def _bounded(text: str) -> str:
    """Cut a text, which is redacted first: half a secret is none that could be recognised."""
    clean = redact(text[: 2 * _MAX_CHARS])[0]
    if len(text) <= _MAX_CHARS:
        return clean
    return f"{clean[:_MAX_CHARS]}\n[… cut: the result has {len(text):,} characters]"


class CallState(enum.Enum):
    """How far the call of a tool has come."""

    WRITTEN = "written"
    """The model is writing it, or has; nothing is done about it yet."""
    WAITING = "waiting"
    """The thread on which it is to run is busy with a cell."""
    APPROVAL = "approval"
    """A person is asked whether it may run."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether the call has come to its end."""
        return self not in (CallState.WRITTEN, CallState.WAITING, CallState.APPROVAL, CallState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call gave back.

    Attributes:
        tool_use_id: The call, by its id.
        content: Text or content blocks, for the model.
        is_error: It gave nothing, and the content says why.
        state: How it ended.
        note: What the reader should know about it, as a sentence; empty if nothing.
    """

    tool_use_id: str
    content: str | Sequence[dict[str, Any]]
    is_error: bool = False
    state: CallState = CallState.DONE
    note: str = ""

    def __post_init__(self) -> None:
        # Half characters are shown as they are sent.
        object.__setattr__(self, "content", mended(self.content))

    @property
    def text(self) -> str:
        """The content as text, for people."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(
            block["text"] if block.get("type") == "text" else f"[{block.get('type')}]"
            for block in self.content
        )

    def to_param(self) -> dict[str, Any]:
        """Return the result as the API takes it."""
        content = self.content if isinstance(self.content, str) else list(self.content)
        result = {"type": "tool_result", "tool_use_id": self.tool_use_id, "content": content}
        return {**result, "is_error": True} if self.is_error else result


class ToolExecutor(Protocol):
    """Runs calls, wherever tools live."""

    @property
    def toolbox(self) -> Toolbox:
        """The tools."""
        ...

    @property
    def is_asked(self) -> bool:
        """Whether a person is asked before each call."""
        ...

    def submit(
        self, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> concurrent.futures.Future[ToolResult]:
        """Run a call; called on the bridge, and returns at once.

        Args:
            call: The call.
            report: Takes note of how far it is; on any thread.

        Returns:
            Its result. Cancelling it interrupts the call.
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


def visible(text: str) -> str:
    """Return a text with every character escaped that has no shape of its own, or turns the direction of writing."""
    shown = "".join(each if each.isprintable() else _escaped(each) for each in text)
    return HIDDEN.sub(lambda found: _escaped(found[0]), shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class RunningCall:
    """A call between its start and its result.

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
        """Return what to answer a call that cannot be made, about which nobody need be asked; None if it can be."""
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
        self, content: str | list[dict[str, Any]], state: CallState, *, is_error: bool = False, note: str = ""
    ) -> ToolResult:
        return ToolResult(
            tool_use_id=self._block.id, content=content, is_error=is_error, state=state, note=note
        )
