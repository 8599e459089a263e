"""A file as the API takes it: a picture, a PDF, the cells of a notebook, or text. Its content says what it is, not its name."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Final

from ..client import ConfigurationError
from ._collected import Collected
from ._decoding import decode
from ._notebook_file import read_notebook
from ._pictures import image_block, media_type_of
from ._safely import fenced

MAX_TEXT_CHARS = 400_000
"""About 100,000 tokens, which is what a whole cheap context can be."""
MAX_TABLE_CHARS = 40_000
"""Of the beginning of a table that is longer than that: enough to see what its columns are."""
MAX_PAGES = 100
"""Of a PDF, with a model whose context is 200,000 tokens; with others, 600."""

_MEBIBYTE = 2**20
_MAX_BYTES: Final = {
    "PDF": 24 * _MEBIBYTE,  # so that in base64 it stays below the 32 MB that one request may have
    "picture": 64 * _MEBIBYTE,  # it will be made smaller
    "notebook": 64 * _MEBIBYTE,  # its pictures stay here
    "text": 4 * MAX_TEXT_CHARS,  # no character has more bytes
}
_SNIFFED_BYTES = 4096
_PROMISED: Final = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp"), "picture (PNG, JPEG, GIF or WebP)"),
    ".pdf": "PDF",
}
"""What a name says that must be true: as text, such a file would only be paid for."""
_PDF_PAGE = re.compile(rb"/Type\s{0,8}/Page(?![A-Za-z])")
_LANGUAGE = re.compile(r"[a-z0-9+#_-]{1,20}")
_LANGUAGES: Final = {
    "cc": "cpp", "h": "c", "hpp": "cpp", "ipynb": "", "js": "javascript", "md": "markdown", "py": "python", "rb": "ruby",
    "rs": "rust", "sh": "bash", "ts": "typescript", "txt": "", "yml": "yaml",
}  # fmt: skip


def read_file(path: Path, spec: str) -> Collected:
    """Return what a file becomes, under the name it was given.

    Args:
        path: Where it is.
        spec: What the user called it.

    Raises:
        ConfigurationError: It cannot be read, is too large, or is of a kind that the API cannot take.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SNIFFED_BYTES)
            kind = _kind_of(data, path)
            data += file.read(_MAX_BYTES[kind] - len(data) + 1)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ConfigurationError(f"{spec} cannot be read: {error.strerror}. Nothing was sent.") from None
    if kind == "text" and (promised := _PROMISED.get(path.suffix.lower())):
        raise ConfigurationError(
            f"{spec} is no {promised}, as its name says: {_looks_like(data)}. Save or download it again. Nothing was sent."
        )
    if kind == "text":
        return _text(data, path, spec, size)
    if len(data) > _MAX_BYTES[kind]:
        raise ConfigurationError(
            f"{spec} has {_megabytes(size)}; a {kind} may have {_megabytes(_MAX_BYTES[kind])}. Nothing was sent."
        )
    if kind == "PDF":
        return _pdf(data, path)
    if kind == "picture":
        picture = image_block(data, name=path.name)
        return Collected(parts=(f"{spec}:", *picture.parts), notes=picture.notes)
    text, notes = decode_file(data, spec)
    cells = read_notebook(text, spec)
    return Collected(
        parts=(_headed(_within_bound(cells.text, spec), path, spec),), notes=(*notes, *cells.notes)
    )


def _kind_of(beginning: bytes, path: Path) -> str:
    if beginning.startswith(b"%PDF-"):
        return "PDF"
    if media_type_of(beginning) is not None:
        return "picture"
    return "notebook" if path.suffix.lower() == ".ipynb" else "text"


def _looks_like(data: bytes) -> str:
    """Say what a file is that is not what its name says: mostly a download that failed."""
    if not data:
        return "it is empty"
    beginning = data[:_SNIFFED_BYTES].lstrip().lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        return "it holds a web page (HTML)"
    if beginning.startswith((b"version https://git-lfs",)):
        return "it holds the pointer of Git LFS that stands for the file"
    return f"it begins with {data[:16]!r}"


def _pdf(data: bytes, path: Path) -> Collected:
    encoded = base64.b64encode(data).decode("ascii")
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded}
    pages = len(
        _PDF_PAGE.findall(data)
    )  # none where they are compressed, some twice where it was edited: a guess
    note = (
        f"{path.name} seems to have {pages:,} pages; the API takes {MAX_PAGES}, or 600 with a model whose context is larger than "
        "200,000 tokens."
    )
    return Collected(
        parts=({"type": "document", "source": source, "title": path.name},),
        notes=(note,) if pages > MAX_PAGES else (),
    )


def _text(data: bytes, path: Path, spec: str, size: int) -> Collected:
    is_whole = len(data) <= _MAX_BYTES["text"]
    text, notes = decode_file(data, spec, is_whole=is_whole)
    if path.suffix.lower() in (".csv", ".tsv") and (not is_whole or len(text) > MAX_TEXT_CHARS):
        return _beginning_of_table(text, path, spec, size, notes)
    if not is_whole:
        raise _too_long(spec, _megabytes(size))
    return Collected(parts=(_headed(_within_bound(text, spec), path, spec),), notes=notes)


def _beginning_of_table(text: str, path: Path, spec: str, size: int, notes: tuple[str, ...]) -> Collected:
    start = text[:MAX_TABLE_CHARS]
    lines = start[: start.rfind("\n") + 1] or start
    note = (
        f"{spec} has {_megabytes(size)}: its first {lines.count(chr(10)):,} lines were attached. For a summary of all of it, read "
        "it into a DataFrame and attach that."
    )
    return Collected(
        parts=(_headed(lines, path, f"The beginning of {spec}, which has {_megabytes(size)}"),),
        notes=(*notes, note),
    )


def decode_file(data: bytes, spec: str, *, is_whole: bool = True) -> tuple[str, tuple[str, ...]]:
    """Return a file's content as text, and as sentences what of it is a guess.

    Args:
        data: The content, or its beginning.
        spec: What the user called the file.
        is_whole: Nothing follows; else the last character may be cut.

    Raises:
        ConfigurationError: It is no text.
    """
    decoded = decode(data, is_whole=is_whole)
    if decoded is None:
        raise ConfigurationError(
            f"{spec} is neither text nor a picture (png, jpeg, gif, webp) nor a PDF, so the API cannot read it. Read it into a "
            "variable and attach that. Nothing was sent."
        )
    return decoded.text, (f"{spec} {decoded.doubt}",) if decoded.doubt else ()


def _within_bound(text: str, spec: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise _too_long(spec, f"{len(text):,} characters")
    return text


def _too_long(spec: str, size: str) -> ConfigurationError:
    return ConfigurationError(
        f"{spec} has {size}; at most {MAX_TEXT_CHARS:,} characters are sent. Attach a part of it, or read it into a variable "
        "(a DataFrame, say) and attach that. Nothing was sent."
    )


def _headed(text: str, path: Path, heading: str) -> str:
    suffix = path.suffix.lower().removeprefix(".")
    language = _LANGUAGES.get(suffix, suffix if _LANGUAGE.fullmatch(suffix) else "")
    return f"{heading}:{fenced(text, language)}"


def _megabytes(size: int) -> str:
    return f"{size / _MEBIBYTE:,.1f} MB"
