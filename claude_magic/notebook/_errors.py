"""The errors of the session, as `Err` shows them: `{{ Err[-1] }}` in a prompt is the last traceback.

Only what IPython tells about a failed cell is kept until somebody asks; making text of it then keeps cells quick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from ..context import ErrorRecord

_KEPT = 20


class Errors(Sequence["ErrorRecord"]):
    """The last errors of a shell's cells, oldest first.

    Args:
        shell: The shell, which knows which file stands for which cell.
    """

    def __init__(self, shell: Any = None) -> None:
        self._shell = shell
        self._records: deque[ErrorRecord] = deque(maxlen=_KEPT)
        self._last: tuple[BaseException, str] | None = None

    def note(self, error: BaseException, source: str) -> None:
        """Take note of an error; the one before it is reduced to text."""
        self._settle()
        if self._records:
            self._records[-1].forget_frame()
        self._last = (error, source)

    def __len__(self) -> int:
        self._settle()
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> ErrorRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ErrorRecord]: ...
    def __getitem__(self, index: int | slice) -> Any:
        self._settle()
        return list(self._records)[index]

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self))}]"

    def _settle(self) -> None:
        """Make the record of the last error, if nobody has yet."""
        if self._last is None:
            return
        from ..context import ErrorRecord  # late: loading the extension must not cost this

        (error, source), self._last = self._last, None
        self._records.append(ErrorRecord(error, source, name_of_file=self._name_of_file))

    def _name_of_file(self, path: str) -> str | None:
        """Return "Cell In[3]" for the file that stands for that cell, as IPython's own tracebacks do."""
        name = getattr(getattr(self._shell, "compile", None), "format_code_name", lambda _path: None)(path)
        return " ".join(name) if name else None
