"""What objects show of themselves in a notebook: Markdown, formulas, pictures, JSON, HTML, by the methods that IPython asks for.

The order is that of JupyterLab, except that HTML, and SVG as source, come after what a model reads better. An object whose own
text says something is told by that text before its HTML is looked at.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import nh3

from ..client import ConfigurationError
from ._collected import Collected
from ._pictures import Lifted, image_block
from ._safely import bounded, fenced, safe_repr

_METHODS: Final = {
    "text/markdown": "_repr_markdown_",
    "text/latex": "_repr_latex_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "image/gif": "_repr_gif_",
    "image/webp": "_repr_webp_",
    "application/json": "_repr_json_",
    "text/plain": "",
    "text/html": "_repr_html_",
    "image/svg+xml": "_repr_svg_",
    "application/javascript": "_repr_javascript_",
}
"""Formats in the order of preference, and the methods that give them."""
_ADDRESS = re.compile(r"<[\w.<>\- ]+?(?: at 0x[0-9A-Fa-f]+| object)>")
_AT = re.compile(r" at 0x[0-9A-Fa-f]{6,}(?=>)")
_DATA_ADDRESS = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,([A-Za-z0-9+/=\s]*)")
_PICTURE_TAG = re.compile(
    r"<img\b[^<>]{0,2000}?(?=src=)src=[\"']?" + _DATA_ADDRESS.pattern + r"[^<>]{0,2000}>"
)
_MAX_HTML_CHARS = 2_000_000


def is_address(text: str) -> bool:
    """Tell a `repr` that says no more of an object than its type and where it is."""
    return _ADDRESS.fullmatch(text) is not None


def without_addresses(text: str) -> str:
    """Return a `repr` without the places in memory that it names, which say nothing to a reader."""
    return _AT.sub("", text)


def has_rich_form(value: object) -> bool:
    """Whether an object says how a notebook shows it, other than as text."""
    names = ("_repr_mimebundle_", *filter(None, _METHODS.values()))
    return any(_is_there(value, name) for name in names)


def describe_rich(value: Any, chars: int, *, is_data: bool) -> Collected | None:
    """Describe an object by what a notebook shows of it; None if there is nothing that could be sent.

    Args:
        value: The object.
        chars: About how many characters it may take.
        is_data: Whether it is told by what it holds, rather than by its own text or HTML.

    Raises:
        ConfigurationError: It shows a picture that is damaged, and nothing else.
    """
    damage: ConfigurationError | None = None
    bundle = _bundle_of(value)
    for kind, method in _METHODS.items():
        if kind == "text/plain":
            if is_data:
                return None
            if (text := _own_text(value)) or (text := _plain_of(bundle)):
                return bounded(text, chars)
            continue
        content = bundle.get(kind)
        if content is None:
            content = _called(value, method)
        if content is None:
            continue
        try:
            described = _WRITERS.get(kind, _picture)(content, chars)
        except ConfigurationError as error:
            damage, described = error, None
        except Exception:  # data that are no JSON, a text of another type: the next form may do
            described = None
        if described is not None and any(
            not isinstance(part, str) or part.strip() for part in described.parts
        ):
            return described
    if damage is not None:
        raise damage
    return None


def _is_there(value: object, name: str) -> bool:
    """Whether an object has a method, without asking the object, which may claim to have any."""
    return inspect.getattr_static(value, name, None) is not None


def _bundle_of(value: Any) -> dict[str, Any]:
    bundle = _called(value, "_repr_mimebundle_", include=None, exclude=None)
    if not isinstance(bundle, Mapping):
        return {}
    found = dict(bundle)
    for kind, content in bundle.items():  # specifications of charts; a widget is only named by its view
        if str(kind).startswith("application/vnd.") and "widget" not in kind and isinstance(content, Mapping):
            found.setdefault("application/json", content)
    return found


def _called(value: Any, method: str, **arguments: Any) -> Any:
    """Return what a method gives, without the metadata that may come with it; None if it fails, or there is none."""
    if isinstance(value, type) or not method or not _is_there(value, method):
        return None
    try:
        content = getattr(value, method)(**arguments)
    except Exception:  # as IPython does: another form may work
        return None
    is_with_metadata = isinstance(content, tuple) and len(content) == 2 and isinstance(content[1], dict)
    return content[0] if is_with_metadata else content


def _own_text(value: object) -> str:
    """Return an object's `repr` if it says more than an address."""
    if type(value).__repr__ is object.__repr__:
        return ""
    text = safe_repr(value, _MAX_HTML_CHARS)
    return "" if is_address(text) else without_addresses(text)


def _plain_of(bundle: Mapping[str, Any]) -> str:
    text = bundle.get("text/plain")
    return text if isinstance(text, str) and not is_address(text) else ""


def _markdown(text: Any, chars: int) -> Collected:
    return _with_pictures(str(text), chars, "text")


def _latex(text: Any, chars: int) -> Collected:
    return bounded(str(text), chars, "formula")


def _picture(data: Any, _chars: int) -> Collected:
    return image_block(data if isinstance(data, bytes) else base64.b64decode(data), name="the picture")


def _json(data: Any, chars: int) -> Collected:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=repr)
    return _in_fence(text, chars, "json")


def _html(text: Any, chars: int) -> Collected:
    return _with_pictures(str(text)[:_MAX_HTML_CHARS], chars, "html")


def _svg(text: Any, chars: int) -> Collected:
    source = text.decode("utf-8") if isinstance(text, bytes) else str(text)
    note = "An SVG picture is sent as its source: the API takes none as a picture."
    collected = _in_fence(source, chars, "svg")
    return Collected(parts=collected.parts, notes=(note, *collected.notes))


def _in_fence(text: str, chars: int, language: str) -> Collected:
    collected = bounded(text, chars, language)
    return Collected(parts=(fenced(collected.text, language),), notes=collected.notes)


_WRITERS: Mapping[str, Callable[[Any, int], Collected]] = {
    "text/markdown": _markdown,
    "text/latex": _latex,
    "application/json": _json,
    "text/html": _html,
    "image/svg+xml": _svg,
    "application/javascript": lambda text, chars: _in_fence(str(text), chars, "javascript"),
}


def _with_pictures(text: str, chars: int, what: str) -> Collected:
    """Return Markdown or HTML with the pictures that stand in it as content blocks in their places."""
    lifted = Lifted()
    notes: dict[str, None] = {}
    text = lifted.plain(text)
    for pattern in (_PICTURE_TAG, _DATA_ADDRESS):
        text = pattern.sub(lambda match: _lift(match[1], match[2], lifted, notes), text)
    if what == "html":
        text = nh3.clean(text, attributes=_ATTRIBUTES, link_rel=None).strip()
    collected = bounded(text, chars, what)
    parts = tuple(_parts(lifted, collected.text, what))
    return Collected(parts=parts, notes=(*notes, *collected.notes, *lifted.notes()))


_ATTRIBUTES: Final = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
"""What is kept of HTML beside its text: not what is for the eye alone."""


def _parts(lifted: Lifted, text: str, what: str) -> Iterator[Any]:
    for part in lifted.parts(text):
        yield fenced(part, what) if isinstance(part, str) and what == "html" else part


def _lift(kind: str, encoded: str, lifted: Lifted, notes: dict[str, None]) -> str:
    """Return what stands for data in a text: a mark for a picture, else a word."""
    try:
        picture = image_block(base64.b64decode(encoded, validate=False), name="a picture")
    except (ConfigurationError, binascii.Error, ValueError):
        return f"({kind}, {len(encoded):,} characters, left out)"
    notes.update(dict.fromkeys(picture.notes))
    return lifted.marked(picture.parts)
