"""The controls of a cell, with the answer to their state below them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import ipywidgets
from IPython.display import DisplayHandle, display
from ipywidgets import ValueWidget

from ..live import hear_at_once, painter
from ..live.widgets import close_all
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
from ._growing_blocks import GrowingBlocks, interval_after
from ._interaction import Interaction, State
from ._pause import Pause
from ._screens import FRAME_INTERVAL, IDLE_INTERVAL

PAUSE: Final = 0.5
"""Seconds for which the controls must have been left alone before something is sent."""

_CLASS: Final = "claude-magic-interact"
_FORMER: Final = "claude-magic-former"
_STYLE: Final = f"""<style>
.jp-OutputArea:has(> .jp-OutputArea-child .{_CLASS}) > .jp-OutputArea-child:has(.{TRANSCRIPT_CLASS}) {{ display: none; }}
.{_CLASS} .widget-html:has(> .widget-html-content > style) {{ display: none; }}
.{_CLASS} .{_FORMER} {{ opacity: 0.45; }}
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
        self._pause = Pause(PAUSE, interaction.settle)
        self._blocks = GrowingBlocks(remote_images=remote_images)
        self._line = self._blocks.block()
        self._footer = self._blocks.block()
        self._stop = _button("Stop", "Stop this answer. What has come of it stays.", interaction.stop)
        self._again = _button("Ask again", "Ask for this state once more, and pay again.", self._ask_again)
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
        hear_at_once(*self._own, self._stop, self._again)
        for control in self._controls:
            control.observe(self._note_change, "value")

    def close(self) -> None:
        """Listen no more, stop what is on its way, and forget the widgets that are not the user's."""
        self._pause.close()
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
            self._blocks.box.add_class(_FORMER)
            self._buttons.children = (self._stop,)
        painter.follow(state.reply, lambda: self._draw(state))

    def tell(self, line: str) -> None:
        """Say why there is no answer."""
        with self._lock:
            self._line.value = in_widget(render_line(line))

    # What the user does...

    def _note_change(self, _change: object) -> None:
        self._pause.note()

    def _ask_again(self) -> None:
        self._interaction.forget_current()
        self._pause.end()

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
            # The former answer stays until the first words of this one, so that the page does not jump.
            if not snapshot.text and not self._has_drawn:
                return FRAME_INTERVAL
            self._has_drawn = True
            self._blocks.box.remove_class(_FORMER)
            self._footer.value = ""
            return interval_after(self._blocks.draw(snapshot), shortest=FRAME_INTERVAL)

    def _finish(self, state: State, snapshot: ReplySnapshot) -> None:
        self._blocks.finish(snapshot)
        self._blocks.box.remove_class(_FORMER)
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


def _button(label: str, tooltip: str, on_click: Any) -> ipywidgets.Button:
    button = ipywidgets.Button(
        description=label, tooltip=tooltip, layout=ipywidgets.Layout(width="auto", height="26px")
    )
    button.on_click(lambda _button: on_click())
    return button
