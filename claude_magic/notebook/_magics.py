"""`%claude` and `%%claude`, and their settings as traits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bool, Dict, Enum, Float, Int, List, Unicode
from traitlets.config import Configurable

from ._cell import Cell, Session
from ._commands import FULL_HELP, Line, show_short_help
from ._grammar import find_command, read_cell, read_line
from ._history import Errors
from ._names import Scope, ShellSurroundings
from ._options import EFFORT_LEVELS, REPLAY_MODES, THINKING_MODES, Options

if TYPE_CHECKING:
    from ._commands import Call

_UNSET: Any = {"default_value": None, "allow_none": True}


class ClaudeTraits(Configurable):
    """Settings as traits. `None` means unset: the environment, a settings file or the default then decides."""

    # What is asked...
    model = Unicode(help="Model that answers.", **_UNSET).tag(config=True)
    max_tokens = Int(help="Longest answer in tokens, thinking included.", **_UNSET).tag(config=True)
    effort = Enum(EFFORT_LEVELS, help="How hard the model tries.", **_UNSET).tag(config=True)
    thinking = Enum(THINKING_MODES, help="show (folded), hide, or off.", **_UNSET).tag(config=True)
    system = Unicode(help="System prompt.", **_UNSET).tag(config=True)

    # How it is shown...
    live = Bool(help="Draw answers while they stream; False shows one display at the end.", **_UNSET).tag(
        config=True
    )
    remote_images = Bool(help="Let answers load images from other hosts.", **_UNSET).tag(config=True)

    # What a map may cost...
    map_ask_above = Float(help="Price of a map in USD above which you are asked first.", **_UNSET).tag(
        config=True
    )

    # From the cassette...
    replay = Enum(REPLAY_MODES, help="Answer from the cassette: auto, only, record, or off.", **_UNSET).tag(
        config=True
    )
    cassette = Unicode(help="File in which answers are recorded.", **_UNSET).tag(config=True)
    replay_speed = Float(
        help="How many times faster than recorded a replay streams; 0 is at once.", **_UNSET
    ).tag(config=True)
    record_errors = Bool(help="Also record errors and interrupted answers.", **_UNSET).tag(config=True)

    # How often and how long...
    rate_limit_rps = Float(help="Requests per second.", **_UNSET).tag(config=True)
    limiter = Unicode(
        help="Redis server whose limiter all processes of the account share: redis://host:6379/0.", **_UNSET
    ).tag(config=True)
    max_retries = Int(help="Attempts after the first.", **_UNSET).tag(config=True)
    initial_backoff = Float(help="Seconds before the first retry.", **_UNSET).tag(config=True)
    max_backoff = Float(help="Most seconds before a retry.", **_UNSET).tag(config=True)
    max_retry_time = Float(help="Most seconds spent on retries.", **_UNSET).tag(config=True)
    timeout = Float(help="Most seconds for each phase of a request.", **_UNSET).tag(config=True)
    stream_timeout = Float(help="Most seconds for a whole answer.", **_UNSET).tag(config=True)

    # Where, and in which dialect...
    base_url = Unicode(help="Address of the API, without /v1.", **_UNSET).tag(config=True)
    api_version = Unicode(help="The anthropic-version header.", **_UNSET).tag(config=True)
    messages_path = Unicode(help="Path of the Messages call.", **_UNSET).tag(config=True)
    betas = List(trait=Unicode(), help="Beta features to request.", **_UNSET).tag(config=True)
    headers = Dict(help="More request headers; a key is refused here.", **_UNSET).tag(config=True)
    auth_header = Enum(("x-api-key", "authorization"), help="Header that carries the key.", **_UNSET).tag(
        config=True
    )
    lenient_stream_end = Bool(help="Accept answers that end before message_stop.", **_UNSET).tag(config=True)

    def configured(self) -> Mapping[str, object]:
        """Return the settings that were set here, by name."""
        values = {name: getattr(self, name) for name in ClaudeTraits.class_own_traits(config=True)}
        return {name: value for name, value in values.items() if value is not None}


@magics_class
class ClaudeMagics(ClaudeTraits, Magics):
    """The magics of one shell.

    A whole cell of `%%claude`, or of one `%claude` line, arrives through `answer_cell` or `answer_cell_blocking`,
    as `CellTransformer` rewrites it. The registered magic serves what is left: lines among other code, and
    `run_cell_magic`.
    """

    shell: Any

    def __init__(self, shell: Any = None, **settings: Any) -> None:
        super().__init__(shell=shell, **settings)
        self.session = Session(shell, self.configured)

    @property
    def errors(self) -> Errors:
        """The errors that the shell has shown; prompts know them as `Err`."""
        return self.session.errors

    async def answer_cell(self, line: str, body: str | None) -> None:
        """Answer a cell that is all ours, on the running event loop."""
        cell = Cell(self.session, Scope.of_caller(self.shell), is_awaited=True)
        parsed = self._read(line, body, cell)
        if parsed is None:
            return
        from ._ask import ask

        reply = await ask(parsed, cell)
        if reply is not None:
            cell.keep_value(reply)

    def answer_cell_blocking(self, line: str, body: str | None) -> None:
        """Answer a cell that is all ours, where nobody can await."""
        cell = Cell(self.session, Scope.of_caller(self.shell))
        reply = self._ask_blocking(self._read(line, body, cell), cell)
        if reply is not None:
            cell.keep_value(reply)

    @no_var_expand
    @line_cell_magic
    def claude(self, line: str, cell: str | None = None) -> Any:
        running = Cell(self.session, Scope.of_caller(self.shell))
        call = find_command(line, ShellSurroundings(self.shell, running.scope)) if cell is None else None
        if call is not None:
            self._run(call, running)
            return None
        parsed = self._read(line, cell, running)
        reply = self._ask_blocking(parsed, running)
        # The result of a map is a table of the user's, and only a line stands in the cell.
        if reply is not None and parsed is not None and parsed.options.map is None:
            reply.is_on_screen = True
        return reply

    claude.__doc__ = FULL_HELP

    def refuse_cell(self) -> None:
        """Say what is wrong with a cell in which something stands before `%%claude`.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "%%claude must be the first thing in its cell: no comment, code or space may come before it. Put "
            "that into a cell of its own. Nothing was run or sent."
        )

    def _read(self, line: str, body: str | None, cell: Cell) -> Line | None:
        """Return what a cell says; None where it says nothing, and has been shown the short help.

        Raises:
            UsageError: An option is wrong, or there are options and no prompt.
        """
        surroundings = ShellSurroundings(self.shell, cell.scope)
        parsed = read_line(line, surroundings) if body is None else read_cell(line, body, surroundings)
        if not parsed.is_empty:
            return parsed
        if parsed.options != Options():
            raise UsageError(
                "There is no prompt, only options. Write it after them, or in the cell below %%claude. Nothing was sent."
            )
        show_short_help()
        return None

    def _ask_blocking(self, line: Line | None, cell: Cell) -> Any:
        if line is None:
            return None
        from ._ask import ask, run_blocking

        return run_blocking(ask(line, cell))

    def _run(self, call: Call, cell: Cell) -> None:
        try:
            call.command.load()(cell, call.arguments)
        except Exception as error:
            from ._answer import with_short_traceback

            raise with_short_traceback(error, self.shell) from None
