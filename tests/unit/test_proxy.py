"""The proxy from the environment for a server: variables, formats and exemptions."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ConfigurationError
from claude_magic.client._connections import is_exempt, proxy_for

API = "https://api.anthropic.com"
PROXY = "http://proxy.test:3128"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def without_socksio(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "socksio" else find(name, *more)
    )


@pytest.mark.parametrize(
    ("base_url", "variables", "variable"),
    [
        (API, {}, None),
        (API, {"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        (API, {"https_proxy": PROXY}, "https_proxy"),
        (API, {"HTTPS_PROXY": "http://other.test", "https_proxy": PROXY}, "https_proxy"),
        (API, {"HTTP_PROXY": PROXY}, None),
        (API, {"ALL_PROXY": PROXY}, "ALL_PROXY"),
        (API, {"all_proxy": PROXY, "HTTP_PROXY": "http://other.test"}, "all_proxy"),
        (API, {"ALL_PROXY": "gopher://nonsense", "HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        (API, {"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, "ALL_PROXY"),
        (API, {"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com,.local"}, "HTTPS_PROXY"),
        ("http://gateway.test:4000", {"HTTP_PROXY": PROXY, "HTTPS_PROXY": "socks5://s"}, "HTTP_PROXY"),
        ("http://gateway.test:4000", {"HTTPS_PROXY": PROXY}, None),
    ],
)
def test_the_variable_for_the_servers_scheme_applies(
    base_url: str, variables: dict[str, str], variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the scheme's own variable, else ALL_PROXY; lower case first; that of the other scheme does not matter."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    proxy = proxy_for(base_url)

    assert (None if proxy is None else (proxy.variable, proxy.url, proxy.address)) == (
        None if variable is None else (variable, PROXY, "proxy.test:3128")
    )


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("proxy.test:3128", "proxy.test:3128"),
        ("proxy.test", "proxy.test"),
        (" http://proxy.test:3128/ ", "proxy.test:3128"),
        ("http://user:p%40ss@proxy.test:3128", "proxy.test:3128"),
        ("https://[fd00::1]:3128", "[fd00::1]:3128"),
        ("HTTP://Proxy.test:1", "proxy.test:1"),
    ],
)
def test_the_usual_formats_of_an_address_are_accepted(
    value: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: with or without scheme, login and blanks; the displayed address has no password."""
    monkeypatch.setenv("HTTPS_PROXY", value)

    proxy = proxy_for(API)

    assert proxy is not None
    assert proxy.address == address
    assert "p%40ss" not in repr(proxy)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "app.localhost",
        "localhost.",
        "127.0.0.1",
        "127.9.8.7",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
@pytest.mark.parametrize(
    "value", [PROXY, "socks5://user:hunter2@s:1080", "gopher://x", "http://[", "http://h:x"]
)
def test_this_machine_needs_no_proxy_however_it_is_written(
    host: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the demo, and a server on this machine, work with any value of the variables."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, value)

    assert proxy_for(f"http://{host}:8123") is None
    assert proxy_for(f"https://{host}") is None


@pytest.mark.parametrize(
    ("no_proxy", "base_url", "is_none"),
    [
        ("*", API, True),
        ("x.test, *", API, True),
        ("api.anthropic.com", API, True),
        ("API.Anthropic.COM", API, True),
        ("anthropic.com", API, True),
        (".anthropic.com", API, True),
        ("*.anthropic.com", API, True),
        ("a.test anthropic.com", API, True),
        ("nthropic.com", API, False),
        ("api.anthropic.com.evil.test", API, False),
        ("api.anthropic.com:443", API, True),
        ("api.anthropic.com:8443", API, False),
        ("https://api.anthropic.com", API, True),
        ("http://api.anthropic.com", API, False),
        ("https://api.anthropic.com/", API, True),
        ("localhost,127.0.0.1,.local", API, False),
        ("", API, False),
        (",,  ,", API, False),
        (".local", "http://box.local:8000", True),
        ("box.local:8000", "http://box.local:8000", True),
        ("box.local:80", "http://box.local:8000", False),
        ("10.0.0.0/8", "http://10.1.2.3:4000", True),
        ("10.1.2.3/8", "http://10.1.2.3:4000", True),
        ("10.0.0.0/8", "http://11.1.2.3:4000", False),
        ("10.0.0.0/8", "http://10.example.test", False),
        ("10.1.2.3", "http://10.1.2.3:4000", True),
        ("10.1.2.3:4000", "http://10.1.2.3:4000", True),
        ("10.1.2.3:4001", "http://10.1.2.3:4000", False),
        ("10.*", "http://10.1.2.3:4000", True),
        ("fd00::/8", "http://[fd00::5]:4000", True),
        ("fd00::5", "http://[fd00::5]:4000", True),
        ("[fd00::5]", "http://[fd00::5]:4000", True),
        ("[fd00::5]:4000", "http://[fd00::5]:4000", True),
        ("[fd00::5]:4001", "http://[fd00::5]:4000", False),
        ("999.0.0.0/8,[,http://,:80,/", API, False),
    ],
)
def test_hosts_in_no_proxy_are_reached_directly(
    no_proxy: str, base_url: str, is_none: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the formats of curl, Go and Python are supported, and no other variable is read then."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, PROXY)
    monkeypatch.setenv("no_proxy", no_proxy)

    assert (proxy_for(base_url) is None) is is_none

    if is_none:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, "socks5://user:hunter2@nowhere")
        assert proxy_for(base_url) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://user:hunter2@s.test:1080", ["SOCKS", "s.test:1080", "pip install socksio"]),
        ("socks5h://user:hunter2@s.test:1080", ["SOCKS", "pip install socksio"]),
        ("socks4://user:hunter2@s.test:1080", ["socks4", "socks5"]),
        ("socks://user:hunter2@s.test:1080", ["'socks'", "socks5"]),
        ("gopher://user:hunter2@s.test", ["gopher"]),
        ("http://user:hunter2@s.test:port", ["http://host:port"]),
        ("http://user:hunter2@s.test:99999", ["http://host:port"]),
        ("http://user:hunter2@[::1", ["http://host:port"]),
        ("http://user:hunter2@", ["http://host:port"]),
        ("http://user:hunter2@a b", ["http://host:port"]),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_an_unusable_proxy_is_a_clear_error(
    variable: str, value: str, said: list[str], monkeypatch: pytest.MonkeyPatch, without_socksio: None
) -> None:
    """Promise: the error names the variable and two ways to fix it, but not the password."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        proxy_for(API)

    for part in (variable, "NO_PROXY", "api.anthropic.com", *said):
        assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)


@given(value=st.text(max_size=30), no_proxy=st.text(max_size=30))
def test_no_value_of_a_variable_causes_another_error(value: str, no_proxy: str) -> None:
    """Promise: any value gives a proxy, none, or an error with advice."""
    is_exempt(no_proxy, "https", "api.anthropic.com", None)
    clean = value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", clean)
        outcome: Any
        try:
            outcome = proxy_for(API)
        except ConfigurationError as error:
            outcome = error
    assert outcome is None or "HTTPS_PROXY" in repr(outcome)
