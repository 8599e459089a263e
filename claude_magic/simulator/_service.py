"""The endpoints' work: check a request, answer it, account for it."""

from __future__ import annotations

from ._conversation import text_of
from ._delivery import Answer
from ._errors import APIError
from ._exchange import JSON, Request
from ._ids import new_id
from ._tokens import count_tokens, split_tokens


class MessageService:
    """What stands behind the endpoints."""

    def __init__(self, *, api_key: str | None = None) -> None:
        self._api_key = api_key

    def clear(self) -> None:
        """Forget cached prompts."""

    def create(self, request: Request) -> Answer:
        """Answer POST `/v1/messages`."""
        self._authenticate(request)
        fields = request.fields
        for name in ("model", "messages", "max_tokens"):
            if name not in fields:
                raise APIError(400, f"{name}: Field required")
        prompt = text_of(fields["messages"][-1].get("content"))
        text = f"You asked:\n\n> {prompt}\n\nThis is the **simulator**, which answers by rule."
        tokens = split_tokens(text)
        kept = tokens[: fields["max_tokens"]]
        message: JSON = {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": fields["model"],
            "content": [{"type": "text", "text": "".join(kept)}],
            "stop_reason": "end_turn" if len(kept) == len(tokens) else "max_tokens",
            "stop_sequence": None,
            "usage": {"input_tokens": count_tokens(prompt), "output_tokens": len(kept)},
        }
        return Answer(message=message)

    def other(self, request: Request) -> JSON:
        """Answer the other endpoints."""
        self._authenticate(request)
        if (request.method, request.path) == ("POST", "/v1/messages/count_tokens"):
            return {"input_tokens": count_tokens(str(request.fields.get("messages")))}
        if (request.method, request.path) == ("GET", "/v1/models"):
            return {"data": [], "has_more": False, "first_id": None, "last_id": None}
        raise APIError(404, f"{request.method} {request.path}: no such endpoint")

    def _authenticate(self, request: Request) -> None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = request.headers.get("x-api-key") or bearer
        if not key or "invalid" in key or (self._api_key is not None and key != self._api_key):
            raise APIError(401, "invalid x-api-key")
