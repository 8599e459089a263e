"""The preview of a request: exactly the request that would be sent, except for secrets."""

from __future__ import annotations

import pytest

from claude_magic.client import ClientConfig, ConfigurationError, Credential, MessageRequest, preview_request

KEY = "sk-ant-test-0123456789abcdef"
REQUEST = MessageRequest(
    model="claude-sonnet-5-5",
    max_tokens=100,
    messages=[{"role": "user", "content": "Hello"}],
    betas=("some-feature-2026-01-01",),
)


def test_address_headers_and_body_are_those_of_the_request() -> None:
    """The headers include the request's beta features, and the reply would be streamed."""
    preview = preview_request(ClientConfig(), Credential(api_key=KEY), REQUEST)

    assert (preview.method, preview.url) == ("POST", "https://api.anthropic.com/v1/messages")
    headers = dict(preview.headers)
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == "some-feature-2026-01-01"
    assert preview.body == REQUEST.to_body(stream=True)
    assert preview.body_bytes == len(REQUEST.to_json(stream=True))


@pytest.mark.parametrize(
    ("config", "credential", "header"),
    [
        (ClientConfig(), Credential(api_key=KEY), ("x-api-key", "[REDACTED]")),
        (
            ClientConfig(auth_header="authorization"),
            Credential(api_key=KEY),
            ("authorization", "Bearer [REDACTED]"),
        ),
        (ClientConfig(), Credential(auth_token=KEY), ("authorization", "Bearer [REDACTED]")),
    ],
)
def test_the_credential_is_not_in_the_preview(
    config: ClientConfig, credential: Credential, header: tuple[str, str]
) -> None:
    """Only a placeholder in its position."""
    preview = preview_request(config, credential, REQUEST)

    assert header in preview.headers
    assert KEY not in repr(preview)


def test_values_of_custom_headers_are_redacted() -> None:
    """Gateways accept secrets in them."""
    config = ClientConfig(headers={"X-Gateway-Secret": "hush"})

    preview = preview_request(config, None, REQUEST)

    assert ("x-gateway-secret", "[REDACTED]") in preview.headers
    assert "hush" not in repr(preview)
    assert "x-api-key" not in dict(preview.headers)


def test_a_request_that_cannot_be_sent_has_no_preview() -> None:
    """The error is the same as when sending."""
    unsendable = REQUEST.model_copy(update={"messages": [{"role": "user", "content": object()}]})

    with pytest.raises(ConfigurationError, match="JSON"):
        preview_request(ClientConfig(), None, unsendable)
