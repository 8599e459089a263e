"""What a request's headers must say."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from ._wire import APIError, Request, invalid, read_corpus, split_target

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
VERSIONS = (OLD_VERSION, NEW_VERSION)

_FIRST_PARTY_BETA = "claude-code-20250219"
"""Sent by the Claude Code command-line client, which has features of its own that change with each of its versions."""
_DATED = re.compile(r"[a-z][a-z\d-]*-(\d{8}|\d{4}-\d{2}-\d{2})")

KNOWN_BETAS = frozenset(read_corpus("betas.txt").split())

_LOOPBACK_HOST = re.compile(r"(?P<host>localhost\.?|[\d.]+|\[[\da-f:.]+\])(:\d{1,5})?", re.IGNORECASE)


def foreign_fault(target: str, headers: Mapping[str, str]) -> APIError | None:
    """Why a request is none of this machine's own, or None if it is.

    A page of the web can reach a loopback port: by its browser's address bar, or under a name of its own that it lets
    point here. It cannot choose what the browser says of it: the host that it asked for, and where it comes from.
    """
    url = split_target(target)
    host = url.netloc if url.scheme else headers.get("host", "")  # RFC 9112, section 3.2.2
    for each in (host, headers.get("host", "")):
        if not _is_loopback(each):
            shown = each or "no host"
            return APIError(403, f"Host: {shown} is not this machine. Ask for localhost, 127.0.0.1 or [::1].")
    origin = headers.get("origin")
    if origin is not None:
        scheme, _, where = origin.partition("://")
        if scheme not in ("http", "https") or not _is_loopback(where):
            return APIError(403, f"Origin: {origin} is not this machine.")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and origin is None:
        return APIError(403, "Sec-Fetch-Site: a page of another site asks.")
    return None


def _is_loopback(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine by its very name, whatever name servers say."""
    match = _LOOPBACK_HOST.fullmatch(host)
    if match is None:
        return False
    name = match["host"].lower().strip("[]").removesuffix(".")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


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
    is_first_party = _FIRST_PARTY_BETA in wanted
    unknown = [
        value
        for value in wanted
        if value not in KNOWN_BETAS and not (is_first_party and _DATED.fullmatch(value))
    ]
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
