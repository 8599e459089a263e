"""Controls for values, and the option that asks for them."""

import datetime
import decimal
import enum
import fractions

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from IPython.core.error import UsageError

from claude_magic.client import ConfigurationError
from claude_magic.context import names_in
from claude_magic.notebook._controls import make_control, make_controls
from claude_magic.notebook._line import parse_option_line


@pytest.mark.parametrize(
    ("value", "kind", "start"),
    [
        (3, ipywidgets.IntSlider, 3),
        (-2.5, ipywidgets.FloatSlider, -2.5),
        (True, ipywidgets.Checkbox, True),
        ("Oslo", ipywidgets.Text, "Oslo"),
        (["Oslo", "Brest"], ipywidgets.Dropdown, "Oslo"),
        (("Oslo", "Brest", "Porto"), ipywidgets.Dropdown, "Oslo"),
        ({"the north": "Oslo"}, ipywidgets.Dropdown, "Oslo"),
        (range(2, 5), ipywidgets.Dropdown, 2),
        ((0, 10), ipywidgets.IntSlider, 5),
        ((0.0, 1.0, 0.25), ipywidgets.FloatSlider, 0.5),
    ],
)
def test_the_type_of_a_value_decides_its_control(value, kind, start):
    """As in `ipywidgets.interact`; the control starts with the value."""
    control = make_control("name", value)

    assert type(control) is kind
    assert (control.value, control.description) == (start, "name")


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Name(enum.StrEnum):
    ADA = "Ada"


NOON = datetime.datetime(2026, 11, 27, 12, 30)


@pytest.mark.parametrize(
    ("value", "kind", "start"),
    [
        ([("one", 10), ("two", 20)], ipywidgets.Dropdown, 10),
        ([["one", 10], ["two", 20]], ipywidgets.Dropdown, 10),
        ((("one", 10), ("two", 20)), ipywidgets.Dropdown, 10),
        ([("one", 10), "two"], ipywidgets.Dropdown, ("one", 10)),
        ([("a", "b", "c")], ipywidgets.Dropdown, ("a", "b", "c")),
        ({"one": 10, "two": 20}, ipywidgets.Dropdown, 10),
        ({1: "x"}, ipywidgets.Dropdown, "x"),
        ({"one": 10}.items(), ipywidgets.Dropdown, 10),
        ({"one": 10}.keys(), ipywidgets.Dropdown, "one"),
        ({"b", "a"}, ipywidgets.Dropdown, "a"),
        ((True, False), ipywidgets.Dropdown, True),
        (np.bool_(True), ipywidgets.Checkbox, True),
        (np.int64(7), ipywidgets.IntSlider, 7),
        (np.uint8(7), ipywidgets.IntSlider, 7),
        (np.float32(0.5), ipywidgets.FloatSlider, 0.5),
        (np.array(3), ipywidgets.IntSlider, 3),
        (np.str_("Oslo"), ipywidgets.Text, "Oslo"),
        ((np.int64(0), np.int64(10)), ipywidgets.IntSlider, 5),
        (np.array([4, 5]), ipywidgets.Dropdown, 4),
        (pd.Series([4, 5]), ipywidgets.Dropdown, 4),
        (pd.Index(["a", "b"]), ipywidgets.Dropdown, "a"),
        (decimal.Decimal("0.5"), ipywidgets.FloatSlider, 0.5),
        (fractions.Fraction(1, 2), ipywidgets.FloatSlider, 0.5),
        (Colour.BLUE, ipywidgets.Dropdown, Colour.BLUE),
        (Level.HIGH, ipywidgets.Dropdown, Level.HIGH),
        (Name.ADA, ipywidgets.Dropdown, Name.ADA),
        (Colour, ipywidgets.Dropdown, Colour.RED),
        (NOON.date(), ipywidgets.DatePicker, NOON.date()),
        (NOON, ipywidgets.NaiveDatetimePicker, NOON),
        (
            NOON.replace(tzinfo=datetime.UTC),
            ipywidgets.DatetimePicker,
            NOON.replace(tzinfo=datetime.UTC),
        ),
        (NOON.time(), ipywidgets.TimePicker, NOON.time()),
        (pd.Timestamp(NOON), ipywidgets.NaiveDatetimePicker, NOON),
        (np.datetime64("2026-11-27"), ipywidgets.DatePicker, datetime.date(2026, 11, 27)),
        (np.datetime64(NOON, "ns"), ipywidgets.NaiveDatetimePicker, NOON),
    ],
)
def test_every_kind_of_value_that_can_be_chosen_has_a_control(value, kind, start):
    """Pairs of label and value, numpy numbers, enum members, columns, dates and times."""
    control = make_control("name", value)

    assert type(control) is kind
    assert control.value == start
    assert type(control.value) is type(start)


def test_bounds_come_from_the_value():
    """Around a number, or exactly as given by a pair."""
    around, between = make_control("n", 3), make_control("n", (10, 20, 5))

    assert (around.min, around.max) == (-3, 9)
    assert (between.min, between.max, between.step) == (10, 20, 5)


def test_a_slider_reports_its_value_when_released():
    """Values in between are not reported."""
    assert make_control("n", 3).continuous_update is False
    assert make_control("name", "text").continuous_update is False


def test_a_widget_is_its_own_control_and_is_not_changed():
    """It belongs to the user, who may display it elsewhere too."""
    mine = ipywidgets.IntSlider(3, description="mine")

    assert make_controls({"n": mine}) == {"n": mine}
    assert (mine.description, mine.continuous_update) == ("mine", True)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (object(), "of type object"),
        (None, "of type NoneType"),
        ([], "it is empty"),
        ((10, 0), "There is no control for name = \\(10, 0\\)"),
        ((0, 10, -1), "step"),
        (pd.NaT, "not a date or time"),
        (range(10**12), "more than 1,000 values"),
        (float("nan"), "There is no control"),
        (pd.DataFrame({"a": [1]}), "of type DataFrame"),
        ((each for each in "ab"), "of type generator"),
        (1 + 2j, "of type complex"),
    ],
)
def test_a_value_without_a_control_is_refused(value, problem):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=f"{problem}.*Nothing was sent"):
        make_control("name", value)


# The option, and the names in a prompt


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("--interact n,n", "the same variable twice"),
        ("--interact n --interact n", "the same variable twice"),
        ("--interact 3", "names of variables"),
        ("--interact n.real", "names of variables"),
        ("--interact n --raw", "cannot be combined"),
        ("--interact n --quiet", "cannot be combined"),
        ("--interact n -x", "cannot be combined"),
    ],
)
def test_names_that_cannot_be_controlled_are_refused(line, problem):
    """Before anything is sent."""
    with pytest.raises(UsageError, match=f"{problem}.*Nothing was sent"):
        parse_option_line(f"{line} hi")


def test_the_names_in_a_prompt_are_those_of_its_expressions():
    """All names of each expression, not only the first; braces without an expression have none."""
    text = "{{ n }} of {{ cities[k].upper() }} and {{ [x for x in rows] }}, {{ no python }}, { m }, {% p %}"

    assert names_in(text) == {"n", "cities", "k", "rows"}
    assert names_in("nothing") == frozenset()
