"""`--interact n`: controls for variables of the prompt, and an answer to each of their states.

The cell asks for the state that the controls begin in, as any cell asks, and is done when that is answered. Then the
controls ask by themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..client import ConfigurationError
from ..context import names_in
from ..display import QuietSurface, let_interrupts_arrive, was_interrupted
from ..runtime import Question, Reply
from ._answer import answer, check_whole, finish, is_silenced, wait
from ._interaction import Interaction, State, Values
from ._question import ask_prompt, collect_attachments, with_system_text

if TYPE_CHECKING:
    from ipywidgets import ValueWidget

    from ._cell import Cell
    from ._commands import Line


async def interact(line: Line, cell: Cell) -> Reply:
    """Show the controls, and wait for the first answer.

    Raises:
        KeyboardInterrupt: The cell was interrupted. The controls stay.
        ClaudeError: The first request failed; likewise.
        ConfigurationError: There can be no such controls. Nothing was sent.
    """
    present = _present_values(line, cell)
    from ._controls import make_controls, own_controls  # late: it imports ipywidgets

    controls = make_controls(present)
    own = own_controls(controls, present)
    line = with_system_text(line)
    # Collected once: it must not change because a slider is moved.
    attachments = collect_attachments(line.options, cell)

    def read() -> Values:
        return {name: control.value for name, control in controls.items()}

    def question_for(values: Values) -> Question:
        return ask_prompt(line, cell, attachments, values)

    if not _can_show(cell):
        return await _ask_once(line, cell, own, read(), question_for)
    interaction = Interaction(line, cell, read=read, question_for=question_for)
    state = _begin(interaction, cell, controls, own)
    while not (is_interrupted := await wait(state.reply, QuietSurface(), cell)):
        if interaction.current in (state, None):
            break
        # The user has moved on while the cell was waiting.
        state = interaction.current or state
    if cell.is_awaited:
        is_interrupted |= await was_interrupted(let_interrupts_arrive())
    check_whole(state.reply, is_interrupted=is_interrupted)
    finish(state.reply, line, cell)
    return state.reply


def _can_show(cell: Cell) -> bool:
    """Whether a person looks at a front end with widgets, and outputs are neither collected nor compared."""
    front_end = cell.front_end
    return cell.runtime.settings().values.live and front_end.has_widgets and not front_end.is_captured


async def _ask_once(
    line: Line,
    cell: Cell,
    own: list[ValueWidget],
    values: Values,
    question_for: Callable[[Values], Question],
) -> Reply:
    """Ask where controls cannot be shown, with a note that says so."""
    from ..display.widgets import close_all

    close_all(own)
    told = ", ".join(f"{name} = {value!r}" for name, value in values.items())
    note = f"There are no controls here, so --interact has asked once, with {told}."
    question = question_for(values)
    return await answer(line, dataclasses.replace(question, notes=(*question.notes, note)), cell)


def _begin(
    interaction: Interaction, cell: Cell, controls: Mapping[str, ValueWidget], own: list[ValueWidget]
) -> State:
    """Show the controls in place of those that the cell had before, and ask for their state."""
    from ._controls import InteractionView

    remote_images = cell.runtime.settings().values.remote_images
    view = InteractionView(interaction, controls, own=own, remote_images=remote_images)
    planned = interaction.plan_first()
    cell.keep_view(view)
    view.open()
    return interaction.begin(planned, view)


def _present_values(line: Line, cell: Cell) -> Mapping[str, object]:
    if line.call is not None:
        raise ConfigurationError(
            f"--interact makes controls for variables of a prompt, and {line.prompt} has none. Nothing was sent."
        )
    if is_silenced(line):
        raise ConfigurationError(
            "--interact shows controls, and a ; at the end of the prompt lets nothing be shown. Use one of them; nothing was sent."
        )
    mine, spoken_of = cell.names(), names_in(line.prompt)
    for name in line.options.interact:
        if name not in mine:
            raise ConfigurationError(
                f"--interact {name}: there is no {name} in the notebook. Nothing was sent."
            )
        if name not in spoken_of:
            raise ConfigurationError(
                f"--interact {name}: {{{{ {name} }}}} does not stand in the prompt, so a control would change nothing. Nothing "
                "was sent."
            )
    return {name: mine[name] for name in line.options.interact}
