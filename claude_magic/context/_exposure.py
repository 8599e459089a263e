"""What looks like credentials in a file or a text that the user names: it would be sent as it is, so the user is asked first."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from ._redaction import redact
from ._secret_assignments import is_secret_setting

_LOGIN_FILES = re.compile(
    r"(?i)[._]netrc|\.pgpass|\.htpasswd|\.git-credentials|id_(?:rsa|dsa|ecdsa|ed25519)|shadow|.*\.ppk"
)
"""Files that hold nothing but logins."""
_SETTINGS_FILES = re.compile(
    r"(?i)\.env.*|.*\.(?:env|ini|cfg|conf|properties|ya?ml|toml|tfvars|envrc)|\.(?:npmrc|pypirc|envrc|my\.cnf)|(?:kube)?config|credentials"
)
"""Files whose lines give values to names; what stands behind the name of a secret is none but one."""
_SETTING = re.compile(
    r"""(?m)^[ \t-]{0,40}(?:export[ ])?["']?([\w./:-]{2,80})["']?[ \t]{0,20}[:=][ \t]{0,20}(?P<quote>["']?)(\S[^\n]{0,2000}?)(?P=quote)[ \t\r]{0,9},?$"""
)
_SECRET_COLUMN = re.compile(
    r"(?i)(?:\w{1,20}[ _-])?(?:pass(?:word|wd|phrase|code)|pwd|secret|(?:api|access|secret|private)[ _-]?key|(?:\w{1,20}[ _-])?token|pin|cvv|cvc)"
)
_EXAMINED_ROWS: Final = 50


def exposed_in(text: str, what: str, path: Path | None = None) -> tuple[str, ...]:
    """Return what looks like credentials in a text, as a phrase that begins with its name; nothing if nothing does.

    Args:
        text: What would be sent; of a file, with its heading and in a fence.
        what: What the user calls it.
        path: The file that it comes from, if it is one: its name says how to read it.
    """
    labels = dict.fromkeys(redact(text)[1])
    if path is not None:
        labels |= dict.fromkeys(_in_file(text, path))
    return (f"{what} ({', '.join(islice(labels, 5))})",) if labels else ()


def refusal(exposed: tuple[str, ...], way_out: str) -> str:
    """Say that something was not sent because it looks like credentials.

    Args:
        exposed: What `exposed_in` returned.
        way_out: How to send it all the same, as a sentence.
    """
    one, several = "holds what looks like credentials", "hold what looks like credentials"
    return f"{'; '.join(exposed)} {one if len(exposed) == 1 else several}. Nothing was sent. Take them out. {way_out}"


def _in_file(text: str, path: Path) -> Iterator[str]:
    name = path.name
    if _LOGIN_FILES.fullmatch(name) and text.strip():
        yield "logins"
    if _SETTINGS_FILES.fullmatch(name):
        for match in _SETTING.finditer(text):
            if is_secret_setting(re.sub(r"[./:-]", "_", match[1]).strip("_"), match[3]):
                yield f"the value of {match[1]}"
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _secret_columns(text)


def _secret_columns(text: str) -> Iterator[str]:
    """Name the columns of a table that are called as secrets are, and are not empty."""
    _, _, table = text.partition("```")  # its heading ends there
    lines = table.split("\n", _EXAMINED_ROWS + 2)[1 : _EXAMINED_ROWS + 2] or [""]
    delimiter = max(",;\t|", key=lines[0].count)
    try:
        head, *rows = csv.reader((line[:10_000] for line in lines), delimiter=delimiter)
    except (csv.Error, ValueError):
        return
    for place, title in enumerate(head):
        if _SECRET_COLUMN.fullmatch(title.strip()) and any(
            len(row[place].strip("* ")) >= 4 for row in rows if len(row) > place
        ):
            yield f"the column {title.strip()}"
