"""The history of the session as text: errors with their cells and values, and cells with their outputs."""

from __future__ import annotations

import dataclasses
import inspect
import linecache
import re
import subprocess
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Final

from ..client import ConfigurationError
from ._collected import Collected, bounded, collect, fenced, head, join, one_line, safe_repr, tail
from ._describe import describe

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)|[@-Z\\^_])")
"""Escape sequences of ECMA-48: colors, cursor movements, titles, links, and short sequences."""


def as_on_screen(text: str) -> str:
    """Return text as a terminal shows it: without colors, and with the last state of an overwritten line (a progress bar)."""
    lines = _ESCAPE.sub("", text).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


_MACHINERY = ("/IPython/core/", "/ipykernel/")
_INSTALLED = ("/site-packages/", "/dist-packages/")
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"].replace("\\", "/")


def format_traceback(error: BaseException, name_of_file: Callable[[str], str | None]) -> str:
    """Return the traceback of an error, with its causes.

    Args:
        error: The exception.
        name_of_file: Maps the file name of a cell to the name of the cell; None for a real file.
    """
    trace = traceback.TracebackException.from_exception(error, compact=True)
    for each in _trace_chain(trace):
        each.stack = traceback.StackSummary.from_list(
            [frame for frame in each.stack if not _is_machinery(frame.filename)]
        )
        for frame in each.stack:
            frame.filename = name_of_file(frame.filename) or frame.filename
        if isinstance(getattr(each, "filename", None), str):  # only a SyntaxError has one
            each.filename = name_of_file(each.filename) or each.filename
    return as_on_screen("".join(trace.format()))


def is_typed(path: str) -> bool:
    """Return whether a file name stands for a cell."""
    return "ipykernel_" in path or path.startswith("<ipython-input")


def is_library(path: str) -> bool:
    """Return whether a file belongs to an installed package or the standard library."""
    if is_typed(path):
        return False
    path = path.replace("\\", "/")
    return path.startswith(("<", _STANDARD_LIBRARY)) or any(folder in path for folder in _INSTALLED)


def _is_machinery(path: str) -> bool:
    return any(folder in path.replace("\\", "/") for folder in _MACHINERY)


def _trace_chain(trace: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield a traceback, those of its causes, and those of the errors in a group."""
    waiting = [trace]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
        waiting += getattr(each, "exceptions", None) or []


# Errors of the session: the traceback, the cell, and the variables of the frame.
#
# Only the record of the last error keeps its frame, and reads it on demand. Older records are text, so that frames and the
# objects they refer to are freed.
_MAX_KEPT_CHARS = 100_000
_MAX_TRACEBACK_CHARS = 12_000
_MAX_SOURCE_CHARS = 40_000
_MAX_PRINTED_CHARS = 8_000
_MAX_MESSAGE_CHARS = 200
_MAX_FUNCTIONS = 6
_MAX_VALUES = 12
_MAX_VALUE_CHARS = 500
_TOKENS_PER_VALUE = 150
_NAME = re.compile(r"[^\W\d]\w*")


class ErrorRecord:
    """An error of the session; its `str` is the traceback.

    Args:
        error: The exception, with its traceback.
        source: The source of the cell that failed.
        name_of_file: Maps the file name of a cell to the name of the cell; None for a real file.
        printed: The stderr output of the cell; None if it is not known.
    """

    def __init__(
        self,
        error: BaseException,
        source: str,
        *,
        name_of_file: Callable[[str], str | None] = lambda _path: None,
        printed: str | None = "",
    ) -> None:
        self.name = type(error).__name__
        self.message = one_line(error, _MAX_MESSAGE_CHARS)
        self.source = source.strip("\n")  # IPython does not count empty lines at the beginning
        self.traceback = bounded(_traceback_text(error, name_of_file), _MAX_KEPT_CHARS).text
        self.printed = _printed_output(error, printed)
        self.is_printed_unknown = printed is None and type(error).__name__ == "CalledProcessError"
        self.functions = _sources_of_functions(error, name_of_file)
        self.line = None if source.lstrip().startswith("%%") else _line_of_cell(error)
        self._frame, self._text_of_line = _failing(error.__traceback__)

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<{self.name}: {self.message}>"

    def _repr_claude_(self) -> str:
        return fenced(self.traceback)

    def forget_frame(self) -> None:
        """Release the frame and keep the text."""
        self._frame = None

    def values(self) -> Iterator[tuple[str, object]]:
        """Yield variables of the failing frame: first those named in the failing line, then the others."""
        if self._frame is None:
            return
        shown = self._frame.f_locals
        names = [name for name in _NAME.findall(self._text_of_line) if name in shown]
        if self._frame.f_code.co_name != "<module>":  # whose variables are the whole namespace
            names += shown
        values = ((name, shown[name]) for name in dict.fromkeys(names) if not name.startswith("__"))
        yield from islice((pair for pair in values if not isinstance(pair[1], ModuleType)), _MAX_VALUES)


def describe_error(record: ErrorRecord) -> Collected:
    """Return the context of an error, redacted: the cell, the traceback, the values."""
    where = "" if record.line is None else f", which failed in line {record.line}"
    printed = _clean(record.printed, _MAX_PRINTED_CHARS, "stderr")
    cell = _clean(record.source, _MAX_SOURCE_CHARS, "cell")
    trace = _clean(record.traceback, _MAX_TRACEBACK_CHARS, "traceback")
    values = join(_described(name, value) for name, value in record.values())
    functions = _clean(record.functions, _MAX_SOURCE_CHARS, "source")
    texts = [f"The cell{where}:{fenced(cell.text, 'python')}"] if cell.text else []
    texts.append(f"\nThe error:{fenced(trace.text)}")
    if printed.text:
        texts.append(f"\nWhat it wrote to stderr:{fenced(printed.text)}")
    if functions.text:
        texts.append(f"\nCode from elsewhere that it ran:{fenced(functions.text, 'python')}")
    if values.text:
        texts.append(f"\nValues where it happened:{fenced(values.text)}")
    everything = join([cell, trace, printed, functions, values])
    notes = everything.notes
    if record.is_printed_unknown:
        notes = (
            *notes,
            "What the program wrote to stderr is not sent: IPython keeps that only since version 9.",
        )
    return dataclasses.replace(everything, parts=("".join(texts).lstrip("\n"),), notes=notes)


def _traceback_text(error: BaseException, name_of_file: Callable[[str], str | None]) -> str:
    """Return the traceback of an error; for a UsageError the single line that IPython shows."""
    if type(error).__name__ == "UsageError":
        return f"UsageError: {one_line(error, _MAX_KEPT_CHARS)}"
    return format_traceback(error, name_of_file)


def _printed_output(error: BaseException, printed: str | None) -> str:
    """Return the output of a failed program: in the cell, or captured by the calling code."""
    programs = [each for each in _chain(error) if isinstance(each, subprocess.CalledProcessError)]
    if not programs:
        return ""
    texts = [printed or "", *(_decoded(each.stderr) or _decoded(each.output) for each in programs)]
    return as_on_screen("\n".join(text.rstrip() for text in texts if text.strip()))


def _decoded(output: object) -> str:
    if isinstance(output, (bytes, bytearray)):
        return output.decode("utf-8", "replace")
    return output if isinstance(output, str) else ""


def _clean(text: str, chars: int, what: str) -> Collected:
    return collect(lambda: bounded(text, chars, what))


def _described(name: str, value: object) -> Collected:
    """Describe a value in a few lines. Strings are redacted too, because the user did not name them."""

    def with_name() -> Collected:
        if isinstance(value, (str, bytes)):
            return Collected(parts=(f"{name} = {safe_repr(value, _MAX_VALUE_CHARS)}",))
        described = describe(value, name=name, max_tokens=_TOKENS_PER_VALUE)
        text = described.text.strip() or f"a {type(value).__name__}"
        return Collected(parts=(f"{name} = {text}",), redacted=described.redacted)

    line = collect(with_name)  # the name may show that the value is secret
    return dataclasses.replace(line, parts=(f"{line.text}\n",))


def _line_of_cell(error: BaseException) -> int | None:
    """Return the number of the failing line of the cell; None if it is not known."""
    for frame, number in _frames(error.__traceback__):
        if is_typed(frame.f_code.co_filename):
            return number
    if isinstance(error, SyntaxError) and is_typed(str(error.filename)):
        return error.lineno
    return None


def _sources_of_functions(error: BaseException, name_of_file: Callable[[str], str | None]) -> str:
    """Return the sources of the user's functions in the tracebacks of an error and its causes, except those of the cell."""
    frames = [frame for each in _chain(error) for frame, _ in _frames(each.__traceback__)]
    codes = [frame.f_code for frame in frames if not is_library(frame.f_code.co_filename)]
    cell = next((code.co_filename for code in codes if is_typed(code.co_filename)), None)
    others = [code for code in codes if code.co_filename != cell]
    # Scripts started with %run, and imported modules.
    whole = {code.co_filename for code in others if code.co_name == "<module>"}
    others = [code for code in others if code.co_name == "<module>" or code.co_filename not in whole]
    sources = []
    for code in list(dict.fromkeys(others))[-_MAX_FUNCTIONS:]:
        with suppress(OSError, SyntaxError):  # the file was deleted, or edited since
            path = code.co_filename
            is_file = code.co_name == "<module>"
            lines = linecache.getlines(path) if is_file else inspect.getsourcelines(code)[0]
            source = textwrap.dedent("".join(lines)).rstrip()
            sources.append(f"# {name_of_file(path) or Path(path).name}\n{source}")
    return "\n\n".join(sources)


def _failing(trace: TracebackType | None) -> tuple[FrameType | None, str]:
    """Return the innermost frame of the user's code, else of any code, and the text of its failing line."""
    frames = list(_frames(trace))
    own = [each for each in frames if not is_library(each[0].f_code.co_filename)]
    for frame, number in (own or frames)[-1:]:
        return frame, linecache.getline(frame.f_code.co_filename, number, frame.f_globals)
    return None, ""


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, as far as the traceback shows them."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and all(cause is not each for each in chain):
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


MAX_CHARS = 400_000
"""Characters of all cells together, about 100,000 tokens."""

_RANGE = re.compile(r"(-?\d+)?(?:(:)(-?\d+)?)?")
_MAX_OUTPUT_CHARS = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecord:
    """A cell that was run.

    Attributes:
        number: Its number, as in `In [number]`.
        source: Its source.
        outputs: Its outputs as text, in order.
        is_complete: Whether the outputs include printed text; if not, only the value of the last line.
    """

    number: int
    source: str
    outputs: tuple[str, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRange:
    """A range of cells, by number; negative numbers count from the end, without questions to Claude."""

    start: int | None
    stop: int | None

    def chosen(self, cells: Sequence[CellRecord]) -> list[CellRecord]:
        """Return the cells in the range, oldest first."""
        return [cell for place, cell in enumerate(cells, -len(cells)) if self._holds(cell.number, place)]

    def _holds(self, number: int, place: int) -> bool:
        """Return whether a cell is in the range, by its number and its place from the end (-1 for the last)."""
        is_after_start = self.start is None or (number if self.start >= 0 else place) >= self.start
        return is_after_start and (self.stop is None or (number if self.stop >= 0 else place) <= self.stop)


NO_CELLS: Final = CellRange(start=1, stop=0)


def parse_cell_range(spec: str) -> CellRange:
    """Parse `-3:`, `2:5`, `7`, `all` or `none`. Both ends are included.

    Raises:
        ConfigurationError: `spec` is none of these, or ends before it begins.
    """
    if spec == "all":
        return CellRange(start=None, stop=None)
    if spec == "none":
        return NO_CELLS
    match = _RANGE.fullmatch(spec)
    if match is None or spec in ("", ":"):
        raise ConfigurationError(
            f"--cells {spec}: write -3: (the last three), 2:5, 7, all or none. Nothing was sent."
        )
    first, colon, last = match.groups()
    start = None if first is None else int(first)
    stop = start if not colon else None if last is None else int(last)
    if start is not None and stop is not None and (start < 0) == (stop < 0) and start > stop:
        raise ConfigurationError(
            f"--cells {spec}: this range ends before it begins; write {stop}:{start}. Nothing was sent."
        )
    return CellRange(start=start, stop=stop)


def collect_cells(cells: Sequence[CellRecord], cell_range: CellRange) -> Collected:
    """Return the cells of a range as text, redacted.

    Args:
        cells: The cells that were run, oldest first, without questions to Claude.
        cell_range: The range to send.

    Raises:
        ConfigurationError: No cell is in the range, or the cells are longer than `MAX_CHARS`.
    """
    chosen = cell_range.chosen(cells)
    if not chosen:
        if cell_range == NO_CELLS:
            return Collected()
        if not cells:  # also where a tool executes the notebook, and stores no history
            return Collected(notes=("--cells: no cell of that range has been run.",))
        raise ConfigurationError(
            f"--cells: no cell of that range has been run. Cells between {cells[0].number} and {cells[-1].number} have been; questions "
            "to Claude do not count. Nothing was sent."
        )
    collected = collect(
        lambda: Collected(parts=("\n".join(part for cell in chosen for part in _shown(cell)),))
    )
    if len(collected.text) > MAX_CHARS:
        raise ConfigurationError(
            f"--cells: these cells have {len(collected.text):,} characters; at most {MAX_CHARS:,} are sent. Ask for fewer, for example --cells -3:. "
            "Nothing was sent."
        )
    parts = (f"Cells of my notebook:\n{collected.text}",)
    return dataclasses.replace(collected, parts=parts, notes=tuple(_notes(chosen)))


def _shown(cell: CellRecord) -> Iterator[str]:
    yield f"\nIn [{cell.number}]:{fenced(cell.source, 'python')}"
    for text in map(as_on_screen, cell.outputs):
        yield f"Output of [{cell.number}]:{fenced(_bounded(text))}"


def _is_long(output: str) -> bool:
    return len(output) > _MAX_OUTPUT_CHARS


def _bounded(output: str) -> str:
    if not _is_long(output):
        return output
    return f"{head(output, _MAX_OUTPUT_CHARS * 3 // 4)}\n[… cut …]\n{tail(output, _MAX_OUTPUT_CHARS // 4)}"


def _notes(cells: Sequence[CellRecord]) -> Iterator[str]:
    cut = [str(cell.number) for cell in cells if any(map(_is_long, map(as_on_screen, cell.outputs)))]
    if cut:
        yield f"--cells: long outputs were cut, in {', '.join(cut)}."
    if not all(cell.is_complete for cell in cells):
        yield (
            "--cells: of outputs only the values of last lines are sent; IPython keeps what cells print only since version 9."
        )
