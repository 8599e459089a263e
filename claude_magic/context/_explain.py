"""`%claude explain NAME`: what a name of the user's stands for."""

from __future__ import annotations

from collections.abc import Mapping

from ..client import ConfigurationError
from ._collected import Collected
from ._describe import describe
from ._lookup import MISSING, look_up, root_of
from ._names import closest_name


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
        raise ConfigurationError(
            f"There is no {name} in the notebook.{_advice(name, names)} Nothing was sent."
        )
    collected = describe(value, name=name)
    kind = f"`{name}`, of type {type(value).__name__}:\n"
    return Collected(parts=(kind, *collected.parts), notes=collected.notes, redacted=collected.redacted)


def _advice(path: str, names: Mapping[str, object]) -> str:
    root = root_of(path) or path
    guess = None if root in names else closest_name(root, names)
    if guess is not None:
        return f" Did you mean {path.replace(root, guess, 1)}?"
    owner, _, attribute = path.rpartition(".")
    value = look_up(owner, names) if owner else MISSING
    if value is MISSING:
        return ""
    guess = closest_name(attribute, _attributes(value))
    return f" Did you mean {owner}.{guess}?" if guess is not None else ""


def _attributes(value: object) -> list[str]:
    try:
        return [name for name in dir(value) if isinstance(name, str)]
    except Exception:  # `__dir__` is theirs
        return []
