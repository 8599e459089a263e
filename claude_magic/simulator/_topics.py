"""What the simulator knows something about, and how it finds it.

Each file in `corpus/` is one topic, told in several forms; its headings name them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

_WORD = re.compile(r"[a-z0-9_%][a-z0-9_+=.]*[a-z0-9_+]|[a-z0-9]")
_SECTION = re.compile(r"^## (In one sentence|Answer|In points|As code|As a table)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One subject, told in several forms."""

    title: str
    phrases: tuple[str, ...]
    """Each is one or more word beginnings; a prompt fits that holds all words of a phrase."""
    sentence: str
    answer: str
    """Markdown without its heading."""
    points: tuple[str, ...]
    """The most important first."""
    code: str
    """Python in a fence, or empty."""
    table: str
    """A Markdown table, or empty."""


def find_topic(prompt: str) -> Topic | None:
    """The topic whose phrases fit best; None where none fits.

    A phrase counts the square of its words, so that two words together beat two that merely occur.
    """
    words = _WORD.findall(prompt.lower())
    best_score, best = 0, None
    for topic in all_topics():
        score = max(_score(phrase, words) for phrase in topic.phrases)
        if score > best_score:
            best_score, best = score, topic
    return best


def _score(phrase: str, words: list[str]) -> int:
    parts = phrase.split()
    is_fitting = all(any(word.startswith(part) for word in words) for part in parts)
    return len(parts) ** 2 if is_fitting else 0


@cache
def all_topics() -> tuple[Topic, ...]:
    """Every topic of the corpus, by file name."""
    folder = resources.files(__package__) / "corpus"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name
    )
    return tuple(_parse(file.read_text(encoding="utf-8")) for file in files)


def _parse(text: str) -> Topic:
    head, *rest = _SECTION.split(text)
    sections = {name: body.strip() for name, body in zip(rest[::2], rest[1::2], strict=True)}
    title, phrases = head.strip().split("\n\n")
    points = sections["In points"].splitlines()
    return Topic(
        title=title.removeprefix("# "),
        phrases=tuple(phrase.strip() for phrase in phrases.removeprefix("phrases:").split(",")),
        sentence=sections["In one sentence"],
        answer=sections["Answer"],
        points=tuple(point.removeprefix("- ") for point in points),
        code=sections.get("As code", ""),
        table=sections.get("As a table", ""),
    )
