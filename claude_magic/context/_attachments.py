"""`-a`: files, addresses, variables and figures, as the API takes them. Whatever cannot be sent is an error before sending."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from ..client import ConfigurationError
from ._collected import Collected
from ._describe import describe
from ._files import read_file
from ._lookup import MISSING, look_up

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_PICTURE_PATH = re.compile(r"\.(?:png|jpe?g|gif|webp)$", re.IGNORECASE)
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BLANK = re.compile(r"\s")
_ALLOWED = "%/:?#[]@!$&'()*+,;=~"
"""What stands for itself in the parts of an address; `%`, because it may be encoded already."""
_NAME = re.compile(r"[^\W\d]\w*")


def attach(spec: str, names: Mapping[str, object], *, directory: Path) -> Collected:
    """Return what one `-a` means: an address, else a file, else a variable.

    Args:
        spec: A path, the name of a variable, or an address that begins with http.
        names: The user's names.
        directory: Where relative paths begin.

    Raises:
        ConfigurationError: It is none of these, or cannot be sent.
    """
    if _ADDRESS.match(spec):
        return _from_address(spec)
    path = directory / os.path.expanduser(spec)
    if os.path.isfile(path):
        collected = read_file(path, spec)
        if spec not in names:
            return collected
        note = f"{spec} is a file and a variable: the file was attached."
        return dataclasses.replace(collected, notes=(*collected.notes, note))
    value = look_up(spec, names) if "[" not in spec else MISSING  # brackets stand in names of files
    if value is not MISSING:
        described = describe(value, name=spec)
        return dataclasses.replace(described, parts=(f"{spec}:\n", *described.parts))
    if os.path.isdir(path):
        raise ConfigurationError(f"{spec}: that is a folder. Name the files. Nothing was sent.")
    raise ConfigurationError(
        f"{spec}: there is no such file in {path.parent}, and no such variable.{_advice(spec, names, path)} "
        "Nothing was sent."
    )


def _from_address(address: str) -> Collected:
    """Hand an address on: the API fetches it, not we."""
    try:
        parts = urlsplit(address)
        encoded = _encoded(parts)
    except ValueError as error:
        raise ConfigurationError(f"{address} is no address: {error}. Nothing was sent.") from None
    if parts.scheme in ("http", "https"):
        if not parts.hostname or _BLANK.search(parts.netloc):
            raise ConfigurationError(f"{address} is no address: it names no host. Nothing was sent.")
        source = {"type": "url", "url": encoded}
        if _PICTURE_PATH.search(parts.path):
            return Collected(parts=({"type": "image", "source": source},))
        if parts.path.lower().endswith(".pdf"):
            return Collected(parts=({"type": "document", "source": source},))
    raise ConfigurationError(
        f"{address}: the API reads pictures (png, jpeg, gif, webp) and PDFs from an address of the web, and this looks like "
        "neither. Download it and attach the file. Nothing was sent."
    )


def _encoded(parts: SplitResult) -> str:
    """Return an address with all that may not stand in one percent-encoded (RFC 3986), as browsers do; the rest as it is."""
    path, query, fragment = (
        quote(_LONE_PERCENT.sub("%25", part), safe=_ALLOWED)
        for part in (parts.path, parts.query, parts.fragment)
    )
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    return urlunsplit((parts.scheme, host, path, query, fragment))


def _advice(spec: str, names: Mapping[str, object], path: Path) -> str:
    """Say what was probably meant."""
    root, *rest = _NAME.findall(spec) or [""]
    there = dict.fromkeys([*_files_beside(path), *names])
    for meant_otherwise in (path.name, root):  # there, but no file; there, but not what follows it
        there.pop(meant_otherwise, None)
    matches = difflib.get_close_matches(path.name, there, n=2, cutoff=0.6)
    if matches:
        return f" Did you mean {' or '.join(matches)}?"
    if root not in names or not spec.startswith(root):
        return ""
    if spec == ".".join((root, *rest)):
        return f" {root} exists, but has no {'.'.join(rest)}."
    return f" The value of an expression goes into the prompt: {{{{ {spec} }}}}."


def _files_beside(path: Path) -> Iterator[str]:
    try:
        with os.scandir(path.parent) as entries:
            yield from (entry.name for entry in entries)
    except (OSError, ValueError):  # no such folder, or one that may not be read
        return
