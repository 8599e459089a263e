r"""The Markdown of answers, as rules for markdown-it: CommonMark with tables, and what it lacks.

Formulas in a paragraph are `$x$`, `\(x\)`, and `$$x$$` or `\[x\]`. Formulas that are blocks are the lines from `$$`, `\[` or
`\begin{env}` to the closing delimiter, without blank lines, as in LaTeX; if the delimiter is missing, the lines are shown as source. A
dollar sign of an amount of money starts no formula. Other rules are for emphasis beside Chinese, Japanese and Korean, for task
lists, and for `<br>`. Text that would take too long to render is plain text. Each scan is bounded or its result is cached, so the
rules take linear time.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unicodedata import category, east_asian_width

from markdown_it import MarkdownIt
from markdown_it.common.utils import isPunctChar, isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token
from typing_extensions import override

from ._sanitise import UNBROKEN
from ._tex import MAX_FORMULA_CHARS, WORD_JOINER

if TYPE_CHECKING:
    from markdown_it.utils import EnvType

# Quotes and lists nested deeper than this are shown as plain text, because each level parses all its lines again.
_MAX_DEPTH: Final = 16
# A longer paragraph is shown as plain text, because some inline rules take more than linear time.
_MAX_PARAGRAPH_CHARS: Final = 60_000


def with_newlines(text: str) -> str:
    """Return a text in which all lines end as markdown-it knows it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def install_syntax(md: MarkdownIt) -> None:
    """Set up a parser with the rules of this module."""
    md.inline = _InlineParser()
    md.configure("commonmark", {"html": False, "maxNesting": _MAX_DEPTH + 10})
    md.enable(["table", "strikethrough"])
    md.disable(["html_block", "html_inline"])
    md.inline.ruler.before("escape", "math_inline", _math_inline)
    md.block.ruler.before(
        "fence", "math_block", _math_block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    md.core.ruler.push("unbroken_formulas", _unbroken_formulas)
    md.block.ruler.before("table", "too_deep", _too_deep)
    md.block.ruler.before("table", "sparse_table", _sparse_table, {"alt": ["paragraph", "reference"]})
    md.inline.ruler.before("autolink", "break_tag", _break_tag)
    md.core.ruler.before("inline", "long_paragraph", _long_paragraph)
    md.core.ruler.before("inline", "task_list", _task_list)


# Emphasis in Chinese, Japanese and Korean, which CommonMark's rules do not handle.
#
# In CommonMark a run of `*` or `~` after punctuation closes emphasis only if a space or punctuation follows.
# Chinese and Japanese have no spaces between words, and Korean particles directly follow a word, so `**结论：**样本` would
# show its asterisks. By a published amendment (https://github.com/tats-u/markdown-cjk-friendly), next to a character
# of these languages only punctuation of other languages prevents emphasis. Text without such characters is not
# affected.
#
# In Markdown for other parsers, an invisible character is inserted where they would need the amendment.

# These noncharacters enclose the number of a citation, which becomes a link later.
CITATION_START: Final = "\ufdd0"
CITATION_END: Final = "\ufdd1"
_MAX_CITATION_CHARS: Final = 12
# Decomposed vowels and final consonants of Hangul count as narrow.
_HANGUL_JAMO: Final = (range(0x1100, 0x1200), range(0xA960, 0xA980), range(0xD7B0, 0xD800))
_RUN: Final = re.compile(r"\*+|~+")
_EMOJI: Final = range(0x1F000, 0x20000)
_FIRST_RADICAL: Final = 0x2E80


class _InlineParser(ParserInline):
    """markdown-it's inline parser, with the amended rule for emphasis."""

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        """Parse a paragraph into `tokens`."""
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


class _State(StateInline):
    @override
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        end = start
        while end < self.posMax and self.src[end] == self.src[start]:
            end += 1
        before, after = _before(self.src, start), _after(self.src, end, self.posMax)
        opens, closes = _flanks(before, after)
        return Scanned(
            opens and (canSplitWord or not closes or before.is_punctuation),
            closes and (canSplitWord or not opens or after.is_punctuation),
            end - start,
        )


def with_invisible_marks(text: str, start: int, end: int) -> str:
    """Return emphasis marks, with invisible characters where other parsers would treat them differently.

    Args:
        text: The Markdown.
        start: The start of the marks, which may be of several kinds.
        end: The end of the last mark.
    """
    runs = [_Run.of(text, *run.span()) for run in _RUN.finditer(text, start, end)]
    # Next to a character that is not punctuation, the neighbour of a run needs the invisible character too.
    is_opening, is_closing = any(run.lacks_opening for run in runs), any(run.lacks_closing for run in runs)
    return "".join(
        (WORD_JOINER if is_closing and run.closes else "")
        + run.marks
        + (WORD_JOINER if is_opening and run.opens and not (is_closing and run.closes) else "")
        for run in runs
    )


class _Run(NamedTuple):
    """A run of one emphasis mark: whether it opens and closes emphasis here, and what other parsers would miss."""

    marks: str
    opens: bool
    closes: bool
    lacks_opening: bool
    lacks_closing: bool

    @classmethod
    def of(cls, text: str, start: int, end: int) -> _Run:
        opens, closes = _flanks(_before(text, start), _after(text, end, len(text)))
        before, after = _seen_before(text, start), _seen_after(text, end)
        opens_anywhere, closes_anywhere = _flanks(_Character(before), _Character(after), is_amended=False)
        return cls(
            text[start:end],
            opens,
            closes,
            # An underscore next to the invisible character would be inside a word, and have no effect.
            lacks_opening=opens and not opens_anywhere and after != "_",
            lacks_closing=closes and not closes_anywhere and before != "_",
        )


class _Character(NamedTuple):
    """A character next to a run of marks; a space at the start or end of the text."""

    sign: str

    @property
    def is_blank(self) -> bool:
        return isWhiteSpace(ord(self.sign))

    @property
    def is_punctuation(self) -> bool:
        return isPunctChar(self.sign)

    @property
    def is_cjk(self) -> bool:
        return _is_cjk(self.sign)


def _flanks(before: _Character, after: _Character, *, is_amended: bool = True) -> tuple[bool, bool]:
    """Return whether a run between two characters can open and can close emphasis.

    By CommonMark 0.31.2, section 6.2, and the amendment for Chinese, Japanese and Korean.
    """
    is_cjk = is_amended and (before.is_cjk or after.is_cjk)
    opens = not after.is_blank and (
        not after.is_punctuation or before.is_blank or before.is_punctuation or is_cjk
    )
    closes = not before.is_blank and (
        not before.is_punctuation or after.is_blank or after.is_punctuation or is_cjk
    )
    return opens, closes


def _before(text: str, start: int) -> _Character:
    """Return the character before `start`, ignoring citation marks, and variation selectors after CJK characters."""
    while start and text[start - 1] == CITATION_END:
        opening = text.rfind(CITATION_START, max(0, start - _MAX_CITATION_CHARS), start)
        if opening < 0:
            break
        start = opening
    sign = text[start - 1] if start else " "
    if start > 1 and _is_variation_selector(sign) and _is_cjk(text[start - 2]):
        sign = text[start - 2]
    return _Character(sign)


def _after(text: str, end: int, text_end: int) -> _Character:
    while end < text_end and text[end] == CITATION_START:
        closing = text.find(CITATION_END, end, min(text_end, end + _MAX_CITATION_CHARS))
        if closing < 0:
            break
        end = closing + 1
    return _Character(text[end] if end < text_end else " ")


def _seen_before(text: str, start: int) -> str:
    """Return the character that other parsers see before `start`, where a link has replaced the citation mark."""
    sign = text[start - 1] if start else " "
    return ")" if sign == CITATION_END else sign


def _seen_after(text: str, end: int) -> str:
    sign = text[end] if end < len(text) else " "
    return "[" if sign == CITATION_START else sign


@lru_cache(maxsize=4096)
def _is_cjk(sign: str) -> bool:
    """Return whether a character is Chinese, Japanese or Korean: a letter or wide punctuation, but not an emoji."""
    code = ord(sign)
    if any(code in jamo for jamo in _HANGUL_JAMO):
        return True
    is_symbol = category(sign) == "So" and code < _FIRST_RADICAL
    return east_asian_width(sign) in "WFH" and code not in _EMOJI and not is_symbol


def _is_variation_selector(sign: str) -> bool:
    """Return whether a character is a variation selector."""
    return "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef"


# Formulas

_LABEL: Final = re.compile(r" ?\\label\s*\{[^{}]*\}")
_PUNCTUATION: Final = ("", ".", ",", ";")
# Characters that may follow a dollar sign in prose, as in ($), but never start a formula.
_NO_BEGINNING: Final = ("", "$", ")", "'", '"', "’", "”", ",", ";", ":", "?")
_MONEY: Final = re.compile(r"\d[\d.,]*(?:\s*[A-Za-z%]|\s|$)")
_TEX_SIGN: Final = re.compile(r"[\\^_={}<>+*/|]")
_ENVIRONMENT: Final = re.compile(
    r"\\begin\{((?:align|alignat|equation|eqnarray|gather|multline|flalign|[bpvBV]?matrix|cases|split|aligned)\*?)\}"
)


def without_labels(formula: str) -> str:
    r"""Return a formula without `\label{...}`: labels are page-wide, so an answer shown twice would be an error.

    Each label is replaced with a space, so that the text before and after it does not join to a command.
    """
    return _LABEL.sub(" ", formula)


class Formula(NamedTuple):
    """A formula in text: its source without delimiters, its end position, and whether it is a display formula."""

    source: str
    end: int
    is_display: bool


def find_formula(text: str, start: int, memory: MutableMapping[str, Any]) -> Formula | None:
    r"""Return the formula whose opening delimiter is at `start`; None if no formula begins there.

    Args:
        text: The text of a paragraph.
        start: The position of a `$` or a backslash.
        memory: Caches results for `text` between calls, so that a text with many opening delimiters is scanned only
            once.
    """
    if text[start] == "$":
        return _display_dollars(text, start) or _inline_dollars(text, start)
    if text[start + 1 : start + 2] in ("(", "["):
        return _bracketed(text, start, memory)
    return None


def find_environment(text: str, start: int) -> Formula | None:
    r"""Return the environment (`\begin{align}` ...) at `start`; None if there is none, or it is not closed."""
    opening = _ENVIRONMENT.match(text, start)
    if opening is None:
        return None
    closing = f"\\end{{{opening[1]}}}"
    end = text.find(closing, opening.end(), opening.end() + MAX_FORMULA_CHARS)
    return (
        Formula(text[start : end + len(closing)], end + len(closing), is_display=True) if end >= 0 else None
    )


def _math_inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    found = find_formula(state.src, state.pos, state.env)
    if found is None:
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content = found.source
        token.meta = {"is_display": found.is_display}
    state.pos = found.end
    return True


def _display_dollars(src: str, start: int) -> Formula | None:
    if not src.startswith("$$", start):
        return None
    end = src.find("$", start + 2)
    if end <= start + 2 or not src.startswith("$$", end) or not src[start + 2 : end].strip():
        return None
    return Formula(src[start + 2 : end].strip(), end + 2, is_display=True)


def _inline_dollars(src: str, start: int) -> Formula | None:
    before, after = src[start - 1 : start], src[start + 1 : start + 2]
    if before == "$" or before.isalnum() or after in _NO_BEGINNING or after.isspace():
        return None
    end = _next_bare_dollar(src, start + 1)
    if end < 0 or src[end - 1].isspace() or (src[end + 1 : end + 2] or " ").isalnum():
        return None
    formula = src[start + 1 : end]
    if _MONEY.match(formula) and not _TEX_SIGN.search(formula) and len(formula.split()) > 1:
        return None
    return Formula(formula, end + 1, is_display=False)


def _next_bare_dollar(src: str, start: int) -> int:
    end = src.find("$", start)
    while end > 0 and _is_escaped(src, end):
        end = src.find("$", end + 1)
    return end


def _is_escaped(src: str, position: int) -> bool:
    backslashes = 0
    while position > backslashes and src[position - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def _bracketed(src: str, start: int, memory: MutableMapping[str, Any]) -> Formula | None:
    opening = src[start + 1]
    closing = "\\)" if opening == "(" else "\\]"
    if memory.get("no more " + closing) is src:
        return None
    end = src.find(closing, start + 2)
    if end < 0:
        memory["no more " + closing] = src
        return None
    formula = src[start + 2 : end].strip()
    return Formula(formula, end + 2, is_display=opening == "[") if formula else None


# Browsers may break a line next to a formula, as next to an image. Adjacent characters are kept on its line: a bracket
# before it, or "," ")." "-" "th" after it. This is not done for long formulas, which could become wider than their
# column.

_LONGEST_UNBROKEN: Final = 60
_OPENING: Final = re.compile(r"[(\[{«“‘„‚\"'¿¡]{1,3}\Z")
_FOLLOWING: Final = re.compile(r"\A\w{0,3}(?!\w)[^\w\s(\[{«“‘„‚¿¡]{0,4}")


def _unbroken_formulas(state: StateCore) -> None:
    for token in state.tokens:
        # A formula that is shown as source is ordinary text.
        if token.type == "inline" and token.children and not state.env.get("shows_source"):
            token.children = _with_neighbours(token.children)


def _with_neighbours(tokens: Sequence[Token]) -> list[Token]:
    """Return tokens in which short formulas and their adjacent punctuation are kept on one line."""
    result: list[Token] = []
    position = 0
    while position < len(tokens):
        begin, end = len(result), position + 1
        is_short = (
            tokens[position].type == "math_inline" and len(tokens[position].content) <= _LONGEST_UNBROKEN
        )
        if not is_short or tokens[position].meta["is_display"]:
            result.append(tokens[position])
            position = end
            continue
        # Emphasis around only the formula, as in `**$x$**,`, is treated as a part of it.
        while begin and end < len(tokens) and result[begin - 1].nesting == 1 and tokens[end].nesting == -1:
            begin, end = begin - 1, end + 1
        formula = [*result[begin:], *tokens[position:end]]
        del result[begin:]
        before = _cut(result[-1], _OPENING) if result else []
        after = _cut(tokens[end], _FOLLOWING) if end < len(tokens) else []
        if before or after:
            opening = Token("unbroken_open", "span", 1, attrs={"style": UNBROKEN})
            formula = [opening, *before, *formula, *after, Token("unbroken_close", "span", -1)]
        result += formula
        position = end
    return result


def _cut(token: Token, part: re.Pattern[str]) -> list[Token]:
    """Remove the match of `part` from a text token, and return it as a token; return [] without a match."""
    found = part.search(token.content) if token.type == "text" else None
    if found is None or not found[0]:
        return []
    token.content = token.content[: found.start()] + token.content[found.end() :]
    return [Token("text", "", 0, content=found[0])]


def _math_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if state.is_code_block(start_line):
        return False
    closing, skipped = _opening_mark(_line_of(state, start_line))
    if not closing:
        return False
    found = _find_end(state, start_line, end_line, closing, skipped)
    if found is None:
        return False
    if not silent:
        next_line, is_closed = found
        _push_block(state, start_line, next_line, closing=closing if is_closed else "", skipped=skipped)
    return True


def _opening_mark(line: str) -> tuple[str, int]:
    """Return the closing delimiter of a formula that `line` opens, and the length of its opening one; else ("", 0)."""
    if line.startswith("$$"):
        return "$$", 2
    if line.startswith("\\["):
        return "\\]", 2
    environment = _ENVIRONMENT.match(line)
    return (f"\\end{{{environment[1]}}}", 0) if environment else ("", 0)


def _find_end(state: StateBlock, start: int, end: int, closing: str, skipped: int) -> tuple[int, bool] | None:
    """Return the line after the formula and whether it is closed; None if it shares its only line with text.

    A formula without a closing delimiter ends at the next blank line or at the end of its list item. This rule makes
    the rendering of these lines independent of how much of a growing text has arrived.
    """
    for number in range(start, end):
        if number > start and (state.isEmpty(number) or state.sCount[number] < state.blkIndent):
            return number, False
        line = _line_of(state, number)
        position = line.find(closing, skipped if number == start else 0)
        if position >= 0:
            is_alone = line[position + len(closing) :].strip() in _PUNCTUATION
            return (number + 1, True) if is_alone or number > start else None
    return end, False


def _push_block(state: StateBlock, start: int, next_line: int, *, closing: str, skipped: int) -> None:
    source = "\n".join(_line_of(state, number) for number in range(start, next_line))
    end = source.find(closing, skipped) if closing else len(source)
    after = source[end + len(closing) :].strip()
    formula = source[skipped if closing else 0 : end if skipped else end + len(closing)].strip()
    token = state.push("math_block" if closing and formula else "math_open", "math", 0)
    token.block = True
    token.map = [start, next_line]
    token.content = formula or source
    if after in _PUNCTUATION:
        token.content += after
    else:
        _push_paragraph(state, after)
    state.line = next_line


def _push_paragraph(state: StateBlock, text: str) -> None:
    """Push the text that follows a closing delimiter on the same line as a paragraph."""
    state.push("paragraph_open", "p", 1)
    inline = state.push("inline", "", 0)
    inline.content, inline.children = text, []
    state.push("paragraph_close", "p", -1)


def _line_of(state: StateBlock, number: int) -> str:
    """Return a line of a block without its indentation."""
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


# Other rules

_TASK: Final = re.compile(r"\A\[([ xX])\] ")
_DELIMITER_ROW: Final = re.compile(r"[|:\-][|:\- \t]+")
_BREAK_TAG: Final = re.compile(r"<br ?/?>", re.IGNORECASE)


def _too_deep(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if state.level < _MAX_DEPTH or silent:
        return False
    token = state.push("plain_text", "", 0)
    token.content = state.getLines(start_line, end_line, 0, False)
    token.map = [start_line, end_line]
    state.line = end_line
    return True


def _sparse_table(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Parse a table with more cells than characters, most of them empty, as a `sparse_table` token."""
    if start_line + 2 >= end_line or "|" not in _line_of(state, start_line):
        return False
    delimiters = _line_of(state, start_line + 1).strip()
    if not _DELIMITER_ROW.fullmatch(delimiters) or state.sCount[start_line + 1] < state.blkIndent:
        return False
    if state.is_code_block(start_line) or state.is_code_block(start_line + 1):
        return False
    columns = len([cell for cell in delimiters.split("|") if cell.strip()])
    row_end = _end_of_rows(state, start_line + 2, end_line)
    written = state.eMarks[row_end - 1] - state.bMarks[start_line]
    if columns * (row_end - start_line - 1) <= written:
        return False
    if not silent:
        token = state.push("sparse_table", "", 0)
        token.content = state.getLines(start_line, row_end, state.blkIndent, False)
        token.map = [start_line, row_end]
        state.line = row_end
    return True


def _end_of_rows(state: StateBlock, line: int, end_line: int) -> int:
    """Return the line after the last row of a table, by the same rule as markdown-it."""
    terminators = state.md.block.ruler.getRules("blockquote")
    previous, state.parentType = state.parentType, "table"
    while line < end_line and state.sCount[line] >= state.blkIndent and not state.isEmpty(line):
        if state.is_code_block(line) or any(rule(state, line, end_line, True) for rule in terminators):
            break
        line += 1
    state.parentType = previous
    return line


def _break_tag(state: StateInline, silent: bool) -> bool:
    """Parse `<br>`, the only HTML element that models need: Markdown has no line break for table cells."""
    if state.src[state.pos] != "<" or not (tag := _BREAK_TAG.match(state.src, state.pos)):
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = tag.end()
    return True


def _long_paragraph(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and len(token.content) > _MAX_PARAGRAPH_CHARS:
            token.type = "plain_text"


def _task_list(state: StateCore) -> None:
    for before, token in zip(state.tokens[1:], state.tokens[2:], strict=False):
        if token.type == "inline" and before.type == "paragraph_open" and before.level >= 2:
            token.content = _TASK.sub(lambda box: "☐ " if box[1] == " " else "☑ ", token.content)
