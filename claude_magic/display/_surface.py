"""Surfaces: where an answer is drawn in a cell or a terminal, and what they show of it.

`Content` is what is shown: one answer, or several side by side. `choose_surface` decides where.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar

from ..client import short
from ..render import (
    LAST,
    REMARK_DELAY,
    Bundle,
    Column,
    LiveFrames,
    describe_facts,
    describe_status,
    describe_total_cost,
    render_column_heading,
    render_columns,
    render_comparison,
    render_footer_text,
    render_reply,
)
from ..runtime import CallSnapshot, Phase, ReplySnapshot
from ..tools import visible
from ._buttons import ApprovalButtons, start_widgets_import
from ._frames import FRAME_INTERVAL, IDLE_INTERVAL, Surface, interval_after
from ._frontend import FrontEnd, answer_mark, fit_lines, without_controls

if TYPE_CHECKING:
    from .widgets import LiveView


_Shown = TypeVar("_Shown", contravariant=True)


class Content(Protocol[_Shown]):
    """What is shown of snapshots of one kind: of a reply, or of a comparison.

    Attributes:
        chars_per_second: Maximum data rate in characters of HTML, if each frame sends the whole content.
        is_whole: Whether a frame has a single slot with all content.
        remote_images: Whether to load images from other hosts.
        remark: How to stop; "" for no remark.
    """

    chars_per_second: int
    is_whole: bool
    remote_images: bool
    remark: str

    def slots(self, snapshot: _Shown, /) -> Sequence[str]:
        """Return a frame as pieces of HTML, of which only the last may still change."""

    def final(self, snapshot: _Shown, /) -> Bundle:
        """Return the final output."""

    def is_empty(self, snapshot: _Shown, /) -> bool:
        """Whether there is no final output except the error of the cell."""

    def silenced(self, snapshot: _Shown, /) -> str:
        """Return the line that is shown if the prompt ends with a semicolon; "" for none."""

    def columns(self, snapshot: _Shown, /) -> Sequence[Column]:
        """Return the answers, each with the expression that holds it."""


class AnswerContent(Content[ReplySnapshot]):
    """The content of one answer.

    Args:
        remote_images: Whether to load images from other hosts.
        remark: How to stop the answer; "" for no remark.
        kept_in: The expression that holds the answer even after other questions; "" if the answer is the value of the cell,
            whose error reports a failure.
        last: The expression that holds the last reply.
        cell: The id of the cell, if the page puts buttons under it; else "".
    """

    chars_per_second = 200_000
    is_whole = False

    def __init__(
        self,
        *,
        remote_images: bool,
        remark: str = "",
        kept_in: str = "",
        last: str = LAST,
        cell: str = "",
    ) -> None:
        self.remote_images = remote_images
        self.remark = remark
        self._cell = cell
        self._kept_in = kept_in
        self._last = last
        self._frames = LiveFrames(remote_images=remote_images, remark=remark)

    def slots(self, snapshot: ReplySnapshot, /) -> Sequence[str]:
        return self._frames.slots(snapshot, time.monotonic())

    def final(self, snapshot: ReplySnapshot, /) -> Bundle:
        # If the cell fails, its error is shown right below.
        shown = snapshot if self._kept_in else dataclasses.replace(snapshot, error=None)
        bundle = render_reply(shown, remote_images=self.remote_images, kept_in=self._kept_in or self._last)
        if not self._cell:
            return bundle
        marked = f'<div class="{answer_mark(self._cell)}">{bundle.data["text/html"]}</div>'
        return Bundle({**bundle.data, "text/html": marked}, bundle.metadata)

    def is_empty(self, snapshot: ReplySnapshot, /) -> bool:
        has_content = snapshot.phase is Phase.COMPLETE or bool(snapshot.text or snapshot.thinking)
        return not (has_content or self._kept_in)

    def silenced(self, snapshot: ReplySnapshot, /) -> str:
        if not snapshot.text:
            return ""
        return f"{describe_facts(snapshot)} · hidden by the ; at the end, the answer is in _"

    def columns(self, snapshot: ReplySnapshot, /) -> Sequence[Column]:
        return (Column(name="", kept_in=self._kept_in or self._last, answer=snapshot),)


class Compared(Protocol):
    """Several answers at one moment."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The answers, in the order in which the models were named."""


class ComparisonContent(Content[Compared]):
    """The content of several answers side by side.

    They share one display, so each frame sends the whole content again, including finished parts.

    Args:
        remote_images: Whether to load images from other hosts.
        remark: How to stop the answers; "" for no remark.
    """

    chars_per_second = 60_000
    is_whole = True

    def __init__(self, *, remote_images: bool, remark: str = "") -> None:
        self.remote_images = remote_images
        self.remark = remark
        self._frames: list[LiveFrames] = []

    def slots(self, snapshot: Compared, /) -> Sequence[str]:
        if not self._frames:
            self._frames = [
                LiveFrames(remote_images=self.remote_images, remark=self.remark) for _ in snapshot.columns
            ]
        now = time.monotonic()
        html = render_columns(
            (render_column_heading(column), "".join(frames.slots(column.answer, now)))
            for column, frames in zip(snapshot.columns, self._frames, strict=True)
        )
        return (html,)

    def final(self, snapshot: Compared, /) -> Bundle:
        return render_comparison(snapshot.columns, remote_images=self.remote_images)

    def is_empty(self, _snapshot: Compared, /) -> bool:
        return False

    def silenced(self, snapshot: Compared, /) -> str:
        answers = [column.answer for column in snapshot.columns]
        names = ", ".join(column.name for column in snapshot.columns)
        seconds = f"{max(answer.elapsed for answer in answers):.1f} s"
        facts = " · ".join(fact for fact in (names, describe_total_cost(answers), seconds) if fact)
        return f"{facts} · hidden by the ; at the end, the answers are in _"

    def columns(self, snapshot: Compared, /) -> Sequence[Column]:
        return snapshot.columns


_MAX_CALL_CHARS = 160
"""Two lines of a typical terminal; the reply contains the whole result."""
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"


class TerminalSurface:
    """A terminal, to which one answer after the other is written; each may have grown before its turn.

    Args:
        stream: The stream to write to. If it is not a terminal, there are no colours, and a status line is written
            once instead of being updated in place.
        content: The content to show.
        draws: Whether to write while the answer grows, not only at its end.
        has_colors: Whether to dim all text except the answer.
    """

    def __init__(
        self, stream: TextIO, content: Content[Any], *, draws: bool = True, has_colors: bool = True
    ) -> None:
        self._draws = draws
        self._has_colors = has_colors
        self.has_cleared = False
        self._stream = stream
        self._content = content
        self._ended = 0
        self._writer: _Writer | None = None

    def draw(self, snapshot: Any, /) -> float:
        """Write the new text of the current answer. If it has ended, continue with the next one."""
        if not self._draws:
            return IDLE_INTERVAL
        columns = self._content.columns(snapshot)
        while self._ended < len(columns) - 1 and columns[self._ended].answer.phase.is_final:
            self._end(columns)
        column = columns[self._ended]
        self._begun(column).write(column.answer)
        return FRAME_INTERVAL

    def finish(self, snapshot: Any, /) -> None:
        """Write the rest of all answers."""
        columns = self._content.columns(snapshot)
        while self._ended < len(columns):
            self._end(columns)

    def _begun(self, column: Column) -> _Writer:
        """Return the writer of the current answer, after its heading was written."""
        if self._writer is None:
            if column.name:
                self._stream.write(f"{column.name}\n{'─' * len(column.name)}\n")
            self._writer = _Writer(self._stream, has_colors=self._has_colors)
        return self._writer

    def _end(self, columns: Sequence[Column]) -> None:
        column = columns[self._ended]
        # A single answer is followed by the error of the cell. Several answers each report their own error.
        shown = column.answer if column.name else dataclasses.replace(column.answer, error=None)
        has_footer = self._begun(column).finish(shown, kept_in=column.kept_in)
        if column.name and not has_footer:
            self._stream.write(
                fit_lines(without_controls(render_footer_text(column.answer)), self._stream) + "\n"
            )
        self._writer = None
        self._ended += 1
        if self._ended < len(columns):
            self._stream.write("\n")


class _Writer:
    """Writes one answer while it grows. A status line is shown until there is text."""

    def __init__(self, stream: TextIO, *, has_colors: bool) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._has_colors = self._is_terminal and has_colors
        self._written = ""
        self._status = ""
        self._reported_waits: set[tuple[str, int]] = set()

    def write(self, snapshot: ReplySnapshot) -> None:
        """Write the text since the last call."""
        transcript = self._transcript(snapshot)
        if transcript:
            self._append(transcript)
        else:
            self._write_status(snapshot)
        self._stream.flush()

    def finish(self, snapshot: ReplySnapshot, *, kept_in: str) -> bool:
        """Write the rest and the footer.

        Args:
            snapshot: The reply at its end.
            kept_in: The expression that holds a partial answer.

        Returns:
            Whether there is a footer; an answer that failed without text has none.
        """
        self._append(self._transcript(snapshot))
        self._clear_status()
        if self._written:
            self._stream.write("\n" if self._written.endswith("\n") else "\n\n")
        has_footer = bool(self._written) or snapshot.phase is Phase.COMPLETE
        if has_footer:
            footer = fit_lines(without_controls(render_footer_text(snapshot, kept_in=kept_in)), self._stream)
            self._stream.write(self._dim(footer) + "\n")
        self._stream.flush()
        return has_footer

    def _append(self, transcript: str) -> None:
        """Write the part of the transcript that has not been written yet."""
        if len(transcript) > len(self._written):
            self._clear_status()
            self._stream.write(transcript[len(self._written) :])
            self._written = transcript

    def _transcript(self, snapshot: ReplySnapshot) -> str:
        """Return the text so far, with a line for each finished tool call. Each result is a prefix of later ones."""
        parts: list[str] = []
        for kind, run in groupby(snapshot.blocks, key=lambda block: block.kind):
            blocks = list(run)
            if kind == "text" and (text := "".join(block.text for block in blocks)):
                parts.append(without_controls(text))
            for call in (block.call for block in blocks if block.call is not None):
                if not call.state.is_final:
                    # Prints of the tool and the approval question start on a new line.
                    return "\n\n".join([*parts, ""])
                parts.append(self._dim(without_controls(_describe_call(call))))
        return "\n\n".join(parts)

    def _write_status(self, snapshot: ReplySnapshot) -> None:
        status = without_controls(describe_status(snapshot, time.monotonic()))
        if self._is_terminal:
            if status != self._status:
                self._stream.write(_CLEAR_LINE + self._dim(status))
        elif snapshot.wait is not None:
            # A countdown cannot be updated here, so each wait is reported once.
            wait = (snapshot.wait.kind, snapshot.wait.attempt)
            if wait not in self._reported_waits:
                self._reported_waits.add(wait)
                self._stream.write(status + "\n")
        self._status = status

    def _clear_status(self) -> None:
        if self._status and self._is_terminal:
            self._stream.write(_CLEAR_LINE)
        self._status = ""

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_PLAIN}" if self._has_colors and text else text


def _describe_call(call: CallSnapshot) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    result = " ".join(call.result.split())
    line = f"· {visible(f'{call.name}({arguments})')} {call.state.value}{': ' if result else ''}{result}"
    return short(line, _MAX_CALL_CHARS)


class OutputSurface:
    """The output area of a cell, or one display among its other outputs.

    If the front end has widgets, there is one display: first HTML, then widgets once the answer has taken a while, then the
    final output. A page that shows the widgets follows display updates, so the final output is an update as well, and the
    reader's scroll position does not change. Approval questions appear in the widgets, too. If no page has the widgets, a
    question is a separate output, which is removed at the end.

    Otherwise, a cell that contains only the answer has one display per slot, and in the end one output with all MIME types
    replaces them; among other outputs there is one display, and nothing is cleared. If outputs are captured (`%%capture`) or
    compared with saved ones (nbval), nothing is drawn before the end.

    Args:
        publisher: The display publisher.
        content: The content to show.
        owns_area: Whether the cell contains nothing else.
        is_live: Whether to draw while the answer grows.
        in_widgets: Creates the widgets; None if the front end shows none.
    """

    def __init__(
        self,
        publisher: Any,
        content: Content[Any],
        *,
        owns_area: bool,
        is_live: bool = True,
        in_widgets: Callable[[], LiveView] | None = None,
    ) -> None:
        self.has_cleared = False
        self._publisher = publisher
        self._content = content
        self._owns_area = owns_area
        self._is_live = is_live
        self._in_widgets = in_widgets
        self._is_one_display = is_live and (not owns_area or content.is_whole or in_widgets is not None)
        self._is_alone = True
        self._widgets: LiveView | None = None
        self._last: Any = None
        # Background answers are drawn on one thread and ask for approval on another.
        self._lock = threading.RLock()
        self._id = uuid.uuid4().hex
        self._shown: list[str] = []

    def draw(self, snapshot: Any, /) -> float:
        """Send the parts that have changed."""
        if not self._is_live:
            return IDLE_INTERVAL
        with self._lock:
            self._last = snapshot
            interval = self._draw_widgets(snapshot)
            return self._draw_html(snapshot) if interval is None else interval

    def _draw_html(self, snapshot: Any) -> float:
        slots = self._content.slots(snapshot)
        if not self._is_one_display:
            for index, html in enumerate(slots):
                self._show(index, html)
            return interval_after(len(slots[-1]) if slots else 0)
        html = "".join(slots)
        self._show(0, html)
        return max(FRAME_INTERVAL, len(html) / self._content.chars_per_second)

    async def view(self) -> LiveView | None:
        """Return the widgets if a page shows them, for an approval question; else None. Their module must be imported.

        Without widgets the question is a separate output, so the cell is cleared at the end of the answer.
        """
        with self._lock:
            if self._in_widgets is not None and self._widgets is None:
                self._widgets = self._in_widgets()
            view = self._widgets
        has_page = view is not None and await view.wait_for_page()
        with self._lock:
            if has_page and self._draw_widgets(self._last) is not None:
                return view
            self._is_alone = False
            return None

    def finish(self, snapshot: Any, /) -> None:
        """Replace all frames by the final output.

        Front ends without display updates (`jupyter console`, an `Output` widget) show the answer only now. Therefore a cell
        with a single slot is cleared as well, unless a page is known to follow updates.
        """
        with self._lock:
            follows_updates = self._widgets is not None and self._widgets.is_shown
            if self._is_one_display and (
                not self._owns_area
                or (follows_updates and self._is_alone and not self._content.is_empty(snapshot))
            ):
                self._publish(self._content.final(snapshot), 0, update=bool(self._shown))
            else:
                if self._shown:
                    self._publisher.clear_output(wait=True)
                    self.has_cleared = True
                publish_final(self._publisher, self._content, snapshot)
            if self._widgets is not None:
                self._widgets.end(functools.partial(self._content.final, snapshot))
            # No later frame may replace the final output.
            self._in_widgets = None

    def _draw_widgets(self, snapshot: Any) -> float | None:
        """Update the widgets if they are due. Return the seconds until the next frame; None without widgets."""
        if self._in_widgets is None:
            return None
        if self._widgets is None:
            elapsed = max(column.answer.elapsed for column in self._content.columns(snapshot))
            if elapsed < REMARK_DELAY or not self._shown or start_widgets_import().is_alive():
                return None
            self._widgets = self._in_widgets()
        if not self._widgets.has_page:
            # A page without the widget's extension would show an error in its place.
            return None
        interval = self._widgets.draw(snapshot)
        if not self._widgets.is_shown:
            html = "".join(self._shown)
            data = {**self._widgets.show(), "text/html": html}
            self._publish(Bundle(data, {}), 0, update=True)
        return interval

    def _show(self, index: int, html: str) -> None:
        is_new = index == len(self._shown)
        if is_new:
            self._shown.append(html)
        elif self._shown[index] == html:
            return
        self._shown[index] = html
        self._publish(Bundle({"text/html": html}, {}), index, update=not is_new)

    def _publish(self, bundle: Bundle, index: int, *, update: bool) -> None:
        transient = {"display_id": f"{self._id}-{index}"}
        self._publisher.publish(
            data=bundle.data, metadata=bundle.metadata, transient=transient, update=update
        )


class QuietSurface:
    """A surface that shows nothing while an answer grows, and calls `at_end` at its end.

    Args:
        at_end: Called with the last snapshot; None shows nothing.
    """

    def __init__(self, at_end: Callable[[Any], None] | None = None) -> None:
        self.has_cleared = False
        self._at_end = at_end

    def draw(self, _snapshot: Any, /) -> float:
        """Draw nothing."""
        return IDLE_INTERVAL

    def finish(self, snapshot: Any, /) -> None:
        """Call `at_end`."""
        if self._at_end is not None:
            self._at_end(snapshot)


def choose_surface(
    front_end: FrontEnd,
    content: Content[Any],
    *,
    owns_area: bool,
    is_live: bool,
    is_quiet: bool = False,
    is_silenced: bool = False,
    in_widgets: bool = False,
    stop: Callable[[], None] | None = None,
    approval: ApprovalButtons | None = None,
) -> Surface:
    """Return the surface for an answer in the running cell.

    Args:
        front_end: The front end of the cell.
        content: The content to show.
        owns_area: Whether the cell contains nothing else.
        is_live: Whether to draw while the answer grows; not if outputs are captured.
        is_quiet: Whether to show nothing.
        is_silenced: Whether the prompt ends with a semicolon, so that only one line is shown, at the end.
        in_widgets: Whether to use widgets once the answer has taken a while, if the front end has them.
        stop: Called by the Stop button in the widgets, on any thread; None for no button.
        approval: Approval buttons, which then appear in the widgets.
    """
    if is_quiet:
        return QuietSurface()
    if is_silenced:
        return QuietSurface(lambda snapshot: _say_silenced(front_end, content.silenced(snapshot)))
    if not front_end.has_kernel and not front_end.is_captured:
        return TerminalSurface(sys.stdout, content, draws=is_live, has_colors=front_end.has_colors)
    if not is_live:
        return OutputSurface(front_end.publisher, content, owns_area=owns_area, is_live=False)
    if not (in_widgets and front_end.has_widgets):
        return OutputSurface(front_end.publisher, content, owns_area=owns_area)

    def make() -> LiveView:
        from .widgets import LiveView

        return LiveView(
            content.columns, remote_images=content.remote_images, remark=content.remark, stop=stop
        )

    surface = OutputSurface(front_end.publisher, content, owns_area=owns_area, in_widgets=make)
    if approval is not None:
        approval.ask_in(surface.view)
    return surface


_INTERRUPT = "to stop, interrupt the kernel (■)"


def remark_on_stopping(front_end: FrontEnd, *, is_awaited: bool) -> str:
    """Return how to stop an answer if a person looks at it and has no Stop button; else ""."""
    return _INTERRUPT if front_end.has_widgets and not (is_awaited and front_end.runs_clicks) else ""


def publish_final(publisher: Any, content: Content[Any], snapshot: Any) -> None:
    """Show the output that is saved. An answer that failed without text leaves only the error of its cell."""
    if not content.is_empty(snapshot):
        bundle = content.final(snapshot)
        publisher.publish(data=bundle.data, metadata=bundle.metadata)


def _say_silenced(front_end: FrontEnd, line: str) -> None:
    if line:
        front_end.say(line)
