"""Renders one frame of a streaming answer: a list of slots, of which all but the last ones no longer change.

A slot is one display of its own in a cell, one element of the widget there, or one widget of a panel. Drawing is comparing two rows: a slot that has not
changed is not sent again, so that what goes over the wire grows with the answer and not with its square.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from markdown_it.token import Token

from ..runtime import BlockSnapshot, Phase, ReplySnapshot, Wait
from ..tools import CallState
from ._answer import Run, render_answer, render_run, runs_of
from ._formats import render_growing
from ._markdown import Env, close_open_marks, new_env, parse_blocks, render_fragment, wrap
from ._sanitise import STATUS_LINE, sanitise, sentence, without_math
from ._tex import Allowance

# Growing Markdown is cut into finished blocks, a pending block and a tail.
#
# Each finished block gets a display of its own and is never sent again. The tail is sent with each frame, and each time
# the front end typesets its formulas again, so it is kept short: closed parts move into the pending block, a large
# piece at a time, until that is large enough to be finished. Where a block ends is
# decided by the Markdown parser: a top-level block is closed once another one has begun in a complete line after it
# (an incomplete line may still turn out to be anything: `-` a list, a rule, or the underline of a heading).
#
# The work is linear in the length of the text: finished source is rendered once, and a tail that has grown long is
# rendered again only when it has grown by a fixed share.

# JupyterLab stops showing new outputs of a cell near 50 (measured on 4.6.6).
MAX_BLOCKS: Final = 35
MAX_PIECES: Final = 4_000

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
        """The blocks from top to bottom, without empty ones."""
        return tuple(block for block in (*self.finished, self.pending, self.tail) if block.source)


class GrowingMarkdown:
    """Renders a text again and again while it grows.

    Attributes:
        first_allowance: How much of the answer might be rendered before this text.
        allowance_left: How much may still be rendered after it.

    Args:
        remote_images: Load images from http and https addresses instead of linking to them.
        allowance: How much of the whole answer may still be rendered.
        in_pieces: Finish what is closed at once, however small, so that nothing of it is drawn twice.
    """

    def __init__(
        self, *, remote_images: bool = False, allowance: Allowance | None = None, in_pieces: bool = False
    ) -> None:
        self._remote_images = remote_images
        self._in_pieces = in_pieces
        self.first_allowance = (allowance or Allowance()).copy()
        self._start_over()

    def _start_over(self) -> None:
        self._text = ""
        self._finished: list[Block] = []
        # Ends, in characters, of the source in finished blocks, in the pending block, and rendered for good in the tail
        # until it is long enough to be moved.
        self._emitted = self._pending = self._closed = 0
        self._pending_html: list[str] = []
        self._closed_html: list[str] = []
        # Link definitions in the closed part, and the allowance left after it.
        self._references: dict[str, object] = {}
        self._allowance = self.first_allowance.copy()
        self.allowance_left = self._allowance
        self._open_html = ""
        self._final: BlockPlan | None = None
        # Length of the open part when it was last rendered, and the end of the complete lines searched for closed blocks.
        self._open_rendered = self._complete = 0

    def update(self, text: str, *, is_final: bool = False, is_cut: bool = False) -> BlockPlan:
        """Return the plan for `text`, which normally continues the text of the call before.

        Args:
            text: The whole text so far; if it does not continue the previous one, rendering starts over.
            is_final: No more is coming, so that the tail is shown as it is.
            is_cut: Although no more is coming, the end is missing.
        """
        if self._final is not None and text == self._text:
            return self._final
        if not text.startswith(self._text):
            self._start_over()
        self._text = text
        if is_final or self._is_worth_rendering():
            self._close_blocks()
            self._render_open(is_final=is_final, is_cut=is_cut)
        plan = BlockPlan(
            finished=tuple(self._finished),
            pending=_block(text[self._emitted : self._pending], self._pending_html),
            tail=_block(text[self._pending :], [*self._closed_html, self._open_html]),
        )
        self._final = plan if is_final else None
        return plan

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
        if self._closed - self._pending >= (0 if self._in_pieces else _PENDING_STEP_CHARS):
            self._move_on()

    def _move_on(self) -> None:
        """Move what is closed out of the tail, and finish the pending block if it is large enough now."""
        count = len(self._finished)
        least = _least_piece_size(count) if self._in_pieces else _least_block_size(count)
        self._pending_html += self._closed_html
        self._closed_html.clear()
        self._pending = self._closed
        if self._pending - self._emitted >= least:
            self._finished.append(_block(self._text[self._emitted : self._pending], self._pending_html))
            self._emitted = self._pending
            self._pending_html.clear()

    def _is_worth_rendering(self) -> bool:
        length = len(self._text) - self._closed
        return length < _LONG_TAIL_CHARS or length >= self._open_rendered * _LONG_TAIL_GROWTH

    def _render_open(self, *, is_final: bool, is_cut: bool) -> None:
        source = self._text[self._closed :]
        self.allowance_left = self._allowance.copy()
        shown = source if is_final and not is_cut else close_open_marks(source, is_cut=is_cut)
        env = self._env(dict(self._references), self.allowance_left)
        # The front end would typeset each of its formulas again with every new word.
        env["shows_source"] = not is_final
        html = render_fragment(shown, env)
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
    blocks = [token for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
    starts = [token.map[0] for token in blocks if token.map]
    if blocks and blocks[-1].map and _ends_by_itself(blocks[-1]):
        starts.append(blocks[-1].map[1])
    if len(starts) < 2:
        return 0
    ends = islice(_LINE_END.finditer(lines), starts[-1] - 1, None)
    return next(ends).end() if starts[-1] else 0


def _ends_by_itself(token: Token) -> bool:
    """Whether no line that follows can belong to the block that begins with this token."""
    return token.type in ("math_block", "hr") or (
        token.type == "heading_open" and token.markup.startswith("#")
    )


def _least_block_size(block_count: int) -> int:
    """Return the size in characters from which closed source becomes block number `block_count`, from 0.

    1,000 at first, twice that every eight blocks, from the 28th on with every block; the last two are the pending one
    and the tail. So 100,000 characters fill about 30 blocks, and any length fits.
    """
    if block_count >= MAX_BLOCKS - 2:
        return 1 << 62
    return 1_000 << (block_count // 8 + max(0, block_count - 27))


def _least_piece_size(piece_count: int) -> int:
    """Return the size in characters from which closed source becomes piece number `piece_count`, from 0.

    It becomes one at once, so that nothing sets its formulas twice. A page that has very many pieces has enough to do.
    """
    return 1_000 << ((piece_count - MAX_PIECES) // 1_000) if piece_count >= MAX_PIECES else 0


_PENDING = {
    CallState.WAITING: "waiting for the kernel, a cell is running…",
    CallState.APPROVAL: "waiting for your approval of {name}…",
    CallState.RUNNING: "running {name}…",
}


def render_status_line(snapshot: ReplySnapshot, now: float, *, remark: str = "") -> str:
    """Return the line's HTML; "" where the answer speaks for itself and nothing is to be remarked.

    Args:
        snapshot: The reply.
        now: The present, by `time.monotonic()`.
        remark: What else is to be said as long as it has not ended.
    """
    line = " · ".join(part for part in (describe_status(snapshot, now), remark) if part)
    return render_line(line) if line else ""


def render_line(text: str) -> str:
    """Return a line in the style of a footer as HTML."""
    return without_math(sentence(STATUS_LINE, text))


def describe_status(snapshot: ReplySnapshot, now: float) -> str:
    """Return the same line as plain text."""
    if snapshot.phase.is_final:
        return ""
    if snapshot.wait is not None:
        return _describe_wait(snapshot.wait, now)
    if snapshot.phase is Phase.STREAMING:
        return _describe_streaming(snapshot)
    if snapshot.phase is Phase.CALLING:
        return _describe_call(snapshot)
    return "waiting for the first words…" if not snapshot.rounds else "waiting for more…"


def _describe_streaming(snapshot: ReplySnapshot) -> str:
    last = snapshot.blocks[-1] if snapshot.blocks else None
    if last is None:
        return "thinking…"
    if last.kind == "text" and last.text:
        return ""
    if last.kind.endswith("tool_use"):
        name = (last.data or {}).get("name") or "a tool"
        return f"writing a call to {name}…"
    return "thinking…" if last.kind != "text" or not snapshot.text else ""


def _describe_call(snapshot: ReplySnapshot) -> str:
    calls = [block.call for block in snapshot.blocks if block.call is not None]
    pending = next((call for call in calls if call.state in _PENDING), None)
    if pending is None:
        return "waiting for more…"
    return _PENDING[pending.state].format(name=pending.name)


def _describe_wait(wait: Wait, now: float) -> str:
    if wait.kind == "turn":
        return "waiting for the previous answer of this conversation…"
    left = wait.remaining(now)
    is_known = not math.isinf(left)
    seconds, when = (f", {math.ceil(left)} s", f"in {math.ceil(left)} s") if is_known else ("", "soon")
    if wait.kind == "rate":
        return f"waiting for the rate limiter{seconds}…"
    if wait.kind == "paused":
        reason = f"the server asked to wait{f' ({wait.reason})' if wait.reason else ''}"
        return f"{reason}; sending {when}. Nothing is sent yet, interrupting is safe…"
    if wait.kind == "limit":
        return f"waiting for the server's limit of {wait.reason}{seconds}…"
    reason = f"{wait.reason[0].upper()}{wait.reason[1:]}" if wait.reason else "That attempt failed"
    return f"{reason}; retrying {when} · attempt {wait.attempt} of {wait.max_attempts}"


MAX_SLOTS = MAX_BLOCKS + 5
"""A front end shows only so many displays in a cell (JupyterLab near 50); what comes after shares the last one."""


A_WHILE = 1.0
"""Seconds after which an answer is worth a word, or a button, on how to stop it."""


class LiveFrames:
    """The slots of one answer while it grows.

    Args:
        remote_images: Load images from other hosts.
        remark: What is to be said below an answer that takes a while, as long as it has not ended: how to stop it.
        in_pieces: Each block of the text gets a slot of its own as soon as it is whole. There may be very many then.
    """

    def __init__(self, *, remote_images: bool = False, remark: str = "", in_pieces: bool = False) -> None:
        self._remote_images = remote_images
        self._remark = remark
        self._in_pieces = in_pieces
        self._texts: dict[int, GrowingMarkdown] = {}
        self._folds: dict[int, _Fold] = {}
        self._count = 0

    def slots(self, snapshot: ReplySnapshot, now: float) -> list[str]:
        """Return the HTML of each slot, top to bottom; slots only ever become more.

        Args:
            snapshot: The reply; later ones must continue the previous.
            now: The present, by `time.monotonic()`.
        """
        slots = [*self._answer(snapshot, is_final=False)]
        # A call that waits or runs has a status line of its own.
        if snapshot.phase is not Phase.CALLING:
            remark = self._remark if snapshot.elapsed >= A_WHILE else ""
            if status := render_status_line(snapshot, now, remark=remark):
                slots.append(status)
        if len(slots) > MAX_SLOTS and not self._in_pieces:
            slots[MAX_SLOTS - 1 :] = ["".join(slots[MAX_SLOTS - 1 :])]
        # The slot of a status line that has gone is used by the next block.
        self._count = max(self._count, len(slots))
        return slots + [""] * (self._count - len(slots))

    def last_slots(self, snapshot: ReplySnapshot) -> list[str]:
        """Return the slots of the finished answer without its footer; most of them are unchanged."""
        has_citations = any(block.data for block in snapshot.blocks if block.kind == "text")
        if snapshot.format != "md" or has_citations:
            return [render_answer(snapshot, remote_images=self._remote_images).html]
        return [*self._answer(snapshot, is_final=True)]

    def _answer(self, snapshot: ReplySnapshot, *, is_final: bool) -> Iterator[str]:
        if snapshot.format != "md":
            if snapshot.text:
                yield render_growing(snapshot, remote_images=self._remote_images)
            return
        allowance = Allowance()
        runs = runs_of(snapshot)
        for index, run in enumerate(runs):
            is_last = index == len(runs) - 1 and not is_final
            if run.kind == "text":
                text = "".join(block.text for block in run.blocks)
                growing = self._text(index, allowance)
                plan = growing.update(text, is_final=not is_last, is_cut=run.is_cut)
                yield from (block.html for block in plan.blocks)
                allowance = growing.allowance_left
            elif not (is_last and _is_under_way(run)):  # of those the status line tells
                fold = self._fold(index, run, snapshot.blocks, allowance, is_final=is_final)
                allowance = fold.allowance_left
                if fold.html:
                    yield fold.html

    def _text(self, index: int, allowance: Allowance) -> GrowingMarkdown:
        if index not in self._texts or self._texts[index].first_allowance != allowance:
            self._texts[index] = GrowingMarkdown(
                remote_images=self._remote_images, allowance=allowance, in_pieces=self._in_pieces
            )
        return self._texts[index]

    def _fold(
        self, index: int, run: Run, among: Sequence[BlockSnapshot], allowance: Allowance, *, is_final: bool
    ) -> _Fold:
        source = (run, is_final, allowance.copy())
        fold = self._folds.get(index)
        if fold is None or fold.source != source:
            left = allowance.copy()
            html = render_run(run, among, left, is_final=is_final)
            fold = self._folds[index] = _Fold(source, html, left)
        return fold


class _Fold(NamedTuple):
    """Thinking or calls: what they were drawn from, their HTML, and what may be drawn of the answer after them."""

    source: object
    html: str
    allowance_left: Allowance


def _is_under_way(run: Run) -> bool:
    """Whether the block is still being written (thinking, or the arguments of a call), so that nothing is folded yet."""
    last = run.blocks[-1]
    return run.kind == "thinking" or (last.kind == "tool_use" and last.call is None)
