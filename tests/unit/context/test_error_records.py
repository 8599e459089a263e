"""Records of errors, and their descriptions."""

from __future__ import annotations

import gc
import linecache
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_magic.context import ErrorRecord, describe_error, interpolate


class Big:
    """An object whose lifetime can be observed."""


def fail(frame_holds: object) -> BaseException:
    password = "correct-horse-9"  # which must not go out
    totals = {"rows": 0, "kept": frame_holds is not None}
    try:
        1 / totals["rows"]
    except ZeroDivisionError as error:
        return error
    raise AssertionError(password)


def test_cell_traceback_and_values_are_described() -> None:
    """Variables of the failing line come first; secrets are redacted."""
    text = describe_error(ErrorRecord(fail(None), "ratio(table)")).text

    assert "ratio(table)" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "totals = " in text
    assert "'rows': 0" in text
    assert "password = '[REDACTED]'" in text
    assert "correct-horse-9" not in text.partition("Values where it happened")[2]


def test_a_record_is_its_traceback_in_a_prompt() -> None:
    """Braces in it have no effect, because values are not searched for expressions."""
    record = ErrorRecord(fail(None), "{{ x }}")

    collected = interpolate("Why? {{ Err[-1] }}", {"Err": [record]})

    assert "ZeroDivisionError" in collected.text
    assert str(record) == record.traceback


def test_an_older_record_keeps_nothing_alive() -> None:
    """A frame refers to all variables of its function, which may be large."""
    big = Big()
    watched = weakref.ref(big)
    record = ErrorRecord(fail(big), "cell")
    del big

    record.forget_frame()
    gc.collect()

    assert watched() is None
    assert "ZeroDivisionError" in str(record)


def test_file_names_of_cells_become_names_of_cells() -> None:
    """As in the traceback that the user saw."""
    record = ErrorRecord(fail(None), "cell", name_of_file=lambda _path: "Cell In[3]")

    assert 'File "Cell In[3]"' in record.traceback


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it did not fail")


def run_as_cell(source: str, path: str = "/tmp/ipykernel_7/1.py") -> BaseException:
    """Return the error of source that runs in the file of a cell."""
    return raised(lambda: exec(compile(source, path, "exec"), {}))


def test_every_file_of_a_chain_or_a_group_gets_the_name_of_its_cell() -> None:
    """Not only those of the last error; a syntax error has a file name too."""
    chain = "try:\n    1 / 0\nexcept Exception as error:\n    raise ExceptionGroup('two', [error, KeyError(1)]) from error"

    for source in (chain, "def f(:"):
        record = ErrorRecord(
            run_as_cell(source),
            source,
            name_of_file=lambda path: "Cell In[3]" if "ipykernel_" in path else None,
        )
        assert 'File "Cell In[3]"' in record.traceback
        assert "ipykernel_" not in record.traceback


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("x = 1\n1 / 0", 2),
        ("def f():\n    return 1 / 0\n\nf()", 4),
        ("x = 1\ndef f(:\n    pass", 2),
        ("\n\n1 / 0", 1),  # IPython leaves out the empty lines at the beginning, in the traceback too
        ("%%time\n1 / 0", None),  # what runs is a call of the magic
    ],
)
def test_the_failing_line_of_the_cell_is_given(source: str, line: int | None) -> None:
    """By its number in the cell as it is sent."""
    record = ErrorRecord(run_as_cell(source.replace("%%time", "").lstrip("\n")), source)

    text = describe_error(record).text

    assert record.line == line
    assert ("which failed in line" in text) == (line is not None)


def test_values_come_from_the_users_code_not_from_a_library(tmp_path: Path) -> None:
    """A library's frame has no variables that the user knows; the user's own module does."""
    module = tmp_path / "tides.py"
    module.write_text("import json\ndef read(text):\n    return json.loads(text)\n", encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(module.read_text(encoding="utf-8"), str(module), "exec"), names)

    values = dict(ErrorRecord(raised(lambda: names["read"]("[1,")), "read(text)").values())

    assert values == {"text": "[1,"}  # and not the module that its line names


def test_functions_of_other_cells_are_sent_in_full() -> None:
    """The traceback shows one line of them. Functions of the failing cell are in its source."""
    names: dict[str, Any] = {}
    function = "def ratio(a, b):\n    b = 0\n    return a / b\n"
    linecache.cache["/tmp/ipykernel_7/1.py"] = (len(function), None, function.splitlines(True), "")
    exec(compile(function, "/tmp/ipykernel_7/1.py", "exec"), names)
    cell = "def twice():\n    return 2 * ratio(3, 4)\ntwice()"
    error = raised(lambda: exec(compile(cell, "/tmp/ipykernel_7/2.py", "exec"), names))

    text = describe_error(ErrorRecord(error, cell, name_of_file=lambda path: f"Cell {path[-4]}")).text

    assert f"# Cell 1\n{function}```" in text
    assert text.count("def twice") == 1


def test_fences_in_a_cell_or_a_value_do_not_end_the_block() -> None:
    """The outer fence is longer."""
    source = "readme = '```'\nraise ValueError(readme)"

    text = describe_error(ErrorRecord(run_as_cell(source), source)).text

    assert f"\n````python\n{source}\n````\n" in text


def test_an_error_whose_message_fails_is_kept() -> None:
    """Its `__str__` may raise."""

    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    record = ErrorRecord(UnspeakableError(), "cell")

    assert "UnspeakableError" in repr(record)
    assert "UnspeakableError" in describe_error(record).text


def test_a_huge_message_is_cut_after_redaction() -> None:
    """Here a secret would lie across the cut."""
    for before in (7_900, 7_960, 66_600):
        message = "x" * before + " sk-ant-" + "k" * 60 + " " + "y" * 100_000

        collected = describe_error(ErrorRecord(ValueError(message), "cell"))

        assert "kkkk" not in collected.text
        assert len(collected.text) < 13_000
        assert "left out" in collected.notes[0]
