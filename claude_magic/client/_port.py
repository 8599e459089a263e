"""The port: what magics, panels and tests depend on instead of a concrete client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ._messages import Completion, Message, ModelInfo
    from ._observe import Observer
    from ._requests import MessageRequest
    from ._stream import MessageStream


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a server can be used.

    Attributes:
        is_reachable: It answered.
        is_authenticated: It accepted the key; None if that could not be found out without cost.
        latency: Seconds the probe took.
        detail: The finding, as a sentence.
    """

    is_reachable: bool
    is_authenticated: bool | None
    latency: float
    detail: str


class ClaudeClient(Protocol):
    """Talks to the Messages API. All methods belong to the event loop on which the client is used.

    Everything they raise is a `ClaudeError`, but for `asyncio.CancelledError`.
    """

    async def send_message(self, request: MessageRequest, *, observer: Observer | None = None) -> Message:
        """Send a request and return the complete reply."""
        ...

    def stream_message(self, request: MessageRequest, *, observer: Observer | None = None) -> MessageStream:
        """Return a stream of the reply's events; nothing is sent before it is entered or iterated."""
        ...

    async def execute(
        self, prompt: str, *, model: str, max_tokens: int = 16_000, system: str | None = None
    ) -> Completion:
        """Send one prompt and return text and usage."""
        ...

    async def count_tokens(self, request: MessageRequest) -> int:
        """Return the server's estimate of a request's input in model tokens. Never billed."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Return all models the server offers, in its order."""
        ...

    async def health_check(self) -> Health:
        """Probe the server. Never billed, and never raises for a server that is down or refuses."""
        ...

    async def aclose(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        ...
