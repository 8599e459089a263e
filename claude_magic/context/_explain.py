"""`%claude explain NAME`: what a name of the user's stands for."""

from __future__ import annotations

from collections.abc import Mapping

from ..client import ConfigurationError
from ._collected import Collected
from ._describe import describe
from ._lookup import MISSING, look_up


def describe_name(name: str, names: Mapping[str, object]) -> Collected:
    """Return what a dotted name stands for: code with its source, anything else described.

    Args:
        name: A name, or a path of attributes that begins with one.
        names: The user's names.

    Raises:
        ConfigurationError: It does not exist, or cannot be read.
    """
    value = look_up(name, names)
    if value is MISSING:
        raise ConfigurationError(f"There is no {name} in the notebook. Nothing was sent.")
    collected = describe(value, name=name)
    kind = f"`{name}`, of type {type(value).__name__}:\n"
    return Collected(parts=(kind, *collected.parts), notes=collected.notes, redacted=collected.redacted)
