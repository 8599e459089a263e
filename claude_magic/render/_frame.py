"""What a streaming answer looks like at one moment: a row of slots, of which all but the last have settled.

A slot is one display of its own in a cell, or one widget of a panel. Drawing is comparing two rows: a slot that has not
changed is not sent again, so that what goes over the wire grows with the answer and not with its square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

from ..runtime import BlockSnapshot, CallState, Phase, ReplySnapshot, Wait
from ._answer import render_answer, render_calls, render_thinking
from ._formats import render_growing
from ._growing import MAX_BLOCKS, GrowingMarkdown
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import STATUS_LINE
from ._tex import Allowance

_PENDING = {
    CallState.WAITING: "waiting for the kernel, a cell is running…",
    CallState.APPROVAL: "waiting for your word on {name}…",
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
    """Return the HTML of one quiet line of plain text."""
    line = f'<div style="{STATUS_LINE}">{escape(text, quote=False)}</div>'
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{line}</div>')


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
        return f"writing a call of {name}…"
    return "thinking…" if last.kind != "text" or not snapshot.text else ""


def _describe_call(snapshot: ReplySnapshot) -> str:
    calls = [block.call for block in snapshot.blocks if block.call is not None]
    pending = next((call for call in calls if call.state in _PENDING), None)
    if pending is None:
        return "waiting for more…"
    return _PENDING[pending.state].format(name=pending.name)


def _describe_wait(wait: Wait, now: float) -> str:
    if wait.kind == "turn":
        return "waiting for the answer before it in this conversation…"
    left = wait.remaining(now)
    seconds = "" if math.isinf(left) else f" {math.ceil(left)} s"
    if wait.kind == "rate":
        return f"waiting for the rate limiter{',' + seconds if seconds else ''}…"
    if wait.kind == "paused":
        reason = f"the server asked to wait{f' ({wait.reason})' if wait.reason else ''}"
        return f"{reason}; sending{' in' + seconds if seconds else ' soon'}. Nothing is sent yet, interrupting is safe…"
    if wait.kind == "limit":
        return f"waiting for the server's limit of {wait.reason}{',' + seconds if seconds else ''}…"
    reason = f"{wait.reason[0].upper()}{wait.reason[1:]}" if wait.reason else "That attempt failed"
    return f"{reason}; retrying{' in' + seconds if seconds else ' soon'} · attempt {wait.attempt} of {wait.max_attempts}"


MAX_SLOTS = MAX_BLOCKS + 5
"""A front end shows only so many displays in a cell (JupyterLab near 50); what comes after shares the last one."""


A_WHILE = 1.0
"""Seconds after which an answer is worth a word, or a button, on how to stop it."""


class LiveFrames:
    """The slots of one answer while it grows.

    Args:
        remote_images: Load images from other hosts.
        remark: What is to be said below an answer that takes a while, as long as it has not ended: how to stop it.
    """

    def __init__(self, *, remote_images: bool = False, remark: str = "") -> None:
        self._remote_images = remote_images
        self._remark = remark
        self._texts: dict[int, _GrowingText] = {}
        self._folds: dict[int, _Fold] = {}
        self._count = 0

    def slots(self, snapshot: ReplySnapshot, now: float) -> list[str]:
        """Return the HTML of each slot, top to bottom; slots only ever become more.

        Args:
            snapshot: The reply; later ones must continue the previous.
            now: The present, by `time.monotonic()`.
        """
        slots = [*self._answer(snapshot, is_final=False)]
        # Of a call that waits or runs its own line tells.
        if snapshot.phase is not Phase.CALLING:
            remark = self._remark if snapshot.elapsed >= A_WHILE else ""
            if status := render_status_line(snapshot, now, remark=remark):
                slots.append(status)
        if len(slots) > MAX_SLOTS:
            slots[MAX_SLOTS - 1 :] = ["".join(slots[MAX_SLOTS - 1 :])]
        # A status line that has gone leaves its slot to whatever comes next.
        self._count = max(self._count, len(slots))
        return slots + [""] * (self._count - len(slots))

    def last_slots(self, snapshot: ReplySnapshot) -> list[str]:
        """Return the slots of the answer as it stays, without its footer; most of them as they are already."""
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
        runs = [(kind, list(blocks)) for kind, blocks in groupby(snapshot.blocks, key=_kind)]
        for index, (kind, blocks) in enumerate(runs):
            is_last = index == len(runs) - 1 and not is_final
            if kind == "text":
                text = "".join(block.text for block in blocks)
                growing = self._text(index, allowance)
                yield from growing.slots(text, is_final=not is_last)
                allowance = growing.allowance_left
            elif not (is_last and _is_under_way(kind, blocks)):  # of those the status line tells
                fold = self._fold(index, kind, blocks, snapshot.blocks, allowance, is_final=is_final)
                allowance = fold.allowance_left
                if fold.html:
                    yield fold.html

    def _text(self, index: int, allowance: Allowance) -> _GrowingText:
        if index not in self._texts or self._texts[index].allowance != allowance:
            self._texts[index] = _GrowingText(remote_images=self._remote_images, allowance=allowance)
        return self._texts[index]

    def _fold(
        self,
        index: int,
        kind: str,
        blocks: Sequence[BlockSnapshot],
        among: Sequence[BlockSnapshot],
        allowance: Allowance,
        *,
        is_final: bool,
    ) -> _Fold:
        source = (blocks, is_final, allowance.copy())
        fold = self._folds.get(index)
        if fold is None or fold.source != source:
            left = allowance.copy()
            html = _render_fold(kind, blocks, among, left, is_final=is_final)
            fold = self._folds[index] = _Fold(source, html, left)
        return fold


class _Fold(NamedTuple):
    """Thinking or calls: what they were drawn from, their HTML, and what may be drawn of the answer after them."""

    source: object
    html: str
    allowance_left: Allowance


class _GrowingText:
    """One stretch of text, between whatever else stands in an answer."""

    def __init__(self, *, remote_images: bool, allowance: Allowance) -> None:
        self.allowance = allowance.copy()
        self._markdown = GrowingMarkdown(remote_images=remote_images, allowance=self.allowance)
        self._finished: tuple[str, list[str]] | None = None

    @property
    def allowance_left(self) -> Allowance:
        return self._markdown.allowance_left

    def slots(self, text: str, *, is_final: bool) -> list[str]:
        if self._finished is not None and self._finished[0] == text:
            return self._finished[1]
        slots = [block.html for block in self._markdown.update(text, is_final=is_final).blocks]
        self._finished = (text, slots) if is_final else None
        return slots


def _is_under_way(kind: str, blocks: Sequence[BlockSnapshot]) -> bool:
    """Whether there is nothing to fold away yet: thinking goes on, or a call is being written."""
    return kind == "thinking" or (blocks[-1].kind == "tool_use" and blocks[-1].call is None)


def _kind(block: BlockSnapshot) -> str:
    return block.kind if block.kind in ("text", "thinking") else "call"


def _render_fold(
    kind: str,
    blocks: Sequence[BlockSnapshot],
    among: Sequence[BlockSnapshot],
    allowance: Allowance,
    *,
    is_final: bool,
) -> str:
    if kind == "thinking":
        return render_thinking("\n\n".join(block.text for block in blocks), allowance=allowance)
    return render_calls(blocks, among=among, is_final=is_final)
