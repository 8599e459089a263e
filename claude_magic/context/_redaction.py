"""Values that look like credentials, in what was collected for the user, become `[REDACTED]`.

What the user typed is theirs and passes. Two kinds are recognised: forms that well-known services give their keys, and the values
of environment variables whose names say that they are secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping

REDACTED = "[REDACTED]"

_SHORTEST_SECRET = 8
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PWD|CREDENTIALS?|PASSPHRASE|APIKEY)(?:_|$)", re.IGNORECASE
)
_TRIVIAL = re.compile(r"(?i)true|false|none|null|\d+|[./~].*|[a-z]:\\.*|https?://[^@]*")

_FORMS = (
    (
        "a private key",
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
    ),
    ("an Anthropic API key", re.compile(r"\bsk-ant-[\w-]{8,}")),
    ("an API key", re.compile(r"\bsk-(?!ant-)(?:proj-|or-|live-|test-)?[A-Za-z0-9_-]{20,}")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})")),
    ("a GitLab token", re.compile(r"\bglpat-[\w-]{16,}")),
    ("an AWS key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("a Google API key", re.compile(r"\bAIza[\w-]{30,}")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[\w-]{10,}")),
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{20,}")),
    ("a Stripe key", re.compile(r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}")),
    ("a JSON web token", re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*")),
)
# Forms of which only a part is secret: the group.
_PARTS = (
    ("a bearer token", re.compile(r"(?i)\bbearer\s+([\w.~+/-]{16,}=*)")),
    (
        "a password in an address",
        re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,100}:([^\s:/@]{1,200})@"),
    ),
    (
        "a password",
        re.compile(
            r"""(?ix) \b (?:[a-z]\w{0,40}_)? (?:password|passwd|secret|api_?key|access_?key|auth_?token|access_?token) ["']? \s{0,3} [=:] \s{0,3}
            (?: "([^"\s]{6,200})" | '([^'\s]{6,200})' | ((?=[^\s"',;(){}\[\]]{0,200}?\d)[^\s"',;(){}\[\]]{8,200}) )"""
        ),
    ),
)


def redact(text: str, environment: Mapping[str, str] = os.environ) -> tuple[str, tuple[str, ...]]:
    """Return text without what looks like a credential, and what that was, by label.

    Args:
        text: What was collected.
        environment: The environment variables.
    """
    labels: list[str] = []
    for name, value in _secrets(environment):
        if value in text:
            text = text.replace(value, REDACTED)
            labels.append(f"environment variable {name}")
    for label, form in _FORMS:
        text = form.sub(_noting(labels, label), text)
    for label, form in _PARTS:
        text = form.sub(_noting(labels, label), text)
    return text, tuple(dict.fromkeys(labels))


def _secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that are named like secrets, the longest value first, since one may hold another."""
    found = [
        (name, value)
        for name, value in environment.items()
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name) and not _TRIVIAL.fullmatch(value)
    ]
    yield from sorted(found, key=lambda pair: -len(pair[1]))


def _noting(labels: list[str], label: str) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        group = match.lastindex
        if group is None:
            labels.append(label)
            return REDACTED
        if match[group] == REDACTED or REDACTED in match[group]:
            return match[0]
        labels.append(label)
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return f"{match[0][:start]}{REDACTED}{match[0][end:]}"

    return replace
