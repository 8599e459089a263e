"""`%claude explain NAME`: what a name of the user's stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..client import ConfigurationError
from ._collected import Collected
from ._describe import describe


def describe_name(name: str, names: Mapping[str, object]) -> Collected:
    """Return what a dotted name stands for: code with its source, anything else described.

    Args:
        name: A name, or a path of attributes that begins with one.
        names: The user's names.

    Raises:
        ConfigurationError: It does not exist.
    """
    root, *rest = name.split(".")
    try:
        value: Any = names[root]
        for attribute in rest:
            value = getattr(value, attribute)
    except (KeyError, AttributeError):
        raise ConfigurationError(f"There is no {name} in the notebook. Nothing was sent.") from None
    collected = describe(value, name=name)
    kind = f"`{name}`, of type {type(value).__name__}:\n"
    return Collected(parts=(kind, *collected.parts), notes=collected.notes, redacted=collected.redacted)
