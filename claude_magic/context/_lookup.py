"""What a dotted name of the user's stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..client import ConfigurationError
from ._safely import error_text

MISSING: Final = object()


def look_up(name: str, names: Mapping[str, object]) -> Any:
    """Return the value of a name, or of a path of attributes that begins with one; `MISSING` if there is none.

    Raises:
        ConfigurationError: An attribute exists, but fails when it is read.
    """
    root, *attributes = name.split(".")
    value = names.get(root, MISSING)
    if value is MISSING:
        return MISSING
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            return MISSING
        except Exception as error:  # a property may fail in any way
            raise ConfigurationError(
                f"{name} cannot be read: {error_text(error)}. Nothing was sent."
            ) from None
    return value
