"""Tool calls in an answer: one dimmed line each, with collapsed arguments and results."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hostile import HOSTILE
from snapshots import snapshot
from test_untrusted import Inspector

from claude_magic.render import render_reply
from claude_magic.render._answer import render_calls
from claude_magic.runtime import BlockSnapshot, CallSnapshot
from claude_magic.tools import CallState
from claude_magic.tools._call import describe_failure


def call(
    state: CallState = CallState.DONE, result: str = "", *, is_complete: bool = True, **arguments: Any
) -> BlockSnapshot:
    """Return the block of a call of `tide_table`."""
    snapshot_of_call = CallSnapshot(name="tide_table", arguments=arguments, state=state, result=result)
    return BlockSnapshot(kind="tool_use", text="", is_complete=is_complete, call=snapshot_of_call)


def block(kind: str, text: str = "", **data: Any) -> BlockSnapshot:
    """Return a complete block with these fields."""
    return BlockSnapshot(kind=kind, text=text, is_complete=True, data=data or None)


def search(content: Any, name: str = "web_search", **arguments: Any) -> list[BlockSnapshot]:
    """Return a call of a server tool, and its result."""
    return [
        block("server_tool_use", id="s1", name=name, input=arguments),
        block(f"{name}_tool_result", tool_use_id="s1", content=content),
    ]


def summary(html: str) -> str:
    """Return the visible text while all folds are collapsed."""
    html = re.sub(r"(</summary>).*?</details>", r"\1", html, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", "", html))


def inside(html: str) -> str:
    """Return the visible text once all folds are expanded."""
    return unescape(re.sub(r"<[^>]*>", "", html.partition("</summary>")[2]))


# Functions of the notebook


@pytest.mark.parametrize(
    ("state", "result", "line"),
    [
        (CallState.WRITTEN, "", "tide_table(port='Brest', day=3)"),
        (CallState.APPROVAL, "", "tide_table(port='Brest', day=3) · waiting for approval"),
        (CallState.RUNNING, "", "tide_table(port='Brest', day=3) · running…"),
        (CallState.DONE, "12.3 m", "tide_table(port='Brest', day=3) → 12.3 m"),
        (CallState.DONE, "", "tide_table(port='Brest', day=3) → nothing"),
        (CallState.DONE, "12.3 m\n11.0 m", "tide_table(port='Brest', day=3) → 12.3 m …"),
        (
            CallState.FAILED,
            "KeyError: 'Brest'",
            "tide_table(port='Brest', day=3) · failed: KeyError: 'Brest'",
        ),
        (CallState.REFUSED, "The user refused.", "tide_table(port='Brest', day=3) · refused"),
        (CallState.INTERRUPTED, "", "tide_table(port='Brest', day=3) · interrupted"),
    ],
)
def test_a_call_is_one_line_that_shows_how_far_it_is(state: CallState, result: str, line: str) -> None:
    """In Python notation, with its outcome."""
    html = render_calls([call(state, result, port="Brest", day=3)])

    assert summary(html) == line
    assert html.count("<details") == 1
    assert "<details open" not in html


def raise_plainly() -> None:
    raise ValueError("no boom today")


def raise_in_several_lines() -> None:
    raise ValueError("no boom today\n    at all\nand none tomorrow")


def raise_from() -> None:
    try:
        raise_plainly()
    except ValueError as error:
        raise KeyError("fuse") from error


def raise_group() -> None:
    error = ValueError("no boom today")
    try:
        raise_plainly()
    except ValueError as raised:
        raise ExceptionGroup("two of them", [error, raised]) from None


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (raise_plainly, "ValueError: no boom today"),
        (raise_in_several_lines, "ValueError: no boom today …"),
        (raise_from, "KeyError: 'fuse'"),
        (raise_group, "ExceptionGroup: two of them (2 sub-exceptions) …"),
        (lambda: compile("x y", "fuse.py", "exec"), "SyntaxError: invalid syntax"),
    ],
)
def test_the_line_of_a_failed_call_names_the_error(function: Callable[[], object], error: str) -> None:
    """The traceback is inside, in full."""
    with pytest.raises(Exception) as caught:
        function()
    result = describe_failure(caught.value)

    html = render_calls([call(CallState.FAILED, result)])

    assert "Traceback" in result
    assert summary(html) == f"tide_table() · failed: {error}"
    assert inside(html).strip() == result.strip()


def test_arguments_and_result_are_inside() -> None:
    """In full, if the line shortens them."""
    port = "Saint-" * 20
    html = render_calls([call(CallState.DONE, "high\nlow", port=port, nested={"a": [1, "ü"]})])

    assert len(summary(html)) < 120
    assert port in inside(html)
    assert '"ü"' in inside(html)
    assert inside(html).endswith("high\nlow")


def test_a_call_that_is_still_being_written_shows_its_name() -> None:
    """Its arguments are incomplete."""
    assert summary(render_calls([call(CallState.WRITTEN, is_complete=False)])) == "tide_table(…)"


def test_a_call_with_nothing_inside_is_no_fold() -> None:
    """There is nothing to expand."""
    html = render_calls([call(CallState.RUNNING)])

    assert summary(html) == "tide_table() · running…"
    assert "<details" not in html


def test_long_data_are_cut_and_say_so() -> None:
    """A result of a megabyte would be stored twice in the notebook."""
    html = render_calls([call(CallState.DONE, "x" * 1_000_000, numbers=list(range(50_000)))])

    assert len(html) < 30_000
    assert "… 992,000 more characters" in inside(html)


def test_a_result_may_hold_what_is_no_character() -> None:
    """File names that are not UTF-8 contain lone surrogates."""
    assert "?" in inside(render_calls([call(CallState.DONE, os.fsdecode(b"caf\xe9"), name="\ud83d")]))


def test_many_arguments_are_shortened_in_the_line() -> None:
    """It stays one line."""
    html = render_calls([call(**{f"argument_{n}": n for n in range(100)})])

    assert len(summary(html)) < 200
    assert "…" in summary(html)


# Tools of the server


PAGES = [
    {
        "type": "web_search_result",
        "url": "https://example.org/a",
        "title": "Keepers & lamps",
        "page_age": "May 2020",
        "encrypted_content": "Zm9v",
    },
    {"type": "web_search_result", "url": "javascript:alert(1)", "title": "Trap", "encrypted_content": "Zm9v"},
]


def test_a_search_shows_what_was_searched_and_links_what_was_found() -> None:
    """Results are links if they are web addresses."""
    html = render_calls(search(PAGES, query="lighthouse keepers"))

    assert summary(html) == "searched the web for “lighthouse keepers” · 2 results"
    assert '<a href="https://example.org/a"' in html
    assert "Keepers & lamps · example.org · May 2020" in inside(html)
    assert "javascript" not in html
    assert "Zm9v" not in html


@pytest.mark.parametrize(
    ("name", "arguments", "content", "line"),
    [
        ("web_search", {"query": "x"}, [], "searched the web for “x” · 0 results"),
        ("web_search", {"query": "x"}, PAGES[:1], "searched the web for “x” · 1 result"),
        (
            "web_search",
            {"query": "x"},
            {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
            "searched the web for “x” · failed: max uses exceeded",
        ),
        (
            "web_fetch",
            {"url": "https://example.org/"},
            {
                "type": "web_fetch_result",
                "url": "https://example.org/",
                "content": {"type": "document", "title": "Home"},
            },
            "read https://example.org/ · done",
        ),
        (
            "code_execution",
            {"code": "print(1)"},
            {"type": "code_execution_result", "stdout": "1\n", "stderr": "", "return_code": 0, "content": []},
            "ran code on the server · exit code 0",
        ),
        (
            "tool_search_tool_regex",
            {"query": "tide"},
            {"tool_references": []},
            "tool_search_tool_regex(query='tide') · done",
        ),
        ("never_heard_of", {}, "some text", "never_heard_of() · done"),
        ("never_heard_of", {}, None, "never_heard_of() · done"),
    ],
)
def test_what_the_server_did_is_said_in_words(
    name: str, arguments: dict[str, Any], content: Any, line: str
) -> None:
    """Including failures, whose results are an object instead of a list."""
    assert summary(render_calls(search(content, name, **arguments))) == line


def test_the_output_of_code_is_inside() -> None:
    """With the code."""
    content = {
        "type": "code_execution_result",
        "stdout": "one\n",
        "stderr": "two\n",
        "return_code": 1,
        "content": [],
    }
    html = render_calls(search(content, "code_execution", code="print('one')"))

    assert "print('one')" in inside(html)
    assert "one\ntwo\n" in inside(html)


def test_a_search_that_is_under_way_says_so() -> None:
    """A search without a result at the end of the reply is described as such."""
    asked = search([], query="x")[:1]

    assert summary(render_calls(asked)) == "searching the web for “x”…"
    assert summary(render_calls(asked, is_final=True)) == "searched the web for “x” · no result"


def test_a_result_is_shown_with_its_call_and_only_there() -> None:
    """They may be separated: with tools of both sides, the result is in the next round."""
    asked, found = search(PAGES, query="x")
    reply = replace(snapshot(), blocks=(asked, block("text", "a"), found, block("text", "b")))
    html = render_reply(reply).data["text/html"]

    assert html.count("<details") == 1
    assert html.index("2 results") < html.index("<p>a</p>")


def test_a_result_whose_call_is_elsewhere_stands_alone() -> None:
    """Its call may be in an earlier reply."""
    html = render_calls(search(PAGES)[1:])

    assert summary(html) == "web search tool result"
    assert "Keepers & lamps" in inside(html)


def test_a_block_of_the_future_shows_its_text_folded() -> None:
    """Only its kind is known."""
    assert summary(render_calls([block("hologram", "beam")])) == "hologram"
    assert render_calls([block("hologram")]) == ""


@pytest.mark.parametrize("payload", HOSTILE)
def test_calls_and_results_are_untrusted(payload: str) -> None:
    """Names, arguments, results, titles and URLs come from a model, a server, or a function of the user."""
    page = {"type": "web_search_result", "url": payload, "title": payload, "page_age": payload}
    linked = {**page, "url": f"https://example.org/{payload}"}
    blocks = [
        BlockSnapshot(
            kind="tool_use",
            text=payload,
            is_complete=True,
            call=CallSnapshot(
                name=payload, arguments={payload: payload}, state=CallState.DONE, result=payload
            ),
        ),
        *search([page, linked], query=payload),
        *search({"error_code": payload}, payload, query=payload),
        *search(payload, payload),
        block(payload, payload),
    ]

    assert Inspector(render_calls(blocks)).findings == []
