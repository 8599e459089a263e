"""What a request would look like on the wire, without its secrets, and without sending it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._config import ClientConfig
from ._credential import REDACTED, Credential
from ._json import decode_json
from ._requests import MessageRequest
from ._transport import request_headers


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPreview:
    """A request for a streamed reply, for people to look at.

    Attributes:
        method: HTTP method.
        url: Where it would go.
        headers: Names and values, in the order in which they are sent; credentials are `[REDACTED]`.
        body: The JSON object, as a server would read it.
        body_bytes: Its length on the wire.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: dict[str, Any]
    body_bytes: int


def preview_request(
    config: ClientConfig, credential: Credential | None, request: MessageRequest
) -> RequestPreview:
    """Return what `stream_message` would send.

    Args:
        config: The client's settings. Values of headers of the user's own are not shown, because gateways put secrets
            into them.
        credential: The key, which is not shown, or None.
        request: The request.

    Raises:
        ConfigurationError: The request cannot be written as JSON.
    """
    own = {name.lower() for name in config.headers}
    headers = [
        (name, REDACTED if name in own else value)
        for name, value in (
            (raw_name.decode("ascii"), raw_value.decode("ascii"))
            for raw_name, raw_value in request_headers(config, request.betas)
        )
    ]
    if credential is not None:
        is_bearer = credential.is_token or config.auth_header == "authorization"
        headers.append(("authorization", f"Bearer {REDACTED}") if is_bearer else ("x-api-key", REDACTED))
    body = request.to_json(stream=True)
    return RequestPreview(
        method="POST",
        url=config.base_url + config.messages_path,
        headers=tuple(headers),
        body=decode_json(body),
        body_bytes=len(body),
    )
