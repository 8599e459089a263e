"""Values that look like credentials, in what was collected for the user, become `[REDACTED]`.

What the user typed is theirs and passes. Two kinds are recognised: the values of environment variables whose names say that they
are secret, and the forms in which credentials are written (`_secret_forms`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping

from ._secret_forms import SECRET_FORMS

REDACTED = "[REDACTED]"

_SHORTEST_SECRET = 8
_SECRET_NAME = re.compile(
    r"""(?ix) (?: (?:^|_) (?:KEY|PWD|PASS) | API_?KEY | TOKEN | SECRET | PASSWORD | PASSWD | PASSPHRASE | CREDENTIAL )
    S? \d* (?:_|$)"""
)
_WORKING_DIRECTORIES = ("PWD", "OLDPWD")
_TRIVIAL = re.compile(r"(?i)true|false|none|null|\d+|[a-z]:\\.*|https?://[^@]*")


def holds_key(text: str) -> bool:
    """Return whether a text holds what looks like a key of Anthropic's: nobody means to send that."""
    return "sk-ant-" in text and any(
        form.search(text) for label, form in SECRET_FORMS if label == "an Anthropic API key"
    )


def redact(text: str, environment: Mapping[str, str] = os.environ) -> tuple[str, tuple[str, ...]]:
    """Return text without what looks like a credential, and what that was, by label.

    Args:
        text: What was collected.
        environment: The environment variables.
    """
    labels: list[str] = []
    for name, value in _secrets(environment):
        for written in dict.fromkeys((value, repr(value)[1:-1])):  # as it is, and as in the repr of a text
            if written in text:
                text = text.replace(written, REDACTED)
                labels.append(f"environment variable {name}")
    for label, form in SECRET_FORMS:
        text = form.sub(_noting(labels, label), text)
    return text, tuple(dict.fromkeys(labels))


def _secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that hold secrets, the longest value first, since one may hold another."""
    found = [
        (name, value.strip())
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and name not in _WORKING_DIRECTORIES
    ]
    for name, value in sorted(found, key=lambda pair: -len(pair[1])):
        if len(value) >= _SHORTEST_SECRET and not _is_trivial(name, value):
            yield name, value


def _is_trivial(name: str, value: str) -> bool:
    """Say whether a value is none that anybody hides: a switch, a number, the path of a file, or a word of its own name.

    A slash alone makes no path, since keys in base64 may begin with one.
    """
    if _TRIVIAL.fullmatch(value) or value.lower() in name.lower():  # POSTGRES_PASSWORD=postgres
        return True
    return value.startswith(("/", "./", "../", "~/")) and os.path.exists(os.path.expanduser(value))


def _noting(labels: list[str], label: str) -> Callable[[re.Match[str]], str]:
    """Return what replaces a match: all of it, or the group that is secret."""

    def replace(match: re.Match[str]) -> str:
        group = match.lastindex or 0
        if REDACTED in match[group]:
            return match[0]
        labels.append(label)
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return f"{match[0][:start]}{REDACTED}{match[0][end:]}"

    return replace
