"""The widgets of `--interact`: which control stands for which value, and the answer to their state below them."""

from __future__ import annotations

import datetime
import enum
import itertools
from collections.abc import ItemsView, KeysView, Mapping, Sequence, Set, ValuesView
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any

import ipywidgets
from ipywidgets import ValueWidget
from traitlets import TraitError

from ..client import ConfigurationError, as_sentence
from ..context import safe_repr
from ..display.widgets import close_all

_MOST_OPTIONS = 1_000
_MOST_SHOWN = 200
_LONGEST_NAME = 24
"""Characters; the front end shows a longer one whole where the pointer rests on it."""
_WIDTH = "min(100%, 30em)"


def make_controls(values: Mapping[str, object]) -> dict[str, ValueWidget]:
    """Return a control for each value, in their order; a widget stands for itself.

    Raises:
        ConfigurationError: There is none for one of them. Nothing was sent.
    """
    controls: dict[str, ValueWidget] = {}
    try:
        for name, value in values.items():
            controls[name] = make_control(name, value)
    except ConfigurationError:
        close_all(own_controls(controls, values))
        raise
    _line_up(own_controls(controls, values))
    return controls


def _line_up(controls: Sequence[ValueWidget]) -> None:
    """Let their names take the same width, so that the controls begin at one edge."""
    longest = max((len(control.description) for control in controls), default=0)
    for control in controls:
        control.style.description_width = f"{min(longest, _LONGEST_NAME) + 1}ch"


def own_controls(controls: Mapping[str, ValueWidget], values: Mapping[str, object]) -> list[ValueWidget]:
    """Return the controls that were made here; the others are widgets of the user's."""
    return [control for name, control in controls.items() if control is not values[name]]


def make_control(name: str, value: Any) -> ValueWidget:
    """Return a control for a value, chosen and bounded as `ipywidgets.interact` does.

    Raises:
        ConfigurationError: There is none. Nothing was sent.
    """
    if isinstance(value, ValueWidget):
        return value
    try:
        control = _abbreviated(value)
    # Bounds the wrong way round, or nothing to choose from.
    except (ValueError, TypeError, ArithmeticError, TraitError) as error:
        raise ConfigurationError(
            f"There is no control for {name} = {safe_repr(value, _MOST_SHOWN)}: {as_sentence(str(error))} Nothing was sent."
        ) from None
    if control is None:
        raise ConfigurationError(
            f"There is no control for {name}, which is of type {type(value).__name__}. Controls are made for numbers, True and False, "
            "text, dates, lists of choices, (smallest, largest) and widgets. Nothing was sent."
        )
    control.description = name
    control.layout.width = _WIDTH
    if hasattr(control, "continuous_update"):
        control.continuous_update = False  # what counts is where a slider is let go, and text that is entered
    return control


def _abbreviated(value: Any) -> ValueWidget | None:
    """Return the control that `ipywidgets.interact` abbreviates so, and for some kinds that it does not know."""
    made = ipywidgets.interactive
    if isinstance(value, enum.Enum):
        members = dict(type(value).__members__)
        return ipywidgets.Dropdown(options=members | {value.name or str(value): value}, value=value)
    value = _plain(value)
    if isinstance(value, tuple):
        value = tuple(map(_plain, value))
        is_bounded = not any(isinstance(each, bool) for each in value)
        if is_bounded and (bounded := made.widget_from_tuple(value)) is not None:
            return bounded
    if isinstance(value, (str, bool, Real)):
        return made.widget_from_single_value(value)
    if (picker := _picker(value)) is not None:
        return picker
    options = _options(value)
    return None if options is None else _choice(options)


def _plain(value: Any) -> Any:
    """Return a number as Python's own: numpy's, of whatever kind, a decimal or a fraction are none that a slider takes."""
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        number = value.item()
        # Of nanoseconds numpy makes a number.
        is_time = value.dtype.kind == "M" and isinstance(number, int)
        return value.astype("datetime64[us]").item() if is_time else number
    return float(value) if isinstance(value, (Decimal, Fraction)) else value


def _picker(value: Any) -> ValueWidget | None:
    """Return the control of a day or a time; None for what is neither, or is none that exists (pandas' NaT)."""
    if isinstance(value, (datetime.date, datetime.time)) and value != value:
        raise ValueError("it is not a date or time")
    if isinstance(value, datetime.datetime):
        # Plain ones: pandas' own are a kind of these, to the nanosecond.
        plain = datetime.datetime.combine(value.date(), value.time(), value.tzinfo)
        picker = ipywidgets.NaiveDatetimePicker if plain.tzinfo is None else ipywidgets.DatetimePicker
        return picker(value=plain)
    if isinstance(value, datetime.date):
        return ipywidgets.DatePicker(value=value)
    return ipywidgets.TimePicker(value=value) if isinstance(value, datetime.time) else None


def _options(value: Any) -> Mapping[Any, Any] | list[Any] | None:
    """Return what there is to choose from; None where a value is no choice."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, enum.EnumType):
        return dict(value.__members__)
    if isinstance(value, (Sequence, KeysView, ItemsView, ValuesView)):
        return value if isinstance(value, list) else list(itertools.islice(value, _MOST_OPTIONS + 1))
    if isinstance(value, Set):
        return sorted(value, key=str)  # it has no order of its own
    is_column = getattr(value, "ndim", None) == 1 and hasattr(value, "tolist")  # an array, a series, an index
    return list(value.tolist()) if is_column else None


def _choice(options: Mapping[Any, Any] | list[Any]) -> ValueWidget:
    """Return a list to choose from. Of pairs, as in `[("one", 10)]`, the first is seen and the second is the value."""
    if not options:
        raise ValueError("it is empty")
    if len(options) > _MOST_OPTIONS:
        raise ValueError(f"it has more than {_MOST_OPTIONS:,} values to choose from")
    return ipywidgets.Dropdown(options=dict(options) if isinstance(options, Mapping) else options)
