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
from ._exposure import exposed_in
from ._files import read_file
from ._look_alikes import look_alikes, name_difference, shown
from ._lookup import MISSING, look_up

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_PICTURE_PATH = re.compile(r"\.(?:png|jpe?g|gif|webp)$", re.IGNORECASE)
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BLANK = re.compile(r"\s")
_ALLOWED = "%/:?#[]@!$&'()*+,;=~"
"""What stands for itself in the parts of an address; `%`, because it may be encoded already."""
_NAME = re.compile(r"[^\W\d]\w*")


def attach(spec: str, names: Mapping[str, object], *, directory: Path | None = None) -> Collected:
    """Return what one `-a` means: an address, else a file, else a variable.

    Args:
        spec: A path, the name of a variable, or an address that begins with http.
        names: The user's names.
        directory: Where relative paths begin; None is the working directory.

    Raises:
        ConfigurationError: It is none of these, or cannot be sent.
    """
    if _ADDRESS.match(spec):
        return dataclasses.replace(_from_address(spec), exposed=exposed_in(spec, "The address"))
    path, folder_problem = _path_of(spec, directory)
    if path is not None and os.path.isfile(path):
        collected = _from_file(path, spec)
        if spec not in names:
            return collected
        note = f"{spec} is a file and a variable: the file was attached."
        return dataclasses.replace(collected, notes=(*collected.notes, note))
    value = look_up(spec, names) if "[" not in spec else MISSING  # brackets stand in names of files
    if value is not MISSING:
        described = describe(value, name=spec)
        exposed = (
            () if described.redacted else exposed_in(described.text, spec)
        )  # of a text, which is sent as it is
        return dataclasses.replace(described, parts=(f"{spec}:\n", *described.parts), exposed=exposed)
    if path is None:
        raise ConfigurationError(
            f"{spec}: {folder_problem}, and there is no such variable. Nothing was sent."
        )
    return _nearly(spec, names, path)


def _path_of(spec: str, directory: Path | None) -> tuple[Path | None, str]:
    """Return where a file would be, or None and why that cannot be said."""
    path = Path(os.path.expanduser(spec))
    if directory is None and not path.is_absolute():
        try:
            directory = Path.cwd()
        except OSError:
            return (
                None,
                "the working directory of this kernel has been deleted, so only whole paths lead to files",
            )
    return (path if directory is None else directory / path), ""


def _from_file(path: Path, spec: str) -> Collected:
    collected = read_file(path, spec)
    return dataclasses.replace(collected, exposed=exposed_in(collected.text, spec, path))


def _nearly(spec: str, names: Mapping[str, object], path: Path) -> Collected:
    """Attach the one file whose name differs only by what cannot be seen; else say what is wrong.

    Raises:
        ConfigurationError: There is no such file, or no way to choose.
    """
    if os.path.isdir(path):
        raise ConfigurationError(f"{spec}: that is a folder. Name the files. Nothing was sent.")
    if _exists(path):
        raise ConfigurationError(f"{spec} is a pipe, a socket or a device, not a file. Nothing was sent.")
    twins = look_alikes(path)
    if len(twins) == 1:
        difference = name_difference(path.name, twins[0].name)
        note = f"The file is called {spec} with {difference}; it was attached."
        collected = _from_file(twins[0], spec)
        return dataclasses.replace(collected, notes=(note, *collected.notes))
    if twins:
        differences = "; ".join(name_difference(path.name, twin.name) for twin in twins[:3])
        raise ConfigurationError(
            f"{spec}: there is no such file in {path.parent}, but {len(twins)} that look alike: with {differences}. Rename one of "
            "them, or choose it by Tab. Nothing was sent."
        )
    raise ConfigurationError(
        f"{spec}: there is no such file in {path.parent}, and no such variable.{_advice(spec, names, path)} "
        "Nothing was sent."
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


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
        return f" Did you mean {' or '.join(map(shown, matches))}?"
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
