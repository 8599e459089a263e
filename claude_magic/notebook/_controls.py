"""The widgets of `--interact`: which control stands for which value, and the answer to their state below them."""

from __future__ import annotations

import datetime
import enum
import itertools
import threading
import time
from collections.abc import ItemsView, KeysView, Mapping, Sequence, Set, ValuesView
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

import ipywidgets
from IPython.display import DisplayHandle, display
from ipywidgets import ValueWidget
from traitlets import TraitError

from ..client import ConfigurationError
from ..context import safe_repr
from ..display import FRAME_INTERVAL, IDLE_INTERVAL, Debounce, frame_loop, interval_after, route_to_subshell
from ..display.widgets import BlockColumn, close_all
from ..render import (
    TRANSCRIPT_CLASS,
    describe_status,
    describe_total_cost,
    in_widget,
    render_footer,
    render_line,
    render_state,
)
from ..runtime import Phase, Reply, ReplySnapshot

if TYPE_CHECKING:
    from ._interaction import Interaction, State

_MOST_OPTIONS = 1_000
_MOST_SHOWN = 200
_WIDTH = "min(100%, 30em)"


def make_controls(values: Mapping[str, object]) -> dict[str, ValueWidget]:
    """Return a control for each value, in their order; a widget stands for itself.

    Raises:
        ConfigurationError: There is none for one of them. Nothing was sent.
    """
    controls: dict[str, ValueWidget] = {}
    try:
        for name, value in values.items():
            controls[name] = make_control(name, value)
    except ConfigurationError:
        close_all(own_controls(controls, values))
        raise
    return controls


def own_controls(controls: Mapping[str, ValueWidget], values: Mapping[str, object]) -> list[ValueWidget]:
    """Return the controls that were made here; the others are widgets of the user's."""
    return [control for name, control in controls.items() if control is not values[name]]


def make_control(name: str, value: Any) -> ValueWidget:
    """Return a control for a value, chosen and bounded as `ipywidgets.interact` does.

    Raises:
        ConfigurationError: There is none. Nothing was sent.
    """
    if isinstance(value, ValueWidget):
        return value
    try:
        control = _abbreviated(value)
    # Bounds the wrong way round, or nothing to choose from.
    except (ValueError, TypeError, ArithmeticError, TraitError) as error:
        raise ConfigurationError(
            f"There is no control for {name} = {safe_repr(value, _MOST_SHOWN)}: {error}. Nothing was sent."
        ) from None
    if control is None:
        raise ConfigurationError(
            f"There is no control for {name}, which is of type {type(value).__name__}: a number, True or False, text, a day, a list to "
            "choose from, (smallest, largest) or a widget has one. Nothing was sent."
        )
    control.description = name
    control.style.description_width = "initial"
    control.layout.width = _WIDTH
    if isinstance(control, ipywidgets.Checkbox):
        control.indent = False
    if hasattr(control, "continuous_update"):
        control.continuous_update = False  # what counts is where a slider is let go, and text that is entered
    return control


def _abbreviated(value: Any) -> ValueWidget | None:
    """Return the control that `ipywidgets.interact` abbreviates so, and for some kinds that it does not know."""
    made = ipywidgets.interactive
    if isinstance(value, enum.Enum):
        members = dict(type(value).__members__)
        return ipywidgets.Dropdown(options=members | {value.name or str(value): value}, value=value)
    value = _plain(value)
    if isinstance(value, tuple):
        value = tuple(map(_plain, value))
        is_bounded = not any(isinstance(each, bool) for each in value)
        if is_bounded and (bounded := made.widget_from_tuple(value)) is not None:
            return bounded
    if isinstance(value, (str, bool, Real)):
        return made.widget_from_single_value(value)
    if (picker := _picker(value)) is not None:
        return picker
    options = _options(value)
    return None if options is None else _choice(options)


def _plain(value: Any) -> Any:
    """Return a number as Python's own: numpy's, of whatever kind, a decimal or a fraction are none that a slider takes."""
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        number = value.item()
        # Of nanoseconds numpy makes a number.
        is_time = value.dtype.kind == "M" and isinstance(number, int)
        return value.astype("datetime64[us]").item() if is_time else number
    return float(value) if isinstance(value, (Decimal, Fraction)) else value


def _picker(value: Any) -> ValueWidget | None:
    """Return the control of a day or a time; None for what is neither, or is none that exists (pandas' NaT)."""
    if isinstance(value, (datetime.date, datetime.time)) and value != value:
        raise ValueError("it is no point in time")
    if isinstance(value, datetime.datetime):
        # Plain ones: pandas' own are a kind of these, to the nanosecond.
        plain = datetime.datetime.combine(value.date(), value.time(), value.tzinfo)
        picker = ipywidgets.NaiveDatetimePicker if plain.tzinfo is None else ipywidgets.DatetimePicker
        return picker(value=plain)
    if isinstance(value, datetime.date):
        return ipywidgets.DatePicker(value=value)
    return ipywidgets.TimePicker(value=value) if isinstance(value, datetime.time) else None


def _options(value: Any) -> Mapping[Any, Any] | list[Any] | None:
    """Return what there is to choose from; None where a value is no choice."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, enum.EnumType):
        return dict(value.__members__)
    if isinstance(value, (Sequence, KeysView, ItemsView, ValuesView)):
        return value if isinstance(value, list) else list(itertools.islice(value, _MOST_OPTIONS + 1))
    if isinstance(value, Set):
        return sorted(value, key=str)  # it has no order of its own
    is_column = getattr(value, "ndim", None) == 1 and hasattr(value, "tolist")  # an array, a series, an index
    return list(value.tolist()) if is_column else None


def _choice(options: Mapping[Any, Any] | list[Any]) -> ValueWidget:
    """Return a list to choose from. Of pairs, as in `[("one", 10)]`, the first is seen and the second is the value."""
    if not options:
        raise ValueError("it is empty")
    if len(options) > _MOST_OPTIONS:
        raise ValueError(f"it has more than {_MOST_OPTIONS:,} values to choose from")
    return ipywidgets.Dropdown(options=dict(options) if isinstance(options, Mapping) else options)


PAUSE: Final = 0.5
"""Seconds for which the controls must have been left alone before something is sent."""

_CLASS: Final = "claude-magic-interact"
_PREVIOUS: Final = "claude-magic-previous"
_STYLE: Final = f"""<style>
.jp-OutputArea:has(> .jp-OutputArea-child .{_CLASS}) > .jp-OutputArea-child:has(.{TRANSCRIPT_CLASS}) {{ display: none; }}
.{_CLASS} .widget-html:has(> .widget-html-content > style) {{ display: none; }}
.{_CLASS} .{_PREVIOUS} {{ opacity: 0.45; }}
.{_CLASS} .jupyter-button {{ font-size: var(--jp-ui-font-size1, 13px); border-radius: 3px; }}
</style>"""


class InteractionView:
    """Shows controls and answers in the cell that runs, and beside them, hidden while it lives, the answer as an output.

    Args:
        interaction: What goes on between them.
        controls: The controls, by the names that they stand for.
        own: The controls that are the view's to dress and to close; others are the user's.
        remote_images: Load images from other hosts.
    """

    def __init__(
        self,
        interaction: Interaction,
        controls: Mapping[str, ValueWidget],
        *,
        own: Sequence[ValueWidget],
        remote_images: bool,
    ) -> None:
        self._interaction = interaction
        self._controls = tuple(controls.values())
        self._own = tuple(own)
        self._remote_images = remote_images
        self._lock = threading.RLock()
        self._state: State | None = None
        self._is_remembered = False
        self._has_drawn = False
        self._debounce = Debounce(PAUSE, interaction.settle)
        self._blocks = BlockColumn(remote_images=remote_images)
        self._line = self._blocks.block()
        self._footer = self._blocks.block()
        self._stop = _action("Stop", "Stop this answer. What has come of it stays.", interaction.stop)
        self._again = _action("Ask again", "Ask for this state once more, and pay again.", self._ask_again)
        self._buttons = ipywidgets.HBox()
        self._row = ipywidgets.VBox(self._controls)
        self._box = ipywidgets.VBox(
            [
                ipywidgets.HTML(_STYLE),
                self._row,
                self._line,
                self._blocks.box,
                self._footer,
                self._buttons,
            ],
            _dom_classes=[_CLASS],
        )
        self._transcript = DisplayHandle()

    def open(self) -> None:
        """Show it in the cell that runs, and listen to the controls."""
        display(self._box)
        nothing = {"text/html": f'<div class="{TRANSCRIPT_CLASS}"></div>', "text/plain": ""}
        self._transcript.display(nothing, raw=True)
        route_to_subshell(*self._own, self._stop, self._again)
        for control in self._controls:
            control.observe(self._note_change, "value")

    def close(self) -> None:
        """Listen no more, stop what is on its way, and forget the widgets that are not the user's."""
        self._debounce.close()
        for control in self._controls:
            control.unobserve(self._note_change, "value")
        self._interaction.stop()
        self._row.children = self._own  # what the user has made stays
        close_all((self._box, self._stop, self._again, *self._blocks.shared_looks))

    # What the interaction says...

    def show(self, state: State, *, is_remembered: bool) -> None:
        """Show a state's answer, while it grows or as it is."""
        with self._lock:
            self._state, self._is_remembered, self._has_drawn = state, is_remembered, False
            self._blocks.start_over()
            self._blocks.box.add_class(_PREVIOUS)
            self._buttons.children = (self._stop,)
        frame_loop.follow(state.reply, lambda: self._draw(state))

    def tell(self, line: str) -> None:
        """Say why there is no answer."""
        with self._lock:
            self._line.value = in_widget(render_line(line))

    # What the user does...

    def _note_change(self, _change: object) -> None:
        self._debounce.note()

    def _ask_again(self) -> None:
        self._interaction.forget_current()
        self._debounce.end()

    # Drawing...

    def _draw(self, state: State) -> float:
        with self._lock:
            if state is not self._state:
                return IDLE_INTERVAL
            snapshot = state.reply.snapshot()
            if snapshot.phase.is_final:
                self._finish(state, snapshot)
                return 0.0
            self._line.value = in_widget(render_line(self._describe(state, snapshot)))
            # The previous answer stays until the first words of this one, so that the page does not jump.
            if not snapshot.text and not self._has_drawn:
                return FRAME_INTERVAL
            self._has_drawn = True
            self._blocks.box.remove_class(_PREVIOUS)
            self._footer.value = ""
            return interval_after(self._blocks.draw(snapshot))

    def _finish(self, state: State, snapshot: ReplySnapshot) -> None:
        self._blocks.finish(snapshot)
        self._blocks.box.remove_class(_PREVIOUS)
        self._line.value = in_widget(render_line(self._describe(state, snapshot)))
        totals = render_line(_describe_totals(self._interaction.asked))
        self._footer.value = in_widget(render_footer(snapshot) + totals)
        self._buttons.children = (self._again,)
        if snapshot.text or snapshot.phase is Phase.COMPLETE:
            bundle = render_state(state.label, snapshot, remote_images=self._remote_images)
            self._transcript.update(bundle.data, metadata=bundle.metadata, raw=True)
        self._interaction.finish(state)

    def _describe(self, state: State, snapshot: ReplySnapshot) -> str:
        remembered = "remembered, nothing was sent" if self._is_remembered else ""
        status = describe_status(snapshot, time.monotonic())
        return " · ".join(part for part in (state.label, status, remembered) if part)


def _describe_totals(asked: Sequence[Reply]) -> str:
    price = describe_total_cost(reply.snapshot() for reply in asked)
    requests = "1 request" if len(asked) == 1 else f"{len(asked)} requests"
    return f"{requests} sent by these controls{f' · {price} in all' if price else ''}"


def _action(label: str, tooltip: str, on_click: Any) -> ipywidgets.Button:
    button = ipywidgets.Button(
        description=label, tooltip=tooltip, layout=ipywidgets.Layout(width="auto", height="26px")
    )
    button.on_click(lambda _button: on_click())
    return button
