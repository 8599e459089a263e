"""A deterministic stand-in for the tokenizer.

A token is a run of at most four letters with the blank before it, up to three digits, a run of blanks or one
other character. That is near the real figures for English prose, and the pieces join to the text again, so a
text can be cut after exactly n tokens.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r" ?[A-Za-z]{1,4}| ?\d{1,3}|\n+| {2,}| ?[^\w\s]|\w{1,2}|\s|.", re.DOTALL)


def split_tokens(text: str) -> list[str]:
    """The text cut into its tokens, which join to it again."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """How many tokens the text has."""
    return sum(1 for _ in _TOKEN.finditer(text))


def cut_to_tokens(text: str, limit: int) -> str:
    """The text's first `limit` tokens."""
    return "".join(split_tokens(text)[:limit])
