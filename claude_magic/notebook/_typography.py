"""Characters that word processors, chats and web pages put in the place of those on a keyboard.

Every dash, quote, space and letter that looks like one of ASCII's is known by its properties in Unicode, not from a list.
"""

from __future__ import annotations

import unicodedata

_DASHES = "\u2212\u2043\u02d7\u23af\u2500"
"""Look like dashes, and are none by their category: minus, hyphen bullet, lines."""
_QUOTES = "\u201e\u201a\u2033\u2032\u00b4\uff02\uff07\u301d\u301e\u301f"
"""Likewise quotes: low ones, primes, an acute accent, those of full width."""
_LONG_DASHES = "\u2014\u2015\u2e3a\u2e3b\ufe31"
"""Each of which stands for two hyphens."""


def as_typed(text: str) -> str:
    """Return a text as it would be written on a keyboard: look-alikes replaced, invisible characters left out."""
    return "".join(map(_typed, text))


def is_odd_quote(character: str) -> bool:
    """Whether a character is a quotation mark that no keyboard has."""
    return character in _QUOTES or (
        not character.isascii() and unicodedata.category(character) in ("Pi", "Pf")
    )


def describe_odd(text: str) -> str:
    """Name the first character of a text that no keyboard has: `“ (U+201C, left double quotation mark)`."""
    odd = next((each for each in text if _typed(each) != each or is_odd_quote(each)), "")
    if not odd:
        return "nothing odd"
    name = unicodedata.name(odd, "unnamed").lower()
    shown = "" if unicodedata.category(odd) == "Cf" else f"{odd} "
    return (
        f"{shown}(U+{ord(odd):04X}, {name})"
        if shown
        else f"an invisible character (U+{ord(odd):04X}, {name})"
    )


def _typed(character: str) -> str:
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if character in _LONG_DASHES:
        return "--"
    if category == "Pd" or character in _DASHES:
        return "-"
    if category == "Cf":
        return ""
    if category == "Zs":
        return " "
    wide = unicodedata.normalize("NFKC", character)
    return wide if wide.isascii() and wide.isprintable() else character
