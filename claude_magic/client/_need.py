"""What a request is going to take of a server's limits: measured from its text, and from what answers before it have taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from ._server_limits import model_class

if TYPE_CHECKING:
    from ._messages import Usage
    from ._requests import MessageRequest

FIRST_TOKENS_PER_BYTE: Final = 0.3
"""Before the first answer: English has four characters a token, code and other languages fewer."""
_LEAST_TOKENS_PER_BYTE: Final = 0.01
_MOST_TOKENS_PER_BYTE: Final = 4.0

FIRST_OUTPUT_TOKENS: Final = 500
"""Before the first answer: a page."""

_NEW_SHARE: Final = 0.3
"""Weight of the latest answer in what is expected of the next."""

_IMAGE_TOKENS: Final = 1600
"""A picture of the usual size; its bytes say nothing about its tokens."""
_DOCUMENT_BYTES_PER_TOKEN: Final = 30
"""Of a PDF in base64: some 2,000 tokens for a page of 60 kB."""


@dataclass(frozen=True, slots=True)
class InputSize:
    """How large an input is.

    Attributes:
        text_bytes: Its text in UTF-8, schemas of tools included.
        other_tokens: What pictures and documents are taken to have, in model tokens.
    """

    text_bytes: int
    other_tokens: int


class Need:
    """What one call is going to ask of the server. Measured once, and only if a limit makes that necessary."""

    def __init__(self, request: MessageRequest) -> None:
        self.model_class = model_class(request.model)
        self.max_tokens = request.max_tokens
        self._request = request

    @cached_property
    def input_size(self) -> InputSize:
        return measure_input(self._request.count_tokens_body())


@dataclass(slots=True)
class Expectation:
    """What answers so far have taught about the next one, for one class of models."""

    tokens_per_byte: float = FIRST_TOKENS_PER_BYTE
    tokens_of_answer: float = FIRST_OUTPUT_TOKENS

    def input_tokens(self, need: Need) -> float:
        """Expect the input that counts against the limit."""
        size = need.input_size
        return size.text_bytes * self.tokens_per_byte + size.other_tokens

    def output_tokens(self, need: Need) -> float:
        """Expect the output; `max_tokens` only bounds it, for the server reserves nothing."""
        return min(self.tokens_of_answer, need.max_tokens)

    def learn(self, need: Need, usage: Usage) -> None:
        """Take in what a complete answer really took. What was read from the prompt cache does not count."""
        counted = usage.input_tokens + (usage.cache_creation_input_tokens or 0)
        if usage.output_tokens > 0:
            self.tokens_of_answer += _NEW_SHARE * (usage.output_tokens - self.tokens_of_answer)
        size = need.input_size
        if counted <= 0 or size.text_bytes == 0:
            return
        seen = (counted - size.other_tokens) / size.text_bytes
        seen = min(max(seen, _LEAST_TOKENS_PER_BYTE), _MOST_TOKENS_PER_BYTE)
        # Up at once, down by and by: to expect too little costs a refused request, too much only a wait.
        change = seen - self.tokens_per_byte
        self.tokens_per_byte += change if change > 0 else _NEW_SHARE * change


def measure_input(body: Any) -> InputSize:
    """Measure the parts of a request that make up its input."""
    if isinstance(body, str):
        return InputSize(len(body) if body.isascii() else len(body.encode("utf-8", "surrogatepass")), 0)
    if isinstance(body, Mapping):
        kind = body.get("type")
        if kind == "image":
            return InputSize(0, _IMAGE_TOKENS)
        if kind == "base64" and isinstance(data := body.get("data"), str):
            return InputSize(0, len(data) // _DOCUMENT_BYTES_PER_TOKEN)
        return _sum_of([*body.keys(), *body.values()])
    if isinstance(body, Sequence):
        return _sum_of(body)
    return InputSize(len(str(body)), 0)


def _sum_of(parts: Sequence[Any]) -> InputSize:
    sizes = [measure_input(part) for part in parts]
    return InputSize(sum(size.text_bytes for size in sizes), sum(size.other_tokens for size in sizes))
