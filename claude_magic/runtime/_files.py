"""The settings file `claude-magic.toml`: where it may lie, and how it is read."""

from __future__ import annotations

import codecs
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..client import REDACTED, ConfigurationError
from ._settings import SECRET_FIELDS, shorten

FILE_NAME = "claude-magic.toml"

_MAX_BYTES = 65_536
_MAX_DEPTH = 4
_PART = r"""(?:[\w-]++|"[^"\n]{0,100}"|'[^'\n]{0,100}')"""
_MANY_PARTS = re.compile(
    rf"(?<![\w.-]){_PART}(?:[ \t]{{0,20}}\.[ \t]{{0,20}}{_PART}){{8,}}[ \t]{{0,20}}[=\]]"
)
"""`a.b.c.d.e.f.g.h.i = `: no setting has so many, and of thousands the parser would take minutes."""


def user_file_path(environment: Mapping[str, str]) -> Path:
    """The settings file of the user.

    `%APPDATA%/claude-magic/claude-magic.toml` on Windows, `$XDG_CONFIG_HOME/claude-magic/claude-magic.toml` (by default
    below `~/.config`) on everything else, macOS included.
    """
    if sys.platform == "win32":
        base = environment.get("APPDATA") or "~/AppData/Roaming"
    else:
        base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(base), "claude-magic", FILE_NAME)


def local_file_path(environment: Mapping[str, str]) -> Path | None:
    """The settings file beside the notebook, that is in the current folder; None where that one is the user's own."""
    try:
        path = Path.cwd() / FILE_NAME
    except OSError:  # the current folder has been deleted
        return None
    return None if path == user_file_path(environment) else path


class SettingsFiles:
    """Reads settings files, and reads them again only when they have changed.

    What is kept in memory holds no secret: `read` shows `[REDACTED]` in its place, and `read_secret` goes to the file.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """Return the keys and values of a file; none if there is no such file.

        Raises:
            ConfigurationError: It cannot be read, or is not TOML.
        """
        try:
            state = path.stat()
        except OSError:
            return {}
        stamp = (state.st_mtime_ns, state.st_size)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            content = _parse(path)
            content.update({name: REDACTED for name in SECRET_FIELDS if content.get(name)})
            known = self._known[path] = (stamp, content)
        return dict(known[1])

    def read_secret(self, path: Path, name: str) -> str | None:
        """Return a secret from a file, or None if it has none of that name.

        Raises:
            ConfigurationError: As for `read`.
        """
        return str(_parse(path)[name]) if self.read(path).get(name) else None


def _parse(path: Path) -> dict[str, Any]:
    """Read a file that may be anybody's: whatever is wrong with it, and however long it is, is one line, at once."""
    try:
        return _checked(tomllib.loads(_text(path)))
    except _UnusableError as error:
        reason = str(error)
    except tomllib.TOMLDecodeError as error:
        reason = f"is not valid TOML: {shorten(str(error))}"
    except RecursionError:
        reason = "nests its values too deeply"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    except ValueError as error:  # a number of thousands of digits
        reason = f"is not valid TOML: {shorten(str(error))}"
    raise ConfigurationError(f"The settings file {path} {reason}. Correct it or move it away.")


class _UnusableError(Exception):
    """What is wrong with a settings file, as the rest of a sentence."""


def _text(path: Path) -> str:
    if not path.is_file():
        raise _UnusableError(
            "is a folder" if path.is_dir() else "is a pipe, a socket or a device, not a file"
        )
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise _UnusableError(f"has more than {_MAX_BYTES:,} bytes")
    # Windows PowerShell writes UTF-16, with a mark, where it is told nothing else.
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _UnusableError(f"is not UTF-8 text (line {line}); save it as UTF-8") from None
    if _MANY_PARTS.search(text):
        raise _UnusableError("has a key of too many parts")
    return text


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """Return what a file holds if it is no deeper than settings are: tables of texts."""
    level: list[Any] = [content]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for value in level
            for inner in (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            )
        ]
    if level:
        raise _UnusableError("nests its values too deeply")
    return content
