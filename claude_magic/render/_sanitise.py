"""The last step of all HTML: allow-lists enforced by nh3 (the ammonia sanitiser), and the inline styles that they allow."""

from __future__ import annotations

import re
from functools import cache
from html import escape, unescape
from typing import Any, Final

import nh3

from ..schema import reveal

# All inline styles of the HTML. The sanitiser allows exactly these.
#
# Styles are inline because a `<style>` element would affect the whole page. Colours and sizes are variables of the
# Jupyter theme, so they fit light and dark themes. Each has a fallback for front ends without the variable (VS Code,
# Colab, exported pages).
_MUTED = "var(--jp-ui-font-color2, #757575)"
_FAINT = "var(--jp-border-color2, #bdbdbd)"
_SMALL = "var(--jp-ui-font-size1, 13px)"
_UI_FONT = "var(--jp-ui-font-family, system-ui, sans-serif)"
_CODE_FONT = "var(--jp-code-font-family, monospace)"
_SENTENCE = f"font-family:{_UI_FONT};font-size:{_SMALL};line-height:1.5"
_FACTS = f"color:{_MUTED};{_SENTENCE};font-variant-numeric:tabular-nums"
_BESIDE_BAR = "margin-top:0.6em;padding-left:0.7em;border-left:3px solid"
_CODE_BOX = f"background:var(--jp-cell-editor-background, rgba(128,128,128,0.12));font-family:{_CODE_FONT}"

CODE_BLOCK: Final = (
    "margin:0.6em 0;padding:0.7em 0.9em;border-radius:4px;overflow-x:auto;white-space:pre;line-height:1.45;"
    f"{_CODE_BOX}"
)
# Without this, the notebook's stylesheet would colour the background of each line, and break long lines inside words.
CODE_INSIDE: Final = "background:none;white-space:inherit;overflow-wrap:normal;word-break:normal"
SOURCE_BLOCK: Final = f"margin:0.6em 0;white-space:pre-wrap;color:{_MUTED};font-family:{_CODE_FONT}"
PLAIN_TEXT: Final = (
    f"margin:0.6em 0;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.45;font-family:{_CODE_FONT}"
)
PROSE: Final = "margin:0.6em 0;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.55"
QUIET: Final = f"color:{_MUTED};{_SENTENCE}"
FOREIGN_HTML: Final = "overflow:auto;max-width:100%;contain:content"  # clips its content to its box
QUESTION: Final = (
    "margin:0.2em 0 0.6em 0;padding:0.5em 0.8em;border:0;border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere;"
    f"line-height:1.5;background:var(--jp-layout-color2, rgba(128,128,128,0.12));font-family:{_UI_FONT}"
)
ATTACHED: Final = f"margin-top:0.2em;color:{_MUTED};font-size:{_SMALL}"
SCROLLING_TABLE: Final = "overflow-x:auto"
TABLE: Final = "margin:0.4em 0;text-align:left"
CELL_ALIGNMENTS: Final = {
    "left": "text-align:left",
    "center": "text-align:center",
    "right": "text-align:right",
}
FOOTER: Final = f"margin-top:0.6em;{_FACTS}"
NOTICE: Final = f"{_BESIDE_BAR} var(--jp-warn-color1, #ef6c00);{_SENTENCE}"
FAILURE: Final = f"{_BESIDE_BAR} var(--jp-error-color1, #d32f2f);{_SENTENCE}"
APPROVAL: Final = f"{FOOTER};white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto"
STATUS_LINE: Final = f"min-height:1.5em;{_FACTS}"
# As many columns side by side as fit at a readable width; on a narrow page, one below the other.
COLUMNS: Final = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22em),1fr));gap:1em 2em"
# A heading and an answer. All answers of a row begin at the same height, whatever the height of their headings. Not
# `anywhere`, which would break the words of a table rather than scroll it.
COLUMN: Final = (
    "display:grid;grid-row:span 2;grid-template-rows:subgrid;grid-template-columns:minmax(0,1fr);row-gap:0;min-width:0;"
    "overflow-wrap:break-word;overflow-x:auto"
)
COLUMN_HEADING: Final = f"padding-bottom:0.35em;font-family:{_UI_FONT};line-height:1.5"
COLUMN_BODY: Final = f"border-top:1px solid {_FAINT}"
COLUMN_NAME: Final = "font-weight:600"
COLUMN_FACTS: Final = f"color:{_MUTED};font-size:{_SMALL};font-variant-numeric:tabular-nums"
UNBROKEN: Final = "white-space:nowrap"
IN_WIDGET: Final = "line-height:var(--jp-content-line-height, 1.6);font-size:var(--jp-content-font-size1, 14px);white-space:normal"
FOLD: Final = f"margin:0 0 0.6em 0;color:{_MUTED}"
FOLD_SUMMARY: Final = f"cursor:pointer;{_SENTENCE}"
FOLD_BODY: Final = f"margin:0.3em 0 0 0.3em;padding-left:0.8em;border-left:2px solid {_FAINT}"
CALL: Final = f"margin:0.2em 0 0.5em 0;color:{_MUTED}"
CALL_SIGNATURE: Final = f"font-family:{_CODE_FONT};overflow-wrap:anywhere"
CALL_DATA: Final = (
    "margin:0.3em 0;padding:0.5em 0.7em;border-radius:4px;max-height:24em;overflow:auto;white-space:pre-wrap;"
    f"overflow-wrap:anywhere;line-height:1.45;{_CODE_BOX}"
)
CITATION: Final = "line-height:0;white-space:nowrap"
SOURCES: Final = f"margin-top:0.8em;padding-top:0.4em;border-top:1px solid {_FAINT};{_SENTENCE}"
ROW: Final = "background:none"  # no stripes: headings stand among the rows
ROW_LABEL: Final = f"padding:0.15em 1.2em 0.15em 0;text-align:left;vertical-align:top;color:{_MUTED}"
ROW_VALUE: Final = "padding:0.15em 1.2em 0.15em 0;text-align:left;vertical-align:top"
_COLUMN = "padding:0.15em 1.2em 0.15em 0;vertical-align:top;font-variant-numeric:tabular-nums"
COLUMN_WORDS: Final = f"{_COLUMN};white-space:nowrap;text-align:left"
COLUMN_NUMBERS: Final = f"{_COLUMN};white-space:nowrap;text-align:right"
COLUMN_PROSE: Final = f"{_COLUMN};white-space:normal;min-width:9em;text-align:left"
NAME_OF_WORDS: Final = f"{_COLUMN};text-align:left;font-weight:normal;color:{_MUTED}"
NAME_OF_NUMBERS: Final = f"{_COLUMN};text-align:right;font-weight:normal;color:{_MUTED}"
ROWS_HEADING: Final = "padding:0.9em 0 0.2em 0;text-align:left;font-weight:600"


def _code_colour(name: str, extra: str = "") -> str:
    return f"color:var(--jp-mirror-editor-{name}-color){extra}"


# Pygments token names without the leading "Token."; the nearest ancestor listed here gives the style.
# No fallback colours: without the theme variable, code has the page's text colour.
CODE_TOKENS: Final = {
    "Comment": _code_colour("comment", ";font-style:italic"),
    "Keyword": _code_colour("keyword", ";font-weight:bold"),
    "Keyword.Constant": _code_colour("atom"),
    "Literal": _code_colour("string"),
    "Literal.Number": _code_colour("number"),
    "Literal.String.Escape": _code_colour("string-2"),
    "Literal.String.Interpol": _code_colour("variable"),
    "Literal.String.Regex": _code_colour("string-2"),
    "Operator": _code_colour("operator"),
    "Operator.Word": _code_colour("keyword", ";font-weight:bold"),
    "Name.Attribute": _code_colour("attribute"),
    "Name.Builtin": _code_colour("builtin"),
    "Name.Class": _code_colour("def"),
    "Name.Decorator": _code_colour("meta"),
    "Name.Exception": _code_colour("builtin"),
    "Name.Function": _code_colour("def"),
    "Name.Tag": _code_colour("tag"),
    "Generic.Deleted": _code_colour("error"),
    "Generic.Error": _code_colour("error"),
    "Generic.Heading": _code_colour("header", ";font-weight:bold"),
    "Generic.Inserted": _code_colour("string"),
    "Generic.Prompt": _code_colour("meta"),
    "Generic.Subheading": _code_colour("header"),
}


WIDGET_CLASSES = ("jp-RenderedHTMLCommon",)
"""CSS classes that style the text of a widget like that of an output."""


def in_widget(html: str) -> str:
    """Return safe HTML styled like an output, for the value of an `HTMLMath`."""
    return f'<div style="{IN_WIDGET}">{html}</div>' if html else ""


SAFE_SCHEMES: Final = frozenset({"http", "https", "mailto"})

# MathJax ignores elements with the first classes and typesets elements with the second (mathjax_* since version 3,
# tex2jax_* in version 2). So it typesets only the formulas that this package's parser has found, and no dollar signs
# in prose.
NO_MATH_CLASSES: Final = "mathjax_ignore tex2jax_ignore"
MATH_CLASSES: Final = "mathjax_process tex2jax_process"


def has_formulas(html: str) -> bool:
    """Whether HTML contains formulas that a front end typesets."""
    return MATH_CLASSES in html


_QUOTED_CODE: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_TAG_NAMES: Final = """
    a blockquote br code details div em h1 h2 h3 h4 h5 h6 hr img li ol p pre s span strong summary sup
    table tbody td th thead tr ul
"""
_CELL_STYLES: Final = {
    *CELL_ALIGNMENTS.values(),
    COLUMN_NUMBERS,
    COLUMN_PROSE,
    COLUMN_WORDS,
    NAME_OF_NUMBERS,
    NAME_OF_WORDS,
    ROW_LABEL,
    ROW_VALUE,
    ROWS_HEADING,
}
_STYLES_BY_TAG: Final = {
    "pre": {CODE_BLOCK, SOURCE_BLOCK, CALL_DATA},
    "code": {CODE_INSIDE},
    "table": {TABLE},
    "tr": {ROW},
    "td": _CELL_STYLES,
    "th": _CELL_STYLES,
    "span": {*CODE_TOKENS.values(), CALL_SIGNATURE, QUIET, UNBROKEN},
    "sup": {CITATION},
    "blockquote": {QUESTION},
    "details": {FOLD, CALL},
    "summary": {FOLD_SUMMARY},
    "div": {
        APPROVAL,
        ATTACHED,
        COLUMN_FACTS,
        COLUMN_HEADING,
        COLUMN_NAME,
        FAILURE,
        FOLD_BODY,
        FOOTER,
        NOTICE,
        PLAIN_TEXT,
        PROSE,
        QUIET,
        SCROLLING_TABLE,
        SOURCES,
        STATUS_LINE,
    },
}


def _make_cleaner(**allowed: Any) -> nh3.Cleaner:
    """Return a sanitiser. It allows only http, https and mailto links, and lets them open in a new tab."""
    return nh3.Cleaner(
        **allowed,
        set_tag_attribute_values={"a": {"target": "_blank"}},
        url_schemes=set(SAFE_SCHEMES),
        url_relative="deny",
        link_rel="noopener noreferrer",
        strip_comments=True,
    )


@cache
def _cleaner() -> nh3.Cleaner:
    return _make_cleaner(
        tags=set(_TAG_NAMES.split()),
        clean_content_tags={"script", "style"},
        attributes={
            "a": {"href", "title"},
            "img": {"src", "alt", "title"},
            "ol": {"start"},
            "span": {"title"},
            "th": {"colspan"},
        },
        tag_attribute_values={tag: {"style": styles} for tag, styles in _STYLES_BY_TAG.items()},
        allowed_classes={
            "div": {*NO_MATH_CLASSES.split(), *MATH_CLASSES.split()},
            "span": set(MATH_CLASSES.split()),
        },
    )


def sanitise(html: str) -> str:
    """Return HTML with everything removed that this package's renderer does not produce."""
    return _clean(_cleaner(), html)


def without_math(html: str) -> str:
    """Return sanitised HTML that MathJax ignores, so that two amounts in dollars do not become a formula."""
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{html}</div>')


def styled(style: str, text: str, tag: str = "div") -> str:
    """Return an element with `text`, escaped, in one of the styles above, as unsanitised HTML."""
    return f'<{tag} style="{style}">{escape(text, quote=False)}</{tag}>'


def sentence(style: str, text: str) -> str:
    """Return an element like `styled` for a message of this package. Text between backticks becomes code."""
    html = _QUOTED_CODE.sub(r"<code>\1</code>", escape(text, quote=False))
    return f'<div style="{style}">{html}</div>'


def folded(summary: str, inside: str, *, style: str = FOLD) -> str:
    """Return a collapsed `<details>` element as unsanitised HTML; `summary` and `inside` must be escaped HTML."""
    head = f'<summary style="{FOLD_SUMMARY}">{summary}</summary>'
    body = f'<div style="{FOLD_BODY}">{inside}</div>'
    return f'<details style="{style}">{head}{body}</details>'


def _clean(cleaner: nh3.Cleaner, html: str) -> str:
    """Return sanitised HTML. Lone surrogates, for example from file names in the result of a tool, are replaced."""
    try:
        return cleaner.clean(html)
    except UnicodeEncodeError:
        return cleaner.clean(html.encode(errors="replace").decode())


# HTML written by a model, for `-f html`. Content and appearance pass; scripts, external resources and positioning do not.
#
# A second allow-list, for elements and styles that this package does not write itself.
_FOREIGN_TAG_NAMES: Final = """
    a abbr address article aside b bdi bdo blockquote br caption center cite code col colgroup data dd del details
    dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hgroup hr i img ins kbd li main mark
    meter ol p pre progress q rp rt ruby s samp section small span strike strong sub summary sup table tbody td
    tfoot th thead time tr tt u ul var wbr
"""
# Elements whose text is removed as well, because it is not meant for readers.
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
# Maximum of counts in a layout: a short style could request a million columns, which would freeze the page.
_MAX_COUNT: Final = 50
_COUNTS: Final = frozenset({"colspan", "rowspan", "span"})
_COUNTING_PROPERTIES: Final = frozenset(
    {"columns", "grid-column", "grid-row", "grid-template-columns", "grid-template-rows"}
)
_COUNT: Final = re.compile(r"(?<![\w.#%])\d+(?![\w.%])")
_MAX_STYLE_CHARS: Final = 2_000
# Words, numbers, colours and font names. Backslashes, comments and all other functions, such as url(), are excluded.
_VALUE: Final = re.compile(
    r"(?:[\w\s.,#%+\-/'\"]|!important|(?:rgba?|hsla?|calc|min|max|clamp|minmax|repeat)\((?=[^()]*\))|\))*",
    re.ASCII,
)
_COMMENT: Final = re.compile(r"/\*|<!--|-->")
_IMAGE: Final = re.compile(r'<img((?: [a-z]+="[^"]*")*)>')
_ATTRIBUTE: Final = re.compile(r' ([a-z]+)="([^"]*)"')


def render_foreign_html(source: str, *, remote_images: bool) -> str:
    """Return safe HTML for HTML that a model wrote.

    Args:
        source: An HTML fragment or page; untrusted.
        remote_images: Load images from http and https addresses instead of linking to them.
    """
    html = _clean(_foreign_cleaner(has_images=True), reveal(source))
    if not remote_images:
        # Sanitised again, so that the result always comes from the sanitiser.
        html = _clean(_foreign_cleaner(has_images=False), _IMAGE.sub(_link_to_image, html))
    return f'<div class="{NO_MATH_CLASSES}" style="{FOREIGN_HTML}">{html}</div>'


@cache
def _foreign_cleaner(*, has_images: bool) -> nh3.Cleaner:
    return _make_cleaner(
        tags=set(_FOREIGN_TAG_NAMES.split()) - (set() if has_images else {"img"}),
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
    """Return the declarations of `style` that change only the appearance and the layout inside the box."""
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
    """Whether a layout has a very large number of columns or rows."""
    if name not in _COUNTING_PROPERTIES:
        return False
    return any(int(count[:9]) > _MAX_COUNT for count in _COUNT.findall(value))


def _link_to_image(image: re.Match[str]) -> str:
    """Return a link that replaces an image tag; the sanitiser has written the tag."""
    attributes = {name: unescape(value) for name, value in _ATTRIBUTE.findall(image[1])}
    url, alt = attributes.get("src", ""), attributes.get("alt", "")
    label = escape(alt or url, quote=False)
    return f'<a href="{escape(url)}">image: {label}</a>' if url else label
