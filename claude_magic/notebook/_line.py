"""Parses `%claude` lines and `%%claude` cells: options first, then a subcommand or the prompt, which is kept verbatim.

    %%claude [NAME <<] [OPTION ...] [--] PROMPT
    %claude [NAME <<] [OPTION ...] [ask | --] PROMPT
    %claude [OPTION ...] SUBCOMMAND [ARGUMENT]

Options end at the first word that is not an option. From there on, nothing is split, unquoted, expanded or stripped,
so apostrophes, backslashes, `#`, `{}` and `$x` reach Claude as typed. Two rules keep prompts from being read as
options, and typos from being sent: options cannot be abbreviated, and an unknown word that starts with a dash at
the position of an option is an error (`- item`, a dash and a space, is a prompt). An option with typographic
characters from a word processor, such as `—model` or `-s “Be brief.”`, is an error that says what to type.

A line is a subcommand only if all of it matches that subcommand, including the names it refers to: `explain df` is one
if `df` exists, `explain why the sky is blue` is a prompt. After `ask` or `--`, everything is a prompt. A comment after
a subcommand is ignored, as in Python. A line that begins with a subcommand's name but does not match it is probably a
typo, and an error.

What was probably meant instead is found by `_typos.py`, which is imported only then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from IPython.core.error import UsageError

from ._cell import Scope
from ._commands import COMMAND_BY_NAME, ESCAPE, Call, Command, find_call
from ._options import SPEC_BY_FIELD, SPEC_BY_NAME, Options, OptionSpec, with_full_stop


class Scanner:
    """A position in the option line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def rest(self) -> str:
        """Return the unread text, as typed."""
        return self.text[self.position :]

    def peek_char(self) -> str:
        """Return the next character; "" at the end."""
        return self.text[self.position : self.position + 1]

    def peek_word(self) -> str:
        """Return the text up to the next space; "" at a space and at the end."""
        words = self.rest().split(maxsplit=1)
        return words[0] if words and not self.peek_char().isspace() else ""

    def skip(self, text: str) -> None:
        """Advance past `text`, which must be next."""
        self.position += len(text)

    def skip_spaces(self) -> None:
        """Advance to the next character that is not a space."""
        rest = self.rest()
        self.position += len(rest) - len(rest.lstrip())

    def skip_one_space(self) -> None:
        """Advance past one space, if the next character is one."""
        if self.peek_char().isspace():
            self.position += 1

    def take_word(self) -> str:
        """Read up to the next space."""
        word = self.peek_word()
        self.skip(word)
        return word

    def is_at_quote(self) -> bool:
        """Return whether the next character is a quote."""
        return self.peek_char() in ("'", '"')

    def take_quoted(self, name: str) -> str:
        r"""Read a quoted value. Inside it, `\"` and `\\` are a quote and a backslash; everything else is literal.

        Args:
            name: The option that has the value, for error messages.

        Raises:
            UsageError: The quote is not closed, or is not followed by a space.
        """
        quote = self.peek_char()
        pieces: list[str] = []
        index = self.position + 1
        while index < len(self.text) and self.text[index] != quote:
            if self.text[index] == "\\" and self.text[index + 1 : index + 2] in (quote, "\\"):
                index += 1
            pieces.append(self.text[index])
            index += 1
        self.position = index + 1
        if index >= len(self.text):
            raise UsageError(f"The quote {quote} after {name} is not closed. Nothing was sent.")
        if self.peek_char() and not self.peek_char().isspace():
            raise UsageError(
                f"Put a space after the quoted value of {name}, or \\ before a quote inside it. Nothing was sent."
            )
        return "".join(pieces)


SEPARATOR = "--"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A parsed `%claude` line or `%%claude` cell that asks Claude.

    Attributes:
        options: The values of its options.
        prompt: The prompt as typed.
        call: The subcommand that asks Claude (such as `fix`), if the prompt is one.
    """

    options: Options = field(default_factory=Options)
    prompt: str = ""
    call: Call | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self.prompt.strip()

    @property
    def is_silenced(self) -> bool:
        """Whether the prompt ends with a semicolon, which suppresses output as in IPython."""
        return self.prompt.rstrip().endswith(";")

    def with_options(self, **changes: Any) -> Line:
        """Return a copy of the line with some options changed."""
        return replace(self, options=replace(self.options, **changes))


class OptionLine(NamedTuple):
    """A parsed option line.

    Attributes:
        options: The values of the options.
        rest: The text after the options, as typed.
        is_closed: Whether `--` ended the options.
    """

    options: Options
    rest: str
    is_closed: bool


def parse_option_line(line: str) -> OptionLine:
    """Split the text after the magic's name into options and the rest.

    Raises:
        UsageError: An option is unknown, is given twice, has no value or an invalid one, or cannot be combined with another.
    """
    scanner = Scanner(line)
    given = _parse_name(scanner)
    while (spec := _next_option(scanner)) is not None:
        _add_value(given, spec, True if spec.is_flag else _parse_value(spec, scanner))
    options = Options(**{field: _combine(field, found) for field, found in given.items()})  # type: ignore[arg-type]
    _check_together(options)
    is_closed = scanner.peek_word() == SEPARATOR
    if is_closed:
        scanner.skip(SEPARATOR)
        scanner.skip_one_space()
    return OptionLine(options=options, rest=scanner.rest(), is_closed=is_closed)


def _next_option(scanner: Scanner) -> OptionSpec | None:
    """Consume the name of the next option; `None` where the prompt begins, of which only leading spaces are consumed.

    Raises:
        UsageError: The next word starts with a dash but is not an option.
    """
    scanner.skip_spaces()
    word = scanner.peek_word()
    if not word.isascii():
        from ._typos import refuse_typography

        refuse_typography(word)
    if not word.startswith("-") or word in ("-", SEPARATOR):
        return None
    name, equals, _ = word.partition("=")
    spec = SPEC_BY_NAME.get(name)
    if spec is None or (equals and not name.startswith("--")):
        from ._typos import explain_unknown

        raise UsageError(explain_unknown(word))
    if spec.is_flag and equals:
        raise UsageError(f"{name} takes no value: it is written alone. Nothing was sent.")
    scanner.skip(name)
    return spec


def _parse_name(scanner: Scanner) -> dict[str, list[object]]:
    """Parse a leading `NAME <<`, if there is one, and return its value for the field `out`."""
    name, arrow, _ = scanner.text.partition("<<")
    name = name.strip()
    if not arrow or not name.isidentifier():
        return {}
    scanner.position = scanner.text.index("<<") + len("<<")
    return {"out": [_convert(SPEC_BY_NAME["--out"], "NAME <<", name)]}


def _parse_value(spec: OptionSpec, scanner: Scanner) -> object:
    if has_equals := scanner.peek_char() == "=":
        scanner.skip("=")
    else:
        scanner.skip_spaces()
    _check_start(spec, scanner.peek_word())
    if scanner.is_at_quote():
        return _convert(spec, spec.name, scanner.take_quoted(spec.name))
    word = scanner.peek_word()
    if not word or (word.startswith("-") and not has_equals and not spec.takes_dash(word)):
        raise UsageError(_explain_missing(spec, word))
    return _convert(
        spec, spec.name, _take_setting(spec, scanner) if spec.field == "extra" else scanner.take_word()
    )


def _check_start(spec: OptionSpec, value: str) -> None:
    """Reject a value that begins with an equals sign or a typographic quote: `= opus`, `“Be brief.”`.

    Raises:
        UsageError: The value does.
    """
    if value and (value[0] == "=" or not value[0].isascii()):
        from ._typos import refuse_value

        refuse_value(spec, value)


def _take_setting(spec: OptionSpec, scanner: Scanner) -> str:
    """Read `KEY=VALUE`, in which the value alone may be quoted."""
    key, equals, value = scanner.peek_word().partition("=")
    if equals:
        _check_start(spec, value)
    if value[:1] not in ("'", '"'):
        return scanner.take_word()
    scanner.skip(key + equals)
    return key + equals + scanner.take_quoted(f"{spec.name} {key}=")


def _add_value(given: dict[str, list[object]], spec: OptionSpec, value: object) -> None:
    found = given.setdefault(spec.field, [])
    if found and not spec.is_repeatable:
        raise UsageError(f"{spec.name} is given twice. Nothing was sent.")
    found.append(value)


def _combine(field: str, found: list[object]) -> object:
    spec = SPEC_BY_FIELD[field]
    if spec.combine is None:
        return found[0]
    try:
        return spec.combine(found)
    except ValueError as error:
        raise UsageError(f"{spec.name} {with_full_stop(error)} Nothing was sent.") from None


def _convert(spec: OptionSpec, name: str, text: str) -> object:
    try:
        return spec.convert(text)
    except ValueError as error:
        # The text after an equals sign may be a secret, and errors are saved with the notebook.
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        from ._typos import ascii_hint

        hint = ascii_hint(spec, text)
        raise UsageError(
            f"{name} {shown.partition('=')[0]}: {spec.value} {with_full_stop(error)}{hint} Nothing was sent."
        ) from None


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
    ("interact", "raw", "controls replace double braces, and --raw sends those as typed"),
    ("interact", "quiet", "controls must be visible"),
    ("compare", "insert_code", 'there are several answers: answers["sonnet"].code has the code of one'),
    ("thread", "is_new", "one continues a conversation and the other starts one"),
    ("thread", "no_history", "one belongs to a conversation and the other to none"),
    ("is_new", "no_history", "one starts a conversation and the other belongs to none"),
    ("schema", "insert_code", "one asks for data and the other for code"),
    *(
        ("map", other, "each row is asked by itself, outside of any conversation")
        for other in ("thread", "is_new")
    ),
    *(
        ("map", other, "there is an answer for each row")
        for other in ("compare", "interact", "insert_code", "format")
    ),
    ("map", "tools", "each row could call your functions; claude.ask in a loop does that"),
    (
        "background",
        "insert_code",
        "a cell that has ended cannot insert one below it; reply.code has the code",
    ),
    ("background", "tools", "tools run where an answer is waited for, and --bg does not wait"),
)
"""Pairs of fields that cannot both be set, each with the reason."""
_NEEDS_MAP = (
    ("via", "batches are for the rows of a table. Name it (--map df), or leave --via out."),
    (
        "max_cost",
        "it limits what the rows of a table cost. For all requests of this kernel, set a budget: %claude budget 2.",
    ),
)
"""Fields that have no effect without `map`, each with the reason and what to do."""
_ANY = "any"
_REFUSED_BEFORE = (
    ("interact", _ANY, "--interact makes controls for variables of a prompt, and {call} has none."),
    (
        "map",
        _ANY,
        "--map asks about each row with a prompt, and {call} is a subcommand. Leave out --map, or write a prompt.",
    ),
    (
        "compare",
        "continue",
        "--compare asks several models, and `continue` continues a single answer. Use one of them.",
    ),
    (
        "compare",
        "fix",
        "--compare has several answers, and `fix` puts the code of one into a new cell. Use one of them.",
    ),
    (
        "background",
        "fix",
        "The code of this answer goes into a new cell below, which a cell that has ended cannot make. Leave out --bg.",
    ),
    (
        "is_new",
        "continue",
        "--new starts a conversation, and `continue` goes on with an answer of one. Use one of them.",
    ),
)
"""Fields that cannot be set before a subcommand, each with its name and the reason."""


def _check_together(options: Options) -> None:
    for one, other, why in EXCLUSIVE_FIELDS:
        if getattr(options, one) and getattr(options, other):
            names = f"{SPEC_BY_FIELD[one].name} and {SPEC_BY_FIELD[other].name}"
            raise UsageError(f"{names} cannot be combined: {why}. Nothing was sent.")
    for name, why in _NEEDS_MAP:
        if getattr(options, name) is not None and options.map is None:
            raise UsageError(f"{SPEC_BY_FIELD[name].name} goes with --map: {why} Nothing was sent.")
    if options.schema is not None and options.format not in (None, "json"):
        raise UsageError(
            f"--schema and --format {options.format} cannot be combined: an object is shown as json. Nothing was sent."
        )


def _checked(line: Line) -> Line:
    """Return the line.

    Raises:
        UsageError: One of its options cannot be used, or has no effect, with its subcommand or prompt.
    """
    options, command = line.options, None if line.call is None else line.call.command.name
    for option, name, why in _REFUSED_BEFORE if command else ():
        if getattr(options, option) and name in (command, _ANY):
            raise UsageError(f"{why.format(call=line.prompt.strip())} Nothing was sent.")
    if options.interact and line.is_silenced:
        raise UsageError(
            "--interact shows controls, and a ; at the end of the prompt hides them. Use one of them. Nothing was sent."
        )
    # `continue` has the tools of the answer that it continues.
    if options.approve is not None and not options.tools and command != "continue":
        raise UsageError(
            "--approve goes with --tools: it is about the calls of your functions. Name them (--tools f), or leave --approve out. "
            "Nothing was sent."
        )
    return line


def _accepts(options: Options, command: Command | None) -> bool:
    """Return whether options can be used with a subcommand, or with a prompt if it is None."""
    try:
        _checked(Line(options=options, call=None if command is None else Call(command=command)))
    except UsageError:
        return False
    return True


def _explain_missing(spec: OptionSpec, word: str) -> str:
    found = f", but {word} follows" if word else ""
    hint = ""
    if word[1:] and word not in SPEC_BY_NAME:
        hint = f". A value that begins with a dash goes after =, as in {spec.name}={word}"
    return f"{spec.name} needs a value: {spec.name} {spec.value}{found}{hint}. Nothing was sent."


def _assemble_prompt(first_line: str, body: str) -> str:
    """Join the text after the options and the cell below it, without the line break that IPython appends to every cell."""
    text = body.removesuffix("\n").removesuffix("\r")
    if not first_line.strip():
        return text
    return f"{first_line}\n{text}" if text else first_line


def read_line(line: str, scope: Scope) -> Line:
    """Parse a line that asks Claude, with a prompt or by a subcommand of kind `ask`.

    Raises:
        UsageError: The options are not valid, or the prompt is probably meant as a subcommand.
    """
    return _checked(_read_line(line, scope))


def _read_line(line: str, scope: Scope) -> Line:
    parsed = parse_option_line(line)
    if parsed.is_closed:
        return Line(options=parsed.options, prompt=parsed.rest)
    scanner = Scanner(parsed.rest)
    if scanner.peek_word() == ESCAPE:
        scanner.skip(ESCAPE)
        scanner.skip_one_space()
        return Line(options=parsed.options, prompt=scanner.rest())
    call = find_call(parsed.rest, scope)
    if call is not None and call.command.kind == "ask":
        return Line(options=parsed.options, prompt=parsed.rest, call=call)
    _refuse_typo(parsed, line, scope, percents="%")
    return Line(options=parsed.options, prompt=parsed.rest)


def _refuse_typo(parsed: OptionLine, line: str, scope: Scope, *, percents: str) -> None:
    from ._typos import refuse_typo  # late: prompts below `%%claude` are not checked

    refuse_typo(parsed.rest, line, scope, percents=percents, accepts=partial(_accepts, parsed.options))


def read_cell(line: str, body: str, scope: Scope) -> Line:
    """Parse a `%%claude` cell: everything after its options is the prompt.

    Raises:
        UsageError: The options are not valid, or the cell is probably meant as a subcommand.
    """
    parsed = parse_option_line(line)
    request = _checked(Line(options=parsed.options, prompt=_assemble_prompt(parsed.rest, body)))
    if parsed.is_closed:
        return request
    if not body.strip():
        _refuse_typo(parsed, line, scope, percents="%%")
        return request
    # The first line of a prompt may be anything, so only an exact subcommand is refused.
    call = find_call(parsed.rest, scope)
    if call is not None and not call.command.takes_prose:
        from ._typos import as_shown

        raise UsageError(
            f"%claude {as_shown(parsed.rest, call.command)} is a subcommand: write it with one percent sign, in a cell of its own. "
            "To send it as a prompt, write -- after %%claude. Nothing was sent."
        )
    return request


_ASKS = re.compile(r"\s*(?P<percents>%%?)claude(?!\S)(?P<words>[^\n]*)(?:\n(?P<body>.*))?", re.DOTALL)


def prompt_of(source: str) -> str | None:
    """Return the prompt of a cell, given its saved source, if the cell only asks a question; else None."""
    # IPython ends every cell with a line break.
    match = _ASKS.fullmatch(source if source.endswith("\n") else f"{source}\n")
    if match is None:
        return None
    words, body = match["words"].removesuffix("\r"), match["body"] or ""
    try:
        parsed = parse_option_line(words)
    except UsageError:
        return None
    if parsed.options.map is not None or parsed.options.dry_run:
        return None
    if match["percents"] == "%%":
        prompt = _assemble_prompt(parsed.rest, body)
        return prompt if prompt.strip() else None
    first, _, rest = parsed.rest.partition(" ")
    is_command = not parsed.is_closed and first in COMMAND_BY_NAME and COMMAND_BY_NAME[first].kind == "do"
    if body.strip() or is_command:
        return None
    return (rest if first == ESCAPE and not parsed.is_closed else parsed.rest) or None
