"""What the tools of the server did: searches with their results as links, code with its output, anything else as data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from ..runtime import BlockSnapshot
from ._links import host_of, render_link
from ._tool_data import render_data, render_remark, short

_MAX_QUERY_CHARS: Final = 120


def is_result(kind: str) -> bool:
    """Whether a block of this kind is the result of a call that the server answered itself."""
    return kind.endswith("tool_result")


def describe_server_call(
    name: str, arguments: Mapping[str, Any], result: BlockSnapshot | None, *, is_final: bool
) -> str | None:
    """Return a line such as “searched the web for “…” · 5 results”; None for a tool that has no words of its own."""
    match name:
        case "web_search":
            doing, done, what = (
                "searching the web for",
                "searched the web for",
                f"“{_text(arguments, 'query')}”",
            )
        case "web_fetch":
            doing, done, what = "reading", "read", _text(arguments, "url")
        case "code_execution" | "bash_code_execution":
            doing, done, what = "running code", "ran code", "at the server"
        case "text_editor_code_execution":
            doing, done, what = "editing", "edited", f"{_text(arguments, 'path')} at the server"
        case _:
            return None
    if result is None and not is_final:
        return f"{doing} {what}…"
    return f"{done} {what} · {describe_outcome(result, is_final=is_final)}"


def render_input(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the HTML, not sanitised yet, of what the line of a call does not say of its arguments; "" if it says all."""
    match name:
        case "web_search" | "web_fetch":
            return ""
        case "code_execution" | "bash_code_execution":
            return render_data(str(arguments.get("code") or arguments.get("command") or ""))
    return render_data(pretty(arguments))


def pretty(arguments: Mapping[str, Any]) -> str:
    """Return arguments as JSON in lines; "" for none."""
    return json.dumps(dict(arguments), indent=2, ensure_ascii=False, default=str) if arguments else ""


def render_result(result: BlockSnapshot) -> str:
    """Return the HTML of a result block, not sanitised yet."""
    content = _content(result)
    if error := error_of(content):
        return render_remark(f"Failed: {error}.")
    if isinstance(content, list):
        pages = [item for item in content if isinstance(item, Mapping) and _text(item, "url")]
        if pages and len(pages) == len(content):
            return f"<ol>{''.join(map(_page, pages))}</ol>"
    if isinstance(content, Mapping) and "return_code" in content:
        return "".join(_output(content))
    if isinstance(content, Mapping) and _text(content, "url"):
        return f"<p>{_titled_link(content)}</p>"
    return render_data(_plain(content))


def error_of(content: Any) -> str:
    """Return in words why a tool of the server failed; "" where it did not. A failure comes as an object with a code."""
    code = content.get("error_code") if isinstance(content, Mapping) else None
    return str(code).replace("_", " ") if code else ""


def describe_outcome(result: BlockSnapshot | None, *, is_final: bool) -> str:
    """Return what came of a call, in a word or two."""
    if result is None:
        return "no result" if is_final else "running…"
    content = _content(result)
    if error := error_of(content):
        return f"failed: {error}"
    if isinstance(content, list):
        return f"{len(content)} result{'' if len(content) == 1 else 's'}"
    if isinstance(content, Mapping) and isinstance(content.get("return_code"), int):
        return f"exit code {content['return_code']}"
    return "done"


def _page(page: Mapping[str, Any]) -> str:
    details = [part for part in (host_of(_text(page, "url")), _text(page, "page_age")) if part]
    return f"<li>{_titled_link(page)}{escape(''.join(f' · {part}' for part in details), quote=False)}</li>"


def _titled_link(page: Mapping[str, Any]) -> str:
    document = page.get("content")
    title = _text(page, "title") or (_text(document, "title") if isinstance(document, Mapping) else "")
    return render_link(_text(page, "url"), title or _text(page, "url"))


def _output(content: Mapping[str, Any]) -> Iterable[str]:
    texts = [content[name] for name in ("stdout", "stderr") if isinstance(content.get(name), str)]
    shown = [text for text in texts if text.strip()]
    yield from map(render_data, shown)
    if not shown:
        yield render_remark("No output.")


def _plain(content: Any) -> str:
    """Return a result that nothing here knows, as text: of text blocks their text, of other things their JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(item, Mapping) and _is_text(item) for item in content):
        return "\n".join(item["text"] for item in content)
    return json.dumps(_without_ciphers(content), indent=2, ensure_ascii=False, default=str)


def _is_text(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "text" and isinstance(item.get("text"), str)


def _without_ciphers(value: Any) -> Any:
    """Leave out what is there for the API alone: long, and unreadable by design."""
    if isinstance(value, Mapping):
        return {
            name: _without_ciphers(part)
            for name, part in value.items()
            if not str(name).startswith("encrypted_")
        }
    return [_without_ciphers(part) for part in value] if isinstance(value, list) else value


def _content(result: BlockSnapshot) -> Any:
    return (result.data or {}).get("content")


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return text if name in ("url", "path") else short(text, _MAX_QUERY_CHARS)
