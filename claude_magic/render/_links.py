"""Links to places that a server or a model named."""

from __future__ import annotations

import re
from html import escape
from typing import Final
from urllib.parse import quote, urlsplit

from ..answers import reveal
from ._safe_tex import disarmed

_WEB: Final = re.compile(r"https?://[^\s/?#]", re.IGNORECASE)
_SAFE_IN_MARKDOWN: Final = "-._~:/?#@!$&'*+,;=%"
_MARKDOWN_MARKS: Final = re.compile(r"([\\`*_{}\[\]()#+.!|<>~$&-])")


def is_web_address(url: str) -> bool:
    """Whether `url` leads to a page of the web: nothing else is linked to."""
    return bool(_WEB.match(url))


def render_link(url: str, label: str, *, tooltip: str = "") -> str:
    """Return a link's HTML, not sanitised yet; the label alone where `url` is no web address."""
    text = escape(reveal(label), quote=False)
    title = f' title="{escape(reveal(tooltip))}"' if tooltip else ""
    if not is_web_address(url):
        return f"<span{title}>{text}</span>"
    return f'<a href="{escape(url)}"{title}>{text}</a>'


def link_in_markdown(url: str, label: str) -> str:
    """Return a link as Markdown that says nothing else; the label alone where `url` is no web address."""
    text = escape_markdown(label)
    return f"[{text}]({quote(url, safe=_SAFE_IN_MARKDOWN)})" if is_web_address(url) else text


def escape_markdown(text: str) -> str:
    """Return `text`, in one line, as Markdown that shows it as it is."""
    return (
        _MARKDOWN_MARKS.sub(r"\\\1", disarmed(" ".join(reveal(text).split())))
        .replace(r"\<", "&lt;")
        .replace(r"\&", "&amp;")
    )


def host_of(url: str) -> str:
    """Return the name of the server that `url` leads to, or ""."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
