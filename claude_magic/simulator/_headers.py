"""What a request's headers must say."""

from __future__ import annotations

from ._errors import APIError, invalid
from ._exchange import Request

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
VERSIONS = (OLD_VERSION, NEW_VERSION)

KNOWN_BETAS = frozenset(
    {
        "advisor-tool-2026-03-01",
        "cache-diagnosis-2026-04-07",
        "code-execution-2025-05-22",
        "code-execution-2025-08-25",
        "compact-2026-01-12",
        "compact-2026-09-04",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "effort-2025-11-24",
        "extended-cache-ttl-2025-04-11",
        "fast-mode-2026-02-01",
        "files-api-2025-04-14",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "managed-agents-2026-04-01",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "message-batches-2024-09-24",
        "message-threads-2026-08-12",
        "oauth-2025-04-20",
        "oidc-federation-2026-04-01",
        "output-300k-2026-03-24",
        "pdfs-2024-09-25",
        "prompt-caching-2024-07-31",
        "server-side-fallback-2026-07-01",
        "skills-2025-10-02",
        "structured-outputs-2025-11-13",
        "thinking-binding-controls-2026-08-01",
        "thinking-display-updates-2026-08-18",
        "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19",
        "user-profiles-billing-2026-10-01",
        "web-fetch-2025-09-10",
    }
)


def authenticate(request: Request, api_key: str | None) -> str:
    """The key of a request.

    Args:
        request: The request.
        api_key: The only key that is right; by default any is that does not contain "invalid".

    Raises:
        APIError: 401, there is none, or it is wrong.
    """
    if "x-api-key" in request.headers:  # wins when both are sent
        key, complaint = request.headers["x-api-key"], "invalid x-api-key"
    else:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key, complaint = key if scheme.lower() == "bearer" else "", "invalid bearer token"
        if not key:
            raise APIError(401, "x-api-key header is required")
    if not key or "invalid" in key or (api_key is not None and key != api_key):
        raise APIError(401, complaint)
    return key


def api_version(request: Request) -> str:
    """The version of the API that the request speaks."""
    version = request.headers.get("anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(
            f'anthropic-version: "{version}" is not a valid version. Use one of {", ".join(VERSIONS)}.'
        )
    return version


def betas(request: Request) -> frozenset[str]:
    """The beta features that the request asks for."""
    header = request.headers.get("anthropic-beta", "")
    wanted = [value.strip() for value in header.split(",") if value.strip()]
    unknown = [value for value in wanted if value not in KNOWN_BETAS]
    if unknown:
        values = ", ".join(f"`{value}`" for value in unknown)
        raise invalid(f"Unexpected value(s) {values} for the `anthropic-beta` header.")
    return frozenset(wanted)


def check_json(request: Request) -> None:
    """The body is a JSON object, and says so."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        sent = f"`{media_type}`" if media_type else "none"
        raise invalid(f"content-type: `application/json` is required, but the request has {sent}")
    if request.headers.get("content-encoding", "identity") != "identity":
        code = {"error_code": "request_body_encoding_unsupported"}
        raise APIError(400, "The simulator reads no compressed request bodies.", details=code)
    if request.body is None:
        raise invalid("The request body is not valid JSON")
    if not isinstance(request.body, dict):
        raise invalid("Input should be a valid dictionary or object to extract fields from")
