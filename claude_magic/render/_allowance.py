"""How much of an answer is drawn: in proportion to what was written, over the whole answer.

A few characters of Markdown can become very much of a page: the empty cells of a sparse table, a long address behind a short
reference. So each block is weighed before it is drawn, by its tokens, which the parser makes in linear time. What would
outgrow the allowance is shown as its source. Formulas have an allowance of their own, of the work that MathJax has with
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markdown_it.token import Token

from ._safe_tex import cost_of

TOO_LARGE: Final = "Shown as source: drawn, it would be far larger than what was written."
TOO_MANY_FORMULAS: Final = "The rest of the formulas are shown as source: more would hold up the page."

_CHARS_PER_WRITTEN: Final = 24
_ALWAYS_CHARS: Final = 8_000
_MAX_FORMULA_COST: Final = 20_000
_ELEMENT_CHARS: Final = 20
_LINK_CHARS: Final = 100


@dataclass(slots=True)
class Allowance:
    """What may still be drawn of one answer; grows with what was written.

    Attributes:
        written: Characters of the answer, up to the block that is drawn.
        drawn: Characters of HTML, roughly, of the blocks before it.
        formula_cost: The work that the formulas before it make.
    """

    written: int = 0
    drawn: int = 0
    formula_cost: int = 0

    def copy(self) -> Allowance:
        """Return one that goes its own way from here."""
        return Allowance(self.written, self.drawn, self.formula_cost)

    def admit(self, tokens: Iterable[Token], written: int) -> bool:
        """Tell whether a block is drawn, and count it.

        Args:
            tokens: The block, parsed.
            written: Characters of the answer up to its end.
        """
        drawn = self.drawn + sum(map(_weight, tokens))
        is_admitted = drawn <= _ALWAYS_CHARS + _CHARS_PER_WRITTEN * written
        self.drawn = drawn if is_admitted else self.drawn
        return is_admitted

    def admit_formula(self, source: str) -> bool:
        """Tell whether a formula is typeset, and count it; never one that is unsafe."""
        cost = cost_of(source)
        if cost is None or self.has_no_formulas_left:
            return False
        self.formula_cost += cost
        return True

    @property
    def has_no_formulas_left(self) -> bool:
        """Whether no further formula is typeset."""
        return self.formula_cost >= _MAX_FORMULA_COST


def _weight(token: Token) -> int:
    """Return how many characters of HTML a token becomes, roughly."""
    weight = len(token.content) if token.type != "inline" else 0
    if token.nesting >= 0:
        weight += _ELEMENT_CHARS if token.tag else 0
    if token.attrs:
        weight += sum(len(str(value)) for value in token.attrs.values()) + (
            _LINK_CHARS if token.type in ("link_open", "image") else 0
        )
    return weight + sum(map(_weight, token.children or ()))
