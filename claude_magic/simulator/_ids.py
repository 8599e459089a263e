"""Identifiers in the API's style: a prefix and opaque text."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import string

_ALPHABET = string.digits + string.ascii_letters
_serial = itertools.count()
_seed = secrets.token_hex(8)


def new_id(prefix: str) -> str:
    """An identifier that no other call returns, such as `msg_01...`."""
    return f"{prefix}_01{opaque(f'{_seed}-{next(_serial)}')}"


def opaque(text: str, length: int = 22) -> str:
    """Letters and digits that depend on the text alone."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
