"""Widgets: the one owner of ipywidgets' list of them, an answer as a column of blocks, answers side by side, and whether a tool may run.

A page that opens asks ipywidgets for the state of all widgets, which is collected in a walk through a dict. If another thread
makes or closes a widget meanwhile, the walk fails (ipywidgets 8.1), and the page says "Loading widget..." for ever. So from the
import of this module on, ipywidgets makes and closes a widget, of ours or of the user's, and answers a page, only while it
holds one lock. No other module takes it. Whatever makes widgets imports this module first, and closes them by `close_all`.

`claude_magic.display` does not import this module, because it imports ipywidgets.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

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
    Column,
    has_formulas,
    in_widget,
    render_approval,
    render_column_heading,
)
from ..runtime import ReplySnapshot
from ..tools import CallReading, ToolCall
from ._frontend import route_to_subshell
from ._surface import AnswerContent, AnyContent, answer_mark, interval_after

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

_told: int = 0


def _counting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def tell(*args: Any, **kwargs: Any) -> Any:
        global _told
        _told += 1
        return method(*args, **kwargs)

    return tell


def _pages_told() -> int:
    """Return how often a page has asked for the state of all widgets, which it does when it opens."""
    return _told


Widget._handle_control_comm_msg = classmethod(_holding(_counting(Widget._handle_control_comm_msg.__func__)))


class BlockColumn:
    """An answer while it grows: a widget for each block, so that what has settled is not sent again.

    The front end keeps the state of these widgets, as what is read where there is no kernel any more.
    Only a block with formulas is an `HTMLMath`: a front end that is given one looks for formulas in it, each time it changes.

    Args:
        remote_images: Load images from other hosts.
        layout: The layout that all blocks share.
        classes: The classes of each block.
        box_classes: The classes of the column.
        dress: Makes the value of a block from its HTML.
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
        # The blocks share their looks, because each widget of its own is two more messages.
        if layout is None:
            layout = ipywidgets.Layout(display="block", margin="0", padding="0", height="auto")
        self._layout = layout
        self._styles = {ipywidgets.HTML: HTMLStyle(), ipywidgets.HTMLMath: HTMLMathStyle()}
        box_layout = {} if box_classes else {"min_width": "0", "overflow": "visible"}
        self.box = ipywidgets.VBox(layout=ipywidgets.Layout(**box_layout), _dom_classes=tuple(box_classes))
        self._blocks: list[ipywidgets.HTML] = []
        self.start_over()

    def start_over(self) -> None:
        """Prepare for another answer. The previous one stays until that is drawn."""
        self._content = AnswerContent(remote_images=self._remote_images)

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

    def block(self, html: str = "", *, has_math: bool = True) -> ipywidgets.HTML:
        """Return a widget that looks like a block, for what stands beside them."""
        kind = ipywidgets.HTMLMath if has_math else ipywidgets.HTML
        looks = {"layout": self._layout, "style": self._styles[kind]}
        return kind(self._dress(html), **looks, _dom_classes=self._classes)

    @property
    def shared_looks(self) -> tuple[Widget, ...]:
        """The looks that all of its blocks have."""
        return (self._layout, *self._styles.values())

    def _show(self, slots: Sequence[str]) -> None:
        previous = self._blocks
        present = [*previous, *[None] * (len(slots) - len(previous))]
        self._blocks = [
            self._brought_up_to_date(block, html) for block, html in zip(present, slots, strict=False)
        ]
        self.box.children = tuple(self._blocks)
        kept = set(self._blocks)
        for block in previous:
            if block not in kept:
                # Not by `close_all`: its looks are those of the others, too.
                block.close()

    def _brought_up_to_date(self, block: ipywidgets.HTML | None, html: str) -> ipywidgets.HTML:
        has_math = has_formulas(html)
        if block is None or (has_math and not isinstance(block, ipywidgets.HTMLMath)):
            return self.block(html, has_math=has_math)
        # Sends nothing where nothing has changed.
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
    """A button: what stands on it, what it says under the mouse, and whether it can be pressed."""

    label: str
    hint: str
    is_enabled: bool


class AskedCall:
    """A call that a person decides on with buttons, wherever these are shown. What was not seen cannot be allowed.

    Args:
        call: What is to run.
        on_decision: Called when a button decides, on any thread.

    Attributes:
        verdict: Gets the label of the button that decides: `ALLOW`, `DENY` or `ALLOW_ALL`.
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
        """The question, as far as the call is shown."""
        return render_approval(f"Claude wants to run {self._reading.text}")

    def choices(self) -> list[Choice]:
        """Return the buttons, in their order."""
        is_seen = self._reading.is_complete
        enabled = {ALLOW: is_seen, DENY: True, ALLOW_ALL: is_seen, MORE: not is_seen}
        return [Choice(label, hint, enabled[label]) for label, hint in self._hints.items()]

    def press(self, label: str) -> None:
        """Take the press of a button, on any thread."""
        if label == MORE:
            self._reading.show_more()
        elif any(label == choice.label and choice.is_enabled for choice in self.choices()):
            self._on_decision()
            # Where the kernel shuts down, the loop is closed.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_resolve, self.verdict, label)


def _resolve(verdict: asyncio.Future[str], label: str) -> None:
    if not verdict.done():
        verdict.set_result(label)


HEARD_WITHIN: Final = 2.0
"""Seconds that a page is given to say that it has a widget, before a person is asked without it."""


class LiveView(anywidget.AnyWidget):
    """Answers while they grow, with a button that stops them, and the question whether a tool may run. None of it stays.

    It is one element of the page, which says as soon as it has the widget that it can show it. Each block of an answer is an attribute of
    the widget's state, "0.7" for the eighth of the first answer, so that an update holds what has changed and a page that asks for the
    state is told all.

    A page that is opened meanwhile shows it in its turn, and is not told of the display that takes its place. So where one has
    been opened, it stays, with the answers as they are in the end.

    Args:
        content: What is shown.
        stop: What a press of the button does, on any thread; None for no button.

    Attributes:
        is_shown: A display shows it.
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
    question = traitlets.Dict().tag(sync=True)

    def __init__(self, content: AnyContent, *, stop: Callable[[], None] | None) -> None:
        self.is_shown = False
        self._heard: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._made_at = time.monotonic()
        self._asked: AskedCall | None = None
        self._questions = itertools.count(1)
        self._content = content
        self._stop = stop
        self._answers: list[AnswerContent] = []
        self._blocks: dict[str, str] = {}
        self._pages_told = 0
        super().__init__(can_stop=stop is not None)
        # By it the page finds the output that shows it.
        self.view_id = self.model_id
        self.on_msg(self._hear)
        # What a page says waits for no cell.
        route_to_subshell(self)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state, or what is asked for of it: traits and blocks."""
        wanted = {*self.keys, *self._blocks} if key is None else {key} if isinstance(key, str) else {*key}
        blocks = {name: html for name, html in self._blocks.items() if name in wanted}
        state: dict[str, Any] = super().get_state(key=wanted - blocks.keys(), drop_defaults=drop_defaults)
        return {**state, **blocks}

    @property
    def is_heard(self) -> bool:
        """Whether a page has the widget."""
        return self._heard.done()

    async def is_heard_in_time(self) -> bool:
        """Wait until a page has the widget, but not longer than one is given for that; return whether one has."""
        left = self._made_at + HEARD_WITHIN - time.monotonic()
        if not self.is_heard and left > 0:
            await asyncio.wait([asyncio.wrap_future(self._heard)], timeout=left)
        return self.is_heard

    def draw(self, snapshot: Any) -> float:
        """Bring it up to date; return the seconds after which the next frame may follow."""
        columns = self._content.columns(snapshot)
        if not self._answers:
            self._answers = [
                AnswerContent(
                    remote_images=self._content.remote_images, remark=self._content.remark, in_pieces=True
                )
                for _ in columns
            ]
            self.count = len(columns)
        rows = [content.slots(column.answer) for content, column in zip(self._answers, columns, strict=True)]
        self._update(columns, rows)
        return interval_after(sum(len(row[-1]) for row in rows if row))

    async def ask(self, call: ToolCall) -> str:
        """Ask below the answer whether a call may run; return `ALLOW`, `DENY` or `ALLOW_ALL`."""
        asked, number = AskedCall(call), next(self._questions)
        with _lock:
            self._asked = asked
            self._tell(asked, number)
        try:
            return await asked.verdict
        finally:
            with _lock:
                self._asked, self.question = None, {}

    def _tell(self, asked: AskedCall, number: int) -> None:
        """Let the page show the question, and the buttons under it."""
        buttons = [choice._asdict() for choice in asked.choices()]
        self.question = {"number": number, "html": asked.html, "buttons": buttons}

    def show(self) -> dict[str, Any]:
        """Return the data of a display that shows it."""
        self.is_shown = True
        self._pages_told = _pages_told()
        return in_words(self, "The answer is being written.")

    def end(self, snapshot: Any) -> None:
        """Close it, unless a page shows it that was opened meanwhile. No other display may have it by now."""
        if not self.is_shown or _pages_told() == self._pages_told:
            close_all((self,))
            return
        columns = self._content.columns(snapshot)
        rows = [
            content.last_slots(column.answer) for content, column in zip(self._answers, columns, strict=True)
        ]
        self._update(columns, rows)
        self.has_ended = True

    def _update(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Send what has changed."""
        blocks = dict.fromkeys(self._blocks, "")
        for index, (column, row) in enumerate(zip(columns, rows, strict=True)):
            blocks.update((f"{index}.{number}", html) for number, html in enumerate(row))
            if column.name:
                blocks[f"{index}.heading"] = render_column_heading(column)
        # A page that asks meanwhile is told of it before or after.
        with _lock:
            changed = {name for name, html in blocks.items() if self._blocks.get(name) != html}
            self._blocks = blocks
            if changed:
                self.send_state(changed)

    def _hear(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("do") == "stop" and self._stop is not None:
            self._stop()
        elif content.get("do") == "press":
            self._press(content.get("number"), str(content.get("label")))
        elif content.get("do") == "listen":
            with _lock:
                if not self._heard.done():
                    self._heard.set_result(None)
                self.send({"do": "listen"})
                # It may have missed some.
                if self._blocks:
                    self.send_state({"question", *self._blocks})

    def _press(self, number: object, label: str) -> None:
        with _lock:
            # A press that comes late, or from another page, decides nothing about the next call.
            if self._asked is not None and number == self.question["number"]:
                self._asked.press(label)
                self._tell(self._asked, self.question["number"])


def stop_button(stop: Callable[[], None], *, hint: str) -> ipywidgets.HBox:
    """Return a button that calls `stop` once, on any thread; `hint` is what it says under the mouse."""
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
    # Below a background cell also while another one computes.
    route_to_subshell(button)
    return ipywidgets.HBox([button])


class ApprovalBar(ipywidgets.VBox):
    """Buttons below the call that they decide on, as long as it is undecided."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-approval"])

    def ask(self, call: ToolCall, *, on_press: Callable[[], None] = lambda: None) -> asyncio.Future[str]:
        """Show the buttons; return what has the label of the one that is pressed: `ALLOW`, `DENY` or `ALLOW_ALL`.

        Args:
            call: What is to run.
            on_press: Called when one of these is pressed, on any thread.
        """
        asked = AskedCall(call, on_decision=on_press)
        self._show(asked)
        return asked.verdict

    def hide(self) -> None:
        """Take the buttons away."""
        shown: tuple[Widget, ...] = self.children
        self._fill()
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
        self._fill(words, ipywidgets.HBox(row, _dom_classes=["claude-magic-verdicts"]))

    def _fill(self, *widgets: Widget) -> None:
        self.children = widgets


class CellActions(anywidget.AnyWidget):
    """Copy, New cell, Variable and Retry under the answers of cells: one widget for all cells of a kernel.

    It is in no output. The page puts the buttons beside the outputs of a cell, so that no file has them. A front end that does not let
    it shows none.

    Args:
        on_action: Called with the id of a cell, "copy", "insert", "keep" or "retry", and the name that was typed for "keep"; on any thread.
        on_gone: Called with the id of a cell whose outputs are cleared.
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
        self.on_msg(self._hear)
        route_to_subshell(self)

    def offer(self, cell: str, *, has_text: bool, can_retry: bool) -> None:
        """Show the buttons under a cell, until its outputs are cleared; without a text that is only to ask again."""
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
        """Take the buttons of a cell away."""
        if self._offers.pop(cell, None) is not None:
            self.send({"do": "withdraw", "cell": cell})

    def copy(self, cell: str, text: str) -> None:
        """Put text on the clipboard."""
        self.send({"do": "copy", "cell": cell, "text": text})

    def insert(self, cell: str, source: str, kind: str, remark: str) -> None:
        """Put a new cell of this kind, "code" or "markdown", below a cell, and say the remark, if there is one."""
        self.send({"do": "insert", "cell": cell, "text": source, "kind": kind, "remark": remark})

    def tell(self, cell: str, sentence: str) -> None:
        """Show a sentence beside the buttons of a cell."""
        self.send({"do": "tell", "cell": cell, "text": sentence})

    def _hear(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if "act" in content:
            self._on_action(str(content.get("cell")), str(content["act"]), str(content.get("name", "")))
        elif "gone" in content:
            cell = str(content["gone"])
            # Another answer may have come meanwhile.
            if self._offers.get(cell, {}).get("number") == content.get("number"):
                del self._offers[cell]
                self._on_gone(cell)
        elif "page" in content:
            if self._page not in ("", content["page"]):
                # A page that is loaded later takes no outputs for cells that it did not run.
                self._offers = {cell: {**offer, "can_retry": False} for cell, offer in self._offers.items()}
            self._page = str(content["page"])
            self.send({"do": "listen"})
            for offer in tuple(self._offers.values()):
                self.send(offer)
