"""Functions, classes and modules: signature, docstring, source."""

from __future__ import annotations

import inspect
from typing import Any

from ._collected import Collected
from ._safely import bounded


def describe_source(thing: Any, chars: int) -> Collected:
    """Describe code in about `chars` characters: its source where there is one, else its signature and docstring."""
    try:
        return bounded(f"\n```python\n{inspect.getsource(thing).rstrip()}\n```\n", chars, "source")
    except (OSError, TypeError):
        pass
    lines = [_title(thing), inspect.getdoc(thing) or "", *_public_names(thing)]
    return bounded("\n".join(line for line in lines if line), chars, "description")


def _title(thing: Any) -> str:
    kind = "module" if inspect.ismodule(thing) else "class" if inspect.isclass(thing) else "function"
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", repr(thing))
    try:
        signature = str(inspect.signature(thing))
    except (TypeError, ValueError):
        signature = ""
    return f"{kind} {name}{signature}"


def _public_names(thing: Any) -> list[str]:
    if not (inspect.ismodule(thing) or inspect.isclass(thing)):
        return []
    names = [name for name in getattr(thing, "__all__", None) or dir(thing) if not name.startswith("_")]
    return [f"names: {', '.join(names)}"] if names else []
