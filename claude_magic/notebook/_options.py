"""The option line of `%claude` and `%%claude`: options first, then the prompt, character by character.

Grammar:

    [NAME <<] [OPTION ...] [--] PROMPT

Options end at the first word that is none. From there on nothing is split, unquoted, expanded or stripped,
so apostrophes, backslashes, `#`, `{}` and `$x` reach Claude as typed. Two rules keep a prompt from being
swallowed and a slip of the finger from being sent: an option is spelled out in full, and an unknown word
that starts with a dash where an option could stand is an error (`- item`, a dash and a space, is a prompt).
"""

import difflib
import keyword
from collections.abc import Callable
from dataclasses import dataclass, field

from IPython.core.error import UsageError

EFFORT_LEVELS = ("low", "medium", "high", "xhigh", "max")
THINKING_MODES = ("show", "hide", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the options asked for; `None` where one was not given."""

    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    effort: str | None = None
    thinking: str | None = None
    out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One parsed `%claude` line or `%%claude` cell."""

    options: Options = field(default_factory=Options)
    prompt: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self.prompt.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """How one option is spelled, read and explained.

    Attributes:
        names: Spellings, the short one first where there is one.
        field: The field of `Options` it sets.
        value: What its value is called in the help and in errors.
        help: One line for the help.
        convert: Turns the typed text into the value; raises `ValueError` with the end of a sentence.
    """

    names: tuple[str, ...]
    field: str
    value: str
    help: str
    convert: Callable[[str], object] = str


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            guess = _closest(text, choices)
            raise ValueError(
                f"is one of {', '.join(choices)}" + (f"; did you mean {guess}?" if guess else "")
            )
        return text

    return convert


def _positive_integer(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ValueError("is a whole number above 0, written in digits (16000)")
    return int(text)


def _variable_name(text: str) -> str:
    if keyword.iskeyword(text):
        raise ValueError("is the name of a variable, and that is a word of Python's own")
    if not text.isidentifier():
        raise ValueError("is the name of a variable: letters, digits and _, no digit first")
    return text


OPTION_SPECS = (
    OptionSpec(names=("-m", "--model"), field="model", value="MODEL", help="the model that answers"),
    OptionSpec(
        names=("-s", "--system"),
        field="system",
        value="TEXT",
        help='system prompt ("in quotes" if it has spaces)',
    ),
    OptionSpec(
        names=("--max-tokens",),
        field="max_tokens",
        value="N",
        help="the longest answer, in tokens, thinking included",
        convert=_positive_integer,
    ),
    OptionSpec(
        names=("--effort",),
        field="effort",
        value="LEVEL",
        help=f"how hard to try: {', '.join(EFFORT_LEVELS)}",
        convert=_one_of(EFFORT_LEVELS),
    ),
    OptionSpec(
        names=("--thinking",),
        field="thinking",
        value="MODE",
        help="show (folded), hide, or off",
        convert=_one_of(THINKING_MODES),
    ),
    OptionSpec(
        names=("-o", "--out"),
        field="out",
        value="NAME",
        help="bind the reply to a variable, also when interrupted",
        convert=_variable_name,
    ),
)

_SPEC_BY_NAME = {name: spec for spec in OPTION_SPECS for name in spec.names}
_ESCAPE_HINT = "To start a prompt with a dash, write -- before it. Nothing was sent."


def parse_request(line: str, body: str | None = None) -> Request:
    """Split a `%claude` line, or a `%%claude` line and the cell below it, into options and prompt.

    Args:
        line: What stands behind the magic's name on its own line.
        body: The rest of the cell; `None` for the line magic. Words of the line that are not options are
            the prompt's first line. The one line break with which IPython ends every cell is not prompt.

    Raises:
        UsageError: An option is unknown, given twice, without its value, or with one that cannot be.
    """
    scanner = _Scanner(line)
    given = _parse_name(scanner)
    while (spec := _next_option(scanner)) is not None:
        if spec.field in given:
            raise UsageError(f"{_spelled(spec)} is given twice. Nothing was sent.")
        given[spec.field] = _parse_value(spec, scanner)
    return Request(options=Options(**given), prompt=_assemble_prompt(scanner.rest(), body))  # type: ignore[arg-type]


def _parse_name(scanner: "_Scanner") -> dict[str, object]:
    """Read a leading `NAME <<`, if there is one."""
    name, arrow, _ = scanner.text.partition("<<")
    name = name.strip()
    if not arrow or not name.isidentifier():
        return {}
    scanner.position = scanner.text.index("<<") + len("<<")
    return {"out": _convert(_SPEC_BY_NAME["--out"], "NAME <<", name)}


def _next_option(scanner: "_Scanner") -> OptionSpec | None:
    """Consume the option that comes next; `None`, and nothing but spaces consumed, where the prompt begins."""
    scanner.skip_spaces()
    word = scanner.peek_word()
    if word == "--":
        scanner.position += len("--")
        scanner.skip_one_space()
        return None
    if not word.startswith("-") or word == "-":
        return None
    name, has_equals, _ = word.partition("=")
    spec = _SPEC_BY_NAME.get(name)
    if spec is None or (has_equals and not name.startswith("--")):
        raise UsageError(_explain_unknown(word))
    scanner.position += len(name) + len(has_equals)
    if not has_equals:
        scanner.skip_spaces()
    return spec


def _parse_value(spec: OptionSpec, scanner: "_Scanner") -> object:
    name = _spelled(spec)
    if scanner.peek_char() in ("'", '"'):
        text = scanner.take_quoted(name)
    else:
        text = scanner.peek_word()
        if not text or text.startswith("-"):
            found = f", but {text} follows" if text else ""
            raise UsageError(f"{name} needs a value: {name} {spec.value}{found}. Nothing was sent.")
        scanner.position += len(text)
    return _convert(spec, name, text)


def _convert(spec: OptionSpec, name: str, text: str) -> object:
    try:
        return spec.convert(text)
    except ValueError as error:
        raise UsageError(f"{name} {text}: {spec.value} {error}. Nothing was sent.") from None


def _explain_unknown(word: str) -> str:
    if word[:2] in _SPEC_BY_NAME:
        guess: str | None = f"{word[:2]} {word[2:].lstrip('=')}"
    else:
        guess = _closest(word.partition("=")[0], tuple(_SPEC_BY_NAME))
    hint = f" Did you mean {guess}?" if guess else " %claude? lists the options."
    return f"There is no option {word}.{hint} {_ESCAPE_HINT}"


def _closest(word: str, choices: tuple[str, ...]) -> str | None:
    matches = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.7)
    return matches[0] if matches else None


def _spelled(spec: OptionSpec) -> str:
    return spec.names[-1]


def _assemble_prompt(first_line: str, body: str | None) -> str:
    if body is None:
        return first_line
    text = body.removesuffix("\n").removesuffix("\r")
    if not first_line.strip():
        return text
    return f"{first_line}\n{text}" if text else first_line


class _Scanner:
    """A position in the option line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def rest(self) -> str:
        return self.text[self.position :]

    def peek_char(self) -> str:
        return self.text[self.position : self.position + 1]

    def peek_word(self) -> str:
        words = self.rest().split(maxsplit=1)
        return words[0] if words and not self.peek_char().isspace() else ""

    def skip_spaces(self) -> None:
        rest = self.rest()
        self.position += len(rest) - len(rest.lstrip())

    def skip_one_space(self) -> None:
        if self.peek_char().isspace():
            self.position += 1

    def take_quoted(self, name: str) -> str:
        r"""Read a quoted value; inside, `\"` and `\\` stand for a quote and a backslash, all else for itself."""
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
            raise UsageError(f"The quote {quote} behind {name} is not closed. Nothing was sent.")
        if self.peek_char() and not self.peek_char().isspace():
            raise UsageError(
                f"Put a space behind the quoted value of {name}, or \\ before a quote inside it. Nothing was sent."
            )
        return "".join(pieces)
