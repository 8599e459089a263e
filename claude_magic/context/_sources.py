"""Functions, classes and modules: signature, docstring, source."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from collections.abc import Iterator
from itertools import islice
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Final

from ._collected import Collected
from ._rich import is_address
from ._safely import bounded, fenced, one_line, safe_repr

_MAX_NAMES = 200
_MAX_BOUND_CHARS = 200
_MAX_DOC_CHARS = 100
_CODE: Final = (
    type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, MethodDescriptorType, ClassMethodDescriptorType,
    MethodWrapperType, WrapperDescriptorType, staticmethod, classmethod, property, functools.partial, functools.partialmethod,
    functools.cached_property, functools.singledispatchmethod,
)  # fmt: skip
_WRAPPERS: Final = (
    functools.partial,
    functools.partialmethod,
    functools.cached_property,
    functools.singledispatchmethod,
)


def is_code(value: Any) -> bool:
    """Tell functions, methods and classes, also wrapped, cached or partly applied ones, and modules."""
    if issubclass(type(value), _CODE):  # the type is asked, not the object, which may pretend to be another
        return True
    return callable(value) and callable(inspect.getattr_static(value, "__wrapped__", None))


def describe_source(thing: Any, chars: int) -> Collected:
    """Describe code in about `chars` characters: its source where there is one, else its signature and docstring.

    Of a module that is too long, and of a package, it is what it offers: half a file helps nobody.
    """
    parts = list(_parts_of(thing))
    if parts:
        inner = [describe_source(part, chars // len(parts)) for part in parts]
        text = "".join([_bound(thing), *(each.text for each in inner)])
        return Collected(parts=(text,), notes=tuple(note for each in inner for note in each.notes))
    source = "" if hasattr(thing, "__path__") else _source_of(thing)
    if source and not (inspect.ismodule(thing) and len(source) > chars):
        collected = bounded(source, chars, "source")
        return Collected(parts=(f"{_bound(thing)}{fenced(collected.text, 'python')}",), notes=collected.notes)
    lines = [_bound(thing), _title(thing), inspect.getdoc(thing) or "", *_members(thing)]
    return bounded("\n".join(line for line in lines if line), chars, "description")


def name_code(thing: Any) -> str:
    """Return code as it is named inside of data: by its kind, name and signature, and the first line of its docstring."""
    for part in islice(_parts_of(thing), 1):
        return f"<{type(thing).__name__} of {name_code(part)[1:-1]}{_arguments(thing)}>"
    first = (inspect.getdoc(thing) or "").partition("\n")[0]
    is_named = inspect.ismodule(thing) or inspect.isclass(thing) or not first
    return f"<{_title(thing)}{'' if is_named else f': {one_line(first, _MAX_DOC_CHARS)}'}>"


def _parts_of(thing: Any) -> Iterator[Any]:
    """Yield the functions that a wrapper holds where Python's own unwrapping does not find them."""
    if isinstance(thing, _WRAPPERS):
        yield thing.func
    elif isinstance(thing, type):
        return
    elif isinstance(inner := inspect.unwrap(thing), _WRAPPERS):  # cached, but partly applied before
        yield inner
    elif isinstance(thing, property):
        yield from (each for each in (thing.fget, thing.fset, thing.fdel) if each is not None)


def _bound(thing: Any) -> str:
    """Say what a function is applied to already: the arguments of a partial, the object of a method."""
    if isinstance(thing, functools.partial | functools.partialmethod):
        return f"{type(thing).__name__} of {getattr(thing.func, '__qualname__', type(thing.func).__name__)}{_arguments(thing)}"
    owner = getattr(thing, "__self__", None)
    if owner is None or inspect.ismodule(owner) or inspect.isclass(owner):
        return ""
    return f"method of {one_line(_text_of(owner), _MAX_BOUND_CHARS)}"


def _arguments(thing: Any) -> str:
    given = [_text_of(value) for value in getattr(thing, "args", ())]
    given += [f"{name}={_text_of(value)}" for name, value in getattr(thing, "keywords", {}).items()]
    return f", applied to {', '.join(one_line(each, _MAX_BOUND_CHARS) for each in given)}" if given else ""


def _text_of(value: Any) -> str:
    if is_code(value):
        return name_code(value)
    text = safe_repr(value, _MAX_BOUND_CHARS)
    return type(value).__qualname__ if is_address(text) else text


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
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", type(thing).__name__)
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
