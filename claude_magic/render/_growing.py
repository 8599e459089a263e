"""Markdown that is still growing, cut into finished blocks, a pending one and a tail.

Each finished block gets a display of its own and is never sent again. The tail is sent with each frame, and each time
the front end sets its formulas again, so it is kept short: what is closed in it moves on into the pending block, a good
piece at a time, until that is large enough to be finished. Where a block ends is
for the Markdown parser to say: a top-level block is closed once another one has begun in a complete line after it
(an incomplete line may still turn out to be anything: `-` a list, a rule, or the underline of a heading).

The work is linear in the length of the text: finished source is rendered once, and a tail that has grown long is
rendered again only when it has grown by a fixed share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ._markdown import Env, new_env, parse_blocks, render_fragment, wrap
from ._sanitise import sanitise
from ._tex import Allowance

# A last line of nothing but these may become a list, a rule, a heading, a fence, an underline, a table ...
_MARKS: Final = "-=*_+#~`$|:\\ \t>"
_LIST_NUMBER: Final = re.compile(r"\d{1,9}[.)]?")
_HALF_LINK: Final = re.compile(r"!?\[([^\[\]\n]*)(?:\](?:\([^()\s]*)?)?$")
_HALF_DELIMITER_ROW: Final = re.compile(r"[ \t|:\-]*")
_VERBATIM: Final = frozenset({"fence", "code_block", "math_block", "math_open", "sparse_table"})


def settle(source: str) -> str:
    """Return `source` as it should be shown while more of it is coming."""
    shown = _with_table_head(source) or _without_undecided_line(source)
    tokens = parse_blocks(shown)
    last = next((token for token in reversed(tokens) if token.nesting >= 0), None)
    if last is None or last.type in _VERBATIM:
        return shown
    start = shown.rfind("\n\n") + 1
    return shown[:start] + _with_inline_marks_closed(shown[start:])


def _without_undecided_line(source: str) -> str:
    start = source.rfind("\n") + 1
    rest = source[start:].strip(_MARKS)
    return (
        source[: max(0, start - 1)]
        if start < len(source) and (not rest or _LIST_NUMBER.fullmatch(rest))
        else source
    )


def _with_table_head(source: str) -> str | None:
    """Complete the first row or two of a table, so that it does not start its life as a paragraph of bars."""
    lines = source[source.rfind("\n\n") + 1 :].strip("\n").split("\n")
    head = lines[0].strip()
    if not head.startswith("|") or len(head) < 2 or len(lines) > 2:
        return None
    if len(lines) == 2 and (source.endswith("\n") or not _HALF_DELIMITER_ROW.fullmatch(lines[1])):
        return None
    columns = head.strip("|").count("|") + 1
    before = source[: source.rfind(lines[0])] if len(lines) == 1 else source[: source.rfind(lines[0] + "\n")]
    return f"{before}{head.rstrip('|')}|\n|{'---|' * columns}\n"


def _with_inline_marks_closed(paragraph: str) -> str:
    if paragraph.count("`") % 2:
        return paragraph + "`"
    shown = _HALF_LINK.sub(r"\1", paragraph).rstrip("*")
    return shown + "**" if shown.count("**") % 2 else shown


# JupyterLab stops showing new outputs of a cell near 50 (measured on 4.6.6).
MAX_BLOCKS: Final = 35

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_PENDING_STEP_CHARS: Final = 1_000
_LONG_TAIL_CHARS: Final = 4_096
_LONG_TAIL_GROWTH: Final = 1.05


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of Markdown source and its safe HTML."""

    source: str
    html: str


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How to show the text.

    The sources of all blocks, joined, are the text. There are never more than `MAX_BLOCKS` of them. The HTML of a long
    tail may lag behind its source by a few words until the text is final.

    Attributes:
        finished: Blocks that stay as they are, and only ever become more.
        pending: What is closed but too small to be finished; changes now and then. May be empty.
        tail: What is still being written; changes all the time. May be empty.
    """

    finished: tuple[Block, ...]
    pending: Block
    tail: Block

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks from top to bottom, without empty ones."""
        return tuple(block for block in (*self.finished, self.pending, self.tail) if block.source)


class GrowingMarkdown:
    """Renders a text again and again while it grows.

    Attributes:
        allowance_left: What may still be drawn of the answer after this text, as far as it has come.

    Args:
        remote_images: Load images from http and https addresses instead of linking to them.
        allowance: What may still be drawn of the answer of which this text is a part.
    """

    _text: str
    _finished: list[Block]
    _emitted: int  # up to here the source stands in finished blocks
    _pending: int  # up to here it stands in the pending block
    _pending_html: list[str]
    _closed: int  # up to here it is rendered for good, and stands in the tail until that is worth moving on
    _closed_html: list[str]
    _allowance: Allowance  # what may still be drawn after what is closed
    allowance_left: Allowance
    _references: dict[str, object]  # link definitions in what is closed
    _open_html: str
    _open_rendered: int  # how much source the open part had when it was rendered last
    _complete: int  # up to here complete lines have been searched for closed blocks

    def __init__(self, *, remote_images: bool = False, allowance: Allowance | None = None) -> None:
        self._remote_images = remote_images
        self._first_allowance = allowance or Allowance()
        self._start_over()

    def update(self, text: str, *, is_final: bool = False) -> BlockPlan:
        """Return the plan for `text`, which normally continues the text of the call before.

        Args:
            text: The whole text so far; if it does not continue the previous one, rendering starts over.
            is_final: No more is coming, so that the tail is shown as it is.
        """
        if not text.startswith(self._text):
            self._start_over()
        self._text = text
        if is_final or self._is_worth_rendering():
            self._close_blocks()
            self._render_open(is_final=is_final)
        return BlockPlan(
            finished=tuple(self._finished),
            pending=_block(text[self._emitted : self._pending], self._pending_html),
            tail=_block(text[self._pending :], [*self._closed_html, self._open_html]),
        )

    def _start_over(self) -> None:
        self._text = ""
        self._finished = []
        self._emitted = self._pending = self._closed = 0
        self._pending_html = []
        self._closed_html = []
        self._references = {}
        self._allowance = self._first_allowance.copy()
        self.allowance_left = self._allowance
        self._open_html = ""
        self._open_rendered = self._complete = 0

    def _close_blocks(self) -> None:
        complete = self._text.rfind("\n") + 1
        if complete == self._complete:
            return
        self._complete = complete
        length = _length_of_closed_blocks(self._text[self._closed : complete])
        if not length:
            return
        html = render_fragment(
            self._text[self._closed : self._closed + length], self._env(self._references, self._allowance)
        )
        self._closed_html.append(sanitise(html))
        self._closed += length
        if self._closed - self._pending >= _PENDING_STEP_CHARS:
            self._move_on()

    def _move_on(self) -> None:
        """Move what is closed out of the tail, and finish the pending block if it is large enough now."""
        self._pending_html += self._closed_html
        self._closed_html.clear()
        self._pending = self._closed
        if self._pending - self._emitted >= _least_block_size(len(self._finished)):
            self._finished.append(_block(self._text[self._emitted : self._pending], self._pending_html))
            self._emitted = self._pending
            self._pending_html.clear()

    def _is_worth_rendering(self) -> bool:
        length = len(self._text) - self._closed
        return length < _LONG_TAIL_CHARS or length >= self._open_rendered * _LONG_TAIL_GROWTH

    def _render_open(self, *, is_final: bool) -> None:
        source = self._text[self._closed :]
        self.allowance_left = self._allowance.copy()
        shown = source if is_final else settle(source)
        html = render_fragment(shown, self._env(dict(self._references), self.allowance_left))
        self._open_html = sanitise(html)
        self._open_rendered = len(source)

    def _env(self, references: dict[str, object], allowance: Allowance) -> Env:
        return {"references": references, **new_env(remote_images=self._remote_images, allowance=allowance)}


def _block(source: str, html: list[str]) -> Block:
    inner = "".join(html)
    return Block(source, wrap(inner) if inner else "")


def _length_of_closed_blocks(lines: str) -> int:
    """Return how many characters of `lines`, which are complete, belong to top-level blocks that are closed."""
    tokens = parse_blocks(lines)
    starts = [token.map[0] for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
    if len(starts) < 2:
        return 0
    ends = islice(_LINE_END.finditer(lines), starts[-1] - 1, None)
    return next(ends).end() if starts[-1] else 0


def _least_block_size(block_count: int) -> int:
    """Return the size in characters from which closed source becomes block number `block_count`, from 0.

    1,000 at first, twice that every eight blocks, from the 28th on with every block; the last two are the pending one
    and the tail. So 100,000 characters fill about 30 blocks, and any length fits.
    """
    if block_count >= MAX_BLOCKS - 2:
        return 1 << 62
    return 1_000 << (block_count // 8 + max(0, block_count - 27))
