"""What is kept of an error, and what is sent of it."""

from __future__ import annotations

import gc
import weakref

from claude_magic.context import ErrorRecord, describe_error, interpolate


class Big:
    """Something whose life can be watched."""


def fail(frame_holds: object) -> BaseException:
    password = "correct-horse-9"  # a value that must not go out
    totals = {"rows": 0, "kept": frame_holds is not None}
    try:
        1 / totals["rows"]
    except ZeroDivisionError as error:
        return error
    raise AssertionError(password)


def test_cell_traceback_and_values_are_described() -> None:
    """What the failing line names comes first; secrets do not come at all."""
    text = describe_error(ErrorRecord(fail(None), "ratio(table)")).text

    assert "ratio(table)" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "totals = " in text
    assert "'rows': 0" in text


def test_a_record_is_its_traceback_in_a_prompt() -> None:
    """Braces in it are harmless, since values are not looked into again."""
    record = ErrorRecord(fail(None), "{{ x }}")

    collected = interpolate("Why? {{ Err[-1] }}", {"Err": [record]})

    assert "ZeroDivisionError" in collected.text
    assert str(record) == record.traceback


def test_a_record_that_is_not_the_last_keeps_nothing_alive() -> None:
    """A frame holds all variables of its function, and they may be large."""
    big = Big()
    watched = weakref.ref(big)
    record = ErrorRecord(fail(big), "cell")
    del big

    record.forget_frame()
    gc.collect()

    assert watched() is None
    assert "ZeroDivisionError" in str(record)


def test_files_that_stand_for_cells_get_the_names_of_the_cells() -> None:
    """As in the traceback that the reader saw."""
    record = ErrorRecord(fail(None), "cell", name_of_file=lambda _path: "Cell In[3]")

    assert 'File "Cell In[3]"' in record.traceback
