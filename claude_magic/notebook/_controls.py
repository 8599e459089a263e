"""Controls for values: which widget of ipywidgets stands for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import ipywidgets
from ipywidgets import ValueWidget

from ..client import ConfigurationError

_WIDTH = "min(100%, 30em)"


def make_controls(values: Mapping[str, object]) -> dict[str, ValueWidget]:
    """Return a control for each value, in their order; a widget stands for itself.

    Raises:
        ConfigurationError: There is none for one of them. Nothing was sent.
    """
    return {name: make_control(name, value) for name, value in values.items()}


def make_control(name: str, value: Any) -> ValueWidget:
    """Return a control for a value, chosen and bounded as `ipywidgets.interact` does.

    Raises:
        ConfigurationError: There is none. Nothing was sent.
    """
    if isinstance(value, ValueWidget):
        return value
    try:
        control = _abbreviated(value)
    except ValueError as error:  # bounds the wrong way round, or nothing to choose from
        raise ConfigurationError(
            f"There is no control for {name} = {value!r}: {error}. Nothing was sent."
        ) from None
    if control is None:
        raise ConfigurationError(
            f"There is no control for {name}, which is of type {type(value).__name__}: a number, True or False, text, a list to choose "
            "from, (smallest, largest) or a widget has one. Nothing was sent."
        )
    control.description = name
    control.style.description_width = "initial"
    control.layout.width = _WIDTH
    if isinstance(control, ipywidgets.Checkbox):
        control.indent = False
    if hasattr(control, "continuous_update"):
        control.continuous_update = False  # what counts is where a slider is let go, and text that is entered
    return control


def _abbreviated(value: Any) -> ValueWidget | None:
    made = ipywidgets.interactive
    if isinstance(value, tuple) and (bounded := made.widget_from_tuple(value)) is not None:
        return bounded
    if isinstance(value, (str, bool, Real)):
        return made.widget_from_single_value(value)
    if isinstance(value, (list, tuple, range, dict)):
        return _choice(value)
    return None


def _choice(options: Sequence[Any] | Mapping[Any, Any]) -> ValueWidget:
    if not options:
        raise ValueError("it is empty")
    pairs = options.items() if isinstance(options, Mapping) else ((str(each), each) for each in options)
    return ipywidgets.Dropdown(options=[(str(label), each) for label, each in pairs])
