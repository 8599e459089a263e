"""The settings: one pydantic model, and the sources of its values."""

from __future__ import annotations

import codecs
import os
import re
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field

from ..client import REDACTED, ClientConfig, ConfigurationError
from ..context import did_you_mean

Effort: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]
Thinking: TypeAlias = Literal["show", "hide", "off"]
Demo: TypeAlias = Literal["off", "auto", "on"]
Replay: TypeAlias = Literal["off", "auto", "only", "record"]

DEFAULT_MODEL = "claude-sonnet-5-5"
DEFAULT_MAX_TOKENS = 16_000
"""Tokens, including thinking. With small values a reply can end before its first word; this suffices for nearly all."""


def _split_list(value: object) -> object:
    """Split `a, b`, the form in environment variables and options."""
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _none_if_blank(value: object) -> object:
    """Convert a blank system prompt to None, because the API rejects it."""
    return None if isinstance(value, str) and not value.strip() else value


def _instant(value: object) -> object:
    """Convert "instant" to 0: a replay without delays."""
    return 0.0 if isinstance(value, str) and value.strip() == "instant" else value


def _split_headers(value: object) -> object:
    """Parse lines of `Name: value`, the form of ANTHROPIC_CUSTOM_HEADERS."""
    if not isinstance(value, str):
        return value
    headers = {}
    for line in value.splitlines():
        if line.strip():
            name, colon, content = line.partition(":")
            if not colon:
                raise ValueError("each line must be `Name: value`")
            headers[name.strip()] = content.strip()
    return headers


class Settings(ClientConfig):
    """All settings except the credential: for the client, for questions and for display. Durations are seconds.

    Attributes:
        model: The model.
        max_tokens: Limit of an answer in tokens, including thinking.
        effort: Effort of the model: low, medium, high, xhigh or max; None for the model's default.
        thinking: "show" requests a summary of the thinking, "hide" does not, "off" disables thinking if the model allows it.
        system: System prompt, or None; a blank one becomes None.
        demo: "on" uses the embedded simulator, "auto" uses it if neither a key nor a base_url is set.
        live: Draw answers while they stream.
        remote_images: Allow answers to load images from other hosts.
        map_ask_above: Estimated price of a map in USD above which the user is asked first.
        replay: "auto" replays recorded answers and records new ones; "only" sends nothing; "record" asks again.
        cassette: Path of the cassette, relative to the folder of the notebook.
        replay_speed: Speed factor of a replay relative to the recording; 0 (or "instant") for no delays.
        record_errors: Also record errors and interrupted answers.
    """

    model: Annotated[str, Field(min_length=1)] = DEFAULT_MODEL
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = DEFAULT_MAX_TOKENS
    effort: Effort | None = None
    thinking: Thinking = "show"
    system: Annotated[str | None, BeforeValidator(_none_if_blank)] = None
    betas: Annotated[tuple[str, ...], BeforeValidator(_split_list)] = ()
    headers: Annotated[Mapping[str, str], BeforeValidator(_split_headers), Field(repr=False)] = {}
    demo: Demo = "off"
    live: bool = True
    remote_images: bool = False
    map_ask_above: Annotated[float, Field(ge=0)] = 1.0
    replay: Replay = "off"
    cassette: Annotated[str, Field(min_length=1)] = "claude.cassette.jsonl"
    replay_speed: Annotated[float, BeforeValidator(_instant), Field(ge=0, allow_inf_nan=False)] = 0.0
    record_errors: bool = False

    def client_config(self, **changes: Any) -> ClientConfig:
        """Return the client's part of the settings."""
        return ClientConfig(**{name: getattr(self, name) for name in ClientConfig.model_fields} | changes)


_PROGRAM_ONLY = ("rate_limit_capacity", "max_idle_connections", "max_event_bytes")
SETTINGS: tuple[str, ...] = tuple(
    name
    for name in dict.fromkeys([*Settings.__annotations__, *ClientConfig.model_fields])
    if name not in _PROGRAM_ONLY
)
"""The names of the settings, without those only for programs that create a client themselves."""

SECRET_FIELDS = ("api_key", "auth_token")
"""Settings that are read in `_connection.py` and are not part of the model, so that they cannot be printed."""

LOCAL_FILE_FIELDS = frozenset(
    {
        "model",
        "max_tokens",
        "effort",
        "thinking",
        "system",
        "rate_limit_rps",
        "max_retries",
        "initial_backoff",
        "max_backoff",
        "max_retry_time",
        "timeout",
        "stream_timeout",
        "live",
    }
)
"""Settings allowed in a file beside a notebook. The file may come from an untrusted source together with the notebook. It must
not be able to redirect the key, leak answers (as the URL of an image can), or present a simulator as Claude or a partial answer
as a complete one."""

QUESTION_FIELDS = ("model", "system", "max_tokens", "effort", "thinking", "replay")
"""Settings that can be overridden by a question."""
NOTEBOOK_FIELDS = frozenset(SETTINGS) - {"demo"}
"""Settings allowed in `%config`. `demo` is excluded, so that a notebook cannot silently switch to the simulator."""

DEFAULT_SOURCE = "default"
OPTION_SOURCE = "option"
LOCAL_SOURCE = "file (claude-magic.toml beside the notebook)"
"""Source of settings from the file beside the notebook."""

EFFORTS: tuple[str, ...] = get_args(Effort)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSettings:
    """The settings in force, with their sources.

    Attributes:
        values: The settings.
        sources: Description of the source of each value, by field.
        notes: Sentences for the user: ignored or misspelt keys.
    """

    values: Settings
    sources: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())

    def with_model(self, model: str) -> ResolvedSettings:
        """Return these settings with another model (full name)."""
        return replace(self, values=self.values.model_copy(update={"model": model}))

    def is_default(self, name: str) -> bool:
        """Return whether a setting has its default value, because no source sets it."""
        return self.sources[name] == DEFAULT_SOURCE

    @property
    def set_beside_notebook(self) -> dict[str, Any]:
        """The settings in force that come from the file beside the notebook, by name."""
        return {
            name: getattr(self.values, name)
            for name, source in self.sources.items()
            if source == LOCAL_SOURCE
        }


def shorten(text: str, length: int = 60) -> str:
    """Return a text on one line, truncated to a length."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * length]).split())
    return line if len(line) <= length and len(text) <= 2 * length else f"{line[: length - 1]}…"


def shown_value(value: object) -> str:
    """Return a short representation of a value of any size, for a message."""
    try:
        return shorten(repr(value[:200] if isinstance(value, str | bytes | list | tuple) else value))
    except (ValueError, RecursionError):  # an integer with more digits than Python formats
        return f"a {type(value).__name__} that is too large to show"


FILE_NAME = "claude-magic.toml"

_MAX_BYTES = 65_536
_MAX_DEPTH = 4
_PART = r"""(?:[\w-]++|"[^"\n]{0,100}"|'[^'\n]{0,100}')"""
_MANY_PARTS = re.compile(
    rf"(?<![\w.-]){_PART}(?:[ \t]{{0,20}}\.[ \t]{{0,20}}{_PART}){{8,}}[ \t]{{0,20}}[=\]]"
)
"""Keys with nine or more parts, `a.b.c.d.e.f.g.h.i = `: no setting has so many, and thousands would take minutes to parse."""


def user_file_path(environment: Mapping[str, str]) -> Path:
    """Return the path of the user's settings file.

    `%APPDATA%/claude-magic/claude-magic.toml` on Windows, `$XDG_CONFIG_HOME/claude-magic/claude-magic.toml` (by default
    in `~/.config`) on other systems, including macOS.
    """
    if sys.platform == "win32":
        base = environment.get("APPDATA") or "~/AppData/Roaming"
    else:
        base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(base), "claude-magic", FILE_NAME)


def local_file_path(environment: Mapping[str, str]) -> Path | None:
    """Return the path of the settings file beside the notebook (in the current folder); None if it is the user's file."""
    try:
        path = Path.cwd() / FILE_NAME
    except OSError:  # the current folder has been deleted
        return None
    return None if path == user_file_path(environment) else path


class SettingsFiles:
    """Reads settings files, and caches their content until they change.

    No secrets are cached: `read` returns `[REDACTED]` in their place, and `read_secret` reads the file.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """Return the content of a file; empty if it does not exist.

        Raises:
            ConfigurationError: The file cannot be read, or is not TOML.
        """
        try:
            state = path.stat()
        except OSError:
            return {}
        stamp = (state.st_mtime_ns, state.st_size)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            content = _parse(path)
            content.update({name: REDACTED for name in SECRET_FIELDS if content.get(name)})
            known = self._known[path] = (stamp, content)
        return dict(known[1])

    def read_secret(self, path: Path, name: str) -> str | None:
        """Return the secret with this name from a file, or None.

        Raises:
            ConfigurationError: As for `read`.
        """
        return str(_parse(path)[name]) if self.read(path).get(name) else None


def _parse(path: Path) -> dict[str, Any]:
    """Parse a file that may be untrusted. Any problem becomes a one-line error without delay."""
    try:
        return _checked(tomllib.loads(_text(path)))
    except _UnusableError as error:
        reason = str(error)
    except RecursionError:
        reason = "nests its values too deeply"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    except ValueError as error:  # also for an integer with thousands of digits
        reason = f"is not valid TOML: {shorten(str(error))}"
    raise ConfigurationError(f"The settings file {path} {reason}. Correct it or move it away.")


class _UnusableError(Exception):
    """Raised for an unusable settings file; the message completes a sentence."""


def _text(path: Path) -> str:
    if not path.is_file():
        raise _UnusableError(
            "is a folder" if path.is_dir() else "is a pipe, a socket or a device, not a file"
        )
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise _UnusableError(f"has more than {_MAX_BYTES:,} bytes")
    # Windows PowerShell writes UTF-16 with a byte order mark by default.
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _UnusableError(f"is not UTF-8 text (line {line}); save it as UTF-8") from None
    if _MANY_PARTS.search(text):
        raise _UnusableError("has a key of too many parts")
    return text


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a file if it is not nested more deeply than settings can be."""
    level: list[Any] = [content]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for value in level
            for inner in (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            )
        ]
    if level:
        raise _UnusableError("nests its values too deeply")
    return content


# The sources of settings in their order: the first one that has a value wins.
#
# 1. an explicit option or argument
# 2. `%config ClaudeMagics.…`
# 3. the environment: `CLAUDE_MAGIC_<NAME>`, then `ANTHROPIC_BASE_URL` and `ANTHROPIC_CUSTOM_HEADERS`; empty is unset
# 4. `claude-magic.toml` beside the notebook (in the current folder), for some settings only, because it may be untrusted
# 5. `claude-magic.toml` in the user's config folder
# 6. the default
_PREFIX = "CLAUDE_MAGIC_"
_ANTHROPIC_VARIABLES = {"base_url": "ANTHROPIC_BASE_URL", "headers": "ANTHROPIC_CUSTOM_HEADERS"}
_MAX_UNKNOWN = 5
_LONGEST_NAME = 60
_UNPRINTED_FIELDS = frozenset({"base_url", "headers", "limiter"})
"""Settings whose values may contain a gateway's secret, so messages do not quote them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One source of settings.

    Attributes:
        values: Its values; None counts as not set.
        describe: Returns a description of the source of a field.
        notes: Sentences for the user.
    """

    values: Mapping[str, object]
    describe: Callable[[str], str]
    notes: tuple[str, ...] = ()


def option_layer(options: Mapping[str, object]) -> Layer:
    """Return the layer of options passed with the call."""
    return Layer(values=options, describe=lambda _: OPTION_SOURCE)


def config_layer(traits: Mapping[str, object]) -> Layer:
    """Return the layer of `%config ClaudeMagics.…`.

    Raises:
        ConfigurationError: It contains a setting that a notebook must not make.
    """
    refused = sorted(
        name for name, value in traits.items() if value is not None and name not in NOTEBOOK_FIELDS
    )
    if refused:
        raise ConfigurationError(
            f"%config cannot set {', '.join(refused)}, because notebooks are saved and shared. "
            "Use `%claude login`, `%claude demo on`, or the environment."
        )
    return Layer(values=traits, describe=lambda _: "%config")


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Return the layer of environment variables."""
    values: dict[str, object] = {}
    variables: dict[str, str] = {}
    for name in SETTINGS:
        for variable in (_PREFIX + name.upper(), _ANTHROPIC_VARIABLES.get(name, "")):
            if name not in values and environment.get(variable):
                values[name] = environment[variable]
                variables[name] = variable
    return Layer(
        values=values,
        describe=lambda name: f"environment ({variables[name]})",
        notes=tuple(_unknown_variables(environment)),
    )


def local_file_layer(path: Path, content: Mapping[str, Any]) -> Layer:
    """Return the layer of the file beside the notebook, limited to `LOCAL_FILE_FIELDS`."""
    where = f"{path.name} beside the notebook"
    refused = [name for name in content if name in (*SETTINGS, *SECRET_FIELDS)]
    refused = [name for name in refused if name not in LOCAL_FILE_FIELDS]
    notes = [
        f"{where} may not set {name}, because it may come from somebody else; ignored. Set it in your own config folder or in "
        "the environment."
        for name in refused
    ]
    return Layer(
        values={name: value for name, value in content.items() if name in LOCAL_FILE_FIELDS},
        describe=lambda _: LOCAL_SOURCE,
        notes=(*notes, *_unknown_keys(content, where)),
    )


def user_file_layer(path: Path, content: Mapping[str, Any]) -> Layer:
    """Return the layer of the file in the user's config folder, without credentials, which are read elsewhere."""
    return Layer(
        values={name: value for name, value in content.items() if name in SETTINGS},
        describe=lambda _: f"file ({path})",
        notes=tuple(_unknown_keys(content, str(path))),
    )


def resolve(layers: Iterable[Layer]) -> ResolvedSettings:
    """Resolve each setting to the value of the first layer that has it.

    Raises:
        ConfigurationError: A value in force is not valid. The message contains setting, source and accepted values.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(SETTINGS, DEFAULT_SOURCE)
    notes: list[str] = []
    for layer in layers:
        notes += layer.notes
        for name, value in layer.values.items():
            if value is not None and name not in values:
                values[name] = value
                sources[name] = layer.describe(name)
    return ResolvedSettings(values=_validate(values, sources), sources=sources, notes=tuple(notes))


def _validate(values: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    """Validate the values; if that fails, one by one, so that the error message can contain the source."""
    unknown = [name for name in values if name not in SETTINGS]
    if unknown:
        raise ConfigurationError(f"There is no setting {unknown[0]!r}.{did_you_mean(unknown[0], SETTINGS)}")
    try:
        return Settings(**values)
    except ConfigurationError as error:
        problem = error
    for name, value in values.items():
        try:
            Settings(**{name: value})
        except ConfigurationError as error:
            source = sources[name]
            end = "Nothing was sent." if source == OPTION_SOURCE else f"It comes from: {source}."
            raise ConfigurationError(f"{_error_message(name, value, error)} {end}") from None
    raise problem


def _error_message(name: str, value: object, error: ConfigurationError) -> str:
    """Return the error message for a setting. Messages of custom checks are used unchanged."""
    wanted = error.message.removeprefix(f"The setting {name} is not valid: ")
    if wanted == error.message:
        return wanted
    wanted = wanted.removeprefix("Value error, ")
    value_part = "" if name in _UNPRINTED_FIELDS else f" is {shown_value(value)} and"
    return f"The setting {name}{value_part} cannot be used: {wanted}"


def _unknown_variables(environment: Mapping[str, str]) -> Iterable[str]:
    known = [_PREFIX + name.upper() for name in SETTINGS]
    keys = {_PREFIX + name.upper(): f"ANTHROPIC_{name.upper()}" for name in SECRET_FIELDS}
    for variable in environment:
        if variable.startswith(_PREFIX) and variable not in known:
            hint = f" Set {keys[variable]} instead." if variable in keys else did_you_mean(variable, known)
            yield f"The environment variable {variable} is not a setting.{hint}"


def _unknown_keys(content: Mapping[str, Any], where: str) -> Iterable[str]:
    known = [*SETTINGS, *SECRET_FIELDS]
    unknown = [name for name in content if name not in known]
    for name in unknown[:_MAX_UNKNOWN]:
        hint = did_you_mean(name, known) if len(name) <= _LONGEST_NAME else ""
        yield f"{where} sets {shown_value(name)}, which is not a setting; ignored.{hint}"
    if len(unknown) > _MAX_UNKNOWN:
        yield f"{where} sets {len(unknown) - _MAX_UNKNOWN:,} more unknown settings; ignored."


ConfigReader: TypeAlias = Callable[[], Mapping[str, object]]


class SettingsSources:
    """Reads the sources of the settings for each request.

    Attributes:
        read_config: Reads the settings made with `%config`; None without a shell.
        files: Reads the settings files.

    Args:
        environment: The environment variables.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.read_config: ConfigReader | None = None
        self.files = SettingsFiles()
        self._environment = environment
        self._warned: set[str] = set()
        self._reported = ""

    def resolve(self, options: Mapping[str, object]) -> ResolvedSettings:
        """Return the settings in force. `options` are those passed with a call; None counts as not given.

        Raises:
            ConfigurationError: A value in force is not valid, or a settings file cannot be read.
        """
        layers = [
            option_layer(options),
            config_layer({} if self.read_config is None else self.read_config()),
            environment_layer(self._environment),
        ]
        if (path := local_file_path(self._environment)) is not None:
            layers.append(local_file_layer(path, self.files.read(path)))
            self._warn_once(layers[-1].notes)
        path = user_file_path(self._environment)
        return resolve([*layers, user_file_layer(path, self.files.read(path))])

    def local_notes(self, settings: ResolvedSettings) -> tuple[str, ...]:
        """Return a sentence about settings made by a file beside the notebook: once, and again when they change."""
        made = settings.set_beside_notebook
        described = ", ".join(f"{name} {shown_value(value)}" for name, value in made.items())
        is_known, self._reported = described == self._reported, described
        if is_known or not described:
            return ()
        return (
            f"{FILE_NAME} beside the notebook sets {described}. %claude status shows where each setting comes from.",
        )

    def _warn_once(self, notes: tuple[str, ...]) -> None:
        """Warn once about each ignored setting in a local file, because its author expects it to work."""
        for note in notes:
            if note not in self._warned:
                self._warned.add(note)
                warnings.warn(note, stacklevel=5)  # the caller of the code that resolves the settings
