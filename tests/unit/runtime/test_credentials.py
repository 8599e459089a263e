"""The credential in use, its source, and its redaction."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from claude_magic.client import ConfigurationError
from claude_magic.runtime import _connection
from claude_magic.runtime._connection import Connector, FoundCredential, redact_key
from claude_magic.runtime._settings import Settings, SettingsFiles

KEY = "sk-ant-secret-0123456789"
NOWHERE = Path("/nonexistent")


@pytest.fixture(autouse=True)
def stores(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A fake keyring and fake Colab secrets."""
    secrets: dict[str, str] = {}
    keyring = types.ModuleType("keyring")
    keyring.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]  # find_spec wants one
    keyring.get_password = lambda _service, _user: secrets.get("keyring")  # type: ignore[attr-defined]
    userdata = types.ModuleType("google.colab.userdata")
    userdata.get = lambda _name: secrets.get("colab")  # type: ignore[attr-defined]
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "google.colab.userdata", userdata)
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    return secrets


def connector_with(home: Path = NOWHERE, **variables: str) -> Connector:
    """Return a connector with these environment variables, and the folder of the user's settings files."""
    return Connector({"XDG_CONFIG_HOME": str(home), "APPDATA": str(home), **variables}, SettingsFiles())


def find(home: Path = NOWHERE, **variables: str) -> FoundCredential | None:
    return connector_with(home, **variables).find_credential()


def notes_of(connector: Connector) -> list[str]:
    """Return the errors of the secret stores, as `%claude status` shows them."""
    return list(connector.notes(Settings().client_config(), None))


def test_f1_the_first_credential_in_the_documented_order_wins(tmp_path: Path, stores: dict[str, str]) -> None:
    """Login, key and token of the environment, the user's file, keyring, Colab: removed one by one."""
    stores |= {"keyring": "key-of-keyring", "colab": "key-of-colab"}
    path = tmp_path / "claude-magic" / "claude-magic.toml"
    path.parent.mkdir()
    path.write_text('api_key = "key-of-file"\n')
    both = {"ANTHROPIC_API_KEY": "key-of-environment", "ANTHROPIC_AUTH_TOKEN": "token-of-environment"}
    connector = connector_with(tmp_path, **both)
    connector.login("key-of-login")

    found = [connector.find_credential(), find(tmp_path, **both)]
    found.append(find(tmp_path, ANTHROPIC_AUTH_TOKEN="token-of-environment"))
    found.append(find(tmp_path))
    found.append(find())
    del stores["keyring"]
    found.append(find())
    del stores["colab"]

    assert [(each.credential.reveal(), each.source) for each in found if each is not None] == [
        ("key-of-login", "%claude login"),
        ("key-of-environment", "environment (ANTHROPIC_API_KEY)"),
        ("token-of-environment", "environment (ANTHROPIC_AUTH_TOKEN)"),
        ("key-of-file", f"file ({path})"),
        ("key-of-keyring", "OS keyring"),
        ("key-of-colab", "Colab's secrets"),
    ]
    assert find() is None


def test_an_empty_variable_is_no_key() -> None:
    """Containers often pass unset variables as empty strings."""
    assert find(ANTHROPIC_API_KEY="", ANTHROPIC_AUTH_TOKEN="") is None


def test_logging_out_forgets_the_key_and_nothing_else() -> None:
    """The credential of the environment is used again."""
    connector = connector_with(ANTHROPIC_API_KEY="other")
    connector.login(KEY)

    assert connector.logout()

    assert not connector.logout()
    found = connector.find_credential()
    assert found is not None
    assert found.credential.reveal() == "other"


@pytest.mark.parametrize("key", ["sk-ant-sec ret", "sk-ant-secret\nsecond line", "sk-ant-sécret", "   "])
def test_o2_a_bad_key_is_an_error_that_names_its_source_and_not_the_key(key: str) -> None:
    """A key pasted as two lines is rejected before an HTTP layer can quote it."""
    with pytest.raises(ConfigurationError, match=r"API key .*environment \(ANTHROPIC_API_KEY\)") as raised:
        find(ANTHROPIC_API_KEY=key)
    with pytest.raises(ConfigurationError) as raised_by_login:
        connector_with().login(key)

    for error in (raised.value, raised_by_login.value):
        assert "sk-ant" not in str(error)
        assert error.__context__ is None


def test_a_key_with_blanks_around_it_is_taken() -> None:
    """A trailing newline, as `echo` leaves it in files, is not worth an error."""
    found = find(ANTHROPIC_API_KEY=f" {KEY}\n")

    assert found is not None
    assert found.credential.reveal() == KEY


def test_a_keyring_that_fails_is_noted_and_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, stores: dict[str, str]
) -> None:
    """The other sources still work. Its message is not repeated, because it could contain a secret."""

    def fail(_service: str, _user: str) -> str:
        raise OSError(f"cannot decrypt {KEY}")

    monkeypatch.setattr(sys.modules["keyring"], "get_password", fail)
    stores["colab"] = KEY
    connector = connector_with()

    found = connector.find_credential()

    assert found is not None
    assert found.source == "Colab's secrets"
    assert notes_of(connector) == ["OS keyring: no key could be read (OSError)."]


def test_a_keyring_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked keyring may wait for a dialog that is not visible; the cell continues without it."""
    import threading

    forever = threading.Event()
    monkeypatch.setattr(sys.modules["keyring"], "get_password", lambda *_: forever.wait(60) and None)
    monkeypatch.setattr(_connection, "_LOOKUP_TIMEOUT", 0.01)
    connector = connector_with()

    assert connector.find_credential() is None
    assert notes_of(connector) == ["OS keyring: no key could be read (TimeoutError)."]
    forever.set()


def test_the_stores_are_asked_once_and_only_where_nothing_else_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A keyring can be slow, and can open dialogs."""
    asked: list[str] = []
    monkeypatch.setattr(sys.modules["keyring"], "get_password", lambda service, _user: asked.append(service))
    find(ANTHROPIC_API_KEY=KEY)
    assert asked == []
    connector = connector_with()
    connector.find_credential()
    connector.find_credential()
    assert asked == ["claude-magic"]
    connector.logout()
    connector.find_credential()
    assert len(asked) == 2


def test_o2_a_credential_prints_as_redacted() -> None:
    """Neither repr, str, format nor the fields of its container show the key."""
    connector = connector_with()
    connector.login(KEY)

    for thing in (connector.find_credential(), connector.given, vars(connector)):
        assert KEY not in f"{thing!r} {thing!s}"


def test_o2_text_that_quotes_a_key_is_redacted() -> None:
    """The key in force in any format, and all text that looks like an API key."""
    found = find(ANTHROPIC_API_KEY="gateway-password")

    assert redact_key(f"no: gateway-password, {KEY}.", found) == "no: [REDACTED], [REDACTED]."
    assert redact_key(f"no: {KEY}.", None) == "no: [REDACTED]."
