"""Citations: small numbers in the answer, and the list of sources under it.

Citations cut a text into blocks in mid-sentence, but it is one Markdown text. So the numbers are put into it as marks that
Markdown passes through like letters, and become links in the finished HTML. The marks are noncharacters of Unicode, which
are taken out of what the model wrote: it cannot forge one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, groupby
from typing import Any, Final

from ..runtime import BlockSnapshot
from ._emphasis import CITATION_END, CITATION_START
from ._links import escape_markdown, host_of, is_web_address, link_in_markdown, render_link
from ._markdown import parse_blocks
from ._sanitise import NO_MATH_CLASSES
from ._styles import CITATION, SOURCES

_MARK: Final = CITATION_START + "{}" + CITATION_END
_MARK_CHARS: Final = re.compile(f"[{CITATION_START}{CITATION_END}]")
_PLACED: Final = re.compile(f"{CITATION_START}(\\d+){CITATION_END}")
_PLACED_OR_TAG: Final = re.compile("<[^>]*>|" + _PLACED.pattern)
_LINE_END: Final = re.compile(r"\r\n?")
_MARKS_OF_STRUCTURE: Final = " \t>-=|:*_#`~$+\\[]"
_VERBATIM: Final = frozenset({"fence", "code_block", "math_block", "math_open", "sparse_table", "plain_text"})
_MAX_QUOTE_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Source:
    """Something that an answer cites.

    Attributes:
        number: Its number in the list, from 1.
        url: Where it is, or "".
        title: What it is called; its address or a plain word where it has no title.
        place: Where in it ("pages 3-4"), or "".
        quote: What is cited, where there is no address to look it up at; else "".
    """

    number: int
    url: str
    title: str
    place: str = ""
    quote: str = ""


class Citations:
    """The citations of one reply.

    Attributes:
        sources: What it cites, each once, in the order of first mention.
    """

    def __init__(self, blocks: Sequence[BlockSnapshot]) -> None:
        self._by_key: dict[object, Source] = {}
        for block in blocks:
            self._numbers(block)
        self.sources = tuple(self._by_key.values())

    def mark(self, blocks: Sequence[BlockSnapshot]) -> str:
        """Return the text of neighbouring text blocks, with marks after what is cited; without citations, just the text."""
        if not self.sources:
            return "".join(block.text for block in blocks)
        texts = [_LINE_END.sub("\n", _MARK_CHARS.sub("\ufffd", block.text)) for block in blocks]
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
        """Return the text of a whole reply with marks, in paragraphs as `ReplySnapshot.text` has it."""
        runs = groupby(blocks, key=lambda block: block.kind)
        texts = [self.mark(tuple(run)) for kind, run in runs if kind == "text"]
        return "\n\n".join(text for text in texts if text)

    def place(self, html: str) -> str:
        """Turn the marks in HTML that Markdown became into links. It has to be sanitised after that."""
        return _PLACED_OR_TAG.sub(self._placed, html) if self.sources else html

    def place_in_markdown(self, markdown: str) -> str:
        """Turn the marks in Markdown into links, and add the list of sources."""
        if not self.sources:
            return markdown
        linked = _PLACED.sub(self._placed_in_markdown, markdown)
        return "\n".join([linked.rstrip("\n"), "", "Sources:", "", *map(_list_item, self.sources), ""])

    def render_sources(self) -> str:
        """Return the list of sources as HTML that is not sanitised yet; "" where nothing is cited."""
        if not self.sources:
            return ""
        items = "".join(f"<li>{_describe(source)}</li>" for source in self.sources)
        return f'<div class="{NO_MATH_CLASSES}" style="{SOURCES}">Sources<ol>{items}</ol></div>'

    def _numbers(self, block: BlockSnapshot) -> tuple[int, ...]:
        numbers = [self._take(citation).number for citation in _citations_of(block)]
        return tuple(dict.fromkeys(numbers))

    def _take(self, citation: Mapping[str, Any]) -> Source:
        key, source = _read(citation, number=len(self._by_key) + 1)
        return self._by_key.setdefault(key, source)

    def _find(self, number: str) -> Source | None:
        index = int(number) - 1
        return self.sources[index] if 0 <= index < len(self.sources) else None

    def _placed(self, found: re.Match[str]) -> str:
        if found[1] is None:  # a tag: a mark in one of its attributes cannot become a link
            return _PLACED.sub("", found[0])
        source = self._find(found[1])
        if source is None:
            return ""
        link = render_link(source.url, f"[{source.number}]", tooltip=_tooltip(source))
        return f'<sup style="{CITATION}">{link}</sup>'

    def _placed_in_markdown(self, found: re.Match[str]) -> str:
        source = self._find(found[1])
        return "" if source is None else link_in_markdown(source.url, f"[{source.number}]")


class _Places:
    """Where in a Markdown text a mark can stand."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(end.end() for end in re.finditer("\n", text))]
        self._verbatim = [token.map for token in parse_blocks(text) if token.type in _VERBATIM and token.map]

    def before(self, end: int) -> int | None:
        """Return the place after the last word before `end`; None where a mark would break a block, or code."""
        while end and self._text[end - 1].isspace():
            end -= 1
        line = bisect_right(self._starts, max(0, end - 1)) - 1
        if any(first <= line < last for first, last in self._verbatim):
            return None
        words = self._text[self._starts[line] : end]
        if not words.strip(_MARKS_OF_STRUCTURE):
            return None
        # Behind the last bar of a table's row there is no cell.
        return self._starts[line] + len(words.rstrip("| \t")) if words.lstrip().startswith("|") else end


def _citations_of(block: BlockSnapshot) -> Iterator[Mapping[str, Any]]:
    found = (block.data or {}).get("citations")
    if isinstance(found, list):
        yield from (citation for citation in found if isinstance(citation, Mapping))


def _read(citation: Mapping[str, Any], *, number: int) -> tuple[object, Source]:
    """Return a citation's source, and what tells it from others."""
    url = _text(citation, "url") or _text(citation, "source")
    title = _text(citation, "title") or _text(citation, "document_title")
    if is_web_address(url):
        return url, Source(number, url, title or url)
    place, quote = _place(citation), _text(citation, "cited_text")
    name = title or url or "Document"
    index = citation.get("document_index", citation.get("search_result_index"))
    quote = quote if len(quote) <= _MAX_QUOTE_CHARS else quote[: _MAX_QUOTE_CHARS - 1] + "…"
    return (index if isinstance(index, int) else None, name, place, quote), Source(
        number, "", name, place, quote
    )


def _place(citation: Mapping[str, Any]) -> str:
    first, after = citation.get("start_page_number"), citation.get("end_page_number")
    if not isinstance(first, int):
        return ""
    last = after - 1 if isinstance(after, int) and after > first else first  # the API's end is exclusive
    return f"page {first}" if last == first else f"pages {first}–{last}"


def _text(citation: Mapping[str, Any], name: str) -> str:
    value = citation.get(name)
    return " ".join(value.split()) if isinstance(value, str) else ""


def _tooltip(source: Source) -> str:
    return ", ".join(part for part in (source.title, source.place) if part)


def _describe(source: Source) -> str:
    host = host_of(source.url)
    quote = f"“{source.quote}”" if source.quote else ""
    more = [part for part in (source.place, host if host != source.title else "", quote) if part]
    tail = " · ".join(["", *more])
    return render_link(source.url, source.title) + escape(tail, quote=False)


def _list_item(source: Source) -> str:
    quote = f"“{source.quote}”" if source.quote else ""
    parts = [
        link_in_markdown(source.url, source.title),
        *map(escape_markdown, filter(None, (source.place, quote))),
    ]
    return f"{source.number}. " + " · ".join(parts)
