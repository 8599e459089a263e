"""The API key, wrapped so that nothing prints it."""

from __future__ import annotations

import re
from typing import NoReturn

from ._errors import ConfigurationError

REDACTED = "[REDACTED]"

_KEY_PATTERN = re.compile(r"sk-ant-[A-Za-z0-9_-]{8,}", re.ASCII)

_SHORTEST_SECRET = 8


class Credential:
    """One API key or one bearer token, checked before the HTTP layer sees it.

    The check is not a courtesy: a key with a newline fails deep in the HTTP layer with a message that quotes
    it, and a non-ASCII one with a UnicodeEncodeError that carries it. Comparing, printing and pickling never
    reveal the value.

    Args:
        api_key: An API key (`sk-ant-...`).
        auth_token: A token for `Authorization: Bearer` instead.

    Raises:
        ConfigurationError: Not exactly one was given, or it cannot be a key. The message does not show it.
    """

    __slots__ = ("__value", "is_token")

    def __init__(self, *, api_key: str | None = None, auth_token: str | None = None) -> None:
        if (api_key is None) == (auth_token is None):
            raise ConfigurationError("Give either an API key or an auth token, not both and not none.")
        self.is_token = auth_token is not None
        self.__value = _checked(auth_token or api_key or "", "auth token" if self.is_token else "API key")

    @classmethod
    def placeholder(cls) -> Credential:
        """Return a stand-in for servers which need no key but want a header (Ollama, llama.cpp)."""
        return cls(api_key="none")

    def reveal(self) -> str:
        """Return the value itself. Only the transport, which sends it, has a use for it."""
        return self.__value

    def redact(self, text: str) -> str:
        """Replace the key, and whatever else looks like one, in text that came from elsewhere.

        Servers do quote keys in their errors. A value of a few letters is left alone: it is the "test" or
        "ollama" of a local server, and a word of the text.
        """
        if len(self.__value) >= _SHORTEST_SECRET:
            text = text.replace(self.__value, REDACTED)
        return _KEY_PATTERN.sub(REDACTED, text)

    def __repr__(self) -> str:
        return f"Credential({REDACTED})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Credential cannot be pickled or copied: the key would be written out")


def _checked(value: str, name: str) -> str:
    text = value.strip()
    if not text:
        raise ConfigurationError(f"The {name} is empty. Set it again, without quotes around it.")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(
            f"The {name} holds a space, a line break or a character that no key has; it is not shown here. "
            "Copy it again, in one piece."
        )
    return text
