"""Several answers to one question: side by side as HTML, one after another as Markdown and as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from ..runtime import ReplySnapshot
from ._answer import render_answer
from ._footer import describe_facts, render_remarks, render_remarks_text
from ._neutralise import neutralise_markdown
from ._reply import Bundle, facts_on
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import COLUMN, COLUMN_FACTS, COLUMN_HEADING, COLUMN_NAME, COLUMNS

_BETWEEN: Final = "\n\n---\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One of the answers.

    Attributes:
        name: The model, as it was asked for.
        kept_in: The expression that has the answer, for remarks on a partial one.
        answer: The answer, as far as it has come.
    """

    name: str
    kept_in: str
    answer: ReplySnapshot

    @property
    def facts(self) -> str:
        """What is said below its name: the model at first, tokens, price and time as soon as it has ended."""
        return describe_facts(self.answer) if self.answer.phase.is_final else self.answer.model

    @property
    def remarks(self) -> str:
        """What went differently than wanted, as plain text."""
        return render_remarks_text(self.answer, kept_in=self.kept_in)


def render_comparison(columns: Sequence[Column], *, remote_images: bool = False) -> Bundle:
    """Return the one final picture of several answers, each under the name of its model."""
    answers = [render_answer(column.answer, remote_images=remote_images) for column in columns]
    html = render_columns(
        render_column_heading(column) + answer.html + render_remarks(column.answer, kept_in=column.kept_in)
        for column, answer in zip(columns, answers, strict=True)
    )
    pairs = list(zip(columns, answers, strict=True))
    data = {
        "text/html": html,
        "text/markdown": _BETWEEN.join(_markdown(column, answer.markdown) for column, answer in pairs),
        "text/plain": "\n\n".join(_plain(column, answer.plain) for column, answer in pairs),
    }
    facts = [{"name": column.name, **facts_on(column.answer)} for column in columns]
    return Bundle(data, {"claude_magic": {"comparison": facts}})


def render_columns(columns: Iterable[str]) -> str:
    """Return the HTML of columns side by side, as many as have room; of HTML that is safe already."""
    cells = "".join(f'<div style="{COLUMN}">{column}</div>' for column in columns)
    return f'<div style="{COLUMNS}">{cells}</div>'


def render_column_heading(column: Column) -> str:
    """Return the HTML of what stands above a column: the model, and what its answer took."""
    name = f'<div style="{COLUMN_NAME}">{escape(column.name, quote=False)}</div>'
    facts = f'<div style="{COLUMN_FACTS}">{escape(column.facts, quote=False)}</div>'
    heading = f'<div style="{COLUMN_HEADING}">{name}{facts}</div>'
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{heading}</div>')


def _markdown(column: Column, answer: str) -> str:
    # Two amounts in dollars are not a formula.
    facts, remarks = (
        neutralise_markdown(text).replace("$", r"\$") for text in (column.facts, column.remarks)
    )
    parts = [f"**{neutralise_markdown(column.name)}**  \n{facts}", answer, remarks]
    return "\n\n".join(part for part in parts if part.strip())


def _plain(column: Column, answer: str) -> str:
    heading = f"{column.name}: {column.facts}"
    parts = [f"{heading}\n{'─' * len(heading)}", answer, column.remarks]
    return "\n\n".join(part for part in parts if part.strip())
