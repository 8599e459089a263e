"""The last step of every HTML path: an allow-list, enforced by nh3 (the ammonia sanitiser).

The renderer before it already escapes everything a model wrote. This step holds even if that one has a bug:
only the elements, attributes, classes and whole style strings that our own code emits get through.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import nh3

from . import _styles

SAFE_SCHEMES: Final = frozenset({"http", "https", "mailto"})

# MathJax (3 and later: mathjax_*, 2: tex2jax_*) leaves elements of the first classes alone and typesets those of
# the second. So dollars in prose stay dollars, and only what our parser took for a formula is typeset.
NO_MATH_CLASSES: Final = "mathjax_ignore tex2jax_ignore"
MATH_CLASSES: Final = "mathjax_process tex2jax_process"

_TAG_NAMES: Final = """
    a blockquote br code details div em h1 h2 h3 h4 h5 h6 hr img li ol p pre s span strong summary sup
    table tbody td th thead tr ul
"""
_TAGS: Final = frozenset(_TAG_NAMES.split())
_CELL_STYLES = frozenset(
    {
        *_styles.CELL_ALIGNMENTS.values(),
        _styles.COLUMN_NUMBERS,
        _styles.COLUMN_WORDS,
        _styles.NAME_OF_NUMBERS,
        _styles.NAME_OF_WORDS,
        _styles.ROW_LABEL,
        _styles.ROW_VALUE,
        _styles.ROWS_HEADING,
    }
)
_STYLES_BY_TAG: Final = {
    "pre": {_styles.CODE_BLOCK, _styles.SOURCE_BLOCK, _styles.CALL_DATA},
    "code": {_styles.CODE_INSIDE},
    "table": {_styles.TABLE},
    "tr": {_styles.ROW},
    "td": set(_CELL_STYLES),
    "th": set(_CELL_STYLES),
    "span": {*_styles.CODE_TOKENS.values(), _styles.CALL_SIGNATURE, _styles.QUIET},
    "sup": {_styles.CITATION},
    "details": {_styles.FOLD, _styles.CALL},
    "summary": {_styles.FOLD_SUMMARY},
    "div": {
        _styles.ATTACHED,
        _styles.COLUMN_FACTS,
        _styles.COLUMN_HEADING,
        _styles.COLUMN_NAME,
        _styles.FAILURE,
        _styles.FOLD_BODY,
        _styles.FOOTER,
        _styles.NOTICE,
        _styles.PLAIN_TEXT,
        _styles.PROSE,
        _styles.QUESTION,
        _styles.QUIET,
        _styles.SCROLLING_TABLE,
        _styles.SOURCES,
        _styles.STATUS_LINE,
    },
}


@cache
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags={"script", "style"},
        attributes={
            "a": {"href", "title"},
            "img": {"src", "alt", "title"},
            "ol": {"start"},
            "span": {"title"},
            "th": {"colspan"},
        },
        tag_attribute_values={tag: {"style": styles} for tag, styles in _STYLES_BY_TAG.items()},
        set_tag_attribute_values={"a": {"target": "_blank"}},
        allowed_classes={
            "div": {*NO_MATH_CLASSES.split(), *MATH_CLASSES.split()},
            "span": set(MATH_CLASSES.split()),
        },
        url_schemes=set(SAFE_SCHEMES),
        url_relative="deny",
        link_rel="noopener noreferrer",
        strip_comments=True,
    )


def sanitise(html: str) -> str:
    """Return `html` with everything removed that our own renderer never emits."""
    return clean(_cleaner(), html)


def clean(cleaner: nh3.Cleaner, html: str) -> str:
    """Sanitise, whatever characters there are: a result of a function may hold halves of one, such as of a file's name."""
    try:
        return cleaner.clean(html)
    except UnicodeEncodeError:
        return cleaner.clean(html.encode(errors="replace").decode())
