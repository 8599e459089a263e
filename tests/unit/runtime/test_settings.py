"""The sources of settings, their precedence, and the messages about invalid ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from claude_magic.client import ConfigurationError
from claude_magic.runtime._settings import (
    Layer,
    ResolvedSettings,
    Settings,
    SettingsFiles,
    config_layer,
    environment_layer,
    local_file_layer,
    local_file_path,
    option_layer,
    resolve,
    user_file_layer,
    user_file_path,
)

LOCAL = Path("/notebooks/claude-magic.toml")
USER = Path("/home/me/.config/claude-magic/claude-magic.toml")


def from_environment(**variables: str) -> ResolvedSettings:
    return resolve([environment_layer(variables)])


def from_local_file(**content: Any) -> ResolvedSettings:
    return resolve([local_file_layer(LOCAL, content)])


def test_f1_the_first_source_that_has_a_value_wins() -> None:
    """Option, %config, environment, file beside the notebook, user's file, default: removed one by one."""
    layers: list[tuple[str, Layer]] = [
        ("option", option_layer({"model": "by-option"})),
        ("%config", config_layer({"model": "by-config"})),
        ("environment (CLAUDE_MAGIC_MODEL)", environment_layer({"CLAUDE_MAGIC_MODEL": "by-environment"})),
        ("file (claude-magic.toml beside the notebook)", local_file_layer(LOCAL, {"model": "by-local-file"})),
        (f"file ({USER})", user_file_layer(USER, {"model": "by-user-file"})),
    ]

    for first, (source, layer) in enumerate(layers):
        resolved = resolve(layer for _, layer in layers[first:])
        assert resolved.values.model == layer.values["model"]
        assert resolved.sources["model"] == source
    assert resolve([]).values.model == "claude-sonnet-5-5"
    assert resolve([]).sources["model"] == "default"


def test_f1_every_setting_has_the_default_that_is_written_down() -> None:
    """The numbers of the specification."""
    values = resolve([]).values

    assert values.base_url == "https://api.anthropic.com"
    assert values.rate_limit_rps == 10
    assert values.max_retries == 3
    assert (values.initial_backoff, values.max_backoff, values.max_retry_time) == (10, 300, 300)
    assert (values.timeout, values.stream_timeout) == (300, 3600)
    assert values.max_tokens == 16_000
    assert values.api_version == "2023-06-01"
    assert values.client_config().rate_limit_rps == 10


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("CLAUDE_MAGIC_MAX_TOKENS", "2000", "max_tokens", 2000),
        ("CLAUDE_MAGIC_RATE_LIMIT_RPS", "0.2", "rate_limit_rps", 0.2),
        ("CLAUDE_MAGIC_LIVE", "0", "live", False),
        ("CLAUDE_MAGIC_LIVE", "false", "live", False),
        ("CLAUDE_MAGIC_LENIENT_STREAM_END", "yes", "lenient_stream_end", True),
        (
            "CLAUDE_MAGIC_BETAS",
            "one-2026-01-01, two-2026-01-01",
            "betas",
            ("one-2026-01-01", "two-2026-01-01"),
        ),
        ("CLAUDE_MAGIC_THINKING", "off", "thinking", "off"),
        ("CLAUDE_MAGIC_DEMO", "auto", "demo", "auto"),
        ("ANTHROPIC_BASE_URL", "http://localhost:11434/v1/", "base_url", "http://localhost:11434"),
        (
            "ANTHROPIC_CUSTOM_HEADERS",
            "X-Team: blue\nX-Cost: 17",
            "headers",
            {"X-Team": "blue", "X-Cost": "17"},
        ),
    ],
)
def test_f1_the_environment_sets_everything_in_text(
    variable: str, text: str, field: str, value: object
) -> None:
    """Numbers, switches, lists and headers are parsed from environment strings."""
    resolved = from_environment(**{variable: text})

    assert getattr(resolved.values, field) == value
    assert resolved.sources[field] == f"environment ({variable})"


def test_f1_an_empty_variable_is_unset() -> None:
    """`CLAUDE_MAGIC_MODEL=` counts as unset, as in most programs."""
    resolved = from_environment(CLAUDE_MAGIC_MODEL="", ANTHROPIC_BASE_URL="")

    assert resolved.is_default("model")
    assert resolved.is_default("base_url")


def test_our_own_variable_goes_before_the_one_shared_with_other_programs() -> None:
    """`CLAUDE_MAGIC_BASE_URL` is specific to claude_magic, so it takes precedence."""
    resolved = from_environment(ANTHROPIC_BASE_URL="http://theirs", CLAUDE_MAGIC_BASE_URL="http://ours")

    assert resolved.values.base_url == "http://ours"


@pytest.mark.parametrize(
    ("variables", "pattern"),
    [
        (
            {"CLAUDE_MAGIC_MAX_TOKENS": "many"},
            r"max_tokens is 'many' .*integer.*environment \(CLAUDE_MAGIC_MAX_TOKENS\)",
        ),
        ({"CLAUDE_MAGIC_MAX_TOKENS": "0"}, r"max_tokens is '0' .*greater than or equal to 1"),
        ({"CLAUDE_MAGIC_EFFORT": "hihg"}, r"effort is 'hihg' .*'low', 'medium', 'high', 'xhigh' or 'max'"),
        ({"CLAUDE_MAGIC_THINKING": "yes"}, r"thinking is 'yes' .*'show', 'hide' or 'off'"),
        (
            {"CLAUDE_MAGIC_RATE_LIMIT_RPS": "0"},
            r"rate_limit_rps .*greater than 0.*CLAUDE_MAGIC_RATE_LIMIT_RPS",
        ),
        ({"CLAUDE_MAGIC_RATE_LIMIT_RPS": "nan"}, r"rate_limit_rps is 'nan'"),
        ({"CLAUDE_MAGIC_MAX_RETRIES": "-1"}, r"max_retries .*CLAUDE_MAGIC_MAX_RETRIES"),
        ({"ANTHROPIC_BASE_URL": "api.anthropic.com"}, r"base_url must begin with https.*ANTHROPIC_BASE_URL"),
        ({"CLAUDE_MAGIC_MESSAGES_PATH": "//evil.example"}, r"messages_path .*CLAUDE_MAGIC_MESSAGES_PATH"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "no colon"}, r"headers .*`Name: value`.*ANTHROPIC_CUSTOM_HEADERS"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "x-api-key: sk-secret"}, r"must not contain x-api-key"),
    ],
)
def test_f1_a_bad_value_names_setting_source_and_what_is_accepted(
    variables: Mapping[str, str], pattern: str
) -> None:
    """The message explains what to change, and where."""
    with pytest.raises(ConfigurationError, match=pattern):
        resolve([environment_layer(variables)])


def test_o2_no_message_quotes_a_header_or_the_password_in_an_address() -> None:
    """Both may contain a gateway's secret."""
    for variable, text in (
        ("ANTHROPIC_CUSTOM_HEADERS", "X-Gateway-Key hunter2-hunter2"),
        ("ANTHROPIC_CUSTOM_HEADERS", "Authorization: hunter2-hunter2"),
        ("ANTHROPIC_BASE_URL", "https://me:hunter2-hunter2@gateway.example"),
        ("ANTHROPIC_BASE_URL", "ftp://me:hunter2-hunter2@gateway.example"),
    ):
        with pytest.raises(ConfigurationError) as raised:
            from_environment(**{variable: text})
        assert "hunter2" not in str(raised.value)


def test_a_bad_value_that_is_not_in_force_does_no_harm() -> None:
    """Overridden values are not validated."""
    resolved = resolve(
        [option_layer({"max_tokens": 5}), environment_layer({"CLAUDE_MAGIC_MAX_TOKENS": "many"})]
    )

    assert resolved.values.max_tokens == 5


def test_an_option_that_does_not_exist_is_refused_with_a_suggestion() -> None:
    """A typing error gets a suggestion."""
    with pytest.raises(ConfigurationError, match=r"no setting 'max_token'. Did you mean max_tokens\?"):
        resolve([option_layer({"max_token": 5})])


def test_a_misspelt_variable_or_key_is_noted_with_a_suggestion() -> None:
    """It is ignored, but not silently."""
    environment = environment_layer({"CLAUDE_MAGIC_MODLE": "x", "CLAUDE_MAGIC_API_KEY": "sk-ant-secret"})
    file = user_file_layer(USER, {"modle": "x", "nonsense": 1})

    assert environment.notes == (
        "The environment variable CLAUDE_MAGIC_MODLE is not a setting. Did you mean CLAUDE_MAGIC_MODEL?",
        "The environment variable CLAUDE_MAGIC_API_KEY is not a setting. Set ANTHROPIC_API_KEY instead.",
    )
    assert file.notes[0].endswith("sets 'modle', which is not a setting; ignored. Did you mean model?")
    assert file.notes[1].endswith("sets 'nonsense', which is not a setting; ignored.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "https://evil.example"),
        ("headers", {"X-Evil": "yes"}),
        ("auth_header", "authorization"),
        ("demo", "on"),
        ("remote_images", True),
        ("api_key", "sk-ant-evil"),
        ("messages_path", "@evil.example/v1/messages"),
        ("api_version", "evil"),
        ("betas", ["evil"]),
        ("lenient_stream_end", True),
        ("auth_token", "evil"),
    ],
)
def test_f1_a_file_beside_the_notebook_cannot_redirect_key_or_answers(field: str, value: object) -> None:
    """An untrusted file must not redirect or replace the key, or load images; ignored keys are reported."""
    resolved = from_local_file(model="claude-haiku-5-5", **{field: value})

    assert resolved.values == Settings(model="claude-haiku-5-5")
    assert len(resolved.notes) == 1
    assert f"may not set {field}" in resolved.notes[0]
    assert "evil" not in resolved.notes[0].lower()


def test_f1_the_users_own_file_can_set_everything() -> None:
    """Only the user can write to its folder."""
    resolved = resolve(
        [user_file_layer(USER, {"base_url": "http://gateway.example", "headers": {"X-Team": "blue"}})]
    )

    assert resolved.values.base_url == "http://gateway.example"
    assert resolved.values.headers == {"X-Team": "blue"}
    assert resolved.sources["base_url"] == f"file ({USER})"


def test_percent_config_cannot_switch_the_simulator_on() -> None:
    """A notebook cannot silently choose what answers."""
    with pytest.raises(ConfigurationError, match="%config cannot set demo"):
        config_layer({"demo": "on"})


@pytest.mark.parametrize("name", ["api_key", "auth_token"])
def test_f1_percent_config_cannot_set_a_key(name: str) -> None:
    """Notebooks are saved, and the key with them. The message does not repeat it."""
    with pytest.raises(ConfigurationError, match=f"%config cannot set {name}") as raised:
        config_layer({name: "sk-ant-secret-0123456789"})

    assert "secret" not in str(raised.value)


# Files.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_users_file_lies_in_the_config_folder(folder: Path) -> None:
    """In `XDG_CONFIG_HOME`, by default `~/.config`."""
    assert user_file_path({"XDG_CONFIG_HOME": "/etc/me"}) == Path("/etc/me/claude-magic/claude-magic.toml")
    assert user_file_path({}) == Path.home() / ".config/claude-magic/claude-magic.toml"


def test_in_the_config_folder_itself_the_file_is_the_users(folder: Path) -> None:
    """A notebook next to the user's own file does not make that file untrusted."""
    home = folder / "claude-magic"
    home.mkdir()

    assert local_file_path({"XDG_CONFIG_HOME": "/elsewhere"}) == folder / "claude-magic.toml"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert local_file_path({"XDG_CONFIG_HOME": str(folder)}) is None


def test_a_deleted_current_folder_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel whose folder was removed works on."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert local_file_path({}) is None
    monkeypatch.chdir(tmp_path)


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    """Editing the file is enough; the kernel need not be restarted."""
    files, path = SettingsFiles(), tmp_path / "claude-magic.toml"
    assert files.read(path) == {}

    path.write_text('model = "one"\n')
    assert files.read(path) == {"model": "one"}
    path.write_text('\ufeffmodel = "another"\nheaders = { X-Team = "blue" }\n', encoding="utf-8")
    assert files.read(path) == {"model": "another", "headers": {"X-Team": "blue"}}
    path.unlink()
    assert files.read(path) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'model = "x"\nmax_tokens = = 5\n', "not valid TOML.*line 2"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, content: bytes, reason: str) -> None:
    """With the name, and the line if known."""
    path = tmp_path / "claude-magic.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=f"claude-magic.toml.*{reason}"):
        SettingsFiles().read(path)


def test_o2_what_is_kept_of_a_file_holds_no_secret(tmp_path: Path) -> None:
    """The key is read from the file when it is needed, and is never cached."""
    files, path = SettingsFiles(), tmp_path / "claude-magic.toml"
    path.write_text('api_key = "sk-ant-secret-0123456789"\nmodel = "x"\n')

    assert files.read(path) == {"api_key": "[REDACTED]", "model": "x"}
    assert "secret" not in repr(vars(files))
    assert files.read_secret(path, "api_key") == "sk-ant-secret-0123456789"
    assert files.read_secret(path, "auth_token") is None


@pytest.mark.parametrize("blank", ["", "   ", "\n\t", "\u00a0"])
def test_a_blank_system_prompt_is_none(blank: str) -> None:
    """The API rejects a blank one. From any source, it overrides later sources."""
    for layer in (option_layer({"system": blank}), config_layer({"system": blank})):
        assert resolve([layer, option_layer({"system": "Be brief."})]).values.system is None


HOSTILE = {
    "deep arrays": b"a=" + b"[" * 5_000,
    "deep tables": b"x={" + b"a={" * 2_000,
    "a mustow tower": b"model = [[[[[[1]]]]]]",
    "a long number": b"max_tokens = " + b"9" * 5_000,
    "a long hexadecimal number": b"max_tokens = 0x" + b"f" * 5_000,
    "another one": b"max_retries = 0x" + b"f" * 5_000,
    "a long fraction": b"timeout = " + b"9" * 5_000 + b".0",
    "a dotted key": b"a." * 20_000 + b"a = 1",
    "a short dotted key": b"model" + b".a" * 9 + b" = 1",
    "a dotted table": b"[" + b"a." * 20_000 + b"a]",
    "a dotted key with quotes": b'"a" . ' * 5_000 + b"a = 1",
    "a dotted key in a table": b"x = {" + b"a." * 20_000 + b"a = 1}",
    "bytes that are not UTF-8": b"model = 'claude'\nsystem = '\xff\xfe'",
    "half a UTF-16": b"\xff\xfem\x00o",
    "zeros": b"\0" * 1_000,
    "too many bytes": b"#" * 100_000,
    "an endless text": b'system = "' + b"x" * 60_000,
    "the wrong type": b"model = 12",
    "a long text in a wrong place": b'max_tokens = "' + b"x" * 60_000 + b'"',
    "a date": b"max_tokens = 2026-01-01",
}


def settings_with_file_beside(path: Path) -> ResolvedSettings:
    return resolve([local_file_layer(path, SettingsFiles().read(path))])


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_wrong_with_a_settings_file_is_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    """The file may be untrusted: reading it is fast, and the message short."""
    path = tmp_path / "claude-magic.toml"
    path.write_bytes(HOSTILE[name])

    with pytest.raises(ConfigurationError, match=r"claude-magic\.toml") as caught:
        settings_with_file_beside(path)

    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_folder_or_a_pipe_in_the_place_of_a_settings_file_is_said(tmp_path: Path) -> None:
    """The pipe may never be written to, so reading does not wait for it."""
    folder, pipe = tmp_path / "claude-magic.toml", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)

    with pytest.raises(ConfigurationError, match="is a folder"):
        SettingsFiles().read(folder)
    with pytest.raises(ConfigurationError, match="is a pipe"):
        SettingsFiles().read(pipe)


def test_a_settings_file_of_windows_is_read(tmp_path: Path) -> None:
    """PowerShell writes UTF-16 with a byte order mark, Notepad UTF-8 with one."""
    path = tmp_path / "claude-magic.toml"
    for encoding in ("utf-16", "utf-8-sig"):
        path.write_bytes('system = "größer"'.encode(encoding))
        assert SettingsFiles().read(path) == {"system": "größer"}


def test_of_many_unknown_keys_a_few_are_named(tmp_path: Path) -> None:
    """With the number of the others."""
    path = tmp_path / "claude-magic.toml"
    path.write_text("\n".join(f"a{number} = 1" for number in range(4_000)) + f"\n{'x' * 9_000} = 1\n")

    notes = settings_with_file_beside(path).notes

    assert len(notes) == 6
    assert "3,996 more" in notes[-1]
    assert all(len(note) < 200 for note in notes)


def test_a_system_prompt_with_dots_is_no_dotted_key(tmp_path: Path) -> None:
    """Only dots in keys are counted."""
    path = tmp_path / "claude-magic.toml"
    path.write_text(
        'system = """Speak of a.b.c.d.e.f.g.h.i.j.k as of one.\nAnd of 1.2.3.4.5.6.7.8.9.10."""\n'
    )

    assert "a.b.c" in SettingsFiles().read(path)["system"]
