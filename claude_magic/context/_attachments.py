"""`-a`: files, addresses, variables and figures, as the API takes them. Whatever cannot be sent is an error before sending."""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ..client import ConfigurationError
from ._collected import Collected
from ._describe import describe
from ._notebook_file import read_notebook
from ._pictures import image_block, media_type_of

MAX_PDF_BYTES = 24 * 1024 * 1024
"""So that in base64 it stays below the 32 MB that one request may have."""
MAX_TEXT_CHARS = 400_000
"""About 100,000 tokens, which is what a whole cheap context can be."""

_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PICTURE_PATH = re.compile(r"\.(?:png|jpe?g|gif|webp)$", re.IGNORECASE)
_LANGUAGES = {
    **{
        "py": "python",
        "js": "javascript",
        "ts": "typescript",
        "rs": "rust",
        "rb": "ruby",
        "sh": "bash",
        "md": "markdown",
    },
    **{"yml": "yaml", "h": "c", "hpp": "cpp", "cc": "cpp"},
}


def attach(spec: str, names: Mapping[str, object], *, directory: Path) -> Collected:
    """Return what one `-a` means: a file, else a variable, else an address.

    Args:
        spec: A path, the name of a variable, or an address that begins with http.
        names: The user's names.
        directory: Where relative paths begin.

    Raises:
        ConfigurationError: It is none of these, or cannot be sent.
    """
    if urlsplit(spec).scheme.lower() in ("http", "https"):
        return _from_address(spec)
    path = directory / Path(spec).expanduser()
    value, is_variable = _look_up(spec, names)
    if path.is_file():
        collected = _from_file(path, spec)
        note = (f"{spec} is a file and a variable: the file was attached.",) if is_variable else ()
        return Collected(parts=collected.parts, notes=(*collected.notes, *note), redacted=collected.redacted)
    if is_variable:
        described = describe(value, name=spec)
        return Collected(
            parts=(f"{spec}:\n", *described.parts), notes=described.notes, redacted=described.redacted
        )
    if path.is_dir():
        raise ConfigurationError(f"-a {spec}: that is a folder. Name the files. Nothing was sent.")
    raise ConfigurationError(
        f"-a {spec}: there is no such file or variable.{_guess(spec, names, path)} Nothing was sent."
    )


def _look_up(spec: str, names: Mapping[str, object]) -> tuple[object, bool]:
    root, *rest = spec.split(".")
    if not _DOTTED.fullmatch(spec) or root not in names:
        return None, False
    value = names[root]
    for attribute in rest:
        if not hasattr(value, attribute):
            return None, False
        value = getattr(value, attribute)
    return value, True


def _from_address(address: str) -> Collected:
    """Hand an address on: the API fetches it, not we."""
    path = urlsplit(address).path
    if _PICTURE_PATH.search(path):
        return Collected(parts=({"type": "image", "source": {"type": "url", "url": address}},))
    if path.lower().endswith(".pdf"):
        return Collected(parts=({"type": "document", "source": {"type": "url", "url": address}},))
    raise ConfigurationError(
        f"-a {address}: the API reads pictures (png, jpeg, gif, webp) and PDFs from an address, and this ends like neither. "
        "Download it and attach the file. Nothing was sent."
    )


def _from_file(path: Path, spec: str) -> Collected:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"-a {spec} cannot be read: {error.strerror}. Nothing was sent.") from None
    if data.startswith(b"%PDF-"):
        return _pdf(data, path, spec)
    if media_type_of(data) is not None:
        picture = image_block(data, name=path.name)
        return Collected(parts=(f"{path.name}:", *picture.parts), notes=picture.notes)
    return _text(_decoded(data, spec), path, spec)


def _pdf(data: bytes, path: Path, spec: str) -> Collected:
    if len(data) > MAX_PDF_BYTES:
        raise ConfigurationError(
            f"-a {spec} has {len(data) / 2**20:.0f} MB; a PDF may have {MAX_PDF_BYTES // 2**20}. Nothing was sent."
        )
    source = {
        "type": "base64",
        "media_type": "application/pdf",
        "data": base64.b64encode(data).decode("ascii"),
    }
    return Collected(parts=({"type": "document", "source": source, "title": path.name},))


def _decoded(data: bytes, spec: str) -> str:
    if b"\0" not in data[:8192] or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        for encoding in ("utf-8-sig", "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                continue
        if b"\0" not in data:
            return data.decode("latin-1")
    raise ConfigurationError(
        f"-a {spec} is neither text nor a picture (png, jpeg, gif, webp) nor a PDF, so the API cannot read it. Nothing was sent."
    )


def _text(text: str, path: Path, spec: str) -> Collected:
    suffix = path.suffix.lower().removeprefix(".")
    if suffix == "ipynb":
        text = read_notebook(text, spec)
    if len(text) > MAX_TEXT_CHARS:
        raise ConfigurationError(
            f"-a {spec} has {len(text):,} characters; at most {MAX_TEXT_CHARS:,} are sent. Attach a part of it, or read it "
            "into a variable (a DataFrame, say) and attach that. Nothing was sent."
        )
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    language = "" if suffix in ("txt", "ipynb", "") else _LANGUAGES.get(suffix, suffix)
    body = text if text.endswith("\n") else f"{text}\n"
    return Collected(parts=(f"{path.name}:\n{fence}{language}\n{body}{fence}\n",))


def _guess(spec: str, names: Iterable[str], path: Path) -> str:
    siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    matches = difflib.get_close_matches(Path(spec).name, [*siblings, *names], n=1, cutoff=0.6)
    return f" Did you mean {matches[0]}?" if matches else f" Looked in {path.parent}."
