"""`--interact n`: controls for variables of the prompt, and an answer to each of their states.

The cell asks for the state that the controls begin in, as any cell asks, and is done when that is answered. Then the
controls ask by themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..client import ConfigurationError
from ..context import names_in
from ..runtime import Reply
from ._answer import answer, answer_blocking, check_whole
from ._clicks import shows_widgets
from ._draft import Draft, collect_along, fill_in, names_seen, with_system_text
from ._interaction import Interaction, State, Values
from ._interrupted import let_interrupts_arrive, was_interrupted
from ._live import follow, follow_blocking
from ._screens import QuietScreen, is_captured

if TYPE_CHECKING:
    from ipywidgets import ValueWidget

    from ._magics import ClaudeMagics
    from ._options import Request


async def interact(magics: ClaudeMagics, request: Request) -> Reply:
    """Show the controls, and wait for the first answer on the running loop.

    Raises:
        KeyboardInterrupt: The cell was interrupted. The controls stay.
        ClaudeError: The first request failed; likewise.
        ConfigurationError: There can be no such controls. Nothing was sent.
    """
    setup = _Setup(magics, request)
    if not setup.can_show:
        return await answer(setup.draft_once(), magics)
    interaction, state = setup.begin()
    while not (is_interrupted := await was_interrupted(follow(state.reply, QuietScreen()))):
        if not _is_left(state, interaction):
            break
        state = interaction.current or state
    is_interrupted |= await was_interrupted(let_interrupts_arrive())
    return _finish(state, is_interrupted=is_interrupted)


def interact_blocking(magics: ClaudeMagics, request: Request) -> Reply:
    """Show the controls, and wait for the first answer on this thread. Raises as `interact` does."""
    setup = _Setup(magics, request)
    if not setup.can_show:
        return answer_blocking(setup.draft_once(), magics)
    interaction, state = setup.begin()
    is_interrupted = False
    try:
        follow_blocking(state.reply, QuietScreen())
        while _is_left(state, interaction):
            state = interaction.current or state
            follow_blocking(state.reply, QuietScreen())
    except KeyboardInterrupt:
        is_interrupted = True
    return _finish(state, is_interrupted=is_interrupted)


def _is_left(state: State, interaction: Interaction) -> bool:
    """Whether the user has moved on to another state while the cell was waiting for this one."""
    return interaction.current not in (state, None)


def _finish(state: State, *, is_interrupted: bool) -> Reply:
    check_whole(state.reply, is_interrupted=is_interrupted)
    state.finish()
    return state.reply


class _Setup:
    """What a cell with controls needs.

    What goes along with the prompt, attachments and cells, is collected once: it must not change because a slider is moved.

    Raises:
        ConfigurationError: There can be no such controls. Nothing was sent.
    """

    def __init__(self, magics: ClaudeMagics, request: Request) -> None:
        self._magics = magics
        self._values = _present_values(magics, request)
        from ._controls import make_controls, own_controls  # late: it imports ipywidgets

        self._controls: dict[str, ValueWidget] = make_controls(self._values)
        self._own = own_controls(self._controls, self._values)
        options = with_system_text(request.options)
        self._request = dataclasses.replace(request, options=options)
        self._along = collect_along(options, magics, request.scope)

    @property
    def can_show(self) -> bool:
        """Whether somebody sits at a front end with widgets, and outputs are neither collected nor compared."""
        shell = self._magics.shell
        is_live = self._magics.runtime().settings().values.live
        return is_live and shows_widgets(shell) and not is_captured(shell.display_pub)

    def draft_once(self) -> Draft:
        """Return what is asked where controls cannot be shown, with a note that says so."""
        from ..live.widgets import close_all

        values = self._read()
        close_all(self._own)
        told = ", ".join(f"{name} = {value!r}" for name, value in values.items())
        draft = self._make_draft(values)
        note = f"There are no controls here, so --interact has asked once, with {told}."
        return dataclasses.replace(draft, notes=(*draft.notes, note))

    def begin(self) -> tuple[Interaction, State]:
        """Show the controls in the cell that runs, in place of those that it had before, and ask for their state."""
        from ._interaction_view import InteractionView

        cell = self._magics.cell_keys.next_key(self._magics.shell)
        interaction = Interaction(self._magics, cell=cell, read=self._read, make_draft=self._make_draft)
        view = InteractionView(
            interaction,
            self._controls,
            own=self._own,
            remote_images=self._magics.runtime().settings().values.remote_images,
        )
        prepared = interaction.prepare()
        self._magics.keep_view(cell, view)
        view.open()
        return interaction, interaction.begin(prepared, view)

    def _read(self) -> Values:
        return {name: control.value for name, control in self._controls.items()}

    def _make_draft(self, values: Values) -> Draft:
        names = names_seen(self._magics, self._request.scope)
        return fill_in(self._request, self._along, {**names, **values})


def _present_values(magics: ClaudeMagics, request: Request) -> Mapping[str, object]:
    if request.call is not None:
        raise ConfigurationError(
            f"--interact makes controls for variables of a prompt, and {request.prompt} has none. Nothing was sent."
        )
    if request.prompt.rstrip().endswith(";"):
        raise ConfigurationError(
            "--interact shows controls, and a ; at the end of the prompt lets nothing be shown. Use one of them; nothing was sent."
        )
    mine, spoken_of = names_seen(magics, request.scope), names_in(request.prompt)
    for name in request.options.interact:
        if name not in mine:
            raise ConfigurationError(
                f"--interact {name}: there is no {name} in the notebook. Nothing was sent."
            )
        if name not in spoken_of:
            raise ConfigurationError(
                f"--interact {name}: {{{{ {name} }}}} does not stand in the prompt, so a control would change nothing. Nothing "
                "was sent."
            )
    return {name: mine[name] for name in request.options.interact}
