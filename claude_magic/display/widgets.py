"""Widgets: a lock for ipywidgets' registry, answers as columns of blocks, live views, and approval and action buttons.

A page that opens requests the state of all widgets, which ipywidgets collects by iterating over a dict. If another thread
creates or closes a widget meanwhile, the iteration fails (ipywidgets 8.1), and the page shows "Loading widget..." forever.
Therefore, once this module is imported, ipywidgets holds one lock while it creates or closes any widget, including the
user's, and while it answers a page. No other module takes this lock. Modules that create widgets import this module first
and close them with `close_all`.

`claude_magic.display` does not import this module, because it imports ipywidgets.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple

import anywidget
import ipywidgets
import traitlets
from ipywidgets import Widget
from ipywidgets.widgets.widget_string import HTMLMathStyle, HTMLStyle

from ..render import (
    COLUMN,
    COLUMN_BODY,
    COLUMNS,
    WIDGET_CLASSES,
    Bundle,
    Column,
    LiveFrames,
    has_formulas,
    in_widget,
    render_approval,
    render_column_heading,
)
from ..runtime import ReplySnapshot
from ..tools import CallReading, ToolCall
from ._frames import interval_after
from ._frontend import answer_mark, route_to_subshell

_lock: Final = threading.RLock()


def close_all(widgets: Iterable[Widget]) -> None:
    """Close widgets and their children, from the outside in, so that no page receives a widget without its parts.

    ipywidgets keeps each widget in the kernel and in the browser until it is closed.
    """
    with _lock:
        for widget in widgets:
            for part in (widget, getattr(widget, "layout", None), getattr(widget, "style", None)):
                if part is not None:
                    part.close()
            close_all(getattr(widget, "children", ()))


def in_words(widget: Widget, line: str) -> dict[str, Any]:
    """Return the mimebundle of a widget, with a line of text for places without widgets: saved notebooks, exports."""
    bundle: dict[str, Any] = ipywidgets.DOMWidget._repr_mimebundle_(widget)
    return {**bundle, "text/plain": line}


def page_source(kind: Literal["js", "css"], own: Path) -> str:
    """Return the JavaScript or CSS of a widget: the shared file, then the widget's own file."""
    shared = Path(__file__).with_name(f"_page.{kind}")
    return "\n".join(path.read_text(encoding="utf-8") for path in (shared, own))


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def hold(*args: Any, **kwargs: Any) -> Any:
        with _lock:
            return method(*args, **kwargs)

    return hold


def _close_only_once(collect: Callable[[Widget], None]) -> Callable[[Widget], None]:
    @functools.wraps(collect)
    def collect_if_open(widget: Widget) -> None:
        # `__del__` of ipywidgets closes the widget again: only closed widgets are collected, because the registry keeps the others.
        # The garbage collector runs in any thread at any point, so neither it nor `close` of a subclass may wait for the lock.
        if widget.comm is not None:
            collect(widget)

    return collect_if_open


Widget.open = _locked(Widget.open)
Widget.close = _locked(Widget.close)
Widget.__del__ = _close_only_once(Widget.__del__)

Widget._handle_control_comm_msg = classmethod(_locked(Widget._handle_control_comm_msg.__func__))


# Unlike displays of a cell, front ends do not limit widgets. But the list of all blocks is sent with each new one.
_MAX_BLOCKS: Final = 70


class BlockColumn:
    """A growing answer with one widget per block, so that finished blocks are not sent again.

    The front end keeps the state of these widgets, so the answer stays readable without a kernel.
    Only blocks with formulas are `HTMLMath`, because front ends search those for formulas at each change.

    Args:
        remote_images: Whether to load images from other hosts.
        layout: The layout that all blocks share.
        classes: The CSS classes of each block.
        box_classes: The CSS classes of the column.
        dress: Returns the value of a block for its HTML.
    """

    def __init__(
        self,
        *,
        remote_images: bool,
        layout: ipywidgets.Layout | None = None,
        classes: Sequence[str] = WIDGET_CLASSES,
        box_classes: Sequence[str] = (),
        dress: Callable[[str], str] = in_widget,
    ) -> None:
        self._remote_images = remote_images
        self._dress = dress
        self._classes = tuple(classes)
        # The blocks share layout and style, because separate ones would cost two more messages per block.
        if layout is None:
            layout = ipywidgets.Layout(display="block", margin="0", padding="0", height="auto")
        self._layout = layout
        self._styles = {ipywidgets.HTML: HTMLStyle(), ipywidgets.HTMLMath: HTMLMathStyle()}
        box_layout = {} if box_classes else {"min_width": "0", "overflow": "visible"}
        self.box = ipywidgets.VBox(layout=ipywidgets.Layout(**box_layout), _dom_classes=tuple(box_classes))
        self._blocks: list[ipywidgets.HTML] = []
        self.start_over()

    def start_over(self) -> None:
        """Prepare for another answer. The previous one stays until the next one is drawn."""
        self._frames = LiveFrames(remote_images=self._remote_images, max_blocks=_MAX_BLOCKS)

    def draw(self, snapshot: ReplySnapshot) -> int:
        """Draw a snapshot. Return the length in characters of the part that each frame sends again."""
        slots = self._frames.slots(snapshot, time.monotonic())
        self._show(slots)
        return len(slots[-1]) if slots else 0

    def finish(self, snapshot: ReplySnapshot) -> None:
        """Draw the final answer, without its footer."""
        self._show(self._frames.last_slots(snapshot))

    def empty(self) -> None:
        """Remove all blocks."""
        self._show([])

    def block(self, html: str = "", *, has_math: bool = True) -> ipywidgets.HTML:
        """Return a widget with the style of a block, for content next to the blocks."""
        kind = ipywidgets.HTMLMath if has_math else ipywidgets.HTML
        looks = {"layout": self._layout, "style": self._styles[kind]}
        return kind(self._dress(html), **looks, _dom_classes=self._classes)

    @property
    def shared_looks(self) -> tuple[Widget, ...]:
        """The layout and styles that all blocks share."""
        return (self._layout, *self._styles.values())

    def _show(self, slots: Sequence[str]) -> None:
        previous = self._blocks
        present = [*previous, *[None] * (len(slots) - len(previous))]
        self._blocks = [self._updated_block(block, html) for block, html in zip(present, slots, strict=False)]
        self.box.children = tuple(self._blocks)
        kept = set(self._blocks)
        for block in previous:
            if block not in kept:
                # Not with `close_all`, because the other blocks share its layout and style.
                block.close()

    def _updated_block(self, block: ipywidgets.HTML | None, html: str) -> ipywidgets.HTML:
        has_math = has_formulas(html)
        if block is None or (has_math and not isinstance(block, ipywidgets.HTMLMath)):
            return self.block(html, has_math=has_math)
        # Sends nothing if the value has not changed.
        block.value = self._dress(html)
        return block


ALLOW: Final = "Allow"
DENY: Final = "Deny"
ALLOW_ALL: Final = "Allow all"
MORE: Final = "Show more"
_HINTS: Final = {
    ALLOW: "Let {name} run",
    DENY: "Do not let {name} run",
    ALLOW_ALL: "Let all calls of this answer run",
    MORE: "Show the rest of the arguments",
}


class Choice(NamedTuple):
    """A button: its label, its tooltip, and whether it is enabled."""

    label: str
    hint: str
    is_enabled: bool


class AskedCall:
    """A tool call that a person decides on. It can be allowed only after all of its arguments were shown.

    Args:
        call: The tool call.
        on_decision: Called when a button decides, on any thread.

    Attributes:
        verdict: Resolves to the label of the deciding button: `ALLOW`, `DENY` or `ALLOW_ALL`.
    """

    def __init__(self, call: ToolCall, *, on_decision: Callable[[], None] = lambda: None) -> None:
        self._loop = asyncio.get_running_loop()
        self.verdict: asyncio.Future[str] = self._loop.create_future()
        self._on_decision = on_decision
        self._reading = CallReading(call)
        labels = [label for label in _HINTS if label != MORE or not self._reading.is_complete]
        self._hints = {label: _HINTS[label].format(name=call.name) for label in labels}

    @property
    def html(self) -> str:
        """The question, with the part of the call that is shown so far."""
        return render_approval(f"Claude wants to run {self._reading.text}")

    def choices(self) -> list[Choice]:
        """Return the buttons in order."""
        is_seen = self._reading.is_complete
        enabled = {ALLOW: is_seen, DENY: True, ALLOW_ALL: is_seen, MORE: not is_seen}
        return [Choice(label, hint, enabled[label]) for label, hint in self._hints.items()]

    def press(self, label: str) -> None:
        """Handle a click on a button. Thread-safe."""
        if label == MORE:
            self._reading.show_more()
        elif any(label == choice.label and choice.is_enabled for choice in self.choices()):
            self._on_decision()
            # The loop is closed if the kernel shuts down.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_resolve, self.verdict, label)


def _resolve(verdict: asyncio.Future[str], label: str) -> None:
    if not verdict.done():
        verdict.set_result(label)


PAGE_TIMEOUT: Final = 2.0
"""Seconds to wait until a page reports that it has a widget, before a question is shown elsewhere."""


_MOST_KEPT: Final = 50
"""Views of finished answers that are kept. Each costs a page that opens the state of two small widgets."""


class LiveView(anywidget.AnyWidget):
    """Growing answers with a Stop button and approval questions. The final output replaces the view.

    The view is one element of the page. The page reports as soon as it has the widget. Each block of an answer is an
    attribute of the widget's state, "0.7" for the eighth block of the first answer, so that an update contains only changed
    blocks, and a page that requests the state receives all of them.

    A notebook that is saved meanwhile contains the view, and a page that is opened meanwhile or later does not receive the
    display update that replaces it. Therefore a finished view is kept, without its blocks. A page whose notebook contains the
    view requests the final output and puts it in its place. The kernel keeps the last `_MOST_KEPT` views.

    Args:
        columns: Returns the answers of a snapshot.
        remote_images: Whether to load images from other hosts.
        remark: How to stop the answers; "" for no remark.
        stop: Called by the Stop button, on any thread; None for no button.

    Attributes:
        is_shown: Whether a display shows the view.
    """

    _esm = page_source("js", Path(__file__).with_name("_live.js"))
    _css = f"""{page_source("css", Path(__file__).with_name("_live.css"))}
.claude-magic-live-columns {{ {COLUMNS} }}
.claude-magic-live-columns > * {{ {COLUMN} }}
.claude-magic-live-columns .claude-magic-live-answer {{ {COLUMN_BODY} }}"""
    can_stop = traitlets.Bool().tag(sync=True)
    has_ended = traitlets.Bool().tag(sync=True)
    count = traitlets.Int(1).tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)
    _kept: ClassVar[collections.deque[Widget]] = collections.deque()
    question = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        columns: Callable[[Any], Sequence[Column]],
        *,
        remote_images: bool,
        remark: str,
        stop: Callable[[], None] | None,
    ) -> None:
        self.is_shown = False
        self._page_found: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._made_at = time.monotonic()
        self._asked: AskedCall | None = None
        self._questions = itertools.count(1)
        self._columns = columns
        self._make_frames = functools.partial(
            LiveFrames, remote_images=remote_images, remark=remark, max_blocks=None
        )
        self._stop = stop
        self._answers: list[LiveFrames] = []
        self._blocks: dict[str, str] = {}
        self._final: Callable[[], Bundle] | None = None
        super().__init__(can_stop=stop is not None)
        # The page finds the output that shows the view by this id.
        self.view_id = self.model_id
        self.on_msg(self._on_message)
        # Messages from the page do not wait for cells.
        route_to_subshell(self)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state, or the requested traits and blocks."""
        wanted = {*self.keys, *self._blocks} if key is None else {key} if isinstance(key, str) else {*key}
        blocks = {name: html for name, html in self._blocks.items() if name in wanted}
        state: dict[str, Any] = super().get_state(key=wanted - blocks.keys(), drop_defaults=drop_defaults)
        return {**state, **blocks}

    @property
    def has_page(self) -> bool:
        """Whether a page has the widget."""
        return self._page_found.done()

    async def wait_for_page(self) -> bool:
        """Wait until a page has the widget, at most `PAGE_TIMEOUT` after its creation. Return whether one has."""
        left = self._made_at + PAGE_TIMEOUT - time.monotonic()
        if not self.has_page and left > 0:
            await asyncio.wait([asyncio.wrap_future(self._page_found)], timeout=left)
        return self.has_page

    def draw(self, snapshot: Any) -> float:
        """Draw a snapshot. Return the seconds after which the next frame may follow."""
        columns = self._columns(snapshot)
        if not self._answers:
            self._answers = [self._make_frames() for _ in columns]
            self.count = len(columns)
        now = time.monotonic()
        rows = [
            frames.slots(column.answer, now) for frames, column in zip(self._answers, columns, strict=True)
        ]
        self._update(columns, rows)
        return interval_after(sum(len(row[-1]) for row in rows if row))

    async def ask(self, call: ToolCall) -> str:
        """Ask below the answer whether a call may run. Return `ALLOW`, `DENY` or `ALLOW_ALL`."""
        asked, number = AskedCall(call), next(self._questions)
        with _lock:
            self._asked = asked
            self._send_question(asked, number)
        try:
            return await asked.verdict
        finally:
            with _lock:
                self._asked, self.question = None, {}

    def _send_question(self, asked: AskedCall, number: int) -> None:
        """Send the question and its buttons to the page."""
        buttons = [choice._asdict() for choice in asked.choices()]
        self.question = {"number": number, "html": asked.html, "buttons": buttons}

    def show(self) -> dict[str, Any]:
        """Return the data of a display that shows the view."""
        self.is_shown = True
        return in_words(self, "The answer is being written.")

    def end(self, final: Callable[[], Bundle], *, box: Widget | None = None) -> None:
        """Keep the view for pages whose notebook contains it; close it if no display has shown it.

        Args:
            final: Returns the final output. Called for each page that requests it.
            box: The box that is shown, if it contains the view.
        """
        if not self.is_shown:
            close_all((self,))
            return
        with _lock:
            self._final, self._stop = final, None
            self._answers, self._blocks = [], {}
            self.has_ended = True
            self._kept.append(box or self)
            if len(self._kept) > _MOST_KEPT:
                close_all((self._kept.popleft(),))

    def _update(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Send the changed blocks."""
        blocks = dict.fromkeys(self._blocks, "")
        for index, (column, row) in enumerate(zip(columns, rows, strict=True)):
            blocks.update((f"{index}.{number}", html) for number, html in enumerate(row))
            if column.name:
                blocks[f"{index}.heading"] = render_column_heading(column)
        # A page that requests the state meanwhile gets it before or after this change.
        with _lock:
            changed = {name for name, html in blocks.items() if self._blocks.get(name) != html}
            self._blocks = blocks
            if changed:
                self.send_state(changed)

    def _on_message(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("do") == "stop" and self._stop is not None:
            self._stop()
        elif content.get("do") == "press":
            self._press(content.get("number"), str(content.get("label")))
        elif content.get("do") == "finish" and self._final is not None:
            final = self._final()
            self.send({"do": "finish", "data": final.data, "metadata": final.metadata})
        elif content.get("do") == "listen":
            with _lock:
                if not self._page_found.done():
                    self._page_found.set_result(None)
                self.send({"do": "listen"})
                # The page may have missed updates.
                if self._blocks or self.has_ended:
                    self.send_state({"question", "has_ended", *self._blocks})

    def _press(self, number: object, label: str) -> None:
        with _lock:
            # A late click, or a click on another page, must not decide the next call.
            if self._asked is not None and number == self.question["number"]:
                self._asked.press(label)
                self._send_question(self._asked, self.question["number"])


def end_box(box: ipywidgets.Box, final: Callable[[], Bundle]) -> None:
    """Close the content of a box, and keep the box as `LiveView.end` keeps a view."""
    view = LiveView(lambda _snapshot: (), remote_images=False, remark="", stop=None)
    view.view_id, view.is_shown = box.model_id, True
    content, box.children = box.children, (view,)
    close_all(content)
    view.end(final, box=box)


def stop_button(stop: Callable[[], None], *, hint: str) -> ipywidgets.HBox:
    """Return a button that calls `stop` once, on any thread. `hint` is its tooltip."""
    button = ipywidgets.Button(
        description="Stop",
        icon="stop",
        tooltip=hint,
        layout=ipywidgets.Layout(width="auto", height="26px", margin="4px 0 2px 0"),
    )

    def on_click(_button: object) -> None:
        button.disabled = True
        stop()

    button.on_click(on_click)
    # Below a background cell, it works while another cell runs.
    route_to_subshell(button)
    return ipywidgets.HBox([button])


class ApprovalBar(ipywidgets.VBox):
    """Buttons that decide on a tool call, shown below the call until then."""

    children: tuple[Widget, ...]

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-approval"])

    def ask(self, call: ToolCall, *, on_press: Callable[[], None] = lambda: None) -> asyncio.Future[str]:
        """Show the buttons. Return a future for the label of the pressed one: `ALLOW`, `DENY` or `ALLOW_ALL`.

        Args:
            call: The tool call.
            on_press: Called when one of these is pressed, on any thread.
        """
        asked = AskedCall(call, on_decision=on_press)
        self._show(asked)
        return asked.verdict

    def hide(self) -> None:
        """Remove the buttons."""
        shown = self.children
        self.children = ()
        close_all(shown)

    def _show(self, asked: AskedCall) -> None:
        words = ipywidgets.HTML(asked.html, _dom_classes=["claude-magic-block"])
        row = [
            ipywidgets.Button(description=label, tooltip=hint, disabled=not is_enabled)
            for label, hint, is_enabled in asked.choices()
        ]
        row[0].button_style = "primary"

        def press(button: ipywidgets.Button) -> None:
            asked.press(button.description)
            words.value = asked.html
            for each, choice in zip(row, asked.choices(), strict=True):
                each.disabled = not choice.is_enabled

        for button in row:
            button.on_click(press)
        route_to_subshell(*row)
        self.children = (words, ipywidgets.HBox(row, _dom_classes=["claude-magic-verdicts"]))


class CellActions(anywidget.AnyWidget):
    """The buttons Copy, New cell, Variable and Retry under the answers of cells: one widget for all cells of a kernel.

    The widget is in no output. The page adds the buttons next to the outputs of a cell, so they are not saved. Front ends that
    do not allow this show no buttons.

    Args:
        on_action: Called with a cell's id, the action ("copy", "insert", "keep" or "retry") and the name typed for "keep", on any
            thread.
        on_gone: Called with the id of a cell whose outputs were cleared.
    """

    _esm = page_source("js", Path(__file__).with_name("_actions.js"))
    _css = page_source("css", Path(__file__).with_name("_actions.css"))

    def __init__(self, on_action: Callable[[str, str, str], None], on_gone: Callable[[str], None]) -> None:
        self._on_action = on_action
        self._on_gone = on_gone
        self._offers: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._page = ""
        super().__init__()
        self.on_msg(self._on_message)
        route_to_subshell(self)

    def offer(self, cell: str, *, has_text: bool, can_retry: bool) -> None:
        """Show the buttons under a cell until its outputs are cleared. Without a text, there is only Retry."""
        offer = {
            "do": "offer",
            "number": next(self._numbers),
            "cell": cell,
            "mark": answer_mark(cell),
            "has_text": has_text,
            "can_retry": can_retry,
        }
        self._offers[cell] = offer
        if self._page:
            self.send(offer)

    def withdraw(self, cell: str) -> None:
        """Remove the buttons of a cell."""
        if self._offers.pop(cell, None) is not None:
            self.send({"do": "withdraw", "cell": cell})

    def copy(self, cell: str, text: str) -> None:
        """Copy text to the clipboard."""
        self.send({"do": "copy", "cell": cell, "text": text})

    def insert(self, cell: str, source: str, kind: str, remark: str) -> None:
        """Insert a new cell ("code" or "markdown") below a cell, and show the remark, if any."""
        self.send({"do": "insert", "cell": cell, "text": source, "kind": kind, "remark": remark})

    def tell(self, cell: str, sentence: str, *, is_kept: bool = False) -> None:
        """Show a sentence next to the buttons of a cell; if the answer `is_kept`, close the field for its name."""
        self.send({"do": "tell", "cell": cell, "text": sentence, "is_kept": is_kept})

    def _on_message(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if "act" in content:
            self._on_action(str(content.get("cell")), str(content["act"]), str(content.get("name", "")))
        elif "gone" in content:
            cell = str(content["gone"])
            # There may be a newer answer.
            if self._offers.get(cell, {}).get("number") == content.get("number"):
                del self._offers[cell]
                self._on_gone(cell)
        elif "page" in content:
            if self._page not in ("", content["page"]):
                # A page does not receive outputs of cells that it did not run itself.
                self._offers = {cell: {**offer, "can_retry": False} for cell, offer in self._offers.items()}
            self._page = str(content["page"])
            self.send({"do": "listen"})
            for offer in tuple(self._offers.values()):
                self.send(offer)
