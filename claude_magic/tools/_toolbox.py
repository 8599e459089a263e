"""The tools of one question."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..client import ConfigurationError
from ._signature import Tool


class Toolbox:
    """Functions that a model may call, by their names.

    Args:
        functions: The functions, each under its own name, or by the names they are to have.

    Attributes:
        definitions: The tools, as the API describes them.
        notes: What the reader should know about them, as sentences.

    Raises:
        ConfigurationError: One of them cannot be a tool, or two have the same name and could not be told apart.
    """

    def __init__(self, functions: Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]) -> None:
        if isinstance(functions, Mapping):
            tools = [Tool(function, name) for name, function in functions.items()]
        else:
            tools = [Tool(function) for function in functions]
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if self._tools.setdefault(tool.name, tool) is not tool:
                raise _same_name(tool.name)
        self.definitions = [tool.definition() for tool in tools]
        self.notes = tuple(note for tool in tools for note in tool.notes)

    @classmethod
    def named(cls, names: Iterable[str], known: Mapping[str, object]) -> Toolbox:
        """Return the tools of these names.

        Args:
            names: What they are called, attributes of objects included ("boat.position", for the model boat_position).
            known: The user's names.

        Raises:
            ConfigurationError: One does not exist, or cannot be called.
        """
        functions: dict[str, Callable[..., Any]] = {}
        for name in dict.fromkeys(names):
            if functions.setdefault(name.replace(".", "_"), function := _find(name, known)) is not function:
                raise _same_name(name.replace(".", "_"))
        return cls(functions)

    @property
    def names(self) -> tuple[str, ...]:
        """What the tools are called, in the order in which they were given."""
        return tuple(self._tools)

    def find(self, name: str) -> Tool | None:
        """Return a tool by its name."""
        return self._tools.get(name)


def _same_name(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"Two of the tools would be called {name}. Rename one of them. Nothing was sent."
    )


def _find(name: str, known: Mapping[str, object]) -> Callable[..., Any]:
    root, *rest = name.split(".")
    if root not in known:
        hint = _close_to(root, [each for each in known if callable(known[each])])
        raise _not_found(
            name, f"there is no {root} in the notebook", hint or "Run the cell that defines it first."
        )
    value: Any = known[root]
    path = root
    for attribute in rest:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            raise _not_found(
                name, f"{path} has no {attribute}", _close_to(attribute, dir(value)) or "See dir() of it."
            ) from None
        path = f"{path}.{attribute}"
    if not callable(value):
        raise _not_found(name, f"that is no function, but {type(value).__name__}", "Name a function.")
    return value  # type: ignore[no-any-return]


def _close_to(name: str, candidates: list[str]) -> str:
    close = difflib.get_close_matches(name, candidates, n=1)
    return f"Did you mean {close[0]}?" if close else ""


def _not_found(name: str, reason: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"--tools {name}: {reason}. {hint} Nothing was sent.")
