r"""Formulas in Markdown: where they start and end, and which are safe to hand to MathJax.

Rules for markdown-it. Inline: `$x$`, `\(x\)`, and `$$x$$` or `\[x\]` in a paragraph. Blocks: lines from `$$`,
`\[` or `\begin{env}` to the closing mark, with no blank line between (LaTeX allows none either). A dollar
that stands for money is no formula. Each scan is bounded or remembered, so the rules are linear.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

# Longer or deeper than this is no formula a reader can use, and MathJax would take seconds over it.
_MAX_FORMULA_CHARS: Final = 5_000
_MAX_BRACE_DEPTH: Final = 60

# Commands that link, load, style, set ids, or change macros and counters for every other formula on the page.
_UNSAFE_COMMAND: Final = re.compile(
    r"\\(?:href|url|require|html\w*|class|cssId|style|data|includegraphics|unicode|mmlToken|bbox"
    r"|[egx]?def|let|futurelet|(?:re|provide)?newcommand|renewcommand|providecommand|newenvironment"
    r"|renewenvironment|newtagform|renewtagform|usetagform|DeclareMathOperator|DeclarePairedDelimiters?X?(?:PP)?"
    r"|definecolor|catcode|input|include|write|loop|csname|Newextarrow|texttip|mathtip|toggle)(?![A-Za-z])"
)
_LABEL: Final = re.compile(r"\\label\s*\{[^{}]*\}")
_ESCAPED: Final = re.compile(r"\\[\\{}$]")
_BRACE: Final = re.compile(r"[{}]")
_DELIMITER: Final = re.compile(r"\$\$|\\[()\[\]]")

_MONEY: Final = re.compile(r"\d[\d.,]*(?:\s*[A-Za-z%]|\s|$)")
_TEX_SIGN: Final = re.compile(r"[\\^_={}<>+*/|]")
_ENVIRONMENT: Final = re.compile(
    r"\\begin\{((?:align|alignat|equation|eqnarray|gather|multline|flalign|[bpvBV]?matrix|cases|split|aligned)\*?)\}"
)


def is_safe_formula(formula: str) -> bool:
    """Tell whether `formula` can be typeset: it stays within itself, and is of a sane size."""
    if len(formula) > _MAX_FORMULA_CHARS or _UNSAFE_COMMAND.search(formula):
        return False
    bare = _ESCAPED.sub("", formula)
    return not _DELIMITER.search(bare) and _has_sound_braces(bare)


def _has_sound_braces(formula: str) -> bool:
    depth = 0
    for brace in _BRACE.finditer(formula):
        depth += 1 if brace[0] == "{" else -1
        if not 0 <= depth <= _MAX_BRACE_DEPTH:
            return False
    return depth == 0


def without_labels(formula: str) -> str:
    r"""Drop `\label{...}`: labels are page-wide in MathJax, so the same answer drawn twice would be an error."""
    return _LABEL.sub("", formula)


def install(md: MarkdownIt) -> None:
    """Add the rules of this module to the parser."""
    md.inline.ruler.before("escape", "math_inline", _math_inline)
    md.block.ruler.before(
        "fence", "math_block", _math_block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )


# Inline


class Formula(NamedTuple):
    """A formula in running text: its source without marks, where it ends, and whether it has a line of its own."""

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
    before = src[start - 1 : start]
    if (
        before == "$"
        or before.isalnum()
        or src[start + 1 : start + 2] in ("", "$")
        or src[start + 1].isspace()
    ):
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


# Blocks


def _math_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if state.is_code_block(start_line):
        return False
    first = _line(state, start_line)
    closing, skipped = _opening_mark(first)
    if not closing:
        return False
    last_line = _closing_line(state, start_line, end_line, closing, skipped)
    if last_line is None:
        return False
    if silent:
        return True
    _push_block(state, start_line, last_line, closing, skipped)
    return True


def _opening_mark(line: str) -> tuple[str, int]:
    """Return the mark that closes what `line` opens, and the length of the opening mark; ("", 0) for no formula."""
    if line.startswith("$$"):
        return "$$", 2
    if line.startswith("\\["):
        return "\\]", 2
    environment = _ENVIRONMENT.match(line)
    return (f"\\end{{{environment[1]}}}", 0) if environment else ("", 0)


def _closing_line(state: StateBlock, start: int, end: int, closing: str, skipped: int) -> int | None:
    """Return the line that closes the formula, `end` if the text ends before one does, None if it is no block."""
    # Remembers the stretch of lines known to hold no end, or many openings would each scan all of it.
    known_src, known_from, known_to = state.env.get("no end " + closing, (None, 0, 0))
    if known_src is state.src and known_from <= start < known_to:
        return None
    for number in range(start, end):
        if number > start and state.sCount[number] < state.blkIndent and not state.isEmpty(number):
            return None
        line = _line(state, number)
        position = line.find(closing, skipped if number == start else 0)
        if position >= 0 and line[position + len(closing) :].strip() in ("", ".", ",", ";"):
            return number
        if position >= 0 or (number > start and state.isEmpty(number)):
            state.env["no end " + closing] = (state.src, start, number)
            return None
    # The text may still be growing: up to a blank line, an unclosed formula is one block, shown as source.
    return end if end == state.lineMax else None


def _push_block(state: StateBlock, start: int, last: int, closing: str, skipped: int) -> None:
    is_closed = last < state.lineMax
    next_line = last + 1 if is_closed else last
    lines = [_line(state, number) for number in range(start, next_line)]
    source = "\n".join(lines)
    token = state.push("math_block" if is_closed else "math_open", "math", 0)
    token.block = True
    token.map = [start, next_line]
    token.markup = closing
    if is_closed:
        end = source.rfind(closing)
        body = source[skipped : end if skipped else end + len(closing)].strip()
        token.content = body + source[end + len(closing) :].strip()
    else:
        token.content = source
    state.line = next_line


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]
