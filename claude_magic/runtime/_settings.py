"""The settings: one model, and where each of them may come from."""

from __future__ import annotations

import codecs
import os
import re
import sys
import tomllib
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
"""Includes thinking. Small values can end before the first word of the answer; this is enough for nearly all."""


def _split_list(value: object) -> object:
    """Read `a, b` as environment variables and options write it."""
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _none_if_blank(value: object) -> object:
    """Take a blank system prompt for none: the API refuses one."""
    return None if isinstance(value, str) and not value.strip() else value


def _instant(value: object) -> object:
    """Read the word for a replay without any waiting."""
    return 0.0 if isinstance(value, str) and value.strip() == "instant" else value


def _split_headers(value: object) -> object:
    """Read lines of `Name: value`, the form of ANTHROPIC_CUSTOM_HEADERS."""
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
    """Everything that can be set, but for the credential: what the client needs, and what is asked and shown. Durations are seconds.

    Attributes:
        model: The model that is asked.
        max_tokens: Bound of an answer in model tokens, thinking included.
        effort: How hard the model tries: low, medium, high, xhigh or max; None leaves it to the model.
        thinking: "show" asks for a summary of the thinking, "hide" does not, "off" forbids it where the model allows.
        system: System prompt, or None; a blank one is none.
        demo: "on" lets the embedded simulator answer, "auto" does so where there is neither a key nor a base_url.
        live: Draw answers while they stream.
        remote_images: Let answers load images from other hosts.
        map_ask_above: Estimated price of a map in USD above which a person is asked first.
        replay: "auto" answers from the cassette what stands there, and records the rest; "only" sends nothing; "record" asks again.
        cassette: The file in which answers are recorded, as seen from the folder of the notebook.
        replay_speed: How many times faster than recorded a replay streams; 0 (or "instant") is at once.
        record_errors: Also record errors and interrupted answers.
    """

    model: Annotated[str, Field(min_length=1)] = DEFAULT_MODEL
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = DEFAULT_MAX_TOKENS
    effort: Effort | None = None
    thinking: Thinking = "show"
    system: Annotated[str | None, BeforeValidator(_none_if_blank)] = None
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
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
        """The client's part of the settings."""
        return ClientConfig(**{name: getattr(self, name) for name in ClientConfig.model_fields} | changes)


_FOR_PROGRAMS = ("rate_limit_capacity", "max_idle_connections", "max_event_bytes")
SETTINGS: tuple[str, ...] = tuple(
    name
    for name in dict.fromkeys([*Settings.__annotations__, *ClientConfig.model_fields])
    if name not in _FOR_PROGRAMS
)
"""The settings by name, without those that are for programs which make a client themselves."""

SECRET_FIELDS = ("api_key", "auth_token")
"""Settings that are read in `_connection.py` and stand in no model, so that nothing can print them."""

STRANGER_FIELDS = frozenset(
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
"""What a file beside a notebook may set. It may come with the notebook from a stranger, who is neither to be sent the key, nor the
answers (which an image's address can carry away), nor to pass a simulator off as Claude or half an answer off as a whole."""

QUESTION_FIELDS = ("model", "system", "max_tokens", "effort", "thinking", "replay")
"""Settings that a question may have of its own."""
NOTEBOOK_FIELDS = frozenset(SETTINGS) - {"demo"}
"""What `%config` may set: a notebook never chooses silently that a simulator answers."""

DEFAULT_SOURCE = "default"
OPTION_SOURCE = "option"
LOCAL_SOURCE = "file (claude-magic.toml beside the notebook)"
"""Where a setting comes from that a file beside the notebook has set."""

EFFORTS: tuple[str, ...] = get_args(Effort)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSettings:
    """The settings in force, and how they came about.

    Attributes:
        values: The settings.
        sources: For each field, where its value comes from, in words.
        notes: What a person should know about them, as sentences: ignored keys, misspelt ones.
    """

    values: Settings
    sources: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())

    def with_model(self, model: str) -> ResolvedSettings:
        """Return these settings with another model, given by its full name."""
        return replace(self, values=self.values.model_copy(update={"model": model}))

    def is_default(self, name: str) -> bool:
        """Whether nobody has set this one."""
        return self.sources[name] == DEFAULT_SOURCE

    def is_option(self, name: str) -> bool:
        """Whether this one was given with the call."""
        return self.sources[name] == OPTION_SOURCE

    @property
    def set_beside_notebook(self) -> dict[str, Any]:
        """The settings in force that a file beside the notebook has made, by name."""
        return {
            name: getattr(self.values, name)
            for name, source in self.sources.items()
            if source == LOCAL_SOURCE
        }


def shorten(text: str, length: int = 60) -> str:
    """Return a text on one line, cut where it is too long for a message."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * length]).split())
    return line if len(line) <= length and len(text) <= 2 * length else f"{line[: length - 1]}…"


def shown(value: object) -> str:
    """Return a value as a message shows it, whatever its size."""
    try:
        return shorten(repr(value[:200] if isinstance(value, str | bytes | list | tuple) else value))
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"a {type(value).__name__} that is too large to show"


FILE_NAME = "claude-magic.toml"

_MAX_BYTES = 65_536
_MAX_DEPTH = 4
_PART = r"""(?:[\w-]++|"[^"\n]{0,100}"|'[^'\n]{0,100}')"""
_MANY_PARTS = re.compile(
    rf"(?<![\w.-]){_PART}(?:[ \t]{{0,20}}\.[ \t]{{0,20}}{_PART}){{8,}}[ \t]{{0,20}}[=\]]"
)
"""`a.b.c.d.e.f.g.h.i = `: no setting has so many, and of thousands the parser would take minutes."""


def user_file_path(environment: Mapping[str, str]) -> Path:
    """The settings file of the user.

    `%APPDATA%/claude-magic/claude-magic.toml` on Windows, `$XDG_CONFIG_HOME/claude-magic/claude-magic.toml` (by default
    below `~/.config`) on everything else, macOS included.
    """
    if sys.platform == "win32":
        base = environment.get("APPDATA") or "~/AppData/Roaming"
    else:
        base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(base), "claude-magic", FILE_NAME)


def local_file_path(environment: Mapping[str, str]) -> Path | None:
    """The settings file beside the notebook, that is in the current folder; None where that one is the user's own."""
    try:
        path = Path.cwd() / FILE_NAME
    except OSError:  # the current folder has been deleted
        return None
    return None if path == user_file_path(environment) else path


class SettingsFiles:
    """Reads settings files, and reads them again only when they have changed.

    What is kept in memory holds no secret: `read` shows `[REDACTED]` in its place, and `read_secret` goes to the file.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """Return the keys and values of a file; none if there is no such file.

        Raises:
            ConfigurationError: It cannot be read, or is not TOML.
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
        """Return a secret from a file, or None if it has none of that name.

        Raises:
            ConfigurationError: As for `read`.
        """
        return str(_parse(path)[name]) if self.read(path).get(name) else None


def _parse(path: Path) -> dict[str, Any]:
    """Read a file that may be anybody's: whatever is wrong with it, and however long it is, is one line, at once."""
    try:
        return _checked(tomllib.loads(_text(path)))
    except _UnusableError as error:
        reason = str(error)
    except tomllib.TOMLDecodeError as error:
        reason = f"is not valid TOML: {shorten(str(error))}"
    except RecursionError:
        reason = "nests its values too deeply"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    except ValueError as error:  # a number of thousands of digits
        reason = f"is not valid TOML: {shorten(str(error))}"
    raise ConfigurationError(f"The settings file {path} {reason}. Correct it or move it away.")


class _UnusableError(Exception):
    """What is wrong with a settings file, as the rest of a sentence."""


def _text(path: Path) -> str:
    if not path.is_file():
        raise _UnusableError(
            "is a folder" if path.is_dir() else "is a pipe, a socket or a device, not a file"
        )
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise _UnusableError(f"has more than {_MAX_BYTES:,} bytes")
    # Windows PowerShell writes UTF-16, with a mark, where it is told nothing else.
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
    """Return what a file holds if it is no deeper than settings are: tables of texts."""
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


# Where settings come from, in their order: the first source that has a value wins.
#
# 1. an explicit option or argument
# 2. `%config ClaudeMagics.…`
# 3. the environment: `CLAUDE_MAGIC_<NAME>`, then `ANTHROPIC_BASE_URL` and `ANTHROPIC_CUSTOM_HEADERS`; empty is unset
# 4. `claude-magic.toml` beside the notebook (in the current folder), which may not set everything: it may be a stranger's
# 5. `claude-magic.toml` in the user's config folder
# 6. the default
_PREFIX = "CLAUDE_MAGIC_"
_FOREIGN_VARIABLES = {"base_url": "ANTHROPIC_BASE_URL", "headers": "ANTHROPIC_CUSTOM_HEADERS"}
_MAX_UNKNOWN = 5
_LONGEST_NAME = 60
_UNPRINTED_FIELDS = frozenset({"base_url", "headers", "limiter"})
"""Their values may hold a secret of some gateway, so no message quotes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One source.

    Attributes:
        values: What it sets; None counts as not set.
        describe: Says in words where a field of it comes from.
        notes: What a person should know about it.
    """

    values: Mapping[str, object]
    describe: Callable[[str], str]
    notes: tuple[str, ...] = ()


def option_layer(options: Mapping[str, object]) -> Layer:
    """What was given with the call."""
    return Layer(values=options, describe=lambda _: OPTION_SOURCE)


def config_layer(traits: Mapping[str, object]) -> Layer:
    """What `%config ClaudeMagics.…` has set.

    Raises:
        ConfigurationError: It sets something that a notebook must not decide.
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
    """What the environment sets."""
    values: dict[str, object] = {}
    variables: dict[str, str] = {}
    for name in SETTINGS:
        for variable in (_PREFIX + name.upper(), _FOREIGN_VARIABLES.get(name, "")):
            if name not in values and environment.get(variable):
                values[name] = environment[variable]
                variables[name] = variable
    return Layer(
        values=values,
        describe=lambda name: f"environment ({variables[name]})",
        notes=tuple(_unknown_variables(environment)),
    )


def local_file_layer(path: Path, content: Mapping[str, Any]) -> Layer:
    """What the file beside the notebook sets, as far as it may."""
    where = f"{path.name} beside the notebook"
    refused = [name for name in content if name in (*SETTINGS, *SECRET_FIELDS)]
    refused = [name for name in refused if name not in STRANGER_FIELDS]
    notes = [
        f"{where} may not set {name}, because it may come from somebody else; ignored. Set it in your own config folder or in "
        "the environment."
        for name in refused
    ]
    return Layer(
        values={name: value for name, value in content.items() if name in STRANGER_FIELDS},
        describe=lambda _: LOCAL_SOURCE,
        notes=(*notes, *_unknown_keys(content, where)),
    )


def user_file_layer(path: Path, content: Mapping[str, Any]) -> Layer:
    """What the file in the user's config folder sets; credentials aside, which are read elsewhere."""
    return Layer(
        values={name: value for name, value in content.items() if name in SETTINGS},
        describe=lambda _: f"file ({path})",
        notes=tuple(_unknown_keys(content, str(path))),
    )


def resolve(layers: Iterable[Layer]) -> ResolvedSettings:
    """Take each setting from the first layer that has it.

    Raises:
        ConfigurationError: A value in force is not valid. The message names setting, source and what is accepted.
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
    """Check the values one by one where they are not all right, so that a complaint can name its source."""
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
            raise ConfigurationError(
                f"{_complaint(name, value, error)} It comes from: {sources[name]}."
            ) from None
    raise problem


def _complaint(name: str, value: object, error: ConfigurationError) -> str:
    """Return what is wrong with a setting; the checks that know more than pydantic say it in words of their own."""
    wanted = error.message.removeprefix(f"The setting {name} is not valid: ")
    if wanted == error.message:
        return wanted
    wanted = wanted.removeprefix("Value error, ")
    said = "" if name in _UNPRINTED_FIELDS else f" is {shown(value)} and"
    return f"The setting {name}{said} cannot be used: {wanted}"


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
        yield f"{where} sets {shown(name)}, which is not a setting; ignored.{hint}"
    if len(unknown) > _MAX_UNKNOWN:
        yield f"{where} sets {len(unknown) - _MAX_UNKNOWN:,} more unknown settings; ignored."
