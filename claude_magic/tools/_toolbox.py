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
        functions: The functions; two of the same name cannot be told apart.

    Raises:
        ConfigurationError: One of them cannot be a tool.
    """

    def __init__(self, functions: Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]) -> None:
        if isinstance(functions, Mapping):
            tools = [Tool(function, name) for name, function in functions.items()]
        else:
            tools = [Tool(function) for function in functions]
        self._tools = {tool.name: tool for tool in tools}
        if len(self._tools) < len(tools):
            raise ConfigurationError("Two of the tools have the same name. Nothing was sent.")
        self.definitions = [tool.definition() for tool in tools]

    @classmethod
    def named(cls, names: Iterable[str], known: Mapping[str, object]) -> Toolbox:
        """Return the tools of these names.

        Args:
            names: What they are called, attributes of objects included ("boat.position").
            known: The user's names.

        Raises:
            ConfigurationError: One does not exist, or cannot be called.
        """
        return cls({name.replace(".", "_"): _find(name, known) for name in names})

    def find(self, name: str) -> Tool | None:
        """Return a tool by its name."""
        return self._tools.get(name)


def _find(name: str, known: Mapping[str, object]) -> Callable[..., Any]:
    root, *rest = name.split(".")
    value: Any = known.get(root)
    if root not in known:
        close = difflib.get_close_matches(root, [each for each in known if callable(known[each])], n=1)
        hint = f" Did you mean {close[0]}?" if close else " Run the cell that defines it first."
        raise ConfigurationError(
            f"--tools {name}: there is no {root} in the notebook.{hint} Nothing was sent."
        )
    for attribute in rest:
        value = getattr(value, attribute, None)
    if not callable(value):
        raise ConfigurationError(
            f"--tools {name}: that is no function, but {type(value).__name__}. Nothing was sent."
        )
    return value  # type: ignore[no-any-return]
