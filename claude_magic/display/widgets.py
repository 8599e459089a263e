"""Widgets: the one owner of ipywidgets' list of them, an answer as a column of blocks, answers side by side, and whether a tool may run.

A page that opens asks ipywidgets for the state of all widgets, which is collected in a walk through a dict. If another thread
makes or closes a widget meanwhile, the walk fails (ipywidgets 8.1), and the page says "Loading widget..." for ever. So from the
import of this module on, ipywidgets makes and closes a widget, of ours or of the user's, and answers a page, only while it
holds one lock. No other module takes it. Whatever makes widgets imports this module first, and closes them by `close_all`.

`claude_magic.display` does not import this module, because it imports ipywidgets.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import ipywidgets
from IPython.display import DisplayHandle
from ipywidgets import Widget
from ipywidgets.widgets.widget_string import HTMLMathStyle

from ..render import (
    COLUMN_GAP,
    COLUMN_WIDTHS,
    WIDGET_CLASSES,
    Column,
    in_widget,
    render_approval,
    render_column_heading,
)
from ..runtime import ReplySnapshot
from ..tools import CallReading, ToolCall
from ._frontend import route_to_subshell
from ._output import publish_final
from ._surface import AnswerContent, Compared, ComparisonContent, interval_after

_lock: Final = threading.RLock()


def close_all(widgets: Iterable[Widget]) -> None:
    """Close widgets with all that is inside them, from the outside in: no page is told of one without its parts.

    ipywidgets keeps each widget, here and in the browser, until it is closed.
    """
    with _lock:
        for widget in widgets:
            for part in (widget, getattr(widget, "layout", None), getattr(widget, "style", None)):
                if part is not None:
                    part.close()
            close_all(getattr(widget, "children", ()))


def in_words(widget: Widget, line: str) -> dict[str, Any]:
    """Return the mimebundle of a widget with a line for where there are no widgets: a saved file on a site, an export."""
    bundle: dict[str, Any] = ipywidgets.DOMWidget._repr_mimebundle_(widget)
    return {**bundle, "text/plain": line}


def page_source(kind: Literal["js", "css"], own: Path) -> str:
    """Return what the browser loads for a widget: what all of ours share, and a file of its own."""
    shared = Path(__file__).with_name(f"_page.{kind}")
    return "\n".join(path.read_text(encoding="utf-8") for path in (shared, own))


def _holding(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def hold(*args: Any, **kwargs: Any) -> Any:
        with _lock:
            return method(*args, **kwargs)

    return hold


def _collecting(collect: Callable[[Widget], None]) -> Callable[[Widget], None]:
    @functools.wraps(collect)
    def collect_if_open(widget: Widget) -> None:
        # ipywidgets closes what is collected, which was closed before: its list keeps the others. The collector runs in any
        # thread, in the middle of anything, so it must not wait for the lock, nor may `close` of a subclass.
        if widget.comm is not None:
            collect(widget)

    return collect_if_open


Widget.open = _holding(Widget.open)
Widget.close = _holding(Widget.close)
Widget.__del__ = _collecting(Widget.__del__)
Widget._handle_control_comm_msg = classmethod(_holding(Widget._handle_control_comm_msg.__func__))


class BlockColumn:
    """An answer while it grows: a widget for each block, so that what has settled is not sent again.

    Args:
        remote_images: Load images from other hosts.
        remark: What is said below an answer that takes a while: how to stop it.
        layout: The layout that all blocks share.
        classes: The classes of each block.
        box_classes: The classes of the column.
        dress: Makes the value of a block from its HTML.
    """

    def __init__(
        self,
        *,
        remote_images: bool,
        remark: str = "",
        layout: ipywidgets.Layout | None = None,
        classes: Sequence[str] = WIDGET_CLASSES,
        box_classes: Sequence[str] = (),
        dress: Callable[[str], str] = in_widget,
    ) -> None:
        self._new_content = functools.partial(AnswerContent, remote_images=remote_images, remark=remark)
        self._dress = dress
        self._classes = tuple(classes)
        # The blocks share their looks, because each widget of its own is two more messages.
        if layout is None:
            layout = ipywidgets.Layout(display="block", margin="0", padding="0", height="auto")
        self._looks: dict[str, Any] = {"layout": layout, "style": HTMLMathStyle()}
        box_layout = {} if box_classes else {"min_width": "0", "overflow": "visible"}
        self.box = ipywidgets.VBox(layout=ipywidgets.Layout(**box_layout), _dom_classes=tuple(box_classes))
        self.start_over()

    def start_over(self) -> None:
        """Prepare for another answer. The previous one stays until that is drawn."""
        self._content = self._new_content()

    def draw(self, snapshot: ReplySnapshot) -> int:
        """Show how far the answer has come; return how long what changes with each frame is, in characters."""
        slots = self._content.slots(snapshot)
        self._show(slots)
        return len(slots[-1]) if slots else 0

    def finish(self, snapshot: ReplySnapshot) -> None:
        """Show the answer as it stays, without its footer."""
        self._show(self._content.last_slots(snapshot))

    def empty(self) -> None:
        """Show no block."""
        self._show([])

    def block(self, html: str = "") -> ipywidgets.HTMLMath:
        """Return a widget that looks like a block, for what stands beside them."""
        return ipywidgets.HTMLMath(self._dress(html), **self._looks, _dom_classes=self._classes)

    @property
    def shared_looks(self) -> tuple[Widget, ...]:
        """The looks that all of its blocks have."""
        return tuple(self._looks.values())

    def _show(self, slots: Sequence[str]) -> None:
        blocks = self.box.children
        for block, html in zip(blocks, slots, strict=False):
            # Sends nothing where nothing has changed.
            block.value = self._dress(html)
        if len(slots) != len(blocks):
            new = [self.block(html) for html in slots[len(blocks) :]]
            self.box.children = (*blocks[: len(slots)], *new)
            for block in blocks[len(slots) :]:
                # Not by `close_all`: its looks are those of the others, too.
                block.close()


class ColumnsSurface:
    """Several answers side by side, in widgets as long as they grow. What stays in the cell is one display without widgets.

    Args:
        publisher: Publishes displays.
        content: What stays.
        owns_area: The cell holds nothing else.
        remote_images: Load images from other hosts.
        remark: What is said below answers that take a while: how to stop them.
    """

    _FRAMES_PER_SECOND: Final = 26
    """What all columns together send at most; now and then one sends two or three blocks."""

    def __init__(
        self,
        publisher: Any,
        content: ComparisonContent,
        *,
        owns_area: bool,
        remote_images: bool,
        remark: str = "",
    ) -> None:
        self.is_live = True
        self.has_cleared = False
        self._publisher = publisher
        self._content = content
        self._owns_area = owns_area
        self._new_blocks = functools.partial(BlockColumn, remote_images=remote_images, remark=remark)
        self._columns: list[tuple[ipywidgets.HTMLMath, BlockColumn]] = []
        self._grid: ipywidgets.GridBox | None = None
        self._handle = DisplayHandle()

    def draw(self, snapshot: Compared, /) -> float:
        """Bring the widgets up to date."""
        if self._grid is None:
            self._columns = [_with_heading(self._new_blocks()) for _ in snapshot.columns]
        tail_chars = sum(map(_draw_column, self._columns, snapshot.columns))
        if self._grid is None:
            self._show()
        return interval_after(tail_chars, shortest=len(self._columns) / self._FRAMES_PER_SECOND)

    def finish(self, snapshot: Compared, /) -> None:
        """Put one display in the place of the widgets."""
        if self._grid is None or self._owns_area:
            if self._grid is not None:
                self._publisher.clear_output(wait=True)
                self.has_cleared = True
            publish_final(self._publisher, self._content, snapshot)
        else:
            bundle = self._content.final(snapshot)
            self._handle.update(bundle.data, metadata=bundle.metadata, raw=True)
        # Now that no display has the widgets: without its model a front end shows an error instead.
        if self._grid is not None:
            close_all([self._grid])

    def _show(self) -> None:
        boxes = [
            ipywidgets.VBox(
                [heading, blocks.box], layout=ipywidgets.Layout(min_width="0", overflow="visible")
            )
            for heading, blocks in self._columns
        ]
        layout = ipywidgets.Layout(
            grid_template_columns=COLUMN_WIDTHS, grid_gap=COLUMN_GAP, overflow="visible"
        )
        self._grid = ipywidgets.GridBox(boxes, layout=layout)
        self._handle.display(in_words(self._grid, "The answers were on their way."), raw=True)


def _with_heading(blocks: BlockColumn) -> tuple[ipywidgets.HTMLMath, BlockColumn]:
    return blocks.block(), blocks


def _draw_column(parts: tuple[ipywidgets.HTMLMath, BlockColumn], column: Column) -> int:
    """Bring a column up to date; return how long what changes with each frame is, in characters."""
    heading, blocks = parts
    heading.value = in_widget(render_column_heading(column))
    return blocks.draw(column.answer)


ALLOW: Final = "Allow"
DENY: Final = "Deny"
ALLOW_ALL: Final = "Allow all"
_TOOLTIPS: Final = {
    ALLOW: "Let {name} run",
    DENY: "Do not let {name} run",
    ALLOW_ALL: "Let all calls of this answer run",
}


class ApprovalBar(ipywidgets.VBox):
    """Buttons below the call that they decide on, as long as it is undecided."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-approval"])

    def ask(self, call: ToolCall, *, on_press: Callable[[], None] = lambda: None) -> asyncio.Future[str]:
        """Show the buttons; return what has the label of the one that is pressed: `ALLOW`, `DENY` or `ALLOW_ALL`.

        Args:
            call: What is to run.
            on_press: Called when one is pressed, on any thread.
        """
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[str] = loop.create_future()

        def press(button: ipywidgets.Button) -> None:
            label = button.description
            on_press()
            # Where the kernel shuts down, the loop is closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, verdict, label)

        self._show(call, press)
        return verdict

    def hide(self) -> None:
        """Take the buttons away."""
        shown: tuple[Widget, ...] = self.children
        self._fill()
        close_all(shown)

    def _show(self, call: ToolCall, press: Callable[[ipywidgets.Button], None]) -> None:
        buttons = {
            label: ipywidgets.Button(description=label, tooltip=tooltip.format(name=call.name))
            for label, tooltip in _TOOLTIPS.items()
        }
        buttons[ALLOW].button_style = "primary"
        for button in buttons.values():
            button.on_click(press)
        reading = CallReading(call)
        words = ipywidgets.HTML(_asked(reading), _dom_classes=["claude-magic-block"])
        row = [*buttons.values()]
        if not reading.is_complete:
            row.append(_more_button(reading, words, [buttons[ALLOW], buttons[ALLOW_ALL]]))
        route_to_subshell(*row)
        self._fill(words, ipywidgets.HBox(row, _dom_classes=["claude-magic-verdicts"]))

    def _fill(self, *widgets: Widget) -> None:
        self.children = widgets


def _more_button(
    reading: CallReading, words: ipywidgets.HTML, allowing: Sequence[ipywidgets.Button]
) -> ipywidgets.Button:
    """Return the button that shows the next page. What was not seen cannot be allowed."""
    more = ipywidgets.Button(description="Show more", tooltip="Show the rest of the arguments")

    def show(_button: ipywidgets.Button) -> None:
        reading.show_more()
        words.value = _asked(reading)
        more.disabled = reading.is_complete
        for button in allowing:
            button.disabled = not reading.is_complete

    for button in allowing:
        button.disabled = True
    more.on_click(show)
    return more


def _asked(reading: CallReading) -> str:
    return render_approval(f"Claude wants to run {reading.text}")


def _resolve(verdict: asyncio.Future[str], label: str) -> None:
    if not verdict.done():
        verdict.set_result(label)
