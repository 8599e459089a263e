"""The controls of `--interact`: the ipywidgets control for each kind of value."""

from __future__ import annotations

import datetime
import enum
import itertools
from collections.abc import ItemsView, KeysView, Mapping, Sequence, Set, ValuesView
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any

import ipywidgets
from ipywidgets import ValueWidget
from traitlets import TraitError

from ..client import ConfigurationError, as_sentence
from ..context import names_in, resolve_name, safe_repr
from ..display.widgets import close_all

if TYPE_CHECKING:
    from ._cell import Cell
    from ._line import Line

_MOST_OPTIONS = 1_000
_MOST_SHOWN = 200
_LONGEST_NAME = 24
"""In characters; the front end cuts longer names and shows them in full on hover."""
_WIDTH = "min(100%, 30em)"


def present_values(line: Line, cell: Cell) -> dict[str, object]:
    """Return the values of the variables that `--interact` names.

    Raises:
        ConfigurationError: There is no such variable, or the prompt does not use it. Nothing was sent.
    """
    known, mentioned = cell.names(), names_in(line.prompt)
    values: dict[str, object] = {}
    for name in line.options.interact:
        values[name] = resolve_name(name, known, asked_by="--interact")
        if name not in mentioned:
            raise ConfigurationError(
                f"--interact {name}: {{{{ {name} }}}} is not in the prompt, so a control would change nothing. Nothing "
                "was sent."
            )
    return values


def first_values(line: Line, cell: Cell) -> dict[str, object]:
    """Return the first values of the controls that `--interact` would show, without showing them.

    Raises:
        ConfigurationError: The controls cannot be made. Nothing was sent.
    """
    present = present_values(line, cell)
    controls = make_controls(present)
    values = {name: control.value for name, control in controls.items()}
    close_all(own_controls(controls, present))
    return values


def make_controls(values: Mapping[str, object]) -> dict[str, ValueWidget]:
    """Return a control for each value, in the same order; a widget is its own control.

    Raises:
        ConfigurationError: A value has no control. Nothing was sent.
    """
    controls: dict[str, ValueWidget] = {}
    try:
        for name, value in values.items():
            controls[name] = make_control(name, value)
    except ConfigurationError:
        close_all(own_controls(controls, values))
        raise
    _align(own_controls(controls, values))
    return controls


def _align(controls: Sequence[ValueWidget]) -> None:
    """Give the names of the controls the same width, so that the controls are left-aligned."""
    longest = max((len(control.description) for control in controls), default=0)
    for control in controls:
        control.style.description_width = f"{min(longest, _LONGEST_NAME) + 1}ch"


def own_controls(controls: Mapping[str, ValueWidget], values: Mapping[str, object]) -> list[ValueWidget]:
    """Return the controls made by `make_controls`, without the user's own widgets."""
    return [control for name, control in controls.items() if control is not values[name]]


def make_control(name: str, value: Any) -> ValueWidget:
    """Return a control for a value, with the type and bounds that `ipywidgets.interact` chooses.

    Raises:
        ConfigurationError: The value has no control. Nothing was sent.
    """
    if isinstance(value, ValueWidget):
        return value
    try:
        control = _find_control(value)
    # The bounds are reversed, or there is nothing to choose from.
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
        control.continuous_update = False  # update when a slider is released or text is submitted
    return control


def _find_control(value: Any) -> ValueWidget | None:
    """Return the control that `ipywidgets.interact` makes for a value, or one for a few more types; None for all others."""
    made = ipywidgets.interactive
    if isinstance(value, enum.Enum):
        members = dict(type(value).__members__)
        return ipywidgets.Dropdown(options=members | {value.name or str(value): value}, value=value)
    value = _to_builtin(value)
    if isinstance(value, tuple):
        value = tuple(map(_to_builtin, value))
        is_bounded = not any(isinstance(each, bool) for each in value)
        if is_bounded and (bounded := made.widget_from_tuple(value)) is not None:
            return bounded
    if isinstance(value, (str, bool, Real)):
        return made.widget_from_single_value(value)
    if (picker := _picker(value)) is not None:
        return picker
    options = _options(value)
    return None if options is None else _choice(options)


def _to_builtin(value: Any) -> Any:
    """Convert a numpy scalar, Decimal or Fraction to a built-in type, because sliders accept no others; return other values unchanged."""
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        number = value.item()
        # For datetime64[ns], `item()` returns an integer.
        is_time = value.dtype.kind == "M" and isinstance(number, int)
        return value.astype("datetime64[us]").item() if is_time else number
    return float(value) if isinstance(value, (Decimal, Fraction)) else value


def _picker(value: Any) -> ValueWidget | None:
    """Return the control for a date or time; None for other values.

    Raises:
        ValueError: The value is pandas' NaT.
    """
    if isinstance(value, (datetime.date, datetime.time)) and value != value:
        raise ValueError("it is not a date or time")
    if isinstance(value, datetime.datetime):
        # Convert to a plain datetime: pandas' Timestamp is a subclass with nanoseconds.
        plain = datetime.datetime.combine(value.date(), value.time(), value.tzinfo)
        picker = ipywidgets.NaiveDatetimePicker if plain.tzinfo is None else ipywidgets.DatetimePicker
        return picker(value=plain)
    if isinstance(value, datetime.date):
        return ipywidgets.DatePicker(value=value)
    return ipywidgets.TimePicker(value=value) if isinstance(value, datetime.time) else None


def _options(value: Any) -> Mapping[Any, Any] | list[Any] | None:
    """Return the choices that a value offers; None if it offers none."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, enum.EnumType):
        return dict(value.__members__)
    if isinstance(value, (Sequence, KeysView, ItemsView, ValuesView)):
        return value if isinstance(value, list) else list(itertools.islice(value, _MOST_OPTIONS + 1))
    if isinstance(value, Set):
        return sorted(value, key=str)  # sets have no order
    is_column = getattr(value, "ndim", None) == 1 and hasattr(value, "tolist")  # an array, a series, an index
    return list(value.tolist()) if is_column else None


def _choice(options: Mapping[Any, Any] | list[Any]) -> ValueWidget:
    """Return a dropdown of choices. In pairs such as `("one", 10)`, the first item is shown and the second is the value."""
    if not options:
        raise ValueError("it is empty")
    if len(options) > _MOST_OPTIONS:
        raise ValueError(f"it has more than {_MOST_OPTIONS:,} values to choose from")
    return ipywidgets.Dropdown(options=dict(options) if isinstance(options, Mapping) else options)
