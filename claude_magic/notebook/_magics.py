"""The magics `%claude` and `%%claude`, and the settings as traits.

What a way of asking or a subcommand needs is imported when it is first used, so that `%load_ext` stays fast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bool, Dict, Enum, Float, Int, List, Unicode
from traitlets.config import Configurable

from ._cell import Cell, Session
from ._commands import FULL_HELP, find_command, show_short_help
from ._line import Line, read_cell, read_line
from ._options import EFFORT_LEVELS, REPLAY_MODES, THINKING_MODES, Options
from ._shell import Errors


def _setting(kind: Any, help: str, **options: Any) -> Any:
    """Return a configurable trait that is None until it is set."""
    return kind(help=help, default_value=None, allow_none=True, **options).tag(config=True)


class ClaudeTraits(Configurable):
    """The settings as traits, for `%config`. `None` means unset: the environment, a settings file or the default applies."""

    # Questions
    model = _setting(Unicode, "Model that answers.")
    max_tokens = _setting(Int, "Maximum tokens of an answer, including thinking.")
    effort = _setting(Enum, "How hard the model tries.", values=EFFORT_LEVELS)
    thinking = _setting(Enum, "show (folded), hide, or off.", values=THINKING_MODES)
    system = _setting(Unicode, "System prompt.")

    # Display
    live = _setting(Bool, "Draw answers while they stream; False shows one display at the end.")
    remote_images = _setting(Bool, "Let answers load images from other hosts.")

    # Maps
    map_ask_above = _setting(Float, "Price of a map in USD above which you are asked first.")

    # Cassette
    replay = _setting(Enum, "Answer from the cassette: auto, only, record, or off.", values=REPLAY_MODES)
    cassette = _setting(Unicode, "File in which answers are recorded.")
    replay_speed = _setting(Float, "How many times faster than recorded a replay streams; 0 is at once.")
    record_errors = _setting(Bool, "Also record errors and interrupted answers.")

    # Rate limit, retries and timeouts
    rate_limit_rps = _setting(Float, "Requests per second.")
    limiter = _setting(
        Unicode, "Redis server whose limiter all processes of the account share: redis://host:6379/0."
    )
    max_retries = _setting(Int, "Attempts after the first.")
    initial_backoff = _setting(Float, "Seconds before the first retry.")
    max_backoff = _setting(Float, "Maximum seconds before a retry.")
    max_retry_time = _setting(Float, "Maximum total seconds spent on retries.")
    timeout = _setting(Float, "Maximum seconds for each phase of a request.")
    stream_timeout = _setting(Float, "Maximum seconds for a whole answer.")

    # Server and protocol
    base_url = _setting(Unicode, "Address of the API, without /v1.")
    api_version = _setting(Unicode, "The anthropic-version header.")
    messages_path = _setting(Unicode, "Path of the Messages call.")
    betas = _setting(List, "Beta features to request.", trait=Unicode())
    headers = _setting(Dict, "More request headers; a key is refused here.")
    auth_header = _setting(Enum, "Header that carries the key.", values=("x-api-key", "authorization"))
    lenient_stream_end = _setting(Bool, "Accept answers that end before message_stop.")

    def configured(self) -> Mapping[str, object]:
        """Return the settings that are set as traits, by name."""
        values = {name: getattr(self, name) for name in ClaudeTraits.class_own_traits(config=True)}
        return {name: value for name, value in values.items() if value is not None}


@magics_class
class ClaudeMagics(ClaudeTraits, Magics):
    """The magics of one shell.

    `CellTransformer` rewrites a `%%claude` cell, or a cell of one `%claude` line, into a call of `answer_cell` or
    `answer_cell_blocking`. IPython itself calls the registered magic for the rest: subcommands, `%claude` lines among
    other code, and `run_cell_magic`.
    """

    shell: Any

    def __init__(self, shell: Any = None, **settings: Any) -> None:
        super().__init__(shell=shell, **settings)
        self.session = Session(shell, self.configured)

    @property
    def errors(self) -> Errors:
        """The errors that the shell has shown; in prompts, `Err`."""
        return self.session.errors

    async def answer_cell(self, line: str, body: str | None) -> None:
        """Answer a whole `%%claude` or `%claude` cell on the running event loop."""
        cell = Cell(self.session, is_awaited=True)
        parsed = self._read(line, body, cell)
        reply = None if parsed is None else await _ask(parsed, cell)
        if reply is not None:
            cell.keep_value(reply)

    def answer_cell_blocking(self, line: str, body: str | None) -> None:
        """Answer a whole `%%claude` or `%claude` cell where the caller cannot await."""
        cell = Cell(self.session)
        reply = self._ask_blocking(self._read(line, body, cell), cell)
        if reply is not None:
            cell.keep_value(reply)

    @no_var_expand
    @line_cell_magic
    def claude(self, line: str, cell: str | None = None) -> Any:
        running = Cell(self.session)
        call = find_command(line, running.scope) if cell is None else None
        if call is not None:
            with _short_tracebacks(self.shell):
                call.command.load()(running, call.arguments)
            return None
        parsed = self._read(line, cell, running)
        reply = self._ask_blocking(parsed, running)
        # The result of a map is a table, which IPython displays: the cell shows only the map's progress line.
        if reply is not None and parsed is not None and parsed.options.map is None:
            self.session.mark_on_screen(reply)
        return reply

    claude.__doc__ = FULL_HELP

    def refuse_cell(self) -> None:
        """Raise the error for a cell with something before `%%claude`.

        Raises:
            UsageError: Always.
        """
        with _short_tracebacks(self.shell):
            raise UsageError(
                "%%claude must be the first thing in its cell: no comment, code or space may come before it. Put "
                "that into a cell of its own. Nothing was run or sent."
            )

    def _read(self, line: str, body: str | None, cell: Cell) -> Line | None:
        """Parse a line or cell; for an empty one, print the short help and return None.

        Raises:
            UsageError: An option is not valid, or there are options but no prompt.
        """
        with _short_tracebacks(self.shell):
            parsed = read_line(line, cell.scope) if body is None else read_cell(line, body, cell.scope)
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
        with _short_tracebacks(self.shell):
            from ..tools import run_blocking

            return run_blocking(_ask(line, cell))


async def _ask(line: Line, cell: Cell) -> Any:
    """Ask and show the answer; return the reply, comparison or map result, or None after a dry run.

    Raises:
        KeyboardInterrupt: The cell was interrupted; the partial answer stays.
        ClaudeError: The request failed and the partial answer stays, or it could not be sent.
    """
    options = line.options
    with _short_tracebacks(cell.shell):
        cell.close_previous_view()
        try:
            from ._question import prepare, with_system_text

            line = with_system_text(line)
            if options.interact and not options.dry_run:
                from ._interact import interact

                return await interact(line, cell)
            if options.map is not None:
                from ._map import map_rows

                return await map_rows(line, cell)
            line, question = prepare(line, cell)
            if options.dry_run:
                from ._dry_run import show_dry_run

                await show_dry_run(line, question, cell)
                return None
            if options.compare:
                from ._compare import compare

                return await compare(line, question, cell)
            from ._answer import answer

            return await answer(line, question, cell)
        finally:
            # The controls of `--interact` keep a reference to the cell, but must not keep the user's frames alive.
            cell.scope.leave()


@contextlib.contextmanager
def _short_tracebacks(shell: Any) -> Iterator[None]:
    """Make IPython show an interrupt or ClaudeError that leaves the block without frames: what happened and what to do.

    IPython shows a UsageError so by itself, but does not wrap it.
    """
    try:
        yield
    except UsageError as error:
        from ..render import wrap_error

        name = f"{UsageError.__name__}: "
        error.args = ("\n".join(wrap_error(f"{name}{error}")).removeprefix(name),)
        raise
    except (Exception, KeyboardInterrupt) as error:
        from ..client import ClaudeError

        if not isinstance(error, (ClaudeError, KeyboardInterrupt)):
            raise
        _shorten_traceback(error, shell)
        raise error from None


def _shorten_traceback(error: Any, shell: Any) -> None:
    """Make an error render itself. Only errors that leave a magic do: one raised in a user's function keeps its traceback.

    IPython asks an exception for its own traceback (`_render_traceback_`), so the shell is not patched, and the cell fails
    as usual: Run All stops, `%tb` and `%debug` work.
    """
    from ..display import FrontEnd
    from ..render import short_traceback

    colors = FrontEnd(shell).has_colors
    # One string, not lines: with `%xmode Plain` or `Minimal`, IPython joins the list without separators.
    error._render_traceback_ = lambda: ["\n".join(short_traceback(error, colors=colors))]
