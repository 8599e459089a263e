"""Calls with a single response, under a client's rate limiter and retry policy: everything except streamed replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ._attempts import AttemptRules, Attempts, Observer
from ._config import ClientConfig
from ._errors import ConfigurationError
from ._messages import Message
from ._retry import Deadline
from ._server_limits import Need
from ._stream import parse_reply, read_error, read_object, request_id_of
from ._transport import HTTPTransport, WireResponse

_Result = TypeVar("_Result")


class Calls:
    """A sender of requests that also reads their responses.

    All methods must run on the client's event loop, and raise `ClaudeError`s.

    Args:
        config: The client's settings.
        transport: Opens responses.
        rules: The client's limiter and retry policy.
        is_lacking_key: The server requires a key, and none is set.

    Attributes:
        rules: The client's limiter and retry policy.
    """

    def __init__(
        self, config: ClientConfig, transport: HTTPTransport, rules: AttemptRules, *, is_lacking_key: bool
    ) -> None:
        self.rules = rules
        self._transport = transport
        self._base_url = config.base_url
        self._is_lacking_key = is_lacking_key
        # Once the timeout for the response, and once for everything else.
        self._timeout = min(2 * config.timeout, config.stream_timeout)

    async def call(
        self,
        method: str,
        path: str,
        parse: Callable[[dict[str, Any]], _Result],
        body: bytes | None = None,
        observer: Observer | None = None,
        *,
        betas: Sequence[str] = (),
        need: Need | None = None,
        rules: AttemptRules | None = None,
    ) -> _Result:
        """Send a request, and return the result of `parse` for the JSON object in the response.

        Args:
            method: HTTP method.
            path: Path, with query.
            parse: Raises a `ValueError` or `KeyError` for an object of the wrong kind.
            body: Request body, or None.
            observer: Called with a record of each step.
            betas: Beta features that the request needs.
            need: What the request uses of the server's rate limits, or None.
            rules: Rules to use instead of the client's.
        """
        self.require_key()
        attempts = Attempts(rules or self.rules, method, path.partition("?")[0], observer, need)

        async def once() -> _Result:
            with self._deadline() as deadline:
                response = await self._open(attempts, deadline, method, path, body, betas)
                return parse_reply(response, await deadline.bound(read_object(response)), parse)

        result = await attempts.run(once)
        attempts.succeed(result.usage if isinstance(result, Message) else None)
        return result

    async def open(self, path: str, observer: Observer | None = None) -> tuple[WireResponse, Attempts]:
        """Send a GET request and return the open response. The caller closes it, and reports how the attempt ended."""
        self.require_key()
        attempts = Attempts(self.rules, "GET", path, observer)

        async def once() -> WireResponse:
            with self._deadline() as deadline:
                return await self._open(attempts, deadline, "GET", path)

        return await attempts.run(once), attempts

    def require_key(self) -> None:
        """Check that there is a key if the server requires one.

        Raises:
            ConfigurationError: The server requires a key, and none is set.
        """
        if self._is_lacking_key:
            raise ConfigurationError(
                f"No API key: {self._base_url} needs one. Set ANTHROPIC_API_KEY where Jupyter starts, "
                "or type `%claude login`."
            )

    def _deadline(self) -> Deadline:
        return Deadline(self._timeout, setting="timeout", is_transient=True)

    async def _open(
        self,
        attempts: Attempts,
        deadline: Deadline,
        method: str,
        path: str,
        body: bytes | None = None,
        betas: Sequence[str] = (),
    ) -> WireResponse:
        response = await deadline.bound(self._transport.open(method, path, body, betas))
        attempts.response_started(response.status, request_id_of(response.headers), response.headers)
        if response.status != 200:
            raise await read_error(response)
        return response
