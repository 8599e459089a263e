"""The Messages API of Claude in plain asyncio: client, limiter, retry policy, messages and events.

Usable in any script. It knows nothing of IPython, holds no global state, and reads no environment of its own.
"""

from __future__ import annotations

import logging

from ._attempts import AttemptFinished, AttemptStarted, ClientEvent, LimiterWaiting, Observer, ResponseStarted
from ._batches import (
    MAX_BATCH_BYTES,
    MAX_BATCH_REQUESTS,
    BatchResult,
    MessageBatch,
    MessageBatches,
    batch_body,
    batch_entry,
    may_be_created,
)
from ._client import ClaudeClient, Health, HTTPClaudeClient, RequestPreview, preview_request
from ._config import OFFICIAL_BASE_URL, REDACTED, ClientConfig, Credential, is_loopback, normalise_base_url
from ._error_reading import error_from_event, error_from_response
from ._errors import (
    APIError,
    BillingError,
    ClaudeError,
    ConfigurationError,
    ForbiddenError,
    InvalidApiKeyError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
    UnknownStatusError,
)
from ._events import (
    BlockBuilder,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorEvent,
    MessageAccumulator,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    StreamEvent,
    UnknownEvent,
    decode_event,
)
from ._json import encode_json, mended
from ._messages import (
    Completion,
    ContentBlock,
    Message,
    ModelInfo,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
    estimate_tokens,
    fallback_model,
)
from ._pace import ClassRecord, PacedLimit, PaceState, ServerPace
from ._rate_limit import BucketState, LimiterReason, TokenBucket
from ._requests import MessageRequest, RequestKeys, request_key
from ._retry import GiveUp, Retry, RetryPolicy, parse_retry_after, retry_after_from_headers
from ._server_limits import ServerLimit, model_class, read_limits
from ._sse import ServerSentEvent, SSEDecoder
from ._stream import MessageStream, ResponseInfo

__all__ = [
    "BatchResult",
    "BlockBuilder",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_REQUESTS",
    "OFFICIAL_BASE_URL",
    "REDACTED",
    "APIError",
    "BillingError",
    "AttemptFinished",
    "AttemptStarted",
    "BucketState",
    "ClassRecord",
    "ClaudeClient",
    "ClaudeError",
    "ClientConfig",
    "ClientEvent",
    "Completion",
    "ConfigurationError",
    "ContentBlock",
    "ContentBlockDelta",
    "ContentBlockStart",
    "ContentBlockStop",
    "Credential",
    "ErrorEvent",
    "ForbiddenError",
    "GiveUp",
    "HTTPClaudeClient",
    "Health",
    "InvalidApiKeyError",
    "InvalidRequestError",
    "LimiterWaiting",
    "Message",
    "MessageAccumulator",
    "MessageBatch",
    "MessageBatches",
    "MessageDelta",
    "MessageRequest",
    "MessageStart",
    "MessageStop",
    "MessageStream",
    "ModelInfo",
    "NetworkError",
    "NotFoundError",
    "Observer",
    "OverloadedError",
    "PaceState",
    "PacedLimit",
    "Ping",
    "RateLimitError",
    "RedactedThinkingBlock",
    "RequestKeys",
    "RequestPreview",
    "RequestTimeoutError",
    "ResponseInfo",
    "ResponseStarted",
    "Retry",
    "RetryPolicy",
    "SSEDecoder",
    "ServerError",
    "ServerLimit",
    "ServerPace",
    "ServerSentEvent",
    "StreamEvent",
    "StreamInterruptedError",
    "TextBlock",
    "ThinkingBlock",
    "TokenBucket",
    "ToolUseBlock",
    "UnknownEvent",
    "UnknownStatusError",
    "Usage",
    "LimiterReason",
    "batch_body",
    "batch_entry",
    "decode_event",
    "encode_json",
    "error_from_event",
    "error_from_response",
    "estimate_tokens",
    "fallback_model",
    "may_be_created",
    "mended",
    "is_loopback",
    "model_class",
    "normalise_base_url",
    "parse_retry_after",
    "preview_request",
    "read_limits",
    "request_key",
    "retry_after_from_headers",
]

logging.getLogger("claude_magic").addHandler(logging.NullHandler())
