"""Functions, classes and modules: signature, docstring, source."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator
from typing import Any

from ._collected import Collected
from ._safely import bounded, fenced

_MAX_NAMES = 200


def describe_source(thing: Any, chars: int) -> Collected:
    """Describe code in about `chars` characters: its source where there is one, else its signature and docstring.

    Of a module that is too long, and of a package, it is what it offers: half a file helps nobody.
    """
    source = "" if hasattr(thing, "__path__") else _source_of(thing)
    if source and not (inspect.ismodule(thing) and len(source) > chars):
        collected = bounded(source, chars, "source")
        return Collected(parts=(fenced(collected.text, "python"),), notes=collected.notes)
    lines = [_title(thing), inspect.getdoc(thing) or "", *_members(thing)]
    return bounded("\n".join(line for line in lines if line), chars, "description")


def _source_of(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # TypeError: inspect knows no file of a class that was defined in a cell
        return _class_source(thing) if inspect.isclass(thing) else ""


def _class_source(kind: type) -> str:
    """Return the source of a class, found where its methods are; "" if it has none that was written."""
    for method in vars(kind).values():
        code = getattr(inspect.unwrap(method) if callable(method) else None, "__code__", None)
        if code is None:
            continue
        lines = linecache.getlines(code.co_filename)
        for start, stop in _spans_of_class(lines, kind.__name__):
            if start <= code.co_firstlineno <= stop:
                return "".join(lines[start - 1 : stop])
    return ""


def _spans_of_class(lines: list[str], name: str) -> Iterator[tuple[int, int]]:
    """Yield first and last line, from 1, of every class of a name in a source."""
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield start, node.end_lineno or node.lineno


def _title(thing: Any) -> str:
    kind = "module" if inspect.ismodule(thing) else "class" if inspect.isclass(thing) else "function"
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", repr(thing))
    version = getattr(thing, "__version__", None) if kind == "module" else None
    return f"{kind} {name}{f' {version}' if isinstance(version, str) else ''}{_signature(thing)}"


def _signature(thing: Any) -> str:
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""


def _members(thing: Any) -> Iterator[str]:
    """Yield what a module or class offers: a line for each function, and the other names."""
    if not (inspect.ismodule(thing) or inspect.isclass(thing)):
        return
    names = [name for name in getattr(thing, "__all__", None) or vars(thing) if not name.startswith("_")]
    others: list[str] = []
    for name in names[:_MAX_NAMES]:
        member = vars(thing).get(name)
        if inspect.isfunction(member):
            yield f"def {name}{_signature(member)}"
        else:
            others.append(name)
    if others:
        yield f"other names: {', '.join(others)}"
    if len(names) > _MAX_NAMES:
        yield f"and {len(names) - _MAX_NAMES:,} more"
