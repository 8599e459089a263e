"""Describes objects in a prompt. Types of other libraries are matched by name, so none is imported.

Other libraries and users add their own types with a method `_repr_claude_` or with `register`.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import linecache
import math
import traceback
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
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
from typing import Any, Final, TypeAlias

from ..client import ConfigurationError
from ._collected import (
    Collected,
    Part,
    bounded,
    collect,
    error_text,
    fenced,
    one_line,
    safe_repr,
    with_article,
)
from ._pictures import (
    Lifted,
    describe_animation,
    describe_artist,
    describe_figure,
    describe_picture,
    describe_plot,
    describe_rich,
    has_rich_form,
    image_block,
    is_address,
    media_type_of,
)
from ._structures import describe_array, describe_structure, is_data, library_names, plain_text, unwrapped
from ._tables import (
    describe_dataset,
    describe_frame,
    describe_grouping,
    describe_index,
    describe_series,
    describe_table,
    describe_window,
    is_table,
)

_MAX_NAMES = 200
_MAX_BOUND_CHARS = 200
_MAX_DOC_CHARS = 100
_WRAPPERS: Final = (
    functools.partial,
    functools.partialmethod,
    functools.cached_property,
    functools.singledispatchmethod,
)
_CODE: Final = (
    type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, MethodDescriptorType, ClassMethodDescriptorType,
    MethodWrapperType, WrapperDescriptorType, staticmethod, classmethod, property, *_WRAPPERS,
)  # fmt: skip


def is_code(value: Any) -> bool:
    """Return whether a value is a function, method, class or module, also a wrapped, cached or partial one."""
    if issubclass(type(value), _CODE):  # checks the type: an object may pretend to be another
        return True
    return callable(value) and callable(inspect.getattr_static(value, "__wrapped__", None))


def describe_source(thing: Any, chars: int) -> Collected:
    """Describe code in about `chars` characters: its source if available, else its signature and docstring.

    A package, or a module that is too long, is described by its members, because half a file is of no use.
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
    """Return the short form of code inside a container: kind, name, signature and the first line of its docstring."""
    for part in islice(_parts_of(thing), 1):
        return f"<{type(thing).__name__} of {name_code(part)[1:-1]}{_arguments(thing)}>"
    first = (inspect.getdoc(thing) or "").partition("\n")[0]
    is_named = inspect.ismodule(thing) or inspect.isclass(thing) or not first
    return f"<{_title(thing)}{'' if is_named else f': {one_line(first, _MAX_DOC_CHARS)}'}>"


def _parts_of(thing: Any) -> Iterator[Any]:
    """Yield the functions of a wrapper that `inspect.unwrap` does not reach."""
    if isinstance(thing, _WRAPPERS):
        yield thing.func
    elif isinstance(thing, type):
        return
    elif isinstance(inner := inspect.unwrap(thing), _WRAPPERS):  # a cached partial
        yield inner
    elif isinstance(thing, property):
        yield from (each for each in (thing.fget, thing.fset, thing.fdel) if each is not None)


def _bound(thing: Any) -> str:
    """Describe what a function is bound to: the arguments of a partial, the object of a method."""
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
    except (OSError, TypeError):  # TypeError: `inspect` finds no file for a class defined in a cell
        return _class_source(thing) if inspect.isclass(thing) else ""


def _class_source(kind: type) -> str:
    """Return the source of a class, found by its methods; "" if it has no source."""
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
    """Yield the first and last line, counted from 1, of every class called `name`."""
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
    """Yield the members of a module or class: a line for each function, then the other names."""
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


DEFAULT_TOKENS = 4_000
CHARS_PER_TOKEN = 3.5
"""Characters per token of code and tables; a token of prose is longer."""

Describer: TypeAlias = Callable[[Any, int], "str | Part | Collected"]
"""Takes an object and the maximum number of characters; returns text, a content block or a `Collected`."""

_MAX_SMALL_TABLE = 20
_MIN_INNER_CHARS = 700
"""With less room than this, a table inside a container is given by its shape."""
_MAX_FAILED_CHARS = 500
_MAX_OBJECTS = 1_000

_registered: dict[type | str, Describer] = {}


def register(kind: type | str, describer: Describer) -> None:
    """Register how objects of a type and its subclasses are described in a prompt.

    Args:
        kind: The type, or "module.Class" for a type that should not be imported.
        describer: Takes the object and the maximum number of characters; returns text, a content block of the API, or a
            `Collected`.
    """
    _registered[kind] = describer


def describe(value: object, *, name: str | None = None, max_tokens: int = DEFAULT_TOKENS) -> Collected:
    """Return the description of an object in a prompt; if its own code fails, its shortened `repr`.

    Content collected from inside an object is redacted. A string or number that fits is sent as it is.

    Args:
        value: The object.
        name: The name of the object in messages.
        max_tokens: The approximate maximum length of the description, in tokens.

    Raises:
        ConfigurationError: The object is a damaged image, or gives its values only once.
    """
    chars = max(200, round(max_tokens * CHARS_PER_TOKEN))
    with warnings.catch_warnings():
        # The user cannot act on warnings that other libraries raise while they describe an object.
        warnings.simplefilter("ignore")
        return collect(
            lambda: _describe_safely(value, chars, name or type(value).__name__),
            redacts=plain_text(value) is None,
        )


def unread(value: object) -> str | None:
    """Return the kind of an object that gives its values once or later (generator, coroutine, iterator); else None."""
    kind = type(value)
    if not issubclass(kind, Iterator | AsyncIterator | Coroutine) or issubclass(kind, io.IOBase):
        return None
    if _for_library(kind) is not None or not is_address(safe_repr(value, 1_000)):
        return None
    if issubclass(kind, AsyncIterator):
        return "async generator" if issubclass(kind, AsyncGenerator) else "async iterator"
    if issubclass(kind, Generator):
        return "generator"
    if issubclass(kind, Coroutine):
        return "coroutine"
    return kind.__name__ if kind.__name__.endswith("iterator") else f"{kind.__name__} iterator"


def _describe_safely(value: object, chars: int, name: str) -> Collected:
    try:
        return _collected(_describe(value, chars, name), chars)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    except Exception as error:  # other code may raise anything; the prompt is still sent
        note = f"{{{{ {name} }}}} could not be described ({error_text(error)}), so its repr is sent."
        return Collected(parts=(safe_repr(value, chars),), notes=(note,))


def _describe(value: object, chars: int, name: str) -> str | Part | Collected:
    describer = _registered_for(value)
    if describer is not None:
        return describer(value, chars)
    value = unwrapped(value)
    text = plain_text(value)
    if text is not None:
        return text
    kind = type(value)
    describer = _for_library(kind) or _for_base(kind) or (describe_table if is_table(value) else None)
    if describer is not None:
        return describer(value, chars)
    if is_code(value):
        return describe_source(value, chars)
    if (unread_kind := unread(value)) is not None:
        raise ConfigurationError(f"{_why_unread(unread_kind, name)} Nothing was sent.")
    rich = describe_rich(value, chars, is_data=is_data(kind)) if has_rich_form(value) else None
    return rich or describe_structure(value, chars, _inside)


def _inside(value: Any, chars: int, *, with_picture: bool) -> Collected | None:
    """Describe an object inside a container; None for data and for objects whose `repr` is best."""
    try:
        return _described_inside(value, chars, with_picture=with_picture)
    except ConfigurationError as error:
        reason = str(error).removesuffix(" Nothing was sent.")
        return Collected(
            parts=(f"<{type(value).__name__}, not sent>",), notes=(f"Inside the data, {reason}",)
        )
    except Exception as error:
        note = f"Inside the data, a {type(value).__name__} could not be described ({error_text(error)})."
        return Collected(parts=(safe_repr(value, _MAX_FAILED_CHARS),), notes=(note,))


def _described_inside(value: Any, chars: int, *, with_picture: bool) -> Collected | None:
    registered = _registered_for(value)
    if registered is not None:
        return _collected(registered(value, chars), chars)
    if plain_text(value) is not None:
        return None
    kind = type(value)
    for_library = _for_library(kind) or (describe_table if is_table(value) else None)
    if for_library in _IMAGE_DESCRIBERS and not with_picture:
        note = f"At most {Lifted.MOST} pictures of one object are sent."
        return Collected(parts=(f"<{kind.__name__}, left out>",), notes=(note,))
    if for_library in _TABLE_DESCRIBERS and (short := _short_table(value, chars)) is not None:
        return short if short.parts else None
    if for_library is not None:
        return _collected(for_library(value, chars), chars)
    if issubclass(kind, io.IOBase) or (
        issubclass(kind, bytes | bytearray | memoryview) and media_type_of(bytes(value[:16]))
    ):
        return _collected(_describe(value, chars, kind.__name__), chars)
    if is_code(value):
        return Collected(parts=(name_code(value),))
    if (unread_kind := unread(value)) is not None:
        return Collected(
            parts=(f"<{unread_kind}, not read>",), notes=(f"Inside the data: {_why_unread(unread_kind)}",)
        )
    return describe_rich(value, chars, is_data=is_data(kind)) if has_rich_form(value) else None


def _why_unread(kind: str, name: str = "it") -> str:
    if kind == "coroutine":
        return "a coroutine has no value yet. Await it in a cell, and send the result."
    values = f"[value async for value in {name}]" if kind.startswith("async") else f"list({name})"
    return f"{with_article(kind)} gives its values only once, so it is not read. Send {values} instead."


def _short_table(table: Any, chars: int) -> Collected | None:
    """Return the short form of a table or array inside a container; empty for its `repr`, None if there is room for more."""
    shape = getattr(table, "shape", None)
    if not isinstance(shape, tuple):
        return None
    if math.prod(shape) <= _MAX_SMALL_TABLE:
        return Collected() if type(table).__module__.startswith("numpy") and table.dtype.kind != "O" else None
    if chars >= _MIN_INNER_CHARS:
        return None
    dtype = getattr(table, "dtype", None)
    size = " × ".join(f"{length:,}" for length in shape)
    return Collected(parts=(f"<{type(table).__name__} {size}{f' {dtype}' if dtype else ''}>",))


def _registered_for(value: object) -> Describer | None:
    """Return the describer that was registered for a type, or its `_repr_claude_`."""
    for kind in type(value).__mro__:
        found = _registered.get(kind) or _registered.get(f"{kind.__module__}.{kind.__qualname__}")
        if found is not None:
            return found
    own = getattr(type(value), "_repr_claude_", None)
    return None if own is None else lambda value, chars: own(value)


def _for_library(kind: type) -> Describer | None:
    """Return the describer for a type of another library. It checks the type, because an object may pretend to be another."""
    return next((found for name in library_names(kind) if (found := _FOREIGN.get(name))), None)


def _for_base(kind: type) -> Describer | None:
    return next((describer for kinds, describer in _BY_BASE if issubclass(kind, kinds)), None)


def _describe_bytes(value: Any, chars: int) -> Collected | str:
    """Describe bytes, as an image if they are an image file."""
    data = bytes(value)
    if media_type_of(data) is not None:
        return image_block(data)
    return safe_repr(data, chars // 5)  # most bytes take four characters in a repr


def _describe_stream(stream: Any, chars: int) -> Collected | str:
    """Describe an in-memory stream by its content, and an open file, which is not read, by its name."""
    if isinstance(stream, io.BytesIO):
        return _describe_bytes(stream.getvalue(), chars)
    if isinstance(stream, io.StringIO):
        return bounded(stream.getvalue(), chars)
    note = "Only the name of an open file is sent. To send its content, attach it: -a PATH."
    return Collected(parts=(safe_repr(stream, chars),), notes=(note,))


def _describe_array_or_axes(array: Any, chars: int) -> Collected:
    """Describe an array; an array of figures or images, such as the axes of a figure, as a list."""
    if getattr(array.dtype, "kind", "") == "O" and array.size <= _MAX_OBJECTS:
        values = array.ravel().tolist()
        if any(_for_library(type(value)) in _IMAGE_DESCRIBERS for value in values):
            return describe_structure(values, chars, _inside)
    return describe_array(array, chars)


def _describe_shown_image(image: Any, chars: int) -> Collected | str:
    """Describe an `IPython.display.Image` by its data or its URL."""
    if image.data is not None:
        return _describe_bytes(image.data, chars)
    address = str(image.url)
    if not address.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"the picture is only linked ({address}): attach the file. Nothing was sent."
        )
    return Collected(parts=({"type": "image", "source": {"type": "url", "url": address}},))


def _describe_media(media: Any, _chars: int) -> Collected:
    """Name audio or video, which the API does not accept."""
    kind = type(media).__name__
    source = media.filename or media.url or "data in memory"
    return Collected(
        parts=(f"<{kind}: {source}>",),
        notes=(f"Only the name of {kind} is sent: the API takes neither audio nor video.",),
    )


def _describe_captured(captured: Any, chars: int) -> Collected:
    """Describe the output captured by `%%capture`."""
    kept = {name: getattr(captured, name) for name in ("stdout", "stderr", "outputs")}
    return describe_structure({name: value for name, value in kept.items() if value}, chars, _inside)


def _describe_exception(error: Any, chars: int) -> Collected | str:
    text = "".join(traceback.format_exception(error)).rstrip()
    if "\n" not in text:
        return text
    collected = bounded(text, chars, "traceback")
    return Collected(parts=(fenced(collected.text),), notes=collected.notes)


_FOREIGN: Mapping[str, Describer] = {
    # In full, like a string.
    "claude_magic.Reply": lambda reply, chars: Collected(parts=(reply.text,)),
    "pandas.DataFrame": describe_frame,
    "pandas.Series": describe_series,
    "pandas.Index": describe_index,
    "pandas.BaseGroupBy": describe_grouping,
    "pandas.BaseWindow": describe_window,
    # Without colours and number formats.
    "pandas.Styler": lambda styler, chars: describe_frame(styler.data, chars),
    # A polars GroupBy is also an iterator.
    "polars.GroupBy": lambda grouped, chars: describe_structure(grouped, chars, _inside),
    "pyarrow.Dataset": describe_dataset,
    "numpy.ndarray": _describe_array_or_axes,
    "torch.Tensor": describe_array,
    "matplotlib.Figure": describe_figure,
    "matplotlib.Artist": describe_artist,
    "matplotlib.Animation": describe_animation,
    "seaborn._BaseGrid": lambda grid, chars: describe_figure(grid.figure, chars),
    "IPython.Image": _describe_shown_image,
    "IPython.Code": lambda code, chars: Collected(parts=(fenced(code.data, code.language or ""),)),
    "IPython.Audio": _describe_media,
    "IPython.Video": _describe_media,
    "IPython.Pretty": lambda text, chars: bounded(text.data, chars),
    "IPython.CapturedIO": _describe_captured,
    "ipywidgets.Image": lambda widget, chars: _describe_bytes(widget.value, chars),
    "PIL.Image": describe_picture,
    "plotly.BaseFigure": describe_plot,
}

_BY_BASE: Sequence[tuple[tuple[type, ...], Describer]] = (
    ((bytes, bytearray, memoryview), _describe_bytes),
    ((io.IOBase,), _describe_stream),
    ((BaseException,), _describe_exception),
)

_IMAGE_DESCRIBERS = (describe_figure, describe_artist, describe_animation, describe_picture)
_TABLE_DESCRIBERS = (describe_frame, describe_series, describe_table, _describe_array_or_axes, describe_array)


def _collected(described: str | Part | Collected, chars: int) -> Collected:
    if isinstance(described, Collected):
        return described
    if isinstance(described, str):
        return bounded(described, chars)
    if isinstance(described, dict):
        return Collected(parts=(described,))
    raise TypeError(f"its description is of type {type(described).__name__}, not text or a content block")
