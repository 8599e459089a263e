"""Renders the frames of a streaming answer. A frame is a list of slots, of which only the last ones still change.

A slot is a separate display of a cell, an element of the cell's widget, or a widget of a panel. A frame sends only the
slots that have changed since the previous one, so the total traffic is proportional to the length of the answer, not
to its square.
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

# Growing Markdown is split into finished blocks, a pending block and a tail.
#
# Each finished block has a separate display and is never sent again. The tail is sent with each frame, and the front
# end then typesets its formulas again. Therefore the tail is kept short: closed parts move into the pending block, in
# large pieces, until the pending block is large enough to be finished. The Markdown parser decides where a block ends:
# a top-level block is closed once another one has begun on a complete line after it. The meaning of an incomplete line
# is still open: `-` may become a list, a rule, or the underline of a heading.
#
# The work is linear in the length of the text: finished source is rendered once, and a long tail is rendered again
# only after it has grown by a fixed ratio.

# JupyterLab stops showing new outputs of a cell near 50 (measured on 4.6.6).
MAX_BLOCKS: Final = 35
MAX_PIECES: Final = 4_000

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_PENDING_STEP_CHARS: Final = 1_000
_LONG_TAIL_CHARS: Final = 4_096
_LONG_TAIL_GROWTH: Final = 1.05


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the Markdown source, and its safe HTML."""

    source: str
    html: str


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The blocks of a growing text.

    The joined sources of all blocks are the text. The HTML of a long tail may lag behind its source by a few words until
    the text is final.

    Attributes:
        finished: Blocks that no longer change. Later plans only add blocks.
        pending: The closed part that is too small to be finished; changes occasionally. May be empty.
        tail: The part that is still being written; changes with most updates. May be empty.
    """

    finished: tuple[Block, ...]
    pending: Block
    tail: Block

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The non-empty blocks, from top to bottom."""
        return tuple(block for block in (*self.finished, self.pending, self.tail) if block.source)


class GrowingMarkdown:
    """Renders a text repeatedly while it grows.

    Attributes:
        first_allowance: How much of the answer might be rendered before this text.
        allowance_left: How much may still be rendered after it.

    Args:
        remote_images: Load images from http and https addresses instead of linking to them.
        allowance: How much of the whole answer may still be rendered.
        max_blocks: Maximum number of blocks. None finishes each closed block immediately, whatever its size, so that it
            is drawn only once.
    """

    def __init__(
        self,
        *,
        remote_images: bool = False,
        allowance: Allowance | None = None,
        max_blocks: int | None = MAX_BLOCKS,
    ) -> None:
        self._remote_images = remote_images
        self._max_blocks = max_blocks
        self.first_allowance = (allowance or Allowance()).copy()
        self._start_over()

    def _start_over(self) -> None:
        self._text = ""
        self._finished: list[Block] = []
        # End positions in the text: of the finished blocks, of the pending block, and of the closed part at the start
        # of the tail, whose HTML is kept until the part is long enough to be moved.
        self._emitted = self._pending = self._closed = 0
        self._pending_html: list[str] = []
        self._closed_html: list[str] = []
        # Link definitions in the closed part, and the allowance left after it.
        self._references: dict[str, object] = {}
        self._allowance = self.first_allowance.copy()
        self.allowance_left = self._allowance
        self._open_html = ""
        self._final: BlockPlan | None = None
        # Length of the open part at its last rendering, and the end of the complete lines searched for closed blocks.
        self._open_rendered = self._complete = 0

    def update(self, text: str, *, is_final: bool = False, is_cut: bool = False) -> BlockPlan:
        """Return the plan for `text`, which normally begins with the text of the previous call.

        Args:
            text: The whole text so far. If it does not begin with the previous one, rendering starts over.
            is_final: Whether the text is complete, so that the tail is shown as written.
            is_cut: Whether the text is final but its end is missing.
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
        if self._closed - self._pending >= (0 if self._max_blocks is None else _PENDING_STEP_CHARS):
            self._move_on()

    def _move_on(self) -> None:
        """Move the closed part of the tail to the pending block, and finish that if it is large enough."""
        count = len(self._finished)
        most = self._max_blocks
        least = _least_piece_size(count) if most is None else _least_block_size(count, most)
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
        # Otherwise the front end would typeset each formula again with every new word.
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
    """Return how many characters of `lines` belong to closed top-level blocks. All lines must be complete."""
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
    """Whether no later line can belong to the block that begins with this token."""
    return token.type in ("math_block", "hr") or (
        token.type == "heading_open" and token.markup.startswith("#")
    )


def _least_block_size(block_count: int, max_blocks: int) -> int:
    """Return the size in characters from which closed source becomes block number `block_count`, from 0.

    The size starts at 1,000, doubles every quarter of the blocks, and doubles with each of the last ones. Two blocks are
    reserved for the pending block and the tail. So 100,000 characters need about 30 of 35 blocks, and text of any length
    fits.
    """
    if block_count >= max_blocks - 2:
        return 1 << 62
    return 1_000 << (block_count // (max_blocks // 4) + max(0, block_count - (max_blocks - 8)))


def _least_piece_size(piece_count: int) -> int:
    """Return the size in characters from which closed source becomes piece number `piece_count`, from 0.

    The size is 0 at first, so that formulas are typeset only once. With very many pieces it grows, to limit the load
    of the page.
    """
    return 1_000 << ((piece_count - MAX_PIECES) // 1_000) if piece_count >= MAX_PIECES else 0


_PENDING = {
    CallState.WAITING: "waiting for the kernel, a cell is running…",
    CallState.APPROVAL: "waiting for your approval of {name}…",
    CallState.RUNNING: "running {name}…",
}


def render_status_line(snapshot: ReplySnapshot, now: float, *, remark: str = "") -> str:
    """Return the status line below a growing answer as HTML; "" if there is neither a status nor a remark.

    Args:
        snapshot: The reply.
        now: The current time of `time.monotonic()`.
        remark: Text to append while the answer streams; "" for none.
    """
    line = " · ".join(part for part in (describe_status(snapshot, now), remark) if part)
    return render_line(line) if line else ""


def render_line(text: str) -> str:
    """Return a line of text as HTML in the style of the status line."""
    return without_math(sentence(STATUS_LINE, text))


def describe_status(snapshot: ReplySnapshot, now: float) -> str:
    """Return the status of a reply as plain text; "" if it has ended, or while its text is streaming."""
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


OTHER_SLOTS: Final = 5
"""Slots for what is not text (thinking, tool calls, the status line), in addition to the blocks of a text. The last slot
contains everything beyond the limit."""

REMARK_DELAY = 1.0
"""Seconds after which a growing answer gets a Stop button, or a remark on how to stop it."""


class LiveFrames:
    """The slots of one answer while it grows.

    Args:
        remote_images: Load images from other hosts.
        remark: How to stop the answer; shown below an answer that takes longer than `REMARK_DELAY`.
        max_blocks: Maximum number of blocks of a text. With None, each block gets a separate slot once it is complete,
            and the number of slots is unlimited.
    """

    def __init__(
        self,
        *,
        remote_images: bool = False,
        remark: str = "",
        max_blocks: int | None = MAX_BLOCKS,
    ) -> None:
        self._remote_images = remote_images
        self._remark = remark
        self._max_blocks = max_blocks
        self._texts: dict[int, GrowingMarkdown] = {}
        self._folds: dict[int, _Fold] = {}
        self._count = 0

    def slots(self, snapshot: ReplySnapshot, now: float) -> list[str]:
        """Return the HTML of each slot, from top to bottom. The number of slots never decreases.

        Args:
            snapshot: The reply. Each snapshot must continue the previous one.
            now: The current time of `time.monotonic()`.
        """
        slots = [*self._answer(snapshot, is_final=False)]
        # A call that waits or runs has a status line of its own.
        if snapshot.phase is not Phase.CALLING:
            remark = self._remark if snapshot.elapsed >= REMARK_DELAY else ""
            if status := render_status_line(snapshot, now, remark=remark):
                slots.append(status)
        if self._max_blocks is not None and len(slots) > self._max_blocks + OTHER_SLOTS:
            last = self._max_blocks + OTHER_SLOTS - 1
            slots[last:] = ["".join(slots[last:])]
        # The slot of a status line that has disappeared is used by the next block.
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
                yield render_growing(snapshot)
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
            elif not (is_last and _is_under_way(run)):  # the status line reports those
                fold = self._fold(index, run, snapshot.blocks, allowance, is_final=is_final)
                allowance = fold.allowance_left
                if fold.html:
                    yield fold.html

    def _text(self, index: int, allowance: Allowance) -> GrowingMarkdown:
        if index not in self._texts or self._texts[index].first_allowance != allowance:
            self._texts[index] = GrowingMarkdown(
                remote_images=self._remote_images, allowance=allowance, max_blocks=self._max_blocks
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
    """Rendered thinking or calls: their source, their HTML, and the allowance left after them."""

    source: object
    html: str
    allowance_left: Allowance


def _is_under_way(run: Run) -> bool:
    """Whether thinking or the arguments of a call are still being written. Such a block is not shown yet."""
    last = run.blocks[-1]
    return run.kind == "thinking" or (last.kind == "tool_use" and last.call is None)
