"""HTML that a model wrote, for `-f html`: content and its looks get through, nothing that acts, loads or leaves its place.

A second allow-list beside the one of `_sanitise`, because this one is for elements and styles that are not ours.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape, unescape
from typing import Final

import nh3

from ..answers import reveal
from ._sanitise import NO_MATH_CLASSES, SAFE_SCHEMES, clean
from ._styles import FOREIGN_HTML

_TAG_NAMES: Final = """
    a abbr address article aside b bdi bdo blockquote br caption center cite code col colgroup data dd del details
    dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hgroup hr i img ins kbd li main mark
    meter ol p pre progress q rp rt ruby s samp section small span strike strong sub summary sup table tbody td
    tfoot th thead time tr tt u ul var wbr
"""
# Of these not even the text is kept: it was never meant to be read.
_SILENT_TAG_NAMES: Final = """
    applet audio base button canvas embed frameset head iframe input link map math meta noembed noframes noscript
    object option plaintext portal script select style svg template textarea title video xmp
"""
_PROPERTY_NAMES: Final = """
    align-items background background-color border border-bottom border-bottom-color border-bottom-style
    border-bottom-width border-collapse border-color border-left border-left-color border-left-style
    border-left-width border-radius border-right border-right-color border-right-style border-right-width
    border-spacing border-style border-top border-top-color border-top-style border-top-width border-width
    box-sizing caption-side color column-gap columns display flex flex-basis flex-direction flex-grow flex-shrink
    flex-wrap font font-family font-size font-style font-variant font-variant-numeric font-weight gap
    grid-column grid-row grid-template-columns grid-template-rows height justify-content justify-items
    letter-spacing line-height list-style list-style-type margin margin-bottom margin-left margin-right margin-top
    max-height max-width min-height min-width opacity overflow overflow-wrap overflow-x overflow-y padding
    padding-bottom padding-left padding-right padding-top row-gap table-layout text-align text-decoration
    text-transform vertical-align white-space width word-break
"""
_PROPERTIES: Final = frozenset(_PROPERTY_NAMES.split())
# A page stands still over a million columns, which take a few characters to ask for.
_MAX_COUNT: Final = 50
_COUNTS: Final = frozenset({"colspan", "rowspan", "span"})
_COUNTING_PROPERTIES: Final = frozenset(
    {"columns", "grid-column", "grid-row", "grid-template-columns", "grid-template-rows"}
)
_COUNT: Final = re.compile(r"(?<![\w.#%])\d+(?![\w.%])")
_MAX_STYLE_CHARS: Final = 2_000
# Words, numbers, colours and names of fonts. No backslash, no slash star, no function but these: so no url() either.
_VALUE: Final = re.compile(
    r"(?:[\w\s.,#%+\-/'\"]|!important|(?:rgba?|hsla?|calc|min|max|clamp|minmax|repeat)\((?=[^()]*\))|\))*",
    re.ASCII,
)
_COMMENT: Final = re.compile(r"/\*|<!--|-->")
_IMAGE: Final = re.compile(r'<img((?: [a-z]+="[^"]*")*)>')
_ATTRIBUTE: Final = re.compile(r' ([a-z]+)="([^"]*)"')


def render_foreign_html(source: str, *, remote_images: bool = False) -> str:
    """Return safe HTML of what a model wrote as HTML.

    Args:
        source: HTML, a fragment or a page; untrusted.
        remote_images: Load images from http and https addresses instead of linking to them.
    """
    html = clean(_cleaner(has_images=True), reveal(source))
    if not remote_images:
        # Once more after that, so that what leaves here comes from the sanitiser and nowhere else.
        html = clean(_cleaner(has_images=False), _IMAGE.sub(_link_to_image, html))
    return f'<div class="{NO_MATH_CLASSES}" style="{FOREIGN_HTML}">{html}</div>'


@cache
def _cleaner(*, has_images: bool) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(_TAG_NAMES.split()) - (set() if has_images else {"img"}),
        clean_content_tags=set(_SILENT_TAG_NAMES.split()),
        attributes={
            "*": {"align", "dir", "lang", "style", "title", "valign"},
            "a": {"href"},
            "col": {"span", "width"},
            "colgroup": {"span", "width"},
            "data": {"value"},
            "details": {"open"},
            "font": {"color", "face", "size"},
            "img": {"alt", "height", "src", "width"},
            "li": {"value"},
            "meter": {"high", "low", "max", "min", "optimum", "value"},
            "ol": {"reversed", "start", "type"},
            "progress": {"max", "value"},
            "table": {"border", "cellpadding", "cellspacing", "width"},
            "td": {"bgcolor", "colspan", "headers", "height", "rowspan", "width"},
            "th": {"bgcolor", "colspan", "height", "rowspan", "scope", "width"},
            "time": {"datetime"},
            "tr": {"bgcolor"},
        },
        attribute_filter=_filter_attribute,
        set_tag_attribute_values={"a": {"target": "_blank"}},
        url_schemes=set(SAFE_SCHEMES),
        url_relative="deny",
        link_rel="noopener noreferrer",
        strip_comments=True,
    )


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "style":
        return _safe_style(value) or None
    if name in _COUNTS and not _is_small_count(value):
        return None
    if name == "src" and not value.lower().startswith(("http://", "https://")):
        return None
    return value


def _safe_style(style: str) -> str:
    """Return the declarations of `style` that change how something looks and nothing else."""
    if len(style) > _MAX_STYLE_CHARS or _COMMENT.search(style):
        return ""
    kept = []
    for declaration in style.split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name in _PROPERTIES and value and _VALUE.fullmatch(value) and not _has_large_count(name, value):
            kept.append(f"{name}:{value}")
    return ";".join(kept)


def _is_small_count(value: str) -> bool:
    return value.isascii() and value.isdecimal() and int(value[:9]) <= _MAX_COUNT


def _has_large_count(name: str, value: str) -> bool:
    """Tell whether a layout asks for a great number of columns or rows."""
    if name not in _COUNTING_PROPERTIES:
        return False
    return any(int(count[:9]) > _MAX_COUNT for count in _COUNT.findall(value))


def _link_to_image(image: re.Match[str]) -> str:
    """Return a link to an image in its place, from the tag as the sanitiser wrote it."""
    attributes = {name: unescape(value) for name, value in _ATTRIBUTE.findall(image[1])}
    url, alt = attributes.get("src", ""), attributes.get("alt", "")
    label = escape(alt or url, quote=False)
    return f'<a href="{escape(url)}">image: {label}</a>' if url else label
