"""The subcommands of `%claude`: one table, used for parsing, help and completion.

Each names its handler as ".module:function"; the module, in this package, is imported when the subcommand runs.
"""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ._options import AMOUNT_PATTERN, OPTION_GROUPS, OPTION_SPECS, closest

if TYPE_CHECKING:
    from ._cell import Cell, Scope

# Patterns of arguments. Few lines have one, so `re.fullmatch` compiles each at first use.
_COUNT = r"[1-9]\d{0,5}"
_AMOUNT = rf"{AMOUNT_PATTERN}|off"
_FILE = r"""(?P<quote>["'])(?P<quoted>.+\.json)(?P=quote)|(?P<plain>[^\s"']+\.json)"""
_SAVED = _FILE.replace("json", "(?:json|ipynb)")
# A comment as in Python, on one line; "#3" is a number.
_COMMENT = r"\s+#(?:\s.*)?\Z"
THIS_NOTEBOOK = "notebook"
"""The argument that stands for the notebook's own file."""


class Argument(NamedTuple):
    """One argument.

    Attributes:
        key: Key of the argument in the mapping passed to the handler.
        usage: Notation in the help; in brackets if the argument is optional.
        read: Converts the typed text to the argument; returns `None` if the text is not valid.
        guess: Returns the argument that an invalid text was probably meant to be, or `None`.
        choices: The valid words, if they are few and fixed.
        wrong: What is wrong with a text that is not valid, as a sentence.
    """

    key: str
    usage: str
    read: Callable[[str, Scope], str | None]
    guess: Callable[[str, Scope], str | None] = lambda _text, _scope: None
    choices: tuple[str, ...] = ()
    wrong: str = "{text} is not an argument of this subcommand."

    @property
    def is_optional(self) -> bool:
        """Whether the argument is optional."""
        return self.usage.startswith("[")


def _existing_name(text: str, scope: Scope) -> str | None:
    from ..context import is_history, root_of  # late: importing it would slow down loading the extension

    root = root_of(text)
    if root is None:
        return None
    # `_5` and the like are names even if there is no such output: the subcommand then reports that.
    return text if root in scope.names() or is_history(root) else None


def _likely_name(text: str, scope: Scope) -> str | None:
    bare = text.strip(".,;:!?`'\"()")
    if _existing_name(bare, scope):
        return bare
    root = re.match(r"\w+", bare)
    guess = None if root is None else closest(root[0], scope.names())
    return None if guess is None or root is None else guess + bare[root.end() :]


def _existing_thread(text: str, scope: Scope) -> str | None:
    return text if text in scope.threads() else None


def _likely_thread(text: str, scope: Scope) -> str | None:
    return closest(text, scope.threads())


def _new_thread(text: str, _scope: Scope) -> str | None:
    from ..conversation import is_thread_name  # late, as above

    return text if is_thread_name(text) else None


def _file(text: str, _scope: Scope) -> str | None:
    match = re.fullmatch(_FILE, text, re.IGNORECASE)
    return None if match is None else match["quoted"] or match["plain"]


def _saved(text: str, _scope: Scope) -> str | None:
    match = re.fullmatch(_SAVED, text, re.IGNORECASE)
    return text if text == THIS_NOTEBOOK else None if match is None else match["quoted"] or match["plain"]


def _likely_saved(text: str, scope: Scope) -> str | None:
    return closest(text, (THIS_NOTEBOOK,)) or _likely_file(text, scope)


def _likely_file(text: str, _scope: Scope) -> str | None:
    stem = text.strip("\"'“”‘’")
    return (
        f"{stem}.json" if re.fullmatch(r"[\w./~-]*\w", stem) and "." not in stem.rpartition("/")[2] else None
    )


def _likely_amount(text: str, _scope: Scope) -> str | None:
    """Return the amount in `2 USD`, `2,50` or `EUR 3`: the number in the text, if there is exactly one."""
    found = [number for number in re.findall(r"(?:\d[\d_']*)?(?:[.,]\d+)?", text, re.ASCII) if number]
    if len(found) != 1 or "-" in text:
        return closest(text, ("off",))
    amount = re.sub(r"[_']", "", found[0]).replace(",", ".")
    return amount if re.fullmatch(_AMOUNT, amount, re.ASCII) else None


def _likely_number(text: str, _scope: Scope) -> str | None:
    found = re.findall(r"(?<![\d-])[1-9]\d{0,5}(?!\d)", text, re.ASCII)
    return found[0] if len(found) == 1 else None


def _likely_job(text: str, scope: Scope) -> str | None:
    return _likely_number(text, scope) or closest(text, ("all",))


def _likely_choice(*choices: str) -> Callable[[str, Scope], str | None]:
    return lambda text, _scope: closest(text, choices)


def _matching(pattern: str, flags: int = re.ASCII) -> Callable[[str, Scope], str | None]:
    return lambda text, _scope: text if re.fullmatch(pattern, text, flags) else None


def _one_of(key: str, usage: str, *choices: str) -> Argument:
    """Return an argument that must be one of a few words."""
    spelled = _matching("|".join(choices))
    return Argument(key=key, usage=usage, read=spelled, guess=_likely_choice(*choices), choices=choices)


_NO_THREAD_NAME = "{text} cannot be the name of a thread."
EXISTING_NAME = Argument(
    key="name",
    usage="NAME",
    read=_existing_name,
    guess=_likely_name,
    wrong="There is no variable, function, class or module {text}.",
)
EXISTING_THREAD = Argument(
    key="thread",
    usage="[THREAD]",
    read=_existing_thread,
    guess=_likely_thread,
    wrong="There is no thread {text}.",
)
ANY_THREAD = Argument(key="thread", usage="[THREAD]", read=_new_thread, wrong=_NO_THREAD_NAME)
NEW_THREAD = Argument(key="name", usage="NAME", read=_new_thread, wrong=_NO_THREAD_NAME)
TURN = Argument(
    key="n",
    usage="N",
    read=_matching(_COUNT),
    guess=_likely_number,
    wrong="{text} is not the number of a turn.",
)
COUNT = Argument(
    key="n",
    usage="[N]",
    read=_matching(_COUNT),
    guess=_likely_number,
    wrong="{text} is not a number of turns.",
)
JSON_FILE = Argument(
    key="file",
    usage="FILE.json",
    read=_file,
    guess=_likely_file,
    wrong="{text} is not the name of a .json file.",
)
SAVED = Argument(
    key="file",
    usage="FILE|notebook",
    read=_saved,
    guess=_likely_saved,
    choices=(THIS_NOTEBOOK,),
    wrong="{text} is not the name of a .json or .ipynb file.",
)
AMOUNT = Argument(
    key="amount",
    usage="[AMOUNT|off]",
    read=_matching(_AMOUNT),
    guess=_likely_amount,
    choices=("off",),
    wrong="{text} is not an amount.",
)
JOB = Argument(
    key="job",
    usage="[N|all]",
    read=_matching(rf"{_COUNT}|all"),
    guess=_likely_job,
    choices=("all",),
    wrong="{text} is not the number of an answer.",
)
LIVE = _one_of("live", "[--live]", "--live")
RUNS = Argument(
    key="what",
    usage="[compare A B|prune DAYS]",
    read=_matching(r"compare [1-9]\d{0,8} [1-9]\d{0,8}|prune (?:\d{1,5}|all)"),
    choices=("compare", "prune"),
)
BATCHES = Argument(
    key="what",
    usage="[cancel ID|forget ID]",
    read=_matching(r"(?:cancel|forget) [\w-]{1,100}"),
    choices=("cancel", "forget"),
)
PRUNE = _one_of("what", "[prune]", "prune")
METHODS = Argument(
    key="what",
    usage="[--cassette] [--appendix] [--manifest FILE.json]",
    read=_matching(r"(?:(?:--cassette|--appendix|--manifest \S+\.json)(?: |$))*(?<! )", re.UNICODE),
    guess=_likely_choice("--cassette", "--appendix"),
    choices=("--cassette", "--appendix", "--manifest"),
)
SWITCH = _one_of("state", "on|off", "on", "off")._replace(wrong="{text} is neither on nor off.")


class Command(NamedTuple):
    """One subcommand.

    Attributes:
        name: First word of the line.
        help: One line for the help.
        handler: The function that runs it, as ".module:function".
        argument: Its argument; `None` if it takes none.
        kind: `do` acts immediately and shows a result. `ask` sends a question like a prompt, and may have options before it.
        takes_prose: Whether several words after the name may be a prompt: "explain the error". After the names of the others, some
            of which concern money, secrets and deletion, only a whole sentence is a prompt.
    """

    name: str
    help: str
    handler: str
    argument: Argument | None = None
    kind: Literal["do", "ask"] = "do"
    takes_prose: bool = False

    @property
    def usage(self) -> str:
        """Its notation in the help."""
        return self.name if self.argument is None else f"{self.name} {self.argument.usage}"

    def load(self) -> Callable[..., Any]:
        """Import and return the handler."""
        module, _, function = self.handler.partition(":")
        return getattr(importlib.import_module(module, __package__), function)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A subcommand with its argument, as typed.

    Attributes:
        command: The subcommand.
        arguments: The argument by its key; empty if it was left out.
    """

    command: Command
    arguments: Mapping[str, str] = field(default_factory=dict)


COMMANDS = (
    Command(
        "fix",
        "explain the last error and put a corrected cell below",
        "._question:fix",
        kind="ask",
        takes_prose=True,
    ),
    Command(
        "explain",
        "explain a variable, function, class or module of yours",
        "._question:explain",
        EXISTING_NAME,
        kind="ask",
        takes_prose=True,
    ),
    Command(
        "continue",
        "continue an answer that was cut off",
        "._question:continue_answer",
        kind="ask",
        takes_prose=True,
    ),
    Command(
        "code",
        "put the code of the last answer into a new cell; nothing is sent",
        "._session_commands:code",
        takes_prose=True,
    ),
    Command(
        "history",
        "show the turns of all conversations, or of one, as a tree with numbers",
        "._session_commands:history",
        EXISTING_THREAD,
        takes_prose=True,
    ),
    Command("threads", "list the conversations of this kernel", "._session_commands:threads"),
    Command(
        "fork",
        "start a thread that branches off the current conversation",
        "._session_commands:fork",
        NEW_THREAD,
    ),
    Command(
        "undo",
        "take back the last turn, or the last N; the history keeps them",
        "._session_commands:undo",
        COUNT,
    ),
    Command(
        "switch",
        "continue from turn N of the history, on any branch",
        "._session_commands:switch",
        TURN,
    ),
    Command("clear", "delete a conversation", "._session_commands:clear", EXISTING_THREAD),
    Command("save", "write the conversations to a readable file", "._session_commands:save", JSON_FILE),
    Command(
        "load",
        "read saved conversations: those of a .json file, or of the answers in this or another notebook",
        "._session_commands:load",
        SAVED,
    ),
    Command("jobs", "list the answers in flight, and those of background cells", "._session_commands:jobs"),
    Command(
        "stop",
        "stop the answer in flight, or one by its number; what has arrived stays",
        "._session_commands:stop",
        JOB,
        takes_prose=True,
    ),
    Command(
        "journal",
        "list the maps of this folder, what they cost, and the size of their journal; compare two, or delete old answers",
        "._record_commands:journal",
        RUNS,
    ),
    Command(
        "batches",
        "list the message batches of this key's workspace, and how far they are; cancel one, or forget a lost one",
        "._record_commands:batches",
        BATCHES,
    ),
    Command(
        "cassette",
        "list the recorded answers and whether this kernel has used them; delete those that it has not",
        "._record_commands:cassette",
        PRUNE,
    ),
    Command(
        "methods",
        "write the Methods paragraph of a paper from what this kernel, or the cassette, has asked; and its manifest",
        "._record_commands:methods",
        METHODS,
    ),
    Command(
        "panel", "open a conversation beside the cells, with buttons", "._session_commands:panel", ANY_THREAD
    ),
    Command("usage", "show tokens and prices by model and conversation", "._money_commands:usage"),
    Command(
        "budget",
        "show or set the most to spend, in USD; a request that could exceed it is refused",
        "._money_commands:budget",
        AMOUNT,
    ),
    Command(
        "limits",
        "show the server's rate limits and what is left; --live shows a live gauge",
        "._money_commands:limits",
        LIVE,
    ),
    Command("models", "list the models, their short names and prices", "._money_commands:models"),
    Command(
        "status",
        "show client, limiter and every setting with its source; never a key",
        "._session_commands:status",
    ),
    Command(
        "login", "enter an API key; it stays in memory until the kernel ends", "._session_commands:login"
    ),
    Command("logout", "delete the entered key", "._session_commands:logout"),
    Command("demo", "turn the built-in simulator on or off", "._session_commands:demo", SWITCH),
    Command("help", "show all options and subcommands", "._commands:show_help", takes_prose=True),
)

COMMAND_BY_NAME = {command.name: command for command in COMMANDS}
_HELP = ("?", "??", "-h", "--help")
ESCAPE = "ask"
"""The word after which everything is a prompt."""


def find_call(text: str, scope: Scope) -> Call | None:
    """Return the subcommand if the whole text is one, ignoring a comment after it (`login  # asks for a key`); else `None`."""
    comment = re.search(_COMMENT, text)
    if comment is not None:
        from ..context import holds_key  # late: importing it would slow down loading the extension

        call = None if holds_key(comment[0]) else _read_call(text[: comment.start()], scope)
        if call is not None:
            return call
    return _read_call(text, scope)


def _read_call(text: str, scope: Scope) -> Call | None:
    name, *rest = text.split(maxsplit=1) or [""]
    command = COMMAND_BY_NAME.get("help" if name in _HELP else name)
    if command is None:
        return None
    argument = command.argument
    if not rest:
        return Call(command=command) if argument is None or argument.is_optional else None
    value = argument.read(rest[0].strip(), scope) if argument is not None else None
    if argument is None or value is None:
        return None
    return Call(command=command, arguments={argument.key: value})


def find_command(line: str, scope: Scope) -> Call | None:
    """Return the subcommand if a line is one of kind `do`; `None` if the line asks Claude."""
    call = find_call(line, scope)
    return call if call is not None and call.command.kind == "do" else None


SHORT_HELP = """\
%%claude [options]        ask Claude; the lines below are the prompt
%claude [options] prompt  the same on one line
%claude fix               explain the last error, and correct its cell
%claude status            client, limiter and settings, with sources
%claude login             enter an API key, for this kernel only
%claude help              all of it (also %claude?)
"""

_OPENING = """\
Ask Claude. The answer streams into the cell.

    %%claude [NAME <<] [options] [--]
    prompt, as many lines as you like

    %claude [NAME <<] [options] [ask] prompt

Options end at the first word that is not an option. From there on
everything is the prompt, sent exactly as typed: quotes, backslashes,
#, {}, $ and ? have no special meaning. Only {{ expression }} is
replaced by its value, if it begins with one of your names. Words
after the options on the %%claude line are the first line of the
prompt. Write -- before a prompt that starts with a dash. Put a value
with spaces in quotes, and a value that starts with a dash after =.
Options cannot be abbreviated."""

_SUBCOMMANDS = """\
Subcommands. Each must be the whole line, except for a comment (#
...). A line that begins like one but does not fit it is an error,
unless it is clearly a sentence. Everything else is a prompt, and so
is everything after %claude ask. Subcommands that ask Claude take
options before them: %claude -m opus fix."""

_CLOSING = """\
The value of the cell, _, is the reply: print(_.text), _.usage,
_.message. The last reply is also `claude.last`; %load_ext binds
`claude` where you have no variable of that name. An interrupted or
failed reply keeps what had arrived.

%config ClaudeMagics.model = "claude-haiku-5-5" sets a default for the
kernel; %config ClaudeMagics lists them all. Keys come from
ANTHROPIC_API_KEY where Jupyter was started, or from %claude login:
never from a cell."""
_HELP_WIDTH = 70
"""In characters. A page of 700 pixels has room for 73, and a notebook wraps longer lines within words."""
_WIDEST_USAGE = 27
"""In characters; the help text of a longer usage goes on the next line."""


def show_short_help() -> None:
    """Print the help for an empty line or cell."""
    print(SHORT_HELP, end="")


def show_help(_cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Print the full help."""
    print(FULL_HELP, end="")


def _columns(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield each row as two columns, usage and help, wrapped to `_HELP_WIDTH` characters."""
    rows = list(rows)
    width = max(len(left) for left, _ in rows if len(left) <= _WIDEST_USAGE)
    for left, right in rows:
        first, *others = textwrap.wrap(right, _HELP_WIDTH - width - 4, break_on_hyphens=False)
        lines = (
            [f"  {left:<{width}}  {first}"]
            if len(left) <= width
            else [f"  {left}", f"  {'':{width}}  {first}"]
        )
        yield "\n".join([*lines, *(f"  {'':{width}}  {other}" for other in others)])


def _option_rows() -> Iterator[tuple[str, str]]:
    for spec in OPTION_SPECS:
        # Align a long name that has no short one with the other long names.
        yield ("" if len(spec.names) > 1 else "    ") + spec.usage, spec.help


def _render_options() -> str:
    lines = dict(zip(OPTION_SPECS, _columns(_option_rows()), strict=True))
    return "\n\n".join(
        f"{title}:\n\n" + "\n".join(lines[spec] for spec in specs) for title, specs in OPTION_GROUPS.items()
    )


def _render_commands() -> str:
    return "\n".join(_columns((f"%claude {command.usage}", command.help) for command in COMMANDS))


FULL_HELP = "\n\n".join([_OPENING, _render_options(), _SUBCOMMANDS, _render_commands(), _CLOSING]) + "\n"
