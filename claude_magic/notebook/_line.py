"""Parses the option line of `%claude` and `%%claude`: options first, then the prompt, which is kept verbatim.

Grammar:

    [NAME <<] [OPTION ...] [--] PROMPT

Options end at the first word that is not an option. From there on, nothing is split, unquoted, expanded or stripped,
so apostrophes, backslashes, `#`, `{}` and `$x` reach Claude as typed. Two rules keep prompts from being read as
options, and typos from being sent: options cannot be abbreviated, and an unknown word that starts with a dash at
the position of an option is an error (`- item`, a dash and a space, is a prompt). An option with typographic
characters from a word processor, such as `—model` or `-s “Be brief.”`, is an error that says what to type.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from IPython.core.error import UsageError

from ._commands import Call
from ._options import SPEC_BY_FIELD, SPEC_BY_NAME, Options, OptionSpec, closest


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


# Characters that word processors, chats and web pages use in place of ASCII characters.
#
# Most look-alikes of ASCII dashes, quotes, spaces and letters are recognised by their Unicode properties. These are the exceptions.
_DASHES = "\u2212\u2043\u02d7\u23af\u2500"
"""Characters that look like dashes but are not in Unicode's dash category: minus, hyphen bullet, lines."""
_QUOTES = "\u201e\u201a\u2033\u2032\u00b4\uff02\uff07\u301d\u301e\u301f"
"""Characters that look like quotes but are not in Unicode's quote categories: low quotes, primes, acute accent, full width."""
_LONG_DASHES = "\u2014\u2015\u2e3a\u2e3b\ufe31"
"""Long dashes, each of which stands for two hyphens."""


def to_ascii(text: str) -> str:
    """Return a text with ASCII characters in place of their look-alikes, and without invisible characters."""
    return "".join(map(_ascii_of, text))


def is_typographic_quote(character: str) -> bool:
    """Return whether a character is a typographic quotation mark."""
    return character in _QUOTES or (
        not character.isascii() and unicodedata.category(character) in ("Pi", "Pf")
    )


def describe_typographic(text: str) -> str:
    """Describe the first typographic or invisible character of a text: `“ (U+201C, left double quotation mark)`."""
    odd = next((each for each in text if _ascii_of(each) != each or is_typographic_quote(each)), "")
    if not odd:
        return "nothing odd"
    name = unicodedata.name(odd, "unnamed").lower()
    shown = "an invisible character" if unicodedata.category(odd) == "Cf" else odd
    return f"{shown} (U+{ord(odd):04X}, {name})"


def _ascii_of(character: str) -> str:
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if character in _LONG_DASHES:
        return "--"
    if category == "Pd" or character in _DASHES:
        return "-"
    if category == "Cf":
        return ""
    if category == "Zs":
        return " "
    wide = unicodedata.normalize("NFKC", character)
    return wide if wide.isascii() and wide.isprintable() else character


SEPARATOR = "--"
_LIKENESS = 0.85
_OPTION_NAME = re.compile(r"[a-z][a-z-]{2,}", re.ASCII)
_MOST_SHOWN = 40
_ESCAPE_HINT = "To start a prompt with a dash, write -- before it. Nothing was sent."


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


def parse_cell(line: str, body: str) -> Line:
    """Split a `%%claude` line and the cell below it into options and prompt. Raises the same errors as `parse_option_line`.

    Text after the options is the first line of the prompt. The line break that IPython appends to every cell is removed.
    """
    parsed = parse_option_line(line)
    return Line(options=parsed.options, prompt=_assemble_prompt(parsed.rest, body))


def _next_option(scanner: Scanner) -> OptionSpec | None:
    """Consume the name of the next option; `None` where the prompt begins, of which only leading spaces are consumed.

    Raises:
        UsageError: The next word starts with a dash but is not an option.
    """
    scanner.skip_spaces()
    word = scanner.peek_word()
    _refuse_typography(word)
    if not word.startswith("-") or word in ("-", SEPARATOR):
        return None
    name, equals, _ = word.partition("=")
    spec = SPEC_BY_NAME.get(name)
    if spec is None or (equals and not name.startswith("--")):
        raise UsageError(_explain_unknown(word))
    if spec.is_flag and equals:
        raise UsageError(f"{name} takes no value: it is written alone. Nothing was sent.")
    scanner.skip(name)
    return spec


def _refuse_typography(word: str) -> None:
    """Reject an option written with typographic characters: `—no-history`, `--model＝opus`.

    Raises:
        UsageError: The word is such an option.
    """
    typed = to_ascii(word)
    body, equals, _ = typed.lstrip("-").partition("=")
    if typed == word or not typed.startswith("-"):
        return
    # A long dash is replaced with two hyphens, but a short name has only one.
    spec = SPEC_BY_NAME.get(f"--{body}") or SPEC_BY_NAME.get(f"-{body}")
    if spec is None:
        guess = (
            closest(f"--{body}", SPEC_BY_NAME, likeness=_LIKENESS) if _OPTION_NAME.fullmatch(body) else None
        )
        spec = None if guess is None else SPEC_BY_NAME[guess]
    if spec is None:
        return
    name = next((name for name in spec.names if name.lstrip("-") == body), spec.name)
    value = "" if spec.is_flag or not equals else "=…"
    shown = word if not equals and len(word) <= _MOST_SHOWN else f"{word[: len(body) + 1]}…"
    raise UsageError(
        f"{shown} contains {describe_typographic(word)}, but options are plain ASCII: type {name}{value}. "
        f"{_ESCAPE_HINT}"
    )


def _refuse_typographic_value(spec: OptionSpec, value: str) -> None:
    """Reject a value that begins with a typographic quote or an equals sign: `“Be brief.”`, `= opus`.

    Raises:
        UsageError: The value does.
    """
    if value and (value[0] in "=＝"):
        raise UsageError(
            f"{spec.name} is followed by a space and an =. Type {spec.name} {spec.value}, or {spec.name}={spec.value} without "
            "spaces. Nothing was sent."
        )
    if value and is_typographic_quote(value[0]):
        raise UsageError(
            f"The value of {spec.name} begins with {describe_typographic(value[0])}. Type straight quotes around it: "
            f'{spec.name} "{spec.value}". Nothing was sent.'
        )


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
    _refuse_typographic_value(spec, scanner.peek_word())
    if scanner.is_at_quote():
        return _convert(spec, spec.name, scanner.take_quoted(spec.name))
    word = scanner.peek_word()
    if not word or (word.startswith("-") and not has_equals and not spec.takes_dash(word)):
        raise UsageError(_explain_missing(spec, word))
    return _convert(
        spec, spec.name, _take_setting(spec, scanner) if spec.field == "extra" else scanner.take_word()
    )


def _take_setting(spec: OptionSpec, scanner: Scanner) -> str:
    """Read `KEY=VALUE`, in which the value alone may be quoted."""
    key, equals, value = scanner.peek_word().partition("=")
    if equals:
        _refuse_typographic_value(spec, value)
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
        hint = _ascii_hint(spec, text)
        raise UsageError(
            f"{name} {shown.partition('=')[0]}: {spec.value} {with_full_stop(error)}{hint} Nothing was sent."
        ) from None


def with_full_stop(text: object) -> str:
    """Return the end of a sentence with a full stop, unless it has one already."""
    from ..client import as_sentence  # late: importing it would slow down loading the extension

    return as_sentence(str(text))


def _ascii_hint(spec: OptionSpec, text: str) -> str:
    """Return a hint for an invalid value that would be valid in ASCII, such as `--cells −3:`; "" for others."""
    typed = to_ascii(text)
    if typed == text:
        return ""
    try:
        spec.convert(typed)
    except ValueError:
        return ""
    equals = "=" if typed.startswith("-") and not spec.takes_dash(typed) else " "
    return f" It contains {describe_typographic(text)}; type {spec.name}{equals}{with_full_stop(typed)}"


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


def _check_together(options: Options) -> None:
    for one, other, why in EXCLUSIVE_FIELDS:
        if getattr(options, one) and getattr(options, other):
            names = f"{SPEC_BY_FIELD[one].name} and {SPEC_BY_FIELD[other].name}"
            raise UsageError(f"{names} cannot be combined: {why}. Nothing was sent.")
    if options.via is not None and options.map is None:
        raise UsageError(
            "--via goes with --map: batches are for the rows of a table. Name it (--map df), or leave --via out. Nothing was sent."
        )
    if options.schema is not None and options.format not in (None, "json"):
        raise UsageError(
            f"--schema and --format {options.format} cannot be combined: an object is shown as json. Nothing was sent."
        )


def _explain_missing(spec: OptionSpec, word: str) -> str:
    found = f", but {word} follows" if word else ""
    hint = ""
    if word[1:] and word not in SPEC_BY_NAME:
        hint = f". A value that begins with a dash goes after =, as in {spec.name}={word}"
    return f"{spec.name} needs a value: {spec.name} {spec.value}{found}{hint}. Nothing was sent."


def _explain_unknown(word: str) -> str:
    word = to_ascii(word)
    name = word.partition("=")[0]
    short = SPEC_BY_NAME.get(word[:2])
    if "key" in name:
        return f"There is no option {name}: a key in a cell is saved with it. Type it in with %claude login. Nothing was sent."
    if short is not None:
        name = word
        guess: str | None = f"{word[:2]} {word[2:].lstrip('=')}" if not short.is_flag else word[:2]
    else:
        guess = closest(name, SPEC_BY_NAME)
    if guess:
        return f"There is no option {name}. Did you mean {guess}? Nothing was sent."
    return f"There is no option {name}. %claude? lists the options. {_ESCAPE_HINT}"


def _assemble_prompt(first_line: str, body: str) -> str:
    text = body.removesuffix("\n").removesuffix("\r")
    if not first_line.strip():
        return text
    return f"{first_line}\n{text}" if text else first_line
