"""The client's settings, and the credential that is never printed."""

from __future__ import annotations

import base64
import copy
import pickle
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ClientConfig, ConfigurationError, Credential, is_loopback

KEY = "sk-ant-api03-very-secret-value"


def test_c2_c3_r2_defaults_are_those_of_the_requirements() -> None:
    """Promise: the documented defaults."""
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
    """Promise: a pasted URL works, without a doubled /v1."""
    assert ClientConfig(base_url=given_url).base_url == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "https://"),
        ("localhost:8080", "http://localhost"),
        ("api.anthropic.com", "https://"),
        ("ftp://host.example", "https://"),
        ("https://", "not the URL"),
        ("https://user:secret@host.example", "user name or password"),
        ("https://host.example?key=secret", "query"),
        ("https://host.example/#frag", "fragment"),
        ("https://host.example:99999/secret/path", "not the URL"),
        ("https://host.example:port", "not the URL"),
        ("https://host.example:0", "not the URL"),
        ("https://[::1", "not the URL"),
        ("https://host .example", "space"),
        ("https://höst.example", "character"),
        ("https://host.example\\path", "character"),
        ("https://host\n.example", "character"),
    ],
)
def test_an_invalid_base_url_is_rejected_without_quoting_secrets(value: str, said: str) -> None:
    """Promise: a ConfigurationError that explains the problem, without the URL's password or query."""
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
        {"max_retries": 101},
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
    """Promise: the client raises no pydantic error, and quotes no header value."""
    with pytest.raises(ConfigurationError) as caught:
        ClientConfig(**values)

    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None


def test_s1_the_path_of_the_streaming_call_is_a_setting() -> None:
    """Promise: a gateway that serves another path can be used."""
    assert ClientConfig(messages_path="/v1/messages/stream").messages_path == "/v1/messages/stream"


def test_o2_extra_headers_are_not_printed() -> None:
    """Promise: gateways put secrets into custom headers, so the repr does not show them."""
    assert KEY not in repr(ClientConfig(headers={"x-gateway": KEY}))


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("x-gw", "Bearer gwsecret-ABCDEFGH12345678", "gwsecret-ABCDEFGH12345678"),
        ("cf-access-client-secret", "correct-horse-battery", "correct-horse-battery"),
        ("x-portkey-api-key", "abcdefgh", "abcdefgh"),
        ("x-tenant", "550e8400-e29b-41d4-a716-44665544000f", "550e8400-e29b-41d4-a716-44665544000f"),
        ("accept-language", "en-GB, de;q=0.8", None),
        ("x-format", "application/json; charset=utf-8", None),
        ("x-provider", "anthropic", None),
        ("x-model", "us.anthropic.claude-haiku-5-5-20260101-v1:0", None),
        ("x-title", "Notebook of the research group 2026-11-29", None),
        ("referer", "https://example.com/team/notes", None),
        ("x-api-key-id", "12345678", None),
        ("x-api-key-name", "ours", None),
    ],
)
def test_o2_secrets_in_headers_are_told_from_ordinary_values(
    name: str, value: str, secret: str | None
) -> None:
    """Ordinary values may be words of an answer, so they are not redacted there."""
    assert ClientConfig(headers={name: value}).secrets == (() if secret is None else (secret,))


def test_o2_a_key_in_the_path_of_base_url_is_not_shown() -> None:
    """Some gateways expect one there. It is sent unchanged."""
    config = ClientConfig(base_url=f"https://gw.example.com/team/{KEY}/anthropic/v1")

    assert config.base_url == f"https://gw.example.com/team/{KEY}/anthropic"
    assert config.shown_base_url == "https://gw.example.com/team/[REDACTED]/anthropic"
    assert KEY not in repr(config)
    assert config.secrets == (KEY,)
    for url in ("https://gw.example.com/proxy/anthropic-production", "http://localhost:11434"):
        assert ClientConfig(base_url=url).shown_base_url == url
        assert ClientConfig(base_url=url).secrets == ()


def test_o2_other_secrets_are_found_with_the_key() -> None:
    """In the same forms; the credential itself stays as it is."""
    credential = Credential(api_key=KEY)
    secret = "gwsecret-ABCDEFGH12345678"
    hiding = credential.hiding((secret,))
    encoded = base64.b64encode(secret.encode()).decode()

    for text in (secret, secret.upper(), quote(secret), encoded, f"{secret[:18]}…"):
        assert "[REDACTED]" in hiding.redact(f"The header was {text}.")
        assert hiding.spans_in(text) != []
        assert credential.redact(text) == text
    assert hiding.redact("the gwsecret of ABCDEFGH") == "the gwsecret of ABCDEFGH"
    assert hiding.redact(KEY) == "[REDACTED]"
    assert hiding.reveal() == KEY
    assert credential.hiding((secret,)) is hiding
    assert credential.hiding(()) is credential
    assert Credential(auth_token=KEY).hiding((secret,)).is_token


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
def test_a_key_over_plain_http_is_detected(url: str, in_clear: bool) -> None:
    """Promise: the status can warn if a key would be sent unencrypted."""
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
    """Promise: no other host does."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "value", ["", "  ", "sk-ant-a b", "sk-ant-a\nb", "sk-ant-ä", "sk-ant-\x00a", "sk-ant-\u200ba"]
)
def test_o2_an_invalid_key_is_rejected_without_being_shown(value: str) -> None:
    """Promise: newline, space and non-ASCII are detected before the HTTP layer, which would quote them."""
    with pytest.raises(ConfigurationError) as caught:
        Credential(api_key=value)

    assert "sk-ant" not in str(caught.value)


def test_a_key_is_stripped() -> None:
    """Promise: a newline from copying does not matter."""
    assert Credential(api_key=f" {KEY}\n").reveal() == KEY


def test_exactly_one_credential_is_required() -> None:
    """Promise: both and none raise."""
    with pytest.raises(ConfigurationError):
        Credential()
    with pytest.raises(ConfigurationError):
        Credential(api_key=KEY, auth_token="token")


def test_o2_a_credential_reveals_nothing() -> None:
    """Promise: repr, str, format and vars hide the value; pickling and copying raise."""
    credential = Credential(auth_token=KEY)

    for shown in (repr(credential), str(credential), f"{credential}", f"{[credential]}"):
        assert KEY not in shown
        assert "[REDACTED]" in shown
    assert not hasattr(credential, "__dict__")
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(credential)


def test_o2_text_of_a_server_is_redacted() -> None:
    """Promise: neither this key nor another one of the usual form is quoted from an error."""
    text = Credential(api_key="plain-key-42").redact("got plain-key-42, not sk-ant-api03-abcdefgh")

    assert text == "got [REDACTED], not [REDACTED]"


SECRETS = [
    "sk-ant-api03-q8Zr_Y-0hT5vKxWb2LmN7pQeR4sUoAiCdEfGjH9",
    "gateway+token/with=odd~signs?>1",
    "plain-key-42",
]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


QUOTATIONS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "percent-encoded": lambda key: quote(key, safe=""),
    "every character percent-encoded": lambda key: "".join(f"%{ord(char):02x}" for char in key),
    "percent-encoded twice": lambda key: "".join(f"%25{ord(char):02X}" for char in key),
    "escaped as in JSON": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "escaped twice": lambda key: "".join(f"\\\\u{ord(char):04x}" for char in key),
    "escaped slashes": lambda key: key.replace("/", "\\/"),
    "hyphens escaped as in JSON": lambda key: key.replace("-", "\\u002d"),
    "escaped as in Python": lambda key: "".join(f"\\x{ord(char):02x}" for char in key),
    "escaped as in HTML": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "hexadecimal in HTML": lambda key: "".join(f"&#x{ord(char):X};" for char in key),
    "in base64": _base64,
    "in base64 for addresses": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "as basic auth": lambda key: _base64(f"x:{key}"),
    "as basic auth of another user": lambda key: _base64(f"ada:{key}"),
    "in base64 with escaped slashes": lambda key: _base64(f"user:{key}").replace("/", "\\/"),
    "in hexadecimal": lambda key: key.encode().hex(),
}


@pytest.mark.parametrize("name", QUOTATIONS)
@pytest.mark.parametrize("key", SECRETS)
def test_o2_a_key_is_found_in_any_form(key: str, name: str) -> None:
    """Promise: no twelve characters of any form of the key are left, and the other text is unchanged."""
    quoted = QUOTATIONS[name](key)

    text = Credential(auth_token=key).redact(f"Refused: {quoted}, at 100%.")

    assert text.startswith("Refused: ")
    assert "[REDACTED]" in text
    assert text.endswith(", at 100%.")
    assert not any(quoted[at : at + 12] in text for at in range(len(quoted) - 11))


def test_o2_a_part_of_a_long_key_is_found_too() -> None:
    """Promise: ten characters in a row are enough, from the start, the middle or the end."""
    key = SECRETS[0]
    credential = Credential(api_key=key)

    for part in (key[:24], key[-10:], key[20:32], key[14:-1]):
        assert credential.redact(f"It was {part}…") == "It was [REDACTED]…"
    assert credential.redact("Keys begin with sk-ant-api03-.") == "Keys begin with sk-ant-api03-."
    assert credential.redact(f"It ends in {key[-4:]}.") == f"It ends in {key[-4:]}."


def test_o2_a_line_of_a_wrapped_form_is_found() -> None:
    """Promise: base64 in lines of 76 characters, as in mail, reveals nothing useful."""
    key = SECRETS[0]
    wrapped = base64.encodebytes(f"user:{key}:{key}".encode()).decode()

    text = Credential(api_key=key).redact(wrapped)

    assert not any(wrapped[at : at + 16] in text for at in range(len(wrapped) - 15))


def test_o2_text_without_a_key_is_unchanged() -> None:
    """Promise: including its escapes."""
    for text in ("", "a", "50 %, \\u0041 and &#65; &amp; %41", "é" * 20, "\U0001f600 " * 9):
        assert Credential(api_key=SECRETS[0]).redact(text) == text
