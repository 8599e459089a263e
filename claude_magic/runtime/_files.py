"""The settings file `claude-magic.toml`: where it may lie, and how it is read."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..client import REDACTED, ConfigurationError
from ._settings import SECRET_FIELDS

FILE_NAME = "claude-magic.toml"


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
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        reason = f"is not valid TOML: {error}"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    raise ConfigurationError(f"The settings file {path} {reason}. Correct it or move it away.")
