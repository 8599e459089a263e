"""Rate limit headers, and requests, for the tests of the code that reads them."""

from __future__ import annotations

from claude_magic.client import MessageRequest
from claude_magic.client._server_limits import Need


def limit_headers(kind: str = "requests", limit: object = 60, remaining: object = None) -> dict[str, str]:
    """Return the headers that report one limit."""
    name = f"anthropic-ratelimit-{kind}"
    headers = {f"{name}-limit": str(limit)}
    return headers if remaining is None else {**headers, f"{name}-remaining": str(remaining)}


def need(model: str = "claude-haiku-5-5", *, text: str = "", max_tokens: int = 1000) -> Need:
    """Return the need of a request with about this much text."""
    return Need(
        MessageRequest(
            model=model, max_tokens=max_tokens, messages=[{"role": "user", "content": text or "Hello"}]
        )
    )
