"""The most that a request can cost, told before it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..client import MessageRequest
from ._models import facts_of
from ._prices import WEB_SEARCH, Price, dearest_model, price_of, surcharge, usd

_TIER_MARGIN: Final = 1.05
"""The server's count is an estimate: this near to a dearer tier, the request counts as belonging to it."""

_IMAGE_TOKENS: Final = 4784
"""The largest image, after the server has shrunk it."""
_HIDDEN_TOKENS: Final = 2000
"""What the server adds on its own, such as its instructions for tools."""
_UNKNOWN_SIZE: Final = 10**9
"""Of a PDF, or of something behind an address: only the context window bounds it."""

_SERVER_TOOLS: Final = ("web_search", "web_fetch", "code_execution", "tool_search", "mcp_toolset", "advisor")
_USUAL_MAX_USES: Final = 10
"""Rounds after which the server pauses its own tools."""
_TOKENS_PER_USE: Final = 10_000
"""What one use of a server's tool is taken to find. A documented search found 8,000; no bound is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """What a request costs if everything goes as dearly as it can.

    Attributes:
        input_tokens: Its input.
        output_tokens: Its `max_tokens`.
        attempts: How often it may be sent, and billed.
        per_attempt: USD for one of them.
        is_counted: The server has counted the input; otherwise it is an upper bound of our own.
    """

    input_tokens: int
    output_tokens: int
    attempts: int
    per_attempt: float
    is_counted: bool

    @property
    def total(self) -> float:
        """USD for all attempts."""
        return self.per_attempt * self.attempts


def worst_case(request: MessageRequest, counted_tokens: int | None, *, attempts: int) -> WorstCase | None:
    """Return the worst case of a request, or None where one of the models that may take part has no price.

    Models that are asked when the first declines may each be billed for an answer; one that gives advice reads all there is
    by then, each time.

    Args:
        request: What is about to be sent.
        counted_tokens: Its input as the server has counted it, or None if it has not.
        attempts: Most attempts that the retry policy allows.
    """
    tokens = _bound_of_input(request) if counted_tokens is None else counted_tokens
    uses = [_max_uses(tool) for tool in request.tools or () if _is_server_tool(tool)]
    tokens = _with_findings(tokens, sum(uses))
    prices = [price_of(model, round(tokens * _TIER_MARGIN)) for model in models_of(request)]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    cost = sum(
        usd(tokens, _dearest_input(price, request)) + usd(output, price.output)
        for price, output in zip(known, _outputs(request), strict=True)
    )
    extra = request.model_extra or {}
    return WorstCase(
        input_tokens=tokens,
        output_tokens=request.max_tokens,
        attempts=attempts,
        per_attempt=cost * surcharge(extra.get("speed"), extra.get("inference_geo")) + _search_fees(request),
        is_counted=counted_tokens is not None,
    )


def models_of(request: MessageRequest) -> list[str]:
    """Return the models that may be billed for a request: the one that is asked, those that stand in for it, and advisors."""
    return [request.model, *(model for model, _ in _others(request))]


def _outputs(request: MessageRequest) -> list[int]:
    """Return how much each of `models_of` may write, in model tokens."""
    return [request.max_tokens, *(output for _, output in _others(request))]


def _others(request: MessageRequest) -> Iterator[tuple[str, int]]:
    fallbacks = (request.model_extra or {}).get("fallbacks")
    if isinstance(fallbacks, str):  # the server chooses
        yield dearest_model(), request.max_tokens
    for entry in fallbacks if isinstance(fallbacks, list | tuple) else ():
        if isinstance(entry, Mapping):
            yield str(entry.get("model")), _int_of(entry.get("max_tokens")) or request.max_tokens
    for tool in request.tools or ():
        if str(tool.get("type") or "").startswith("advisor"):
            model = str(tool.get("model"))
            facts = facts_of(model)
            most = _int_of(tool.get("max_tokens")) or (0 if facts is None else facts.max_output_tokens)
            yield from [(model, most)] * _max_uses(tool)


def _int_of(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _dearest_input(price: Price, request: MessageRequest) -> float:
    """The price of input that is written to the cache, where the request asks for that."""
    lifetimes = {
        str(control.get("ttl") or "5m") for control in _cache_controls(request.to_body(stream=False))
    }
    if "1h" in lifetimes:
        return max(price.input, price.write_1h)
    return max(price.input, price.write_5m) if lifetimes else price.input


def _cache_controls(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        control = value.get("cache_control")
        if isinstance(control, Mapping):
            yield control
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from _cache_controls(item)


def _bound_of_input(request: MessageRequest) -> int:
    """An upper bound without the server's help: no token of text is shorter than a byte."""
    bound = _HIDDEN_TOKENS + _bound_of(request.count_tokens_body())
    facts = facts_of(request.model)
    return bound if facts is None else min(bound, facts.context_window)


def _bound_of(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        kind = value.get("type")
        if kind == "image":
            return _IMAGE_TOKENS
        if kind == "document" and not _is_text(value.get("source")):
            return _UNKNOWN_SIZE
        return sum(_bound_of(name) + _bound_of(item) for name, item in value.items())
    if isinstance(value, Sequence):
        return sum(map(_bound_of, value))
    return len(str(value))


def _is_text(source: Any) -> bool:
    return isinstance(source, Mapping) and source.get("type") in ("text", "content")


def _is_server_tool(tool: Mapping[str, Any]) -> bool:
    return str(tool.get("type") or "").startswith(_SERVER_TOOLS)


def _max_uses(tool: Mapping[str, Any]) -> int:
    uses = tool.get("max_uses")
    return uses if isinstance(uses, int) and uses > 0 else _USUAL_MAX_USES


def _with_findings(tokens: int, uses: int) -> int:
    """Add what the server's tools find: after each use, all that there is by then is input once more."""
    return tokens * (uses + 1) + _TOKENS_PER_USE * uses * (uses + 1) // 2


def _search_fees(request: MessageRequest) -> float:
    searches = [tool for tool in request.tools or () if str(tool.get("type")).startswith("web_search")]
    return WEB_SEARCH * sum(map(_max_uses, searches))
