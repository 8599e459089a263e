"""Renders a reply block by block: thinking, tool calls, and the text in the requested format."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, dropwhile, groupby
from typing import Any, Final, NamedTuple

from ..client import counted, short
from ..runtime import BlockSnapshot, CallSnapshot, Phase, ReplySnapshot
from ..schema import reveal
from ..tools import CallState, visible
from ._formats import Body, render_body
from ._markdown import (
    VERBATIM,
    close_open_marks,
    escape_markdown,
    host_of,
    is_web_address,
    link_in_markdown,
    new_env,
    parse_blocks,
    render_fragment,
    render_link,
    render_markdown,
    wrap,
)
from ._neutralise import neutralise_markdown
from ._sanitise import (
    CALL,
    CALL_DATA,
    CALL_SIGNATURE,
    CITATION,
    NO_MATH_CLASSES,
    QUIET,
    SOURCES,
    folded,
    sanitise,
    styled,
    without_math,
)
from ._syntax import CITATION_END, CITATION_START, with_newlines
from ._tex import Allowance


def render_thinking(text: str, *, allowance: Allowance) -> str:
    """Return the thinking as collapsed HTML; "" if there is none.

    Args:
        text: The thinking as Markdown; untrusted.
        allowance: How much of the answer may still be rendered.
    """
    return sanitise(folded("Thinking", render_markdown(text, allowance=allowance))) if text.strip() else ""


_MAX_DATA_CHARS: Final = 8_000


def render_data(text: str) -> str:
    """Return `text` in a box as unsanitised HTML, truncated with a remark if it is long; "" for blank text."""
    if not text.strip():
        return ""
    cut = len(text) - _MAX_DATA_CHARS
    shown = f"{text[:_MAX_DATA_CHARS]}\n… {cut:,} more characters" if cut > 0 else text
    return styled(CALL_DATA, reveal(shown, is_code=True), "pre")


_MAX_QUERY_CHARS: Final = 120


def is_result(kind: str) -> bool:
    """Whether a block of this kind is the result of a server tool."""
    return kind.endswith("tool_result")


class _ServerCall(NamedTuple):
    """A call of a server tool in words: "searching the web for", "searched the web for", "“…”", and arguments that it does not show."""

    doing: str
    done: str
    what: str
    more: str = ""


def _in_words(name: str, arguments: Mapping[str, Any]) -> _ServerCall | None:
    """Return the words for a call; None for an unknown tool."""
    match name:
        case "web_search":
            query = f"“{_short_text(arguments, 'query')}”"
            return _ServerCall("searching the web for", "searched the web for", query)
        case "web_fetch":
            return _ServerCall("reading", "read", _text(arguments, "url"))
        case "code_execution" | "bash_code_execution":
            code = str(arguments.get("code") or arguments.get("command") or "")
            return _ServerCall("running code", "ran code", "on the server", code)
        case "text_editor_code_execution":
            path = f"{_text(arguments, 'path')} on the server"
            return _ServerCall("editing", "edited", path, pretty(arguments))
    return None


def pretty(arguments: Mapping[str, Any]) -> str:
    """Return arguments as indented JSON; "" for none."""
    return json.dumps(dict(arguments), indent=2, ensure_ascii=False, default=str) if arguments else ""


def render_result(result: BlockSnapshot) -> str:
    """Return the unsanitised HTML of a result block."""
    content = _content(result)
    if error := error_in(content):
        return styled(QUIET, f"Failed: {error}.")
    if isinstance(content, list):
        pages = [item for item in content if isinstance(item, Mapping) and _text(item, "url")]
        if pages and len(pages) == len(content):
            return f"<ol>{''.join(map(_page, pages))}</ol>"
    if isinstance(content, Mapping) and "return_code" in content:
        return "".join(_output(content))
    if isinstance(content, Mapping) and _text(content, "url"):
        return f"<p>{_titled_link(content)}</p>"
    return render_data(_plain(content))


def error_in(content: Any) -> str:
    """Return why a server tool failed; "" if it succeeded. A failed result is an object with an error code."""
    code = content.get("error_code") if isinstance(content, Mapping) else None
    return str(code).replace("_", " ") if code else ""


def describe_outcome(result: BlockSnapshot | None, *, is_final: bool) -> str:
    """Return the outcome of a call in one or two words."""
    if result is None:
        return "no result" if is_final else "running…"
    content = _content(result)
    if error := error_in(content):
        return f"failed: {error}"
    if isinstance(content, list):
        return counted(len(content), "result")
    if isinstance(content, Mapping) and isinstance(content.get("return_code"), int):
        return f"exit code {content['return_code']}"
    return "done"


def _page(page: Mapping[str, Any]) -> str:
    details = [part for part in (host_of(_text(page, "url")), _short_text(page, "page_age")) if part]
    return f"<li>{_titled_link(page)}{escape(''.join(f' · {part}' for part in details), quote=False)}</li>"


def _titled_link(page: Mapping[str, Any]) -> str:
    document = page.get("content")
    title = _short_text(page, "title") or (
        _short_text(document, "title") if isinstance(document, Mapping) else ""
    )
    return render_link(_text(page, "url"), title or _text(page, "url"))


def _output(content: Mapping[str, Any]) -> Iterable[str]:
    texts = [content[name] for name in ("stdout", "stderr") if isinstance(content.get(name), str)]
    shown = [text for text in texts if text.strip()]
    yield from map(render_data, shown)
    if not shown:
        yield styled(QUIET, "No output.")


def _plain(content: Any) -> str:
    """Return a result of an unknown kind as plain text: the text of its text blocks, and anything else as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(item, Mapping) and _is_text(item) for item in content):
        return "\n".join(item["text"] for item in content)
    return json.dumps(_without_ciphers(content), indent=2, ensure_ascii=False, default=str)


def _is_text(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "text" and isinstance(item.get("text"), str)


def _without_ciphers(value: Any) -> Any:
    """Return a value without its encrypted fields, which only the API can read."""
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
    """Return a text among `fields` on one line; "" if there is none of that name."""
    value = fields.get(name)
    return " ".join(value.split()) if isinstance(value, str) else ""


def _short_text(fields: Mapping[str, Any], name: str) -> str:
    return short(_text(fields, name), _MAX_QUERY_CHARS)


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
    blocks: Sequence[BlockSnapshot], *, among: Sequence[BlockSnapshot] | None = None, is_final: bool = False
) -> str:
    """Return the HTML of tool calls and other blocks; the result of a server call is shown inside that call.

    Args:
        blocks: The blocks to show. Text and thinking blocks are left out.
        among: All blocks of the reply, because a result may be in another run than its call; by default `blocks`.
        is_final: Whether the reply has ended, so that a call without a result will not get one.
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
    if block.kind.endswith("tool_use") and block.data is not None:
        return _render_server_call(block, result, is_final=is_final)
    if not (is_result(block.kind) or block.text):
        return ""
    inside = render_result(block) if is_result(block.kind) else render_data(block.text)
    return _fold(_quiet(block.kind.replace("_", " ")), inside)


def _render_call(call: CallSnapshot, *, is_complete: bool) -> str:
    state = _STATES[call.state]
    if call.state is CallState.DONE:
        state += _first_line(call.result) or "nothing"
    elif call.state is CallState.FAILED:
        state += _first_line(_without_traceback(call.result)) or "nothing"
    signature = _signature(call.name, call.arguments) if is_complete else f"{visible(call.name)}(…)"
    summary = _code(signature) + escape(state, quote=False)
    return _fold(summary, render_data(pretty(call.arguments)) + render_data(call.result))


def _render_server_call(block: BlockSnapshot, result: BlockSnapshot | None, *, is_final: bool) -> str:
    arguments = _arguments(block)
    name = _field(block, "name")
    call, outcome = _in_words(name, arguments), describe_outcome(result, is_final=is_final)
    if call is None:
        summary = _code(_signature(name, arguments)) + _code(f" · {outcome}")
    elif result is None and not is_final:
        summary = _quiet(f"{call.doing} {call.what}…")
    else:
        summary = _quiet(f"{call.done} {call.what} · {outcome}")
    inside = render_data(pretty(arguments) if call is None else call.more)
    return _fold(summary, inside + (render_result(result) if result else ""))


def _fold(summary: str, inside: str) -> str:
    """Return a collapsed `<details>` element; `summary` and `inside` are escaped HTML."""
    return without_math(
        folded(summary, inside, style=CALL) if inside else f'<div style="{QUIET}">{summary}</div>'
    )


def _quiet(text: str) -> str:
    return styled(QUIET, text, "span")


def _code(text: str) -> str:
    return styled(CALL_SIGNATURE, text, "span")


def _signature(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call in Python notation, shortened: `tide_table(port='Brest', day=3)`."""
    shown: list[str] = []
    for argument, value in arguments.items():
        shown.append(f"{visible(argument)}={short(visible(repr(value)), _MAX_ARGUMENT_CHARS)}")
        if sum(map(len, shown)) > _MAX_SIGNATURE_CHARS:
            shown[-1] = "…"
            break
    return f"{visible(name)}({', '.join(shown)})"


_TRACEBACKS: Final = (
    "Traceback (most recent call last):",
    "Exception Group Traceback (most recent call last):",
)


def _without_traceback(text: str) -> str:
    """Return the text of a failure from the line that names the last error; all of it if it has no traceback."""
    # The lines of an exception group begin with a rule.
    lines = [line.removeprefix("  + ").removeprefix("  | ") for line in text.splitlines()]
    heads = [number for number, line in enumerate(lines) if line in _TRACEBACKS]
    if not heads:
        return text
    return "\n".join(dropwhile(lambda line: line[:1].isspace(), lines[heads[-1] + 1 :]))


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


# Citations: small numbers in the answer, and the list of sources below it.
#
# The API splits a cited text into several blocks, even within a sentence, but together they are one Markdown text.
# Therefore the numbers are inserted as marks that the Markdown parser treats like letters, and the marks become links
# in the finished HTML. A mark contains Unicode noncharacters. These are removed from the model's text, so it cannot
# forge a mark.
_MARK: Final = CITATION_START + "{}" + CITATION_END
_MARK_CHARS: Final = re.compile(f"[{CITATION_START}{CITATION_END}]")
_PLACED: Final = re.compile(f"{CITATION_START}(\\d+){CITATION_END}")
_PLACED_OR_TAG: Final = re.compile("<[^>]*>|" + _PLACED.pattern)
_MARKS_OF_STRUCTURE: Final = " \t>-=|:*_#`~$+\\[]"
_MAX_QUOTE_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class CitedSource:
    """A source that an answer cites.

    Attributes:
        number: Its number in the list of sources, counted from 1.
        url: Its URL; "" if it is not a web page.
        title: Its title; without one, its URL or "Document".
        place: The cited pages ("pages 3–4"), or "".
        quote: The cited text in quotation marks, for sources without a URL; else "".
    """

    number: int
    url: str
    title: str
    place: str = ""
    quote: str = ""


class Citations:
    """The citations of one reply.

    Attributes:
        sources: The cited sources, each once, in the order of first mention.
    """

    def __init__(self, blocks: Sequence[BlockSnapshot]) -> None:
        self._by_key: dict[object, CitedSource] = {}
        for block in blocks:
            self._numbers(block)
        self.sources = tuple(self._by_key.values())

    def mark(self, blocks: Sequence[BlockSnapshot]) -> str:
        """Return the joined text of adjacent blocks, with a mark after each cited passage, if there are any."""
        if not self.sources:
            return "".join(block.text for block in blocks)
        texts = [with_newlines(_MARK_CHARS.sub("\ufffd", block.text)) for block in blocks]
        text = "".join(texts)
        place = _Places(text)
        pieces: list[str] = []
        done = 0
        for block, end in zip(blocks, accumulate(map(len, texts)), strict=True):
            position = place.before(end) if (numbers := self._numbers(block)) else None
            if position is not None and position >= done:
                pieces += [text[done:position], *(_MARK.format(number) for number in numbers)]
                done = position
        return "".join([*pieces, text[done:]])

    def mark_all(self, blocks: Sequence[BlockSnapshot]) -> str:
        """Return the text of a whole reply with marks, and a blank line between runs, as in `ReplySnapshot.text`."""
        runs = groupby(blocks, key=lambda block: block.kind)
        texts = [self.mark(tuple(run)) for kind, run in runs if kind == "text"]
        return "\n\n".join(text for text in texts if text)

    def place(self, html: str) -> str:
        """Return rendered HTML with links in place of the marks. The caller must sanitise the result."""
        return _PLACED_OR_TAG.sub(self._placed, html) if self.sources else html

    def place_in_markdown(self, markdown: str) -> str:
        """Return Markdown with links in place of the marks, followed by the list of sources."""
        if not self.sources:
            return markdown
        linked = _PLACED.sub(self._placed_in_markdown, markdown)
        return "\n".join([linked.rstrip("\n"), "", "Sources:", "", *map(_list_item, self.sources), ""])

    def render_sources(self) -> str:
        """Return the list of sources as unsanitised HTML; "" if there are no citations."""
        if not self.sources:
            return ""
        items = "".join(f"<li>{_describe(source)}</li>" for source in self.sources)
        return f'<div class="{NO_MATH_CLASSES}" style="{SOURCES}">Sources<ol>{items}</ol></div>'

    def _numbers(self, block: BlockSnapshot) -> tuple[int, ...]:
        numbers = [self._take(citation).number for citation in _citations_of(block)]
        return tuple(dict.fromkeys(numbers))

    def _take(self, citation: Mapping[str, Any]) -> CitedSource:
        key, source = _read(citation, number=len(self._by_key) + 1)
        return self._by_key.setdefault(key, source)

    def _find(self, number: str) -> CitedSource | None:
        index = int(number) - 1
        return self.sources[index] if 0 <= index < len(self.sources) else None

    def _placed(self, found: re.Match[str]) -> str:
        if found[1] is None:  # a tag: a mark in an attribute cannot become a link
            return _PLACED.sub("", found[0])
        source = self._find(found[1])
        if source is None:
            return ""
        tooltip = ", ".join(filter(None, (source.title, source.place)))
        link = render_link(source.url, f"[{source.number}]", tooltip=tooltip)
        return f'<sup style="{CITATION}">{link}</sup>'

    def _placed_in_markdown(self, found: re.Match[str]) -> str:
        source = self._find(found[1])
        return "" if source is None else link_in_markdown(source.url, f"[{source.number}]")


class _Places:
    """Finds positions in a Markdown text where a mark can be inserted."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(end.end() for end in re.finditer("\n", text))]
        self._verbatim = [token.map for token in parse_blocks(text) if token.type in VERBATIM and token.map]

    def before(self, end: int) -> int | None:
        """Return the position after the last word before `end`; None if a mark there would break a block or code."""
        while end and self._text[end - 1].isspace():
            end -= 1
        line = bisect_right(self._starts, max(0, end - 1)) - 1
        if any(first <= line < last for first, last in self._verbatim):
            return None
        words = self._text[self._starts[line] : end]
        if not words.strip(_MARKS_OF_STRUCTURE):
            return None
        # After the last bar of a table row there is no cell, so the mark goes before that bar.
        return self._starts[line] + len(words.rstrip("| \t")) if words.lstrip().startswith("|") else end


def _citations_of(block: BlockSnapshot) -> Iterator[Mapping[str, Any]]:
    found = (block.data or {}).get("citations")
    if isinstance(found, list):
        yield from (citation for citation in found if isinstance(citation, Mapping))


def _read(citation: Mapping[str, Any], *, number: int) -> tuple[object, CitedSource]:
    """Return the key that identifies a citation's source, and the source."""
    url = _text(citation, "url") or _text(citation, "source")
    title = _text(citation, "title") or _text(citation, "document_title")
    if is_web_address(url):
        return url, CitedSource(number, url, title or url)
    place, cited = _place(citation), _text(citation, "cited_text")
    name = title or url or "Document"
    index = citation.get("document_index", citation.get("search_result_index"))
    quote = f"“{short(cited, _MAX_QUOTE_CHARS)}”" if cited else ""
    key = (index if isinstance(index, int) else None, name, place, quote)
    return key, CitedSource(number, "", name, place, quote)


def _place(citation: Mapping[str, Any]) -> str:
    first, after = citation.get("start_page_number"), citation.get("end_page_number")
    if not isinstance(first, int):
        return ""
    last = after - 1 if isinstance(after, int) and after > first else first  # the API's end is exclusive
    return f"page {first}" if last == first else f"pages {first}–{last}"


def _describe(source: CitedSource) -> str:
    host = host_of(source.url)
    more = filter(None, (source.place, host if host != source.title else "", source.quote))
    tail = " · ".join(["", *more])
    return render_link(source.url, source.title) + escape(tail, quote=False)


def _list_item(source: CitedSource) -> str:
    parts = [
        link_in_markdown(source.url, source.title),
        *map(escape_markdown, filter(None, (source.place, source.quote))),
    ]
    return f"{source.number}. " + " · ".join(parts)


_JUST_DATA = frozenset({"code", "json"})


def render_answer(snapshot: ReplySnapshot, *, remote_images: bool) -> Body:
    """Return the answer of a reply in its format, with thinking, calls and sources, but without the footer."""
    citations = Citations(snapshot.blocks)
    if snapshot.format == "md":
        return _markdown_answer(snapshot, citations, remote_images=remote_images)
    body = render_body(snapshot.text, snapshot.format, remote_images=remote_images)
    before = "".join(_parts_above(snapshot))
    sources = "" if snapshot.format in _JUST_DATA else sanitise(citations.render_sources())
    return Body(before + body.html + sources, body.markdown, body.plain)


def _markdown_answer(snapshot: ReplySnapshot, citations: Citations, *, remote_images: bool) -> Body:
    parts = "".join(_parts(snapshot, citations, remote_images=remote_images))
    markdown = neutralise_markdown(citations.mark_all(snapshot.blocks))
    return Body(
        html=parts + sanitise(citations.render_sources()),
        markdown=citations.place_in_markdown(markdown),
        plain=reveal(snapshot.text),
    )


def _parts(snapshot: ReplySnapshot, citations: Citations, *, remote_images: bool) -> Iterator[str]:
    allowance = Allowance()
    for run in runs_of(snapshot):
        # Citations split a text even within a sentence, so adjacent text blocks are one Markdown text.
        if run.kind == "text":
            env = new_env(remote_images=remote_images, allowance=allowance)
            html = render_fragment(run.shown(citations.mark(run.blocks)), env)
            yield sanitise(wrap(citations.place(html)))
        else:
            yield render_run(run, snapshot.blocks, allowance, is_final=True)


def _parts_above(snapshot: ReplySnapshot) -> Iterator[str]:
    """Yield the HTML above an answer that is not Markdown: calls, and thinking unless the format is code or JSON."""
    left_out = ("text", "thinking") if snapshot.format in _JUST_DATA else ("text",)
    for run in runs_of(snapshot):
        if run.kind not in left_out:
            yield render_run(run, snapshot.blocks, Allowance(), is_final=True)


NORMAL_STOPS: Final = frozenset({None, "end_turn", "stop_sequence"})


class Run(NamedTuple):
    """Adjacent blocks of one kind: "text", "thinking", or "other" for all other blocks.

    Attributes:
        kind: The kind.
        blocks: The blocks.
        is_cut: The reply ended within these blocks: it was stopped, broke off, or reached a limit.
    """

    kind: str
    blocks: tuple[BlockSnapshot, ...]
    is_cut: bool = False

    def shown(self, markdown: str) -> str:
        """Return the Markdown of this run, or of its end, for display: incomplete syntax at a cut is completed or left out."""
        return close_open_marks(markdown, is_cut=True) if self.is_cut else markdown


def runs_of(snapshot: ReplySnapshot) -> list[Run]:
    """Return the blocks of a reply in order, grouped into runs of one kind."""
    runs = [Run(kind, tuple(blocks)) for kind, blocks in groupby(snapshot.blocks, key=_kind)]
    is_whole = snapshot.phase is Phase.COMPLETE and snapshot.stop_reason in NORMAL_STOPS
    if runs and snapshot.phase.is_final and not is_whole:
        runs[-1] = runs[-1]._replace(is_cut=True)
    return runs


def _kind(block: BlockSnapshot) -> str:
    return block.kind if block.kind in ("text", "thinking") else "other"


def render_run(run: Run, among: Sequence[BlockSnapshot], allowance: Allowance, *, is_final: bool) -> str:
    """Return the HTML of a run of thinking, or of calls and their results.

    Args:
        run: A run of any kind but "text".
        among: All blocks of the reply, because a result may be in another run than its call.
        allowance: How much of the answer may still be rendered.
        is_final: Whether the reply has ended.
    """
    if run.kind == "thinking":
        text = "\n\n".join(block.text for block in run.blocks)
        return render_thinking(run.shown(text), allowance=allowance)
    return render_calls(run.blocks, among=among, is_final=is_final)
