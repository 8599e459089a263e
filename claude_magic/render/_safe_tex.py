r"""Which formulas are safe to hand to MathJax, and how the others are kept from it.

What a model wrote may hold commands that link, restyle or redefine, and it may be of a kind that freezes the browser's page or
makes it crash, again each time the notebook is opened. Four things make a formula too much: levels, which MathJax and the
browser work through by recursion; counts, as in `\begin{alignat}{99999999}`; lengths; and sheer amount, which is bounded over
a whole answer as well.

Commands are looked up in lists of harmless ones (`_tex_names`). A command that is not there is taken for the worst: it
puts all that follows one level deeper, up to the end of its group; it draws each argument twice; and a number in its
arguments is a count, by which everything in them is multiplied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from ..answers import hidden_in
from ._tex_names import ENVIRONMENTS, MEASURES, SWITCHES, SYMBOLS, TAKERS

# Longer or deeper than this is no formula a reader can use, and MathJax would take seconds over it.
MAX_FORMULA_CHARS: Final = 5_000
# At 180 to 400 levels Chromium's page is gone (MathJax 4).
_MAX_DEPTH: Final = 60
# By how much commands may multiply what they take.
_MAX_WEIGHT: Final = 128
# Nobody leaves gaps and draws rules of this length in all: what comes after them would be out of sight.
_MAX_EMS: Final = 200.0
# About 2 ms each on a busy machine, during which the page stands still.
_MAX_COST: Final = 3_000
# In this many levels a sign takes twice the time of one at the surface.
_LEVELS_PER_COST: Final = 8
_COST_OF_A_SWITCH: Final = 5
# So many signs may follow a command before a group that is still an argument of it.
_MAX_BARE_ARGUMENTS: Final = 4

UNSEEN: Final = "\N{WORD JOINER}"
"""A sign that nobody sees: behind its backslash, a command is none."""

# Commands that link, load, style, set ids, or change macros and counters for every other formula on the page.
_UNSAFE_COMMAND: Final = re.compile(
    r"\\(?:href|url|require|html\w*|class|cssId|style|data|includegraphics|unicode|mmlToken|bbox"
    r"|[egx]?def|let|futurelet|(?:re|provide)?newcommand|renewcommand|providecommand|newenvironment"
    r"|renewenvironment|newtagform|renewtagform|usetagform|DeclareMathOperator|DeclarePairedDelimiters?X?(?:PP)?"
    r"|definecolor|newcolumntype|setOptions|mathtoolsset|catcode|input|include|write|loop|csname|Newextarrow|texttip|mathtip|toggle"
    r")(?![A-Za-z])"
)
_TOKEN: Final = re.compile(
    r"""(?P<comment>%[^\n]*)
    | \\begin\s*\{\s*(?P<begin>[^{}]*?)\s*\}
    | (?P<end>\\end\s*\{[^{}]*\})
    | \\(?P<command>[A-Za-z]+)
    | (?P<row>\\\\|&)
    | (?P<sign>\\.|\\$)
    | (?P<number>\d+(?:[.,]\d*)?|[.,]\d+)\s*(?P<unit>(?:em|ex|mu|pt|px|pc|cm|mm|in|bp|dd|cc|sp)(?![A-Za-z]))?
    | (?P<blank>\s+)
    | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_EMS: Final = {"em": 1.0, "ex": 0.5, "mu": 0.06, "pc": 1.2, "cc": 1.3, "cm": 2.9, "mm": 0.3, "in": 7.3}
_EMS_IN_A_POINT: Final = 0.1
_COMMENT: Final = re.compile(r"%[^\n]*")
_TROUBLE_IN_COMMENT: Final = re.compile(r"[{}\\$&]")
_DELIMITER: Final = re.compile(r"\$\$|\\[()\[\]]")
_ESCAPED: Final = re.compile(r"\\[\\{}$]")


def is_safe_formula(formula: str) -> bool:
    """Tell whether `formula` can be typeset: it stays within itself, and is of a sane size."""
    return cost_of(formula) is not None


@lru_cache(maxsize=512)
def cost_of(formula: str) -> int | None:
    """Return how much work it is to typeset `formula`, about 1 for each sign; None if it is not safe."""
    if len(formula) > MAX_FORMULA_CHARS or _UNSAFE_COMMAND.search(formula):
        return None
    if _DELIMITER.search(_ESCAPED.sub("", formula)) or hidden_in(formula, is_code=True):
        return None
    try:
        return _Scan(formula).cost
    except _TooMuchError:
        return None


def is_too_much(text: str) -> bool:
    """Tell whether text that is no formula for us would be too deep, or hold too large a number, if it were one for others."""
    try:
        _Scan(text, is_formula=False)
        _Scan(_COMMENT.sub("", text), is_formula=False)
    except _TooMuchError:
        return True
    return False


class _TooMuchError(Exception):
    """The formula has more of something than is typeset, or is none."""


@dataclass(slots=True)
class _Reader:
    """A command or environment that may be reading arguments.

    Attributes:
        is_counting: A number in an argument is a count, and arguments are drawn more than once.
        bare_left: How many signs without braces may still be arguments.
        bare_after_group: Whether they may be so after a group as well.
        has_group: A group has been read.
        is_in_bracket: A bracket is open.
    """

    is_counting: bool
    bare_left: int
    bare_after_group: bool
    has_group: bool = False
    is_in_bracket: bool = False


class _Group(NamedTuple):
    """An open group: what closes it, where switches in it end, what it is to others, and what holds again after it."""

    end: str
    start_depth: int
    argument_of: _Reader | None
    is_taken: bool
    outer_depth: int
    outer_weight: int


class _Scan:
    """One pass over a formula, token by token, in linear time.

    Args:
        formula: The formula.
        is_formula: It has to be a whole one, and of a sane size. Else, only levels, counts and lengths matter.

    Attributes:
        cost: How much work it is to typeset, about 1 for each sign.

    Raises:
        _TooMuchError: It is not safe.
    """

    def __init__(self, formula: str, *, is_formula: bool = True) -> None:
        self.cost = 0
        self._is_formula = is_formula
        self._groups: list[_Group] = []
        self._depth = 0
        self._weight = 1
        self._reader: _Reader | None = None
        self._arguments: list[_Reader] = []  # whose groups are open, outermost first
        self._is_taken = False  # what stands here belongs to the command before it
        self._ems = 0.0
        position = 0
        while token := _TOKEN.match(formula, position):
            position = token.end()
            if token.lastgroup == "comment" and (not is_formula or self._is_in_argument()):
                position = token.start() + 1
            elif token.lastgroup != "blank":
                self._step(token)
                self._add_cost(1)
        if self._groups:
            self._be_unsound()

    def _step(self, token: re.Match[str]) -> None:
        is_taken, self._is_taken = self._is_taken, False
        match token.lastgroup:
            case "comment":
                if _TROUBLE_IN_COMMENT.search(token[0]):
                    raise _TooMuchError
            case "begin":
                self._begin(token["begin"])
            case "end":
                self._close(r"\end")
            case "command":
                self._command(token["command"], is_taken=is_taken)
            case "row":
                self._row(token[0])
            case "number" | "unit":
                self._number(token["number"], token["unit"])
            case _:
                self._mark(token[0], is_taken=is_taken)

    def _is_in_argument(self) -> bool:
        """Whether MathJax knew the end of this group before it read what is inside: no comment reaches over that end."""
        return bool(self._groups) and self._groups[-1].is_taken

    # What the tokens do

    def _begin(self, name: str) -> None:
        self._bare()
        self._open(r"\end")
        if name not in ENVIRONMENTS:
            self._reader = _Reader(is_counting=True, bare_left=1, bare_after_group=False)

    def _command(self, name: str, *, is_taken: bool) -> None:
        if name == "left":
            self._open(r"\right")
        elif name == "right":
            self._close(r"\right")
        elif name in ("begin", "end", "verb"):  # without a name in braces, or around anything
            self._be_unsound()
        elif name in SYMBOLS:
            self._bare()
        elif name in TAKERS:
            self._bare()
            self._deepen(1 if is_taken else 0)
            self._is_taken = True
        else:
            self._reading_command(name)

    def _reading_command(self, name: str) -> None:
        is_known = name in SWITCHES or name in MEASURES
        is_counting = not is_known or self._is_in_counting_bracket()
        if name not in MEASURES or name in SWITCHES:
            self._deepen(1)
            self._add_cost(_COST_OF_A_SWITCH)
        self._bare()
        if name in MEASURES or not is_known:
            self._reader = _Reader(
                is_counting=is_counting, bare_left=_MAX_BARE_ARGUMENTS, bare_after_group=True
            )

    def _row(self, mark: str) -> None:
        self._reader = None
        if self._groups and self._groups[-1].end == r"\end":
            self._depth = self._groups[-1].start_depth
        if mark != "&":
            self._reader = _Reader(
                is_counting=False, bare_left=1, bare_after_group=False
            )  # of a distance: \\[1em]

    def _number(self, digits: str, unit: str | None) -> None:
        reader = self._reader
        is_direct = reader is not None and (reader.is_in_bracket or not reader.has_group)
        if unit and (self._arguments or is_direct):
            self._add_length(digits, unit)
        elif not unit and (
            any(each.is_counting for each in self._arguments)
            or (reader is not None and reader.is_counting and is_direct)
        ):
            self._multiply(digits)
        self._bare()
        if unit and reader is not None:
            reader.has_group = True

    def _mark(self, mark: str, *, is_taken: bool) -> None:
        match mark:
            case "{":
                self._open("}", is_taken=is_taken)
            case "}":
                self._close("}")
            case "[" if is_taken:
                self._deepen(1)
                self._is_taken = True
            case "[" if self._reader is not None:
                self._reader.is_in_bracket = True
            case "]" if self._reader is not None:
                self._reader.is_in_bracket = False
            case "^" | "_" | "'":
                self._add_cost(1)
                self._end_reading()
            case "*" | "+" | "-":
                pass
            case _:
                self._bare()

    # Levels

    def _open(self, end: str, *, is_taken: bool = False) -> None:
        reader = self._reader if end == "}" else None
        outer_depth, outer_weight = self._depth, self._weight
        self._deepen(1)
        if reader is not None:
            self._arguments.append(reader)
            if reader.is_counting:
                self._multiply("2")
        self._groups.append(_Group(end, self._depth, reader, is_taken, outer_depth, outer_weight))
        self._reader = None

    def _close(self, end: str) -> None:
        if not self._groups or self._groups[-1].end != end:
            self._be_unsound()
            return
        group = self._groups.pop()
        self._depth, self._weight = group.outer_depth, group.outer_weight
        self._reader = group.argument_of
        if self._reader is not None:
            self._arguments.pop()
            self._reader.has_group = True

    def _deepen(self, levels: int) -> None:
        self._depth += levels
        if self._depth > _MAX_DEPTH:
            raise _TooMuchError

    def _be_unsound(self) -> None:
        """Give up on what has no end or no beginning; in running text, look on."""
        if self._is_formula:
            raise _TooMuchError

    # Arguments

    def _bare(self) -> None:
        """Take a sign without braces for an argument, or for the end of them."""
        reader = self._reader
        if reader is None or reader.is_in_bracket:
            return
        if reader.bare_left <= 0 or (reader.has_group and not reader.bare_after_group):
            self._reader = None
        reader.bare_left -= 1

    def _end_reading(self) -> None:
        if self._reader is not None and not self._reader.is_in_bracket:
            self._reader = None

    def _is_in_counting_bracket(self) -> bool:
        return self._reader is not None and self._reader.is_in_bracket and self._reader.is_counting

    # Amounts

    def _multiply(self, digits: str) -> None:
        count = digits.replace(",", ".").partition(".")[0].lstrip("0") or "1"
        if len(count) > len(str(_MAX_WEIGHT)):
            raise _TooMuchError
        self._weight *= int(count)
        if self._weight > _MAX_WEIGHT:
            raise _TooMuchError

    def _add_length(self, digits: str, unit: str) -> None:
        self._ems += float(digits[:20].replace(",", ".")) * _EMS.get(unit, _EMS_IN_A_POINT)
        if self._ems > _MAX_EMS or len(digits) > 20:
            raise _TooMuchError

    def _add_cost(self, signs: int) -> None:
        self.cost += signs * self._weight * (1 + self._depth // _LEVELS_PER_COST)
        if self.cost > _MAX_COST and self._is_formula:
            raise _TooMuchError


def is_unsafe_command(text: str, start: int) -> bool:
    """Tell whether the backslash at `start` begins a command that no formula may have."""
    return bool(_UNSAFE_COMMAND.match(text, start))


def disarmed(text: str) -> str:
    """Return `text` with a sign that nobody sees in each command that no formula may have: it reads the same, and does nothing."""
    return _UNSAFE_COMMAND.sub(lambda command: f"\\{UNSEEN}{command[0][1:]}", text)
