"""Surfaces in the output area of a cell and in a terminal, and which surface an answer gets."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO

from ..render import A_WHILE, Bundle, Column, describe_status, render_footer_text
from ..runtime import CallSnapshot, Phase, ReplySnapshot
from ..schema import reveal
from ..tools import visible
from ._buttons import ApprovalButtons
from ._frontend import FrontEnd, fit_lines
from ._surface import FRAME_INTERVAL, IDLE_INTERVAL, AnyContent, Surface, interval_after

if TYPE_CHECKING:
    from .widgets import LiveView

_MAX_CALL_CHARS = 160
"""Two lines of a usual terminal; the whole result is in the reply."""
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"

# What a model wrote may hold escape sequences, and a terminal obeys them. They are shown, not sent.
_UNSAFE_CONTROLS = [code for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\t\n"]
_VISIBLE = {
    code: chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}" for code in _UNSAFE_CONTROLS
}


class TerminalSurface:
    """A terminal: the first answer as it comes, then the next one, which has grown meanwhile.

    Args:
        stream: Where to write. On anything but a terminal there are no colours, and a line that would change in
            place is written once instead.
        content: What is shown.
        draws: Write while the answer grows, not only at its end.
        has_colors: Set apart by dim text what is not the answer.
    """

    def __init__(
        self, stream: TextIO, content: AnyContent, *, draws: bool = True, has_colors: bool = True
    ) -> None:
        self._draws = draws
        self._has_colors = has_colors
        self.has_cleared = False
        self._stream = stream
        self._content = content
        self._begun: list[_Writer] = []

    def draw(self, snapshot: Any, /) -> float:
        """Write what has come of the answer that is being written; where that has ended, go on to the next."""
        if not self._draws:
            return IDLE_INTERVAL
        columns = self._content.columns(snapshot)
        while True:
            index = max(0, len(self._begun) - 1)
            if not self._begun:
                self._begin(columns[0])
            if not columns[index].answer.phase.is_final or len(self._begun) == len(columns):
                self._begun[-1].write(columns[index].answer)
                return FRAME_INTERVAL
            self._end(columns)
            self._begin(columns[len(self._begun)])

    def finish(self, snapshot: Any, /) -> None:
        """Write the rest of all of them."""
        columns = self._content.columns(snapshot)
        if not self._begun:
            self._begin(columns[0])
        self._end(columns)
        while len(self._begun) < len(columns):
            self._begin(columns[len(self._begun)])
            self._end(columns)

    def _begin(self, column: Column) -> None:
        if column.name:
            self._stream.write(f"{column.name}\n{'─' * len(column.name)}\n")
        self._begun.append(_Writer(self._stream, has_colors=self._has_colors))

    def _end(self, columns: Sequence[Column]) -> None:
        column = columns[len(self._begun) - 1]
        # The error of the cell follows the only answer; of several, each says how it ended.
        shown = column.answer if column.name else dataclasses.replace(column.answer, error=None)
        has_footer = self._begun[-1].finish(shown, kept_in=column.kept_in)
        if column.name and not has_footer:
            self._stream.write(fit_lines(_visible(render_footer_text(column.answer)), self._stream) + "\n")
        if len(self._begun) < len(columns):
            self._stream.write("\n")


class _Writer:
    """Writes one answer as it grows; while there is no text, one line that says what is being waited for."""

    def __init__(self, stream: TextIO, *, has_colors: bool) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._has_colors = self._is_terminal and has_colors
        self._written = ""
        self._status = ""
        self._waits_told: set[tuple[str, int]] = set()

    def write(self, snapshot: ReplySnapshot) -> None:
        """Write what has come since the last call."""
        transcript = self._transcript(snapshot)
        if transcript:
            self._append(transcript)
        else:
            self._write_status(snapshot)
        self._stream.flush()

    def finish(self, snapshot: ReplySnapshot, *, kept_in: str) -> bool:
        """Write the rest and the footer.

        Args:
            snapshot: The reply, at its end.
            kept_in: The expression that has a partial answer.

        Returns:
            Whether there is a footer; an answer that failed without a word has none.
        """
        self._append(self._transcript(snapshot))
        self._clear_status()
        if self._written:
            self._stream.write("\n" if self._written.endswith("\n") else "\n\n")
        has_footer = bool(self._written) or snapshot.phase is Phase.COMPLETE
        if has_footer:
            footer = fit_lines(_visible(render_footer_text(snapshot, kept_in=kept_in)), self._stream)
            self._stream.write(self._dim(footer) + "\n")
        self._stream.flush()
        return has_footer

    def _append(self, transcript: str) -> None:
        """Write what a transcript has more than the one before."""
        if len(transcript) > len(self._written):
            self._clear_status()
            self._stream.write(transcript[len(self._written) :])
            self._written = transcript

    def _transcript(self, snapshot: ReplySnapshot) -> str:
        """Return the text so far, with a line for each call of a tool that has come to its end. It only ever grows."""
        parts: list[str] = []
        for kind, run in groupby(snapshot.blocks, key=lambda block: block.kind):
            blocks = list(run)
            if kind == "text" and (text := "".join(block.text for block in blocks)):
                parts.append(_visible(text))
            for call in (block.call for block in blocks if block.call is not None):
                if not call.state.is_final:
                    # What the tool prints, and the question whether it may run, begin a line of their own.
                    return "\n\n".join([*parts, ""])
                parts.append(self._dim(_visible(_describe_call(call))))
        return "\n\n".join(parts)

    def _write_status(self, snapshot: ReplySnapshot) -> None:
        status = _visible(describe_status(snapshot, time.monotonic()))
        if self._is_terminal:
            if status != self._status:
                self._stream.write(_CLEAR_LINE + self._dim(status))
        elif snapshot.wait is not None:
            # A countdown cannot run here; say once that there is a wait, and for what.
            wait = (snapshot.wait.kind, snapshot.wait.attempt)
            if wait not in self._waits_told:
                self._waits_told.add(wait)
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
    return line if len(line) <= _MAX_CALL_CHARS else f"{line[: _MAX_CALL_CHARS - 1]}…"


def _visible(text: str) -> str:
    return reveal(text.translate(_VISIBLE))


class OutputSurface:
    """The output area of a cell, or one display among its other outputs.

    Where widgets can be shown there is one display: HTML at first, widgets once the answer has taken a while, and what stays. A page
    that shows the widgets follows updates, so the end is an update, too, and what a reader looks at stays in its place. A person is asked
    in them, too; where no page has them, that is an output of its own, which goes with the end.

    Elsewhere a cell that holds nothing but the answer has a display for each slot, and in the end one output with all types takes
    their place; among other outputs there is one display, and nothing is cleared. Where outputs are captured (`%%capture`) or checked
    against saved ones (nbval), nothing is drawn before the end.

    Args:
        publisher: Publishes displays.
        content: What is shown.
        owns_area: The cell holds nothing else.
        is_live: Draw while it grows.
        in_widgets: Makes the widgets, of which the front end shows a view; None where it shows none.
    """

    def __init__(
        self,
        publisher: Any,
        content: AnyContent,
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
        # In the background, answers are drawn on one thread and asked about on another.
        self._lock = threading.RLock()
        self._id = uuid.uuid4().hex
        self._shown: list[str] = []

    def draw(self, snapshot: Any, /) -> float:
        """Send what has changed."""
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
        """Return the widgets, where a page shows them, so that a person can be asked in them. Their module is imported by now.

        Where none does, what asks the person elsewhere in the cell goes with the end of the answer.
        """
        with self._lock:
            if self._in_widgets is not None and self._widgets is None:
                self._widgets = self._in_widgets()
            view = self._widgets
        is_heard = view is not None and await view.is_heard_in_time()
        with self._lock:
            if is_heard and self._draw_widgets(self._last) is not None:
                return view
            self._is_alone = False
            return None

    def finish(self, snapshot: Any, /) -> None:
        """Put one output in the place of all there is.

        Front ends without updates (`jupyter console`, an `Output` widget) show the answer here for the first time, which is why a
        cell is cleared where no page is known to follow them, even if it has a single slot.
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
                self._widgets.end(snapshot)
            # Nothing is drawn over what stays.
            self._in_widgets = None

    def _draw_widgets(self, snapshot: Any) -> float | None:
        """Bring the widgets up to date, if it is time for them; return the seconds until the next frame."""
        if self._in_widgets is None:
            return None
        if self._widgets is None:
            elapsed = max(column.answer.elapsed for column in self._content.columns(snapshot))
            if elapsed < A_WHILE or not self._shown or _import_of_widgets().is_alive():
                return None
            self._widgets = self._in_widgets()
        if not self._widgets.is_heard:
            # The page may lack the widget's own extension, and would show an error in its place.
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


@cache
def _import_of_widgets() -> threading.Thread:
    """Import them in a thread, so that the loop, and the stream, go on meanwhile; return the thread."""
    thread = threading.Thread(
        target=importlib.import_module,
        args=(f"{__package__}.widgets",),
        name="claude-magic-import",
        daemon=True,
    )
    thread.start()
    return thread


class QuietSurface:
    """Nothing while an answer grows, and at its end what `at_end` shows.

    Args:
        at_end: Shows something at the end; None shows nothing.
    """

    def __init__(self, at_end: Callable[[Any], None] | None = None) -> None:
        self.has_cleared = False
        self._at_end = at_end

    def draw(self, _snapshot: Any, /) -> float:
        """Draw nothing."""
        return IDLE_INTERVAL

    def finish(self, snapshot: Any, /) -> None:
        """Show what there is to show."""
        if self._at_end is not None:
            self._at_end(snapshot)


def choose_surface(
    front_end: FrontEnd,
    content: AnyContent,
    *,
    owns_area: bool,
    is_live: bool,
    is_quiet: bool = False,
    is_silenced: bool = False,
    in_widgets: bool = False,
    stop: Callable[[], None] | None = None,
    approval: ApprovalButtons | None = None,
) -> Surface[Any]:
    """Return what an answer is drawn on in the running cell.

    Args:
        front_end: Where the cell is shown.
        content: What is shown.
        owns_area: The cell holds nothing else.
        is_live: The setting `live`: draw while it grows.
        is_quiet: Show nothing.
        is_silenced: The prompt ends with a semicolon: show one line at the end.
        in_widgets: Draw it in widgets once it has taken a while, where the front end has them.
        stop: What a button among the widgets does, on any thread; None for no button.
        approval: Asks whether a tool may run, from now on among the widgets.
    """
    if is_quiet:
        return QuietSurface()
    if is_silenced:
        return QuietSurface(lambda snapshot: _say_silenced(front_end, content.silenced(snapshot)))
    if not front_end.has_kernel and not front_end.is_captured:
        return TerminalSurface(sys.stdout, content, draws=is_live, has_colors=front_end.has_colors)
    if not is_live or front_end.is_captured:
        return OutputSurface(front_end.publisher, content, owns_area=owns_area, is_live=False)
    if not (in_widgets and front_end.has_widgets):
        return OutputSurface(front_end.publisher, content, owns_area=owns_area)

    def make() -> LiveView:
        from .widgets import LiveView

        return LiveView(content, stop=stop)

    surface = OutputSurface(front_end.publisher, content, owns_area=owns_area, in_widgets=make)
    if approval is not None:
        approval.ask_in(surface.view)
    return surface


_INTERRUPT = "to stop, interrupt the kernel (■)"


def remark_on_stopping(front_end: FrontEnd, *, is_awaited: bool) -> str:
    """Return how to stop an answer where there is a person to tell, and no button for it; "" elsewhere."""
    return _INTERRUPT if front_end.has_widgets and not (is_awaited and front_end.runs_clicks) else ""


def publish_final(publisher: Any, content: AnyContent, snapshot: Any) -> None:
    """Show the one output that is saved. An answer that failed without a word leaves only the error of its cell."""
    if not content.is_empty(snapshot):
        bundle = content.final(snapshot)
        publisher.publish(data=bundle.data, metadata=bundle.metadata)


def _say_silenced(front_end: FrontEnd, line: str) -> None:
    if line:
        front_end.say(line)
