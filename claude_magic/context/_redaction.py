"""Values that look like credentials, in what was collected for the user, become `[REDACTED]`.

What the user typed is theirs and passes. Three kinds are recognised: the values of environment variables whose names say that
they are secret, the forms in which credentials are written (`_secret_forms`), and what is given to a name such as `password`
(`_secret_assignments`).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping

from ._secret_assignments import SECRET_NAME, WORKING_DIRECTORIES, find_assignments, is_trivial
from ._secret_forms import ANTHROPIC_KEY, SECRET_FORMS, kind_of

REDACTED = "[REDACTED]"

_SHORTEST_SECRET = 8


def holds_key(text: str) -> bool:
    """Return whether a text holds what looks like a key of Anthropic's: nobody means to send that."""
    return "sk-ant-" in text and ANTHROPIC_KEY.search(text) is not None


def redact(text: str, environment: Mapping[str, str] = os.environ) -> tuple[str, tuple[str, ...]]:
    """Return text without what looks like a credential, and what that was, by label.

    Args:
        text: What was collected.
        environment: The environment variables.
    """
    labels: list[str] = []
    for name, value in _secrets(environment) if len(text) >= _SHORTEST_SECRET else ():
        for written in dict.fromkeys((value, repr(value)[1:-1])):  # as it is, and as in the repr of a text
            if written in text:
                text = text.replace(written, REDACTED)
                labels.append(f"environment variable {name}")
    for label, form in SECRET_FORMS:
        text = form.sub(_noting(labels, label), text)
    text = _without_assigned(text, labels)
    return text, tuple(dict.fromkeys(labels))


def _without_assigned(text: str, labels: list[str]) -> str:
    parts: list[str] = []
    done = 0
    for found in sorted(find_assignments(text), key=lambda each: (each.start, -each.end)):
        if found.end <= done or REDACTED in text[found.start : found.end]:
            continue
        parts += [text[done : max(done, found.start)], REDACTED] if found.start >= done else []
        labels.append(found.label)
        done = found.end
    return "".join([*parts, text[done:]])


def _secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that hold secrets, the longest value first, since one may hold another."""
    found = [(name, value.strip()) for name, value in environment.items() if _is_secret_name(name)]
    for name, value in sorted(found, key=lambda pair: -len(pair[1])):
        if len(value) >= _SHORTEST_SECRET and not _is_trivial(name, value):
            yield name, value


@functools.lru_cache(maxsize=1024)  # the same few names are asked for each value of a prompt
def _is_secret_name(name: str) -> bool:
    return SECRET_NAME.search(name) is not None and name not in WORKING_DIRECTORIES


def _is_trivial(name: str, value: str) -> bool:
    """Say whether a value is none that anybody hides, also the path of a file.

    A slash alone makes no path, since keys in base64 may begin with one.
    """
    if is_trivial(name, value):
        return True
    return value.startswith(("/", "./", "../", "~/")) and os.path.exists(os.path.expanduser(value))


def _noting(labels: list[str], label: str | None) -> Callable[[re.Match[str]], str]:
    """Return what replaces a match: all of it, or the group that is secret."""

    def replace(match: re.Match[str]) -> str:
        group = match.lastindex or 0
        if REDACTED in match[group]:
            return match[0]
        labels.append(label or kind_of(match))
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return f"{match[0][:start]}{REDACTED}{match[0][end:]}"

    return replace
