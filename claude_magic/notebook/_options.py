"""The options of `%claude`: one table, used for parsing, help and completion, and the class of their values.

A converter raises `ValueError` with a message that continues the value's name: "is a whole number" after "N".
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The values of the options; `None`, `False` or empty if not given.

    Attributes:
        model: A model's id, or a short name such as `opus`.
        compare: Models that answer side by side, instead of one model.
        map: The variable whose rows are asked about, each in a separate request.
        max_cost: Maximum cost of a map in USD.
        via: One of `WAYS`: "batch" for a map at half the price, within a day.
        system: The system prompt, or `@` and the path of a file that contains it.
        max_tokens: Maximum tokens of the answer, thinking included.
        effort: One of `EFFORT_LEVELS`.
        thinking: One of `THINKING_MODES`.
        thread: The conversation to continue.
        is_new: Start the conversation again.
        no_history: Send no earlier turns, and keep the answer out of every conversation.
        cells: The cells to send with the prompt: a range, `all` or `none`.
        attach: Paths, URLs and names of variables to send with the prompt, in order.
        interact: Variables of the prompt that become controls.
        format: One of `FORMATS`.
        schema: The name of a class, or fields in the short form `name, age int`.
        out: The variable to which the reply is bound.
        insert_code: Insert the answer's code into a new cell.
        tools: Names of the functions that Claude may call.
        approve: One of `APPROVALS`.
        web_search: Let Claude search the web.
        stop: Strings at which the answer ends.
        extra: Request fields that have no option, as JSON values.
        dry_run: Show what would be sent, and send nothing.
        replay: One of `REPLAY_MODES`.
        raw: Send double braces in the prompt as typed, and text that looks like a credential.
        quiet: Show no answer.
        background: End the cell immediately, and draw the answer as it arrives.
        notes: Remarks to show with the answer, as sentences; no option sets it.
    """

    model: str | None = None
    compare: tuple[str, ...] = ()
    map: str | None = None
    max_cost: float | None = None
    via: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    effort: str | None = None
    thinking: str | None = None
    thread: str | None = None
    is_new: bool = False
    no_history: bool = False
    cells: str | None = None
    attach: tuple[str, ...] = ()
    format: str | None = None
    schema: str | None = None
    out: str | None = None
    insert_code: bool = False
    tools: tuple[str, ...] = ()
    approve: str | None = None
    web_search: bool = False
    stop: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    replay: str | None = None
    interact: tuple[str, ...] = ()
    raw: bool = False
    quiet: bool = False
    background: bool = False
    notes: tuple[str, ...] = ()


def closest(word: str, choices: Iterable[str], **likeness: float) -> str | None:
    """Call `closest_name`: return the choice most similar to a word, or `None`."""
    from ..context import closest_name  # late: importing it would slow down loading the extension

    return closest_name(word, choices, **likeness)


def with_full_stop(text: object) -> str:
    """Return the end of a sentence with a full stop, unless it has one already."""
    from ..client import as_sentence  # late: importing it would slow down loading the extension

    return as_sentence(str(text))


EFFORT_LEVELS = ("low", "medium", "high", "xhigh", "max")
THINKING_MODES = ("show", "hide", "off")
REPLAY_MODES = ("off", "auto", "only", "record")
FORMATS = ("md", "text", "code", "json", "html", "math")
APPROVALS = ("ask", "never")
WAYS = ("online", "batch")
MOST_COMPARED = 6

# Patterns of values. Most lines have few of them, so `re.fullmatch` compiles each at first use.
#
# A model name in the notation of `%%ai` and LangChain. A colon alone does not show it: local models have one too (llama3:8b).
_PROVIDER = r"anthropic(-chat)?:(?P<model>.*)"
_CELL_RANGE = r"all|none|-?\d+(:(-?\d+)?)?|:-?\d+"
_NUMBER = r"\d{1,9}"
AMOUNT_PATTERN = r"\$?(\d{1,9}(\.\d*)?|\.\d+)"
_FIELD = r"[A-Za-z_]\w*(\.\w+)*"

# Request fields that `--set` rejects, because they have their own option or cannot be set, each with the reason.
_TAKEN_FIELDS = {
    "model": "is set with --model",
    "max_tokens": "is set with --max-tokens",
    "system": "is set with --system",
    "messages": "is the prompt and its conversation",
    "stream": "is always true: answers are streamed",
}


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a converter that accepts exactly these words."""

    def convert(text: str) -> str:
        if text not in choices:
            guess = closest(text, choices) or ("md" if "md" in choices and text == "markdown" else None)
            raise ValueError(
                f"is one of {', '.join(choices)}." + (f" Did you mean {guess}?" if guess else "")
            )
        return text

    return convert


def positive_integer(text: str) -> int:
    """Convert a whole number above 0 with at most nine digits."""
    if not (re.fullmatch(_NUMBER, text, re.ASCII) and int(text) > 0):
        raise ValueError("is a whole number above 0, with at most nine digits, such as 16000")
    return int(text)


def amount(text: str) -> float:
    """Convert an amount of money in USD: `2`, `0.50`, `$3`."""
    if not re.fullmatch(AMOUNT_PATTERN, text, re.ASCII):
        raise ValueError("is an amount in USD (2.50)")
    return float(text.removeprefix("$"))


def input_name(text: str) -> str:
    """Check the name of the input of a map; it may be dotted."""
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split(".")):
        raise ValueError("is the name of a table, column, list or dict of yours: --map df, --map df.text")
    return text


def variable_name(text: str) -> str:
    """Check the name of a variable that is to be bound."""
    from ..context import why_not_bindable  # late: importing it would slow down loading the extension

    if why := why_not_bindable(text):
        raise ValueError(f"is the name of a variable of your own; {why}")
    return text


def model_name(text: str) -> str:
    """Check a model's name. Reject JSON parameters and a provider prefix, which other magics accept."""
    if text.startswith("{"):
        raise ValueError("is a model's name (-m opus); set fields of the request with --set: --set top_k=5")
    if match := re.fullmatch(_PROVIDER, text, re.DOTALL):
        model = match["model"] or "opus"
        raise ValueError(f"has no provider in front. Did you mean --model {model}?")
    return non_empty(text)


def model_names(text: str) -> tuple[str, ...]:
    """Convert a comma-separated list of model names."""
    names = tuple(model_name(name.strip()) for name in text.split(","))
    if len(names) < 2:
        raise ValueError(
            "are two models or more, with commas and no spaces between them: --compare sonnet,opus"
        )
    if len(names) > MOST_COMPARED:
        raise ValueError(f"are at most {MOST_COMPARED} models, so that the columns stay readable")
    if len(set(names)) < len(names):
        raise ValueError("name the same model twice; each is asked once, and found under its name")
    return names


def non_empty(text: str) -> str:
    """Check that a text is not empty."""
    if not text.strip():
        raise ValueError("is empty")
    return text


def system_prompt(text: str) -> str:
    """Check a system prompt, or `@` and the path of its file."""
    if text == "@":
        raise ValueError("names a file after the @: --system @style.md")
    return text


def thread_name(text: str) -> str:
    """Check the name of a conversation."""
    from ..conversation import THREAD_NAME, is_thread_name  # late, as above

    if not is_thread_name(text):
        raise ValueError(f"is {THREAD_NAME}")
    return text


def cell_range(text: str) -> str:
    """Check the syntax of a range of cells; `parse_cell_range` resolves it later."""
    if not looks_like_range(text):
        raise ValueError("is all, none, or a range of cell numbers: -3: is the last three, 2:5 is 2 to 5")
    return text


def looks_like_range(text: str) -> bool:
    """Return whether a word is a range of cells: `-3:` is one, `--raw` and `-x` are not."""
    return bool(re.fullmatch(_CELL_RANGE, text, re.ASCII))


def control_names(text: str) -> tuple[str, ...]:
    """Convert a comma-separated list of variable names."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        raise ValueError("are names of variables, with commas and no spaces between them: --interact n,city")
    return names


def join_names(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Concatenate lists of names.

    Raises:
        ValueError: A name occurs twice.
    """
    names = tuple(name for each in lists for name in each)
    if len(set(names)) < len(names):
        raise ValueError("names the same variable twice")
    return names


def function_names(text: str) -> tuple[str, ...]:
    """Convert a comma-separated list of function names; each may be dotted."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError("are names of functions, with commas and no spaces between them: --tools f,g")
    if len(set(names)) < len(names):
        raise ValueError("names the same function twice")
    return names


def setting(text: str) -> tuple[tuple[str, ...], Any]:
    """Convert `field.subfield=value` to its path and its value, which is parsed as JSON if it is valid JSON, else kept as text."""
    path, equals, written = text.partition("=")
    if not equals or not re.fullmatch(_FIELD, path, re.ASCII):
        raise ValueError("is a field of the request and its value: --set top_k=5, --set metadata.user_id=me")
    if why := _TAKEN_FIELDS.get(path.partition(".")[0]):
        raise ValueError(f"cannot set {path}, which {why}")
    return tuple(path.split(".")), _json_or_text(written)


def merge_settings(settings: Sequence[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Merge settings into one mapping, with dotted fields as nested mappings.

    Raises:
        ValueError: Two settings set the same field.
    """
    merged: dict[str, Any] = {}
    for path, value in settings:
        place = merged
        for depth, part in enumerate(path[:-1], start=1):
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"sets {'.'.join(path[:depth])} and also {'.'.join(path)}")
        if path[-1] in place:
            raise ValueError(f"sets {'.'.join(path)} twice")
        place[path[-1]] = value
    return merged


def _json_or_text(written: str) -> Any:
    try:
        return json.loads(written, parse_constant=_refuse_constant)
    except ValueError:
        if written[:1] in ("{", "[", '"'):
            raise ValueError(
                'is not valid JSON after the =; in single quotes it may have spaces: --set \'metadata={"user_id": "me"}\''
            ) from None
        return written


def _refuse_constant(name: str) -> Any:
    # Python accepts NaN and Infinity, but they are not JSON, and a server would refuse them.
    raise ValueError(name)


class OptionSpec(NamedTuple):
    """The names, conversion and help text of one option.

    Attributes:
        usage: Notation in the help, with the short name first if there is one: `-m, --model MODEL`. A flag has no value.
        help: One line for the help.
        convert: Converts the typed text to the value; raises `ValueError` with the end of a sentence.
        combine: Combines the values of a repeatable option; raises `ValueError` with the end of a sentence.
        choices: The valid values, if they are few.
        takes_dash: Returns whether an unquoted value that begins with a dash is valid, as `-3:` is.
        sets: The field of `Options` it sets, if its name differs from the option's.
    """

    usage: str
    help: str
    convert: Callable[[str], object] = str
    combine: Callable[[Sequence[Any]], object] | None = None
    choices: tuple[str, ...] = ()
    takes_dash: Callable[[str], bool] = lambda _: False
    sets: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its names, the short one first."""
        return tuple(word.rstrip(",") for word in self.usage.split() if word.startswith("-"))

    @property
    def name(self) -> str:
        """Its long name."""
        return self.names[-1]

    @property
    def field(self) -> str:
        """The field of `Options` it sets."""
        return self.sets or self.name.lstrip("-").replace("-", "_")

    @property
    def value(self) -> str | None:
        """The name of its value in the help and in errors; `None` for a flag."""
        last = self.usage.split()[-1]
        return None if last.startswith("-") else last

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.value is None

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given more than once."""
        return self.combine is not None


def _choice(usage: str, help: str, choices: tuple[str, ...]) -> OptionSpec:
    return OptionSpec(usage, help, one_of(*choices), choices=choices)


OPTION_GROUPS: Mapping[str, tuple[OptionSpec, ...]] = {
    "Who answers, and how": (
        OptionSpec("-m, --model MODEL", "opus, sonnet, haiku, fable, or a full name", model_name),
        OptionSpec("--compare M,N", "several models; their answers appear side by side", model_names),
        OptionSpec(
            "-s, --system TEXT", 'system prompt ("in quotes" if it has spaces), or @FILE', system_prompt
        ),
        OptionSpec("--max-tokens N", "most tokens of the answer, thinking included", positive_integer),
        _choice("--effort LEVEL", f"how hard to try: {', '.join(EFFORT_LEVELS)}", EFFORT_LEVELS),
        _choice("--thinking MODE", "show (folded), hide, or off", THINKING_MODES),
    ),
    "Conversation": (
        OptionSpec("--thread T", "conversation to continue; created at its first use", thread_name),
        OptionSpec("--new", "start a new conversation; earlier turns are kept but not sent", sets="is_new"),
        OptionSpec(
            "--no-history", "ask outside of any conversation; nothing is sent before it or kept after it"
        ),
    ),
    "What is sent with the prompt": (
        OptionSpec(
            "-a, --attach THING",
            "send a file, URL, variable or figure; may be repeated",
            non_empty,
            combine=tuple,
        ),
        OptionSpec(
            "--cells RANGE",
            "send cells with their outputs: -3: (the last three), 2:5, all, none",
            cell_range,
            choices=("all", "none"),
            takes_dash=looks_like_range,
        ),
        OptionSpec(
            "--interact N,M",
            "show controls for variables of the prompt; may be repeated",
            control_names,
            combine=join_names,
        ),
        OptionSpec(
            "--map TABLE",
            "ask about each row; {{ column }} is its value, {{ item }} an item of a list",
            input_name,
        ),
        OptionSpec("--max-cost USD", "with --map: the most that it may cost", amount),
        _choice("--via WAY", "with --map: online, or batch (half the price, within a day)", WAYS),
        OptionSpec(
            "--raw", "send the prompt as typed: double braces, and what looks like a key or a password"
        ),
    ),
    "What happens to the answer": (
        _choice(
            "-f, --format FORMAT", f"show the answer as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}", FORMATS
        ),
        OptionSpec(
            "-o, --out NAME", "assign the reply to a variable, even if it is interrupted", variable_name
        ),
        OptionSpec(
            "--schema SCHEMA", 'return an object of a class, or of "name, age int, tags list[str]"', non_empty
        ),
        OptionSpec(
            "-x, --code", "put the code of the answer into a new cell; it is not run", sets="insert_code"
        ),
        OptionSpec("--quiet", "show nothing; the reply is in _ or the variable of -o"),
        OptionSpec(
            "--bg", "return at once; the answer streams into the cell while others run", sets="background"
        ),
    ),
    "What Claude may do": (
        OptionSpec("--tools F,G", "your functions that Claude may call", function_names),
        _choice("--approve WHEN", "ask before each call (default), or never", APPROVALS),
        OptionSpec("--web-search", "let Claude search the web and cite sources"),
    ),
    "The request itself": (
        OptionSpec("--stop TEXT", "end the answer at this text; may be repeated", non_empty, combine=tuple),
        OptionSpec(
            "--set KEY=VALUE",
            "set any other field of the request; JSON or text; may be repeated",
            setting,
            combine=merge_settings,
            sets="extra",
        ),
        _choice(
            "--replay MODE",
            "answer from the cassette: auto (ask and record the rest), only, record (ask again), off",
            REPLAY_MODES,
        ),
        OptionSpec("--dry-run", "show what would be sent and what it could cost; send nothing"),
    ),
}
"""All options by the headings of the help, in the order of the help."""

OPTION_SPECS = tuple(spec for specs in OPTION_GROUPS.values() for spec in specs)
SPEC_BY_NAME = {name: spec for spec in OPTION_SPECS for name in spec.names}
SPEC_BY_FIELD = {spec.field: spec for spec in OPTION_SPECS}
