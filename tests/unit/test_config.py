"""Settings of the client, and the credential that nothing prints."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ClientConfig, ConfigurationError, Credential, is_loopback

KEY = "sk-ant-api03-very-secret-value"


def test_c2_c3_r2_defaults_are_those_of_the_requirements() -> None:
    """Promise: the documented numbers, in one place."""
    config = ClientConfig()

    assert config.base_url == "https://api.anthropic.com"
    assert config.api_version == "2023-06-01"
    assert (config.timeout, config.stream_timeout) == (300.0, 3600.0)
    assert (config.rate_limit_rps, config.rate_limit_capacity) == (10.0, None)
    assert (config.max_retries, config.initial_backoff, config.max_backoff, config.max_retry_time) == (
        3,
        10,
        300,
        300,
    )
    assert config.max_idle_connections == 10


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://api.anthropic.com/", "https://api.anthropic.com"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com"),
        ("https://api.anthropic.com/v1/", "https://api.anthropic.com"),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com"),
        ("https://api.anthropic.com/v1/messages/count_tokens", "https://api.anthropic.com"),
        ("  https://API.Anthropic.com  ", "https://api.anthropic.com"),
        ("HTTP://localhost:11434", "http://localhost:11434"),
        ("http://gateway.example:4000/anthropic/", "http://gateway.example:4000/anthropic"),
        ("http://gateway.example/anthropic/v1", "http://gateway.example/anthropic"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ("https://host.example/v10", "https://host.example/v10"),
        ("https://host.example/serve/Llama", "https://host.example/serve/Llama"),
    ],
)
def test_base_url_is_normalised(given_url: str, expected: str) -> None:
    """Promise: what people paste leads to the right place, with no doubled /v1."""
    assert ClientConfig(base_url=given_url).base_url == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "https://"),
        ("localhost:8080", "http://localhost"),
        ("api.anthropic.com", "https://"),
        ("ftp://host.example", "https://"),
        ("https://", "no URL"),
        ("https://user:secret@host.example", "user name or password"),
        ("https://host.example?key=secret", "query"),
        ("https://host.example/#frag", "fragment"),
        ("https://host.example:99999", "no URL"),
        ("https://host.example:port", "no URL"),
        ("https://host.example:0", "no URL"),
        ("https://[::1", "no URL"),
        ("https://host .example", "space"),
        ("https://höst.example", "character"),
        ("https://host.example\\path", "character"),
        ("https://host\n.example", "character"),
    ],
)
def test_a_base_url_that_cannot_be_right_is_refused_without_quoting_secrets(value: str, said: str) -> None:
    """Promise: a ConfigurationError which says what is wrong, and never the password or query in it."""
    with pytest.raises(ConfigurationError) as caught:
        ClientConfig(base_url=value)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_no_base_url_causes_any_other_error(value: str) -> None:
    """Promise: any text is either a usable URL or a ConfigurationError."""
    try:
        url = ClientConfig(base_url=value).base_url
    except ConfigurationError:
        return
    assert ClientConfig(base_url=url).base_url == url


@pytest.mark.parametrize(
    "values",
    [
        {"timeout": 0},
        {"timeout": "soon"},
        {"timeout": float("nan")},
        {"rate_limit_rps": 0},
        {"rate_limit_rps": float("inf")},
        {"rate_limit_capacity": 0.5},
        {"max_retries": -1},
        {"api_version": "2023-06-01\r\nx: y"},
        {"messages_path": "v1/messages"},
        {"messages_path": "//evil.example/v1"},
        {"messages_path": "/v1/messages?x=1"},
        {"messages_path": "/v1/ messages"},
        {"betas": ("a,b",)},
        {"headers": {"x-api-key": KEY}},
        {"headers": {"Authorization": KEY}},
        {"headers": {"Host": "evil.example"}},
        {"headers": {"bad name": "x"}},
        {"headers": {"x-note": "a\r\nb"}},
        {"headers": {"x-note": "ä"}},
        {"unknown_setting": 1},
        {"auth_header": "cookie"},
    ],
)
def test_every_other_bad_setting_is_a_configuration_error(values: dict[str, Any]) -> None:
    """Promise: no pydantic error leaves the client, and no value of a header is quoted."""
    with pytest.raises(ConfigurationError) as caught:
        ClientConfig(**values)

    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None


def test_s1_the_path_of_the_streaming_call_is_a_setting() -> None:
    """Promise: a gateway that serves another path can be used."""
    assert ClientConfig(messages_path="/v1/messages/stream").messages_path == "/v1/messages/stream"


def test_o2_extra_headers_are_not_printed() -> None:
    """Promise: gateways put secrets into headers of their own, so a config does not show them."""
    assert KEY not in repr(ClientConfig(headers={"x-gateway": KEY}))


@pytest.mark.parametrize(
    ("url", "in_clear"),
    [
        ("https://host.example", False),
        ("http://localhost:8080", False),
        ("http://127.0.0.9:8080", False),
        ("http://[::1]:8080", False),
        ("http://host.example", True),
        ("http://192.168.1.5", True),
    ],
)
def test_a_key_over_plain_http_is_told(url: str, in_clear: bool) -> None:
    """Promise: the status can warn where a key would cross a network unencrypted."""
    assert ClientConfig(base_url=url).sends_key_in_clear is in_clear


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "app.localhost", "127.0.0.1", "127.255.0.1", "::1", "::1%lo"]
)
def test_loopback_hosts_are_known(host: str) -> None:
    """Promise: all names and addresses of this machine count as loopback."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "notlocalhost", "128.0.0.1", "10.0.0.1", "fe80::1"]
)
def test_other_hosts_are_not_loopback(host: str) -> None:
    """Promise: nothing else does."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "value", ["", "  ", "sk-ant-a b", "sk-ant-a\nb", "sk-ant-ä", "sk-ant-\x00a", "sk-ant-\u200ba"]
)
def test_o2_a_key_that_cannot_be_one_is_refused_without_being_shown(value: str) -> None:
    """Promise: newline, space and non-ASCII are caught before the HTTP layer, which would quote them."""
    with pytest.raises(ConfigurationError) as caught:
        Credential(api_key=value)

    assert "sk-ant" not in str(caught.value)


def test_a_key_is_stripped() -> None:
    """Promise: the newline that copying adds does no harm."""
    assert Credential(api_key=f" {KEY}\n").reveal() == KEY


def test_exactly_one_credential_is_wanted() -> None:
    """Promise: two are as wrong as none."""
    with pytest.raises(ConfigurationError):
        Credential()
    with pytest.raises(ConfigurationError):
        Credential(api_key=KEY, auth_token="token")


def test_o2_a_credential_shows_and_gives_away_nothing() -> None:
    """Promise: repr, str, format and vars hide it; pickling and copying are refused."""
    credential = Credential(auth_token=KEY)

    for shown in (repr(credential), str(credential), f"{credential}", f"{[credential]}"):
        assert KEY not in shown
        assert "[REDACTED]" in shown
    assert not hasattr(credential, "__dict__")
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(credential)


def test_o2_text_of_a_server_is_redacted() -> None:
    """Promise: neither the own key nor another one of the usual form is quoted from an error."""
    text = Credential(api_key="plain-key-42").redact("got plain-key-42, not sk-ant-api03-abcdefgh")

    assert text == "got [REDACTED], not [REDACTED]"
