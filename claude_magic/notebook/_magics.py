"""`%claude` and `%%claude`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from ._cell_key import CellKeys
from ._errors import Errors
from ._grammar import find_deed, read_cell, read_line
from ._help import FULL_HELP, show_short_help
from ._names import Scope
from ._options import Options, Request
from ._surroundings import ShellSurroundings
from ._traits import ClaudeTraits

if TYPE_CHECKING:
    from ..runtime import Reply, ReplySnapshot, Runtime
    from ._commands import Call
    from ._comparison import Comparison
    from ._interaction import View


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
        self.cell_keys = CellKeys()
        self.errors = Errors(shell)
        self._inserted: dict[str, str] = {}
        self._views: dict[str, View] = {}

    def runtime(self) -> Runtime:
        """Return the kernel's runtime, with the settings of `%config` as one of its sources.

        This is where HTTP, pydantic and the rest are imported: at first use, not when the extension is loaded.
        """
        from ..runtime import get_runtime

        runtime = get_runtime()
        runtime.use_config(self.configured)
        runtime.set_presenter(lambda snapshot: _present(snapshot, runtime))
        return runtime

    def show(self, data: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Display a mimebundle; a terminal gets its plain text."""
        if hasattr(self.shell, "kernel"):
            self.shell.display_pub.publish(data=dict(data), metadata=dict(metadata))
        else:
            print(data["text/plain"])

    def insert_cell(self, code: str, *, below: str | None) -> None:
        """Put code into a new cell below the one that runs; in a terminal, into the next prompt.

        A cell that is run again and comes to the same code does not insert it again.

        Args:
            code: The code. It is not run.
            below: What tells the running cell from others, or None.
        """
        if below is not None and self._inserted.get(below) == code:
            return
        self.shell.set_next_input(code, replace=False)
        if below is not None:
            self._inserted[below] = code

    def keep_view(self, cell: str | None, view: View) -> None:
        """Keep the controls of a cell as long as it is not run again.

        Args:
            cell: What tells the cell from others, or None.
            view: Its controls.
        """
        self._views[cell or ""] = view

    def leave_former_view(self) -> None:
        """Let the controls that the running cell had before hear and ask no more."""
        former = self._views.pop(self.cell_keys.peek(self.shell) or "", None)
        if former is not None:
            former.close()

    def close(self) -> None:
        """Let no controls hear and ask any more."""
        for view in self._views.values():
            view.close()
        self._views.clear()

    # The doors...

    async def answer_cell(self, line: str, body: str | None) -> None:
        """Answer a cell that is all ours, on the running event loop."""
        request = self._read(line, body, Scope.of_caller(self.shell))
        if self._is_help(request):
            return
        from ._doors import ask

        self._settle(await ask(self, request))

    def answer_cell_blocking(self, line: str, body: str | None) -> None:
        """Answer a cell that is all ours, where nobody can await."""
        request = self._read(line, body, Scope.of_caller(self.shell))
        if self._is_help(request):
            return
        from ._doors import ask_blocking

        self._settle(ask_blocking(self, request))

    @no_var_expand
    @line_cell_magic
    def claude(self, line: str, cell: str | None = None) -> Reply | Comparison | None:
        scope = Scope.of_caller(self.shell)
        deed = find_deed(line, ShellSurroundings(self.shell, scope)) if cell is None else None
        if deed is not None:
            self._do(deed)
            return None
        request = self._read(line, cell, scope)
        if self._is_help(request):
            return None
        from ._doors import ask_blocking

        reply = ask_blocking(self, request)
        if reply is not None:
            reply.is_on_screen = True
        return reply

    claude.__doc__ = FULL_HELP

    def refuse_cell(self) -> None:
        """Say what is wrong with a cell in which something stands before `%%claude`.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "%%claude must be the first thing in its cell: no comment, no code and no space may stand before it. Put "
            "what does into a cell of its own. Nothing was run, and nothing was sent."
        )

    def _read(self, line: str, body: str | None, scope: Scope) -> Request:
        surroundings = ShellSurroundings(self.shell, scope)
        request = read_line(line, surroundings) if body is None else read_cell(line, body, surroundings)
        return dataclasses.replace(request, scope=scope)

    def _do(self, deed: Call) -> None:
        try:
            deed.command.load()(self, deed.arguments)
        except Exception as error:
            from ._failure import shorten

            raise shorten(error, self.shell) from None

    def _is_help(self, request: Request) -> bool:
        """Show the short help in the place of an answer to nothing.

        Raises:
            UsageError: There are options, so that a prompt was meant to be there.
        """
        if request.is_empty:
            if request.options != Options():
                raise UsageError(
                    "There is no prompt, only options. Write it behind them, or in the cell below %%claude. Nothing was sent."
                )
            show_short_help()
        return request.is_empty

    def keep_value(self, value: Any) -> None:
        """Do with a value what IPython's display hook does with that of a cell, but for showing it: `_`, `Out`, the result."""
        hook = self.shell.displayhook
        hook.check_for_underscore()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)

    def _settle(self, reply: Reply | Comparison | None) -> None:
        if reply is not None:
            self.keep_value(reply)


def _present(snapshot: ReplySnapshot, runtime: Runtime) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from ..render import render_reply

    bundle = render_reply(snapshot, remote_images=runtime.settings().values.remote_images)
    return bundle.data, bundle.metadata
