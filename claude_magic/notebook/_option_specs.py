"""The options: one table from which they are parsed, explained and completed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _option_values as values


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """How one option is spelled, read and explained.

    Attributes:
        names: Spellings, the short one first where there is one.
        field: The field of `Options` it sets.
        value: What its value is called in the help and in errors; `None` for a flag.
        help: One line for the help.
        group: The heading under which the help has it.
        convert: Turns the typed text into the value; raises `ValueError` with the end of a sentence.
        combine: Makes one value of several, for an option that may be repeated; raises likewise.
        choices: The words it takes, where they are few.
        takes_dash: Whether an unquoted value may begin with a dash, as `-3:` does.
    """

    names: tuple[str, ...]
    field: str
    value: str | None
    help: str
    group: str
    convert: Callable[[str], object] = str
    combine: Callable[[Sequence[Any]], object] | None = None
    choices: tuple[str, ...] = ()
    takes_dash: Callable[[str], bool] = lambda _: False

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone."""
        return self.value is None

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given more than once."""
        return self.combine is not None

    @property
    def name(self) -> str:
        """Its full spelling."""
        return self.names[-1]


def _flag(*names: str, field: str, group: str, help: str) -> OptionSpec:
    return OptionSpec(names=names, field=field, value=None, help=help, group=group)


def _choice(
    *names: str, field: str, value: str, choices: tuple[str, ...], group: str, help: str
) -> OptionSpec:
    return OptionSpec(
        names=names,
        field=field,
        value=value,
        help=help,
        group=group,
        convert=values.one_of(*choices),
        choices=choices,
    )


_WHO = "Who answers, and how"
_WITH = "What is sent along"
_TALK = "Conversation"
_ANSWER = "What comes of the answer"
_TOOLS = "What Claude may do"
_REQUEST = "The request itself"

OPTION_SPECS = (
    OptionSpec(
        names=("-m", "--model"),
        field="model",
        value="MODEL",
        help="opus, sonnet, haiku, fable, or a full name",
        group=_WHO,
        convert=values.model_name,
    ),
    OptionSpec(
        names=("--compare",),
        field="compare",
        value="M,N",
        help="several models, their answers side by side",
        group=_WHO,
        convert=values.model_names,
    ),
    OptionSpec(
        names=("-s", "--system"),
        field="system",
        value="TEXT",
        help='system prompt ("in quotes" if it has spaces), or @FILE',
        group=_WHO,
        convert=values.system_prompt,
    ),
    OptionSpec(
        names=("--max-tokens",),
        field="max_tokens",
        value="N",
        help="the longest answer, in tokens, thinking included",
        group=_WHO,
        convert=values.positive_integer,
    ),
    _choice(
        "--effort",
        field="effort",
        value="LEVEL",
        choices=values.EFFORT_LEVELS,
        group=_WHO,
        help=f"how hard to try: {', '.join(values.EFFORT_LEVELS)}",
    ),
    _choice(
        "--thinking",
        field="thinking",
        value="MODE",
        choices=values.THINKING_MODES,
        group=_WHO,
        help="show (folded), hide, or off",
    ),
    OptionSpec(
        names=("--thread",),
        field="thread",
        value="T",
        help="the conversation to go on with; made at its first use",
        group=_TALK,
        convert=values.thread_name,
    ),
    _flag("--new", field="is_new", group=_TALK, help="begin anew; earlier turns are kept, and not sent"),
    _flag("--no-history", field="no_history", group=_TALK, help="ask outside any conversation"),
    OptionSpec(
        names=("-a", "--attach"),
        field="attach",
        value="THING",
        help="a file, URL, variable or figure; may be repeated",
        group=_WITH,
        convert=values.given,
        combine=tuple,
    ),
    OptionSpec(
        names=("--cells",),
        field="cells",
        value="RANGE",
        help="cells with their outputs: -3: the last three, 2:5, all, none",
        group=_WITH,
        convert=values.cell_range,
        choices=("all", "none"),
        takes_dash=values.looks_like_range,
    ),
    OptionSpec(
        names=("--interact",),
        field="interact",
        value="N,M",
        help="controls for variables of the prompt; may be repeated",
        group=_WITH,
        convert=values.control_names,
        combine=values.join_names,
    ),
    _flag(
        "--raw",
        field="raw",
        group=_WITH,
        help="send the prompt as typed: double braces, and what looks like a key or a password",
    ),
    _choice(
        "-f",
        "--format",
        field="format",
        value="FORMAT",
        choices=values.FORMATS,
        group=_ANSWER,
        help=f"how it is shown: {', '.join(values.FORMATS)}",
    ),
    OptionSpec(
        names=("-o", "--out"),
        field="out",
        value="NAME",
        help="bind the reply to a variable, also when interrupted",
        group=_ANSWER,
        convert=values.variable_name,
    ),
    OptionSpec(
        names=("--schema",),
        field="schema",
        value="SCHEMA",
        help='an object of this class, or of "name, age int, tags list[str]"',
        group=_ANSWER,
        convert=values.given,
    ),
    _flag(
        "-x", "--code", field="insert_code", group=_ANSWER, help="put its code into a new cell; never run it"
    ),
    _flag("--quiet", field="quiet", group=_ANSWER, help="show nothing; -o or _ has the reply"),
    _flag(
        "--bg",
        field="background",
        group=_ANSWER,
        help="go on at once; the answer comes into the cell while others run",
    ),
    OptionSpec(
        names=("--tools",),
        field="tools",
        value="F,G",
        help="functions of yours that Claude may call",
        group=_TOOLS,
        convert=values.function_names,
    ),
    _choice(
        "--approve",
        field="approve",
        value="WHEN",
        choices=values.APPROVALS,
        group=_TOOLS,
        help="ask before each call (so it is), or never",
    ),
    _flag("--web-search", field="web_search", group=_TOOLS, help="let Claude search the web, and cite"),
    OptionSpec(
        names=("--stop",),
        field="stop",
        value="TEXT",
        help="end the answer where this text comes; may be repeated",
        group=_REQUEST,
        convert=values.given,
        combine=tuple,
    ),
    OptionSpec(
        names=("--set",),
        field="extra",
        value="KEY=VALUE",
        help="any other field of the request; JSON or text; may be repeated",
        group=_REQUEST,
        convert=values.setting,
        combine=values.merge_settings,
    ),
    _flag(
        "--dry-run", field="dry_run", group=_REQUEST, help="show what would be sent and cost; do not send it"
    ),
)

SPEC_BY_NAME = {name: spec for spec in OPTION_SPECS for name in spec.names}
SPEC_BY_FIELD = {spec.field: spec for spec in OPTION_SPECS}

EXCLUSIVE_FIELDS = (
    ("model", "compare", "one names the model that answers and the other several"),
    ("compare", "tools", "each model would call your functions again"),
    ("compare", "background", "several answers grow side by side as long as their cell runs"),
    ("interact", "compare", "controls are for the answers of one model"),
    ("interact", "background", "controls ask in the background by themselves"),
    ("interact", "tools", "each movement of a control could call your functions again"),
    (
        "interact",
        "insert_code",
        "each state of the controls has another answer; reply.code has the code of one",
    ),
    ("interact", "raw", "controls stand for double braces, and --raw sends those as typed"),
    ("interact", "quiet", "controls are there to be seen"),
    ("compare", "insert_code", 'there are several answers: answers["sonnet"].code has the code of one'),
    ("thread", "is_new", "one goes on with a conversation and the other begins one"),
    ("thread", "no_history", "one belongs to a conversation and the other to none"),
    ("is_new", "no_history", "one begins a conversation and the other belongs to none"),
    ("schema", "insert_code", "one asks for data and the other for code"),
    ("background", "insert_code", "a cell that has ended can insert none below it; reply.code has the code"),
    ("background", "tools", "tools run where an answer is waited for, and --bg does not wait"),
)
"""Two fields that cannot both be set, and why."""
