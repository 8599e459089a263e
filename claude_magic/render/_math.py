r"""Finds formulas in Markdown.

Rules for markdown-it. Inline: `$x$`, `\(x\)`, and `$$x$$` or `\[x\]` in a paragraph. Blocks: lines from `$$`,
`\[` or `\begin{env}` to the closing mark, with no blank line between (LaTeX allows none either); without the mark
they are shown as source. A dollar that stands for money is no formula. Each scan is bounded or remembered, so the rules
are linear.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markdown_it.token import Token

from ._sanitise import UNBROKEN
from ._tex import MAX_FORMULA_CHARS

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline

_LABEL: Final = re.compile(r" ?\\label\s*\{[^{}]*\}")
_PUNCTUATION: Final = ("", ".", ",", ";")
# Characters that follow a dollar sign mentioned in prose, as in ($), and never start a formula.
_NO_BEGINNING: Final = ("", "$", ")", "'", '"', "’", "”", ",", ";", ":", "?")
_MONEY: Final = re.compile(r"\d[\d.,]*(?:\s*[A-Za-z%]|\s|$)")
_TEX_SIGN: Final = re.compile(r"[\\^_={}<>+*/|]")
_ENVIRONMENT: Final = re.compile(
    r"\\begin\{((?:align|alignat|equation|eqnarray|gather|multline|flalign|[bpvBV]?matrix|cases|split|aligned)\*?)\}"
)


def without_labels(formula: str) -> str:
    r"""Drop `\label{...}`: labels are page-wide in MathJax, so the same answer drawn twice would be an error.

    A blank stays, so that what stood before and after it does not become one command.
    """
    return _LABEL.sub(" ", formula)


def install(md: MarkdownIt) -> None:
    """Add the rules of this module to the parser."""
    md.inline.ruler.before("escape", "math_inline", _math_inline)
    md.block.ruler.before(
        "fence", "math_block", _math_block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    md.core.ruler.push("unbroken_formulas", _unbroken_formulas)


# Inline


class Formula(NamedTuple):
    """A formula in running text: its source without delimiters, where it ends, and whether it is displayed on its own line."""

    source: str
    end: int
    is_display: bool


def find_formula(text: str, start: int, memory: MutableMapping[str, Any]) -> Formula | None:
    r"""Return the formula whose opening mark stands at `start`, or None if what stands there is just a character.

    Args:
        text: The text of a paragraph.
        start: Where a `$` or a backslash stands.
        memory: Keeps what is known about `text` between calls, so that many opening marks do not each scan all of it.
    """
    if text[start] == "$":
        return _display_dollars(text, start) or _inline_dollars(text, start)
    if text[start + 1 : start + 2] in ("(", "["):
        return _bracketed(text, start, memory)
    return None


def find_environment(text: str, start: int) -> Formula | None:
    r"""Return the environment, `\begin{align}` and so on, that begins at `start`; None if none does or it has no end."""
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


# A browser may break a line beside a formula, as beside a picture. Characters next to it without a space stay with it: a bracket
# before it, or "," ")." "-" "th" after it. A long formula is left alone, so that it does not become wider than its column.

_LONGEST_UNBROKEN: Final = 60
_OPENING: Final = re.compile(r"[(\[{«“‘„‚\"'¿¡]{1,3}\Z")
_FOLLOWING: Final = re.compile(r"\A\w{0,3}(?!\w)[^\w\s(\[{«“‘„‚¿¡]{0,4}")


def _unbroken_formulas(state: StateCore) -> None:
    for token in state.tokens:
        # While its source is shown, it is text.
        if token.type == "inline" and token.children and not state.env.get("shows_source"):
            token.children = _with_neighbours(token.children)


def _with_neighbours(tokens: Sequence[Token]) -> list[Token]:
    """Keep formulas and adjacent punctuation on one line."""
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
        # Emphasis around the formula only, as in `**$x$**,`, is part of it.
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
    """Take a part of a text out of it; return the text that is that part, if there is one."""
    found = part.search(token.content) if token.type == "text" else None
    if found is None or not found[0]:
        return []
    token.content = token.content[: found.start()] + token.content[found.end() :]
    return [Token("text", "", 0, content=found[0])]


# Blocks


def _math_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if state.is_code_block(start_line):
        return False
    closing, skipped = _opening_mark(line_of(state, start_line))
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
    """Return the mark that closes what `line` opens, and the length of the opening mark; ("", 0) for no formula."""
    if line.startswith("$$"):
        return "$$", 2
    if line.startswith("\\["):
        return "\\]", 2
    environment = _ENVIRONMENT.match(line)
    return (f"\\end{{{environment[1]}}}", 0) if environment else ("", 0)


def _find_end(state: StateBlock, start: int, end: int, closing: str, skipped: int) -> tuple[int, bool] | None:
    """Return the line after the formula and whether it is closed, or None if it shares its one line with text.

    Without its closing mark a formula still reaches to the next blank line, or the end of its list item: the text may
    be growing, and what is shown of these lines must not depend on how much has come.
    """
    for number in range(start, end):
        if number > start and (state.isEmpty(number) or state.sCount[number] < state.blkIndent):
            return number, False
        line = line_of(state, number)
        position = line.find(closing, skipped if number == start else 0)
        if position >= 0:
            is_alone = line[position + len(closing) :].strip() in _PUNCTUATION
            return (number + 1, True) if is_alone or number > start else None
    return end, False


def _push_block(state: StateBlock, start: int, next_line: int, *, closing: str, skipped: int) -> None:
    source = "\n".join(line_of(state, number) for number in range(start, next_line))
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
    """Show the words that follow a closing mark on the same line."""
    state.push("paragraph_open", "p", 1)
    inline = state.push("inline", "", 0)
    inline.content, inline.children = text, []
    state.push("paragraph_close", "p", -1)


def line_of(state: StateBlock, number: int) -> str:
    """Return a line of a block without its indentation."""
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]
