"""Files whose names look like the one that was typed, and are another: by a space that is none, or by how a letter is composed.

macOS puts U+202F in front of AM and PM in the names of screenshots, and may write é as two characters; web pages give away
no-break spaces and zero-width characters.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NAMES: Final = {
    "\u00a0": "a no-break space",
    "\u202f": "a narrow no-break space, as macOS puts into the names of screenshots",
    "\u200b": "a zero-width space",
    "\u200c": "a zero-width non-joiner",
    "\u200d": "a zero-width joiner",
    "\u2060": "a word joiner",
    "\ufeff": "a byte order mark",
    "\u00ad": "a soft hyphen",
    "\u3000": "an ideographic space",
    "\t": "a tab",
    "\n": "a line break",
}
_HYPHENS: Final = "\u2010\u2011\u2012\u2013\u2212"
_MAX_FILES: Final = 10_000
_MAX_DIFFERENCES: Final = 3


def look_alikes(path: Path) -> list[Path]:
    """Return the files in the folder of a path whose names look like the last part of it."""
    wanted = _as_seen(path.name)
    return [
        twin for twin in _files_in(path.parent) if twin.name != path.name and _as_seen(twin.name) == wanted
    ]


def name_difference(typed: str, name: str) -> str:
    """Say by what a name differs from one that looks alike: "a no-break space (U+00A0) in place of a space"."""
    if unicodedata.normalize("NFC", typed) == unicodedata.normalize("NFC", name):
        char = next(
            (one for one in unicodedata.normalize("NFC", name) if len(unicodedata.normalize("NFD", one)) > 1),
            "",
        )
        form = "two characters (NFD)" if unicodedata.is_normalized("NFD", name) else "one character (NFC)"
        return f"{char} written as {form}"
    odd = list(
        dict.fromkeys(char for char in name if _is_odd(char) and name.count(char) != typed.count(char))
    )
    missing = list(
        dict.fromkeys(char for char in typed if _is_odd(char) and name.count(char) < typed.count(char))
    )
    said = [f"{_name_of(char)}" for char in odd[:_MAX_DIFFERENCES]]
    said += [
        f"no {_name_of(char).removeprefix('a ').removeprefix('an ')}" for char in missing[:_MAX_DIFFERENCES]
    ]
    return " and ".join(said) or "other spaces"


def shown(name: str) -> str:
    """Return a name of a file with what cannot be seen in it as escapes."""
    return "".join(f"\\u{ord(char):04x}" if _is_odd(char) else char for char in name)


def _as_seen(name: str) -> str:
    """Return a name as it looks: composed, with plain spaces and hyphens, without what has no width."""
    chars = (
        " "
        if char.isspace()
        else "-"
        if char in _HYPHENS
        else ""
        if unicodedata.category(char) in ("Cf", "Cc")
        else char
        for char in unicodedata.normalize("NFC", name)
    )
    return " ".join("".join(chars).split())


def _is_odd(char: str) -> bool:
    return char in _HYPHENS or (
        char != " " and (char.isspace() or unicodedata.category(char) in ("Cf", "Cc"))
    )


def _name_of(char: str) -> str:
    name = _NAMES.get(char) or f"a {unicodedata.name(char, 'control character').lower()}"
    return f"{name} (U+{ord(char):04X})"


def _files_in(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(_MAX_FILES), entries, strict=False):
                if entry.is_file():
                    yield folder / entry.name
    except (OSError, ValueError):  # no such folder, or one that may not be read
        return
