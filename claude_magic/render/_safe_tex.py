r"""Which formulas are safe to hand to MathJax, and how the others are kept from it.

What a model wrote may hold commands that link, restyle or redefine, and it may be of a kind that freezes the browser's page or
makes it crash, again each time the notebook is opened.
"""

from __future__ import annotations

import re
from typing import Final

# Longer or deeper than this is no formula a reader can use, and MathJax would take seconds over it.
MAX_FORMULA_CHARS: Final = 5_000
_MAX_DEPTH: Final = 60

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
_ESCAPED: Final = re.compile(r"\\[\\{}$]")
# What puts what follows one level deeper: groups, to their ends, and switches of size and colour, to the end of a group.
_LEVEL: Final = re.compile(
    r"[{}]|\\(?:left|right|begin|end|color|(?:display|text|script|scriptscript)style"
    r"|[Tt]iny|scriptsize|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z])"
)
_END_OF_GROUP: Final = {"{": "}", r"\left": r"\right", r"\begin": r"\end"}
# Nobody draws a rule or leaves a gap of 1,000 units: it would push what comes after it out of sight.
_HUGE_LENGTH: Final = re.compile(
    r"\d{4,}(?:[.,]\d*)?\s*(?:em|ex|mu|pt|px|pc|cm|mm|in|bp|dd|cc|sp)(?![A-Za-z])"
)
_DELIMITER: Final = re.compile(r"\$\$|\\[()\[\]]")


def is_safe_formula(formula: str) -> bool:
    """Tell whether `formula` can be typeset: it stays within itself, and is of a sane size."""
    if len(formula) > MAX_FORMULA_CHARS or _UNSAFE_COMMAND.search(formula):
        return False
    bare = _ESCAPED.sub("", formula)
    return not _DELIMITER.search(bare) and not _HUGE_LENGTH.search(bare) and _has_sound_groups(bare)


def _has_sound_groups(formula: str) -> bool:
    """Tell whether all groups are closed, and none is too deep: at 180 to 400 levels Chromium's page is gone (MathJax 4)."""
    open_groups: list[tuple[str, int]] = []
    depth = 0
    for level in _LEVEL.finditer(formula):
        if end := _END_OF_GROUP.get(level[0]):
            open_groups.append((end, depth))
        elif level[0] in _END_OF_GROUP.values():
            end, depth = open_groups.pop() if open_groups else ("", 0)
            if level[0] != end:
                return False
            continue
        depth += 1
        if depth > _MAX_DEPTH:
            return False
    return not open_groups


def is_unsafe_command(text: str, start: int) -> bool:
    """Tell whether the backslash at `start` begins a command that no formula may have."""
    return bool(_UNSAFE_COMMAND.match(text, start))


def disarmed(text: str) -> str:
    """Return `text` with a sign that nobody sees in each command that no formula may have: it reads the same, and does nothing."""
    return _UNSAFE_COMMAND.sub(lambda command: f"\\{UNSEEN}{command[0][1:]}", text)
