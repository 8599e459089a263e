"""Tool calls in an answer: one quiet line each, with arguments and result folded inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from ..runtime import BlockSnapshot, CallSnapshot, CallState
from ..tools import visible
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._server_tools import (
    describe_outcome,
    describe_server_call,
    is_result,
    pretty,
    render_input,
    render_result,
)
from ._styles import CALL, CALL_SIGNATURE, FOLD_BODY, FOLD_SUMMARY, QUIET
from ._tool_data import render_data, short

_MAX_ARGUMENT_CHARS: Final = 40
_MAX_SIGNATURE_CHARS: Final = 120
_MAX_SUMMARY_RESULT_CHARS: Final = 80

_STATES: Final[Mapping[CallState, str]] = {
    CallState.WRITTEN: "",
    CallState.WAITING: " · waiting for the kernel, a cell is running",
    CallState.APPROVAL: " · waiting for approval",
    CallState.RUNNING: " · running…",
    CallState.DONE: " → ",
    CallState.FAILED: " · failed: ",
    CallState.REFUSED: " · refused",
    CallState.INTERRUPTED: " · interrupted",
}


def render_calls(
    blocks: Sequence[BlockSnapshot],
    *,
    among: Sequence[BlockSnapshot] | None = None,
    is_final: bool = False,
) -> str:
    """Return the HTML of the blocks that are neither text nor thinking, with each server call's result inside its fold.

    Args:
        blocks: The blocks to show; text and thinking among them are left out.
        among: All blocks of the reply, where results may stand apart from their calls; `blocks` if not given.
        is_final: No more is coming, so that a call without a result stays without.
    """
    everything = blocks if among is None else among
    results = {_field(block, "tool_use_id"): block for block in everything if is_result(block.kind)}
    calls = {_field(block, "id") for block in everything if block.kind.endswith("tool_use")}
    shown = (block for block in blocks if block.kind not in ("text", "thinking"))
    return "".join(
        _render_block(block, results.get(_field(block, "id")), is_final=is_final)
        for block in shown
        if not (is_result(block.kind) and _field(block, "tool_use_id") in calls - {""})
    )


def _render_block(block: BlockSnapshot, result: BlockSnapshot | None, *, is_final: bool) -> str:
    if block.call is not None:
        return _render_call(block.call, is_complete=block.is_complete)
    if is_result(block.kind):
        return _fold(_quiet(block.kind.replace("_", " ")), render_result(block))
    if block.kind.endswith("tool_use") and block.data is not None:
        return _render_server_call(block, result, is_final=is_final)
    if not block.text:
        return ""
    return _fold(_quiet(block.kind.replace("_", " ")), render_data(block.text))


def _render_call(call: CallSnapshot, *, is_complete: bool) -> str:
    state = _STATES[call.state]
    if call.state in (CallState.DONE, CallState.FAILED):
        state += _first_line(call.result) or "nothing"
    signature = _signature(call.name, call.arguments) if is_complete else f"{visible(call.name)}(…)"
    summary = _code(signature) + escape(state, quote=False)
    return _fold(summary, "".join(_details(call.arguments, call.result)))


def _render_server_call(block: BlockSnapshot, result: BlockSnapshot | None, *, is_final: bool) -> str:
    arguments = _arguments(block)
    name = _field(block, "name")
    description = describe_server_call(name, arguments, result, is_final=is_final)
    if description is None:
        summary = _code(_signature(name, arguments)) + _code(
            f" · {describe_outcome(result, is_final=is_final)}"
        )
    else:
        summary = _quiet(description)
    return _fold(summary, render_input(name, arguments) + (render_result(result) if result else ""))


def _details(arguments: Mapping[str, Any], result: str) -> Iterator[str]:
    yield render_data(pretty(arguments))
    yield render_data(result)


def _fold(summary: str, inside: str) -> str:
    """Return a folded line; `summary` and `inside` are HTML that holds nothing unescaped."""
    if not inside:
        return sanitise(f'<div class="{NO_MATH_CLASSES}" style="{QUIET}">{summary}</div>')
    return sanitise(
        f'<div class="{NO_MATH_CLASSES}"><details style="{CALL}"><summary style="{FOLD_SUMMARY}">{summary}</summary>'
        f'<div style="{FOLD_BODY}">{inside}</div></details></div>'
    )


def _quiet(text: str) -> str:
    return f'<span style="{QUIET}">{escape(text, quote=False)}</span>'


def _code(text: str) -> str:
    return f'<span style="{CALL_SIGNATURE}">{escape(text, quote=False)}</span>'


def _signature(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call as Python would write it, `tide_table(port='Brest', day=3)`, shortened."""
    shown: list[str] = []
    for argument, value in arguments.items():
        shown.append(f"{visible(argument)}={short(visible(repr(value)), _MAX_ARGUMENT_CHARS)}")
        if sum(map(len, shown)) > _MAX_SIGNATURE_CHARS:
            shown[-1] = "…"
            break
    return f"{visible(name)}({', '.join(shown)})"


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    if not lines:
        return ""
    line = short(lines[0], _MAX_SUMMARY_RESULT_CHARS)
    return line if len(lines) == 1 or line.endswith("…") else f"{line} …"


def _arguments(block: BlockSnapshot) -> Mapping[str, Any]:
    arguments = (block.data or {}).get("input")
    return arguments if isinstance(arguments, Mapping) else {}


def _field(block: BlockSnapshot, name: str) -> str:
    value = (block.data or {}).get(name)
    return value if isinstance(value, str) else ""
