"""Calls that are answered in one piece, under the limiter and the retry policy of a client: all but streamed replies."""

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
    """Sends requests and reads what answers them. All methods belong to the client's event loop, and raise `ClaudeError`s.

    Args:
        config: The settings of the client.
        transport: Opens responses.
        rules: The limiter and the retry policy of the client.
        is_lacking_key: Nothing can be sent without a key, and there is none.

    Attributes:
        rules: Likewise.
    """

    def __init__(
        self, config: ClientConfig, transport: HTTPTransport, rules: AttemptRules, *, is_lacking_key: bool
    ) -> None:
        self.rules = rules
        self._transport = transport
        self._base_url = config.base_url
        self._is_lacking_key = is_lacking_key
        # One full wait for the answer, and one for everything around it.
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
        """Send a request, and return what `parse` makes of the JSON object that answers it.

        Args:
            method: HTTP method.
            path: Path, with its query.
            parse: Raises a `ValueError` or `KeyError` for an object that answers something else.
            body: What is sent, or None.
            observer: Called with a record of each step.
            betas: Beta features that it needs.
            need: What it takes of the server's limits, or None.
            rules: Others than those of the client.
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
        """Get what is read as it comes. Who reads it closes the response, and says how the attempt ended."""
        self.require_key()
        attempts = Attempts(self.rules, "GET", path, observer)

        async def once() -> WireResponse:
            with self._deadline() as deadline:
                return await self._open(attempts, deadline, "GET", path)

        return await attempts.run(once), attempts

    def require_key(self) -> None:
        """Refuse to send anything without a key.

        Raises:
            ConfigurationError: There is none, and the server needs one.
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
