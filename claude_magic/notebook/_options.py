"""The options of `%claude`: one table from which they are parsed, explained and completed, and what they ask for.

The function that reads a value raises `ValueError` with the end of a sentence whose beginning is the value's name ("N is a
whole number").
"""

from __future__ import annotations

import builtins
import json
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the options asked for; `None`, `False` or empty where one was not given.

    Attributes:
        model: A model's id, or a short name such as `opus`.
        compare: Models that answer side by side, in place of one.
        map: The variable whose rows are asked about, each by itself.
        max_cost: What a map may cost, in USD.
        via: "batch" for a map at half the price, within a day.
        system: The system prompt, or `@` and the path of a file that holds it.
        max_tokens: The longest answer.
        effort: One of `EFFORT_LEVELS`.
        thinking: One of `THINKING_MODES`.
        thread: The conversation to go on with.
        is_new: Begin a conversation again.
        no_history: Neither send earlier turns nor become one.
        cells: Which cells to send along: a range, `all` or `none`.
        attach: Paths, URLs and names of variables to send along, in order.
        interact: Variables of the prompt that become controls.
        format: One of `FORMATS`.
        schema: The name of a class, or fields in the short form `name, age int`.
        out: The variable that the reply is bound to.
        insert_code: Put the answer's code into a new cell.
        tools: Functions that Claude may call, by name.
        approve: One of `APPROVALS`.
        web_search: Let Claude search the web.
        stop: Texts at which the answer ends.
        extra: Fields of the request that no option names, as JSON values.
        dry_run: Show what would be sent, and send nothing.
        replay: One of `REPLAY_MODES`.
        raw: Leave double braces in the prompt alone.
        quiet: Show no answer.
        background: Let the cell end at once, and the answer come when it comes.
        notes: What the reader should know of them, as sentences; no option sets it.
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
    """Return what `closest_name` does."""
    from ..context import closest_name  # late: loading the extension must not cost this

    return closest_name(word, choices, **likeness)


EFFORT_LEVELS = ("low", "medium", "high", "xhigh", "max")
THINKING_MODES = ("show", "hide", "off")
REPLAY_MODES = ("off", "auto", "only", "record")
FORMATS = ("md", "text", "code", "json", "html", "math")
APPROVALS = ("ask", "never")
WAYS = ("online", "batch")
MOST_COMPARED = 6

# Spellings of values. Most lines have few of them, so `re.fullmatch` compiles each when it is first needed.
#
# How `%%ai` and LangChain write a model; a colon alone is no sign of it, as names of local models have one (llama3:8b).
_PROVIDER = r"anthropic(-chat)?:(?P<model>.*)"
_CELL_RANGE = r"all|none|-?\d+(:(-?\d+)?)?|:-?\d+"
# Names that IPython binds and reads, `_` and the history among them, and those of the interpreter, as `__name__`.
_IPYTHONS = r"In|Out|get_ipython|exit|quit|display|_+|_\d+|_i+|_i\d+|_[dios]h|_exit_code|__\w+__|__builtin__"
_OURS = ("claude", "Err")
_THREAD = r"\w[\w.-]*"
_NUMBER = r"\d{1,9}"
_AMOUNT = r"\$?(\d{1,9}(\.\d*)?|\.\d+)"
_FIELD = r"[A-Za-z_]\w*(\.\w+)*"

# Fields of a request that have an option of their own, or that are not the reader's to set.
_TAKEN_FIELDS = {
    "model": "is set with --model",
    "max_tokens": "is set with --max-tokens",
    "system": "is set with --system",
    "messages": "is the prompt and its conversation",
    "stream": "is always true: answers are streamed",
}


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a reader that takes these words, and no abbreviations of them."""

    def convert(text: str) -> str:
        if text not in choices:
            guess = closest(text, choices) or ("md" if "md" in choices and text == "markdown" else None)
            raise ValueError(
                f"is one of {', '.join(choices)}." + (f" Did you mean {guess}?" if guess else "")
            )
        return text

    return convert


def positive_integer(text: str) -> int:
    """Read a whole number above 0, of at most nine digits."""
    if not (re.fullmatch(_NUMBER, text, re.ASCII) and int(text) > 0):
        raise ValueError("is a whole number above 0, with at most nine digits, such as 16000")
    return int(text)


def amount(text: str) -> float:
    """Read an amount of money: `2`, `0.50`, `$3`."""
    if not re.fullmatch(_AMOUNT, text, re.ASCII):
        raise ValueError("is an amount in USD (2.50)")
    return float(text.removeprefix("$"))


def input_name(text: str) -> str:
    """Read the name of what is mapped; it may be dotted."""
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split(".")):
        raise ValueError("is the name of a table, column, list or dict of yours: --map df, --map df.text")
    return text


def variable_name(text: str) -> str:
    """Read a name that can be assigned to, and is not needed by others."""
    if keyword.iskeyword(text):
        raise ValueError("is the name of a variable, and that is a Python keyword")
    if not text.isidentifier():
        raise ValueError("is the name of a variable: letters, digits and _, no digit first")
    if hasattr(builtins, text) or re.fullmatch(_IPYTHONS, text, re.ASCII) or text in _OURS:
        raise ValueError(f"is a name of your own; {text} is taken, and code that uses it would break")
    return text


def model_name(text: str) -> str:
    """Read a model's name; parameters in JSON and a provider in front are what other magics take."""
    if text.startswith("{"):
        raise ValueError("is a model's name (-m opus); set fields of the request with --set: --set top_k=5")
    if match := re.fullmatch(_PROVIDER, text, re.DOTALL):
        model = match["model"] or "opus"
        raise ValueError(f"has no provider in front. Did you mean --model {model}?")
    return given(text)


def model_names(text: str) -> tuple[str, ...]:
    """Read names of models with commas between them."""
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


def given(text: str) -> str:
    """Read any text but none."""
    if not text.strip():
        raise ValueError("is empty")
    return text


def system_prompt(text: str) -> str:
    """Read a system prompt, or the file that holds it."""
    if text == "@":
        raise ValueError("names a file after the @: --system @style.md")
    return text


def thread_name(text: str) -> str:
    """Read the name of a conversation."""
    if not is_thread_name(text):
        raise ValueError("is one word of letters, digits, _ . and -")
    return text


def is_thread_name(text: str) -> bool:
    """Whether a word can be the name of a conversation."""
    return bool(re.fullmatch(_THREAD, text))


def cell_range(text: str) -> str:
    """Check the spelling of a range of cells; which cells it means is not decided here."""
    if not looks_like_range(text):
        raise ValueError("is all, none, or a range of cell numbers: -3: is the last three, 2:5 is 2 to 5")
    return text


def looks_like_range(text: str) -> bool:
    """Whether a word is meant as a range of cells: `-3:` is one, `--raw` and `-x` are not."""
    return bool(re.fullmatch(_CELL_RANGE, text, re.ASCII))


def control_names(text: str) -> tuple[str, ...]:
    """Read names of variables with commas between them."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        raise ValueError("are names of variables, with commas and no spaces between them: --interact n,city")
    return names


def join_names(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Put lists of names into one.

    Raises:
        ValueError: A name stands there twice.
    """
    names = tuple(name for each in lists for name in each)
    if len(set(names)) < len(names):
        raise ValueError("names the same variable twice")
    return names


def function_names(text: str) -> tuple[str, ...]:
    """Read names with commas and no spaces between them; each may be dotted."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError("are names of functions, with commas and no spaces between them: --tools f,g")
    if len(set(names)) < len(names):
        raise ValueError("names the same function twice")
    return names


def setting(text: str) -> tuple[tuple[str, ...], Any]:
    """Read `field.subfield=value`: where it goes, and the value, as JSON if it is that and as text if not."""
    path, equals, written = text.partition("=")
    if not equals or not re.fullmatch(_FIELD, path, re.ASCII):
        raise ValueError("is a field of the request and its value: --set top_k=5, --set metadata.user_id=me")
    if why := _TAKEN_FIELDS.get(path.partition(".")[0]):
        raise ValueError(f"cannot set {path}, which {why}")
    return tuple(path.split(".")), _json_or_text(written)


def merge_settings(settings: Sequence[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Put settings into one mapping, dotted fields into mappings inside it.

    Raises:
        ValueError: Two of them set the same.
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
    # NaN and Infinity are Python's own; a server would refuse them.
    raise ValueError(name)


class OptionSpec(NamedTuple):
    """How one option is spelled, read and explained.

    Attributes:
        usage: How it is written, the short name first where there is one: `-m, --model MODEL`. A flag has no value.
        help: One line for the help.
        convert: Turns the typed text into the value; raises `ValueError` with the end of a sentence.
        combine: Makes one value of several, for an option that may be repeated; raises likewise.
        choices: The words it takes, where they are few.
        takes_dash: Whether an unquoted value may begin with a dash, as `-3:` does.
        sets: The field of `Options` it sets, where that is not called as the option is.
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
        """Its spellings."""
        return tuple(word.rstrip(",") for word in self.usage.split() if word.startswith("-"))

    @property
    def name(self) -> str:
        """Its full spelling."""
        return self.names[-1]

    @property
    def field(self) -> str:
        """The field of `Options` it sets."""
        return self.sets or self.name.lstrip("-").replace("-", "_")

    @property
    def value(self) -> str | None:
        """What its value is called in the help and in errors; `None` for a flag."""
        last = self.usage.split()[-1]
        return None if last.startswith("-") else last

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone."""
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
            given,
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
            "--schema SCHEMA", 'return an object of a class, or of "name, age int, tags list[str]"', given
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
        OptionSpec("--stop TEXT", "end the answer at this text; may be repeated", given, combine=tuple),
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
"""All options under the headings of the help, in its order."""

OPTION_SPECS = tuple(spec for specs in OPTION_GROUPS.values() for spec in specs)
SPEC_BY_NAME = {name: spec for spec in OPTION_SPECS for name in spec.names}
SPEC_BY_FIELD = {spec.field: spec for spec in OPTION_SPECS}
