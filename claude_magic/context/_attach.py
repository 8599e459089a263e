"""Content for `-a`: files, URLs, variables and figures. Anything that the API does not accept is an error before sending."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from ..client import ConfigurationError
from ._collected import Collected, fenced, with_article
from ._decoding import decode
from ._describe import describe
from ._history import as_on_screen
from ._names import MISSING, closest_name, look_up
from ._pictures import image_block, media_type_of
from ._redaction import exposed_in

# Characters that make two file names look the same although they differ.
#
# macOS puts U+202F before AM and PM in the names of screenshots, and may write é as two characters. Text copied from web
# pages contains no-break spaces and zero-width characters.
# Where the name in Unicode says less, or says it in another way.
_CHAR_NAMES: Final = {
    "\u202f": "a narrow no-break space, as macOS puts into the names of screenshots",
    "\u200b": "a zero-width space",
    "\u200c": "a zero-width non-joiner",
    "\u200d": "a zero-width joiner",
    "\ufeff": "a byte order mark",
    "\t": "a tab",
    "\n": "a line break",
}
_HYPHENS: Final = "\u2010\u2011\u2012\u2013\u2212"
_MAX_FILES: Final = 10_000
_MAX_DIFFERENCES: Final = 3


def look_alikes(path: Path) -> list[Path]:
    """Return the files in the folder of `path` whose names look like its last part."""
    wanted = _normalised(path.name)
    names = (entry.name for entry in islice(_entries_beside(path), _MAX_FILES) if entry.is_file())
    return [path.parent / name for name in names if name != path.name and _normalised(name) == wanted]


def name_difference(typed: str, name: str) -> str:
    """Describe how `name` differs from the typed name, which looks the same: "a no-break space (U+00A0)"."""
    if unicodedata.normalize("NFC", typed) == unicodedata.normalize("NFC", name):
        char = next(
            (one for one in unicodedata.normalize("NFC", name) if len(unicodedata.normalize("NFD", one)) > 1),
            "",
        )
        form = "two characters (NFD)" if unicodedata.is_normalized("NFD", name) else "one character (NFC)"
        return f"{char} written as {form}"
    odd = dict.fromkeys(char for char in name if _is_odd(char) and name.count(char) != typed.count(char))
    missing = dict.fromkeys(char for char in typed if _is_odd(char) and name.count(char) < typed.count(char))
    differences = [_name_of(char) for char in islice(odd, _MAX_DIFFERENCES)]
    differences += [
        f"no {_name_of(char).removeprefix('a ').removeprefix('an ')}"
        for char in islice(missing, _MAX_DIFFERENCES)
    ]
    return " and ".join(differences) or "other spaces"


def shown(name: str) -> str:
    """Return a file name with invisible characters and look-alike hyphens as escapes."""
    return "".join(f"\\u{ord(char):04x}" if _is_odd(char) else char for char in name)


def _normalised(name: str) -> str:
    """Return a name in a form that is equal for look-alikes: NFC, plain spaces and hyphens, no zero-width characters."""
    return " ".join("".join(map(_normalised_char, unicodedata.normalize("NFC", name))).split())


def _normalised_char(char: str) -> str:
    if char.isspace():
        return " "
    if char in _HYPHENS:
        return "-"
    return "" if unicodedata.category(char) in ("Cf", "Cc") else char


def _is_odd(char: str) -> bool:
    return char in _HYPHENS or (
        char != " " and (char.isspace() or unicodedata.category(char) in ("Cf", "Cc"))
    )


def _name_of(char: str) -> str:
    name = _CHAR_NAMES.get(char) or with_article(unicodedata.name(char, "control character").lower())
    return f"{name} (U+{ord(char):04X})"


def _entries_beside(path: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path.parent) as entries:
            yield from entries
    except (OSError, ValueError):  # the folder does not exist or is not readable
        return


_MAX_OUTPUT_CHARS = 4_000


def _notebook(text: str, spec: str) -> Collected:
    """Return the cells of a notebook, with their text outputs.

    Args:
        text: The content of the file.
        spec: The name that the user typed, for messages.

    Raises:
        ConfigurationError: The file is not a notebook.
    """
    try:
        cells = json.loads(text)["cells"]
        shown = "\n\n".join(part for number, cell in enumerate(cells, 1) for part in _cell(number, cell))
        return Collected(parts=(shown,), notes=tuple(_notes(cells, spec)))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigurationError(
            f"{spec} is not a notebook in the current format. Nothing was sent."
        ) from None


def _cell(number: int, cell: Mapping[str, Any]) -> Iterator[str]:
    source = _joined(cell["source"])
    kind = cell["cell_type"]
    yield f"# Cell {number} ({kind})\n{source}"
    for output in cell.get("outputs", ()):
        text = _output(output)
        if len(text) > _MAX_OUTPUT_CHARS:
            text = f"{text[:_MAX_OUTPUT_CHARS]}\n[… cut]"
        if text:
            yield f"# Output of cell {number}\n{text}"


def _output(output: Mapping[str, Any]) -> str:
    match output.get("output_type"):
        case "stream":
            return as_on_screen(_joined(output["text"]))
        case "error":
            return f"{output.get('ename')}: {as_on_screen(str(output.get('evalue')))}"
        case _:
            data = output.get("data", {})
            return _joined(data.get("text/plain", "")) or f"[{', '.join(data)}]"


def _notes(cells: list[Mapping[str, Any]], spec: str) -> Iterator[str]:
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    pictures = sum(any(kind.startswith("image/") for kind in output.get("data", ())) for output in outputs)
    if pictures:
        yield f"The pictures among the outputs of {spec} ({pictures:,}) were not attached."
    cut = sum(len(_output(output)) > _MAX_OUTPUT_CHARS for output in outputs)
    if cut:
        yield f"Outputs of {spec} longer than {_MAX_OUTPUT_CHARS:,} characters ({cut:,}) were cut."


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


MAX_TEXT_CHARS = 400_000
"""About 100,000 tokens: half of a context of 200,000 tokens."""
MAX_TABLE_CHARS = 40_000
"""Characters sent of a longer CSV or TSV file: enough to see the columns."""
MAX_PAGES = 100
"""Pages of a PDF for a model with a context of 200,000 tokens; 600 for models with a larger one."""

_MEBIBYTE = 2**20
_MAX_BYTES: Final = {
    "PDF": 24 * _MEBIBYTE,  # in base64 it stays below the API's limit of 32 MB per request
    "picture": 64 * _MEBIBYTE,  # it is scaled down
    "notebook": 64 * _MEBIBYTE,  # its images are not sent
    "text": 4 * MAX_TEXT_CHARS,  # a character has at most 4 bytes
}
_SNIFFED_BYTES = 4096
_SUFFIX_TYPES: Final = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp"), "picture (PNG, JPEG, GIF or WebP)"),
    ".pdf": "PDF",
}
"""Suffixes that must match the content: sent as text, such a file would only cost money."""
_PDF_PAGE = re.compile(rb"/Type\s{0,8}/Page(?![A-Za-z])")
_LANGUAGE = re.compile(r"[a-z0-9+#_-]{1,20}")
_LANGUAGES: Final = {
    "cc": "cpp", "h": "c", "hpp": "cpp", "ipynb": "", "js": "javascript", "md": "markdown", "py": "python", "rb": "ruby",
    "rs": "rust", "sh": "bash", "ts": "typescript", "txt": "", "yml": "yaml",
}  # fmt: skip


def read_file(path: Path, spec: str) -> Collected:
    """Return the content of a file under its name.

    Args:
        path: The path of the file.
        spec: The name that the user typed, for the heading and messages.

    Raises:
        ConfigurationError: The file is unreadable, too large, or of a type that the API does not accept.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SNIFFED_BYTES)
            kind = _kind_of(data, path)
            data += file.read(_MAX_BYTES[kind] - len(data) + 1)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ConfigurationError(f"{spec} cannot be read: {error.strerror}. Nothing was sent.") from None
    if kind == "text" and (expected := _SUFFIX_TYPES.get(path.suffix.lower())):
        raise ConfigurationError(
            f"{spec} is not a {expected}, although its name says so: {_looks_like(data)}. Save or download it again. Nothing was sent."
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
    cells = _notebook(text, spec)
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
    """Describe the content of a file that does not match its suffix, often a failed download."""
    if not data:
        return "it is empty"
    beginning = data[:_SNIFFED_BYTES].lstrip().lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        return "it contains a web page (HTML)"
    if beginning.startswith((b"version https://git-lfs",)):
        return "it contains a Git LFS pointer instead of the file"
    return f"it begins with {data[:16]!r}"


def _pdf(data: bytes, path: Path) -> Collected:
    encoded = base64.b64encode(data).decode("ascii")
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded}
    # An estimate: compressed pages are not found, and pages of an edited file may count twice.
    pages = len(_PDF_PAGE.findall(data))
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
    """Return the text of a file, and notes on a guessed encoding.

    Args:
        data: The content, or its beginning.
        spec: The name that the user typed, for messages.
        is_whole: Whether `data` is the whole content; if not, the last character may be incomplete.

    Raises:
        ConfigurationError: The content is not text.
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


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_PICTURE_PATH = re.compile(r"\.(?:png|jpe?g|gif|webp)$", re.IGNORECASE)
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BLANK = re.compile(r"\s")
_ALLOWED = "%/:?#[]@!$&'()*+,;=~"
"""Characters that are not encoded in a URL; `%` is one because the URL may be encoded already."""
_NAME = re.compile(r"[^\W\d]\w*")


def attach(spec: str, names: Mapping[str, object], *, directory: Path | None = None) -> Collected:
    """Return the content for one `-a`: of a URL, else a file, else a variable.

    Args:
        spec: A path, the name of a variable, or an http(s) URL.
        names: The user's variables.
        directory: The base of relative paths; None for the working directory.

    Raises:
        ConfigurationError: `spec` is none of these, or cannot be sent.
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
    value = look_up(spec, names) if "[" not in spec else MISSING  # file names may contain brackets
    if value is not MISSING:
        described = describe(value, name=spec)
        # A string is not redacted, so it is checked here.
        exposed = () if described.redacted else exposed_in(described.text, spec)
        return dataclasses.replace(described, parts=(f"{spec}:\n", *described.parts), exposed=exposed)
    if path is None:
        raise ConfigurationError(f"{spec} is not a variable, and {folder_problem}. Nothing was sent.")
    return _attach_look_alike(spec, names, path)


def _path_of(spec: str, directory: Path | None) -> tuple[Path | None, str]:
    """Return the path of a file, or None and the reason why it has none."""
    path = Path(os.path.expanduser(spec))
    if directory is None and not path.is_absolute():
        try:
            directory = Path.cwd()
        except OSError:
            return (
                None,
                "the working directory of this kernel has been deleted, so only absolute paths work",
            )
    return (path if directory is None else directory / path), ""


def _from_file(path: Path, spec: str) -> Collected:
    collected = read_file(path, spec)
    return dataclasses.replace(collected, exposed=exposed_in(collected.text, spec, path))


def _attach_look_alike(spec: str, names: Mapping[str, object], path: Path) -> Collected:
    """Attach the only file whose name looks the same as the typed one.

    Raises:
        ConfigurationError: There is no such file, or more than one.
    """
    if os.path.isdir(path):
        raise ConfigurationError(f"{spec} is a folder. Name the files in it. Nothing was sent.")
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
            f"{spec} is not a file in {path.parent}, but {len(twins)} names there look like it: with {differences}. Rename one of "
            "them, or choose it with Tab. Nothing was sent."
        )
    raise ConfigurationError(
        f"{spec} is neither a file in {path.parent} nor a variable.{_advice(spec, names, path)} Nothing was sent."
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _from_address(address: str) -> Collected:
    """Return a block with the URL; the API fetches it."""
    try:
        parts = urlsplit(address)
        encoded = _encoded(parts)
    except ValueError as error:
        raise ConfigurationError(f"{address} is not an address: {error}. Nothing was sent.") from None
    if parts.scheme in ("http", "https"):
        if not parts.hostname or _BLANK.search(parts.netloc):
            raise ConfigurationError(f"{address} is not an address: it names no host. Nothing was sent.")
        source = {"type": "url", "url": encoded}
        if _PICTURE_PATH.search(parts.path):
            return Collected(parts=({"type": "image", "source": source},))
        if parts.path.lower().endswith(".pdf"):
            return Collected(parts=({"type": "document", "source": source},))
    raise ConfigurationError(
        f"{address}: the API reads pictures (png, jpeg, gif, webp) and PDFs from a URL, and this does not look like "
        "either. Download it and attach the file. Nothing was sent."
    )


def _encoded(parts: SplitResult) -> str:
    """Return the URL with invalid characters percent-encoded (RFC 3986), as browsers do."""
    path, query, fragment = (
        quote(_LONE_PERCENT.sub("%25", part), safe=_ALLOWED)
        for part in (parts.path, parts.query, parts.fragment)
    )
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    return urlunsplit((parts.scheme, host, path, query, fragment))


def _advice(spec: str, names: Mapping[str, object], path: Path) -> str:
    """Return a suggestion of what the user meant; "" if there is none."""
    root, *rest = _NAME.findall(spec) or [""]
    candidates = dict.fromkeys([*(entry.name for entry in _entries_beside(path)), *names])
    for excluded in (path.name, root):  # these exist, but not as a file, or without the rest of the path
        candidates.pop(excluded, None)
    guess = closest_name(path.name, candidates)
    if guess is not None:
        return f" Did you mean {shown(guess)}?"
    if root not in names or not spec.startswith(root):
        return ""
    if spec == ".".join((root, *rest)):
        return f" {root} exists, but has no {'.'.join(rest)}."
    return f" The value of an expression goes into the prompt: {{{{ {spec} }}}}."
