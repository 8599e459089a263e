"""The form that a prompt wishes its answer to have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ._topics import Topic

Form = Literal["answer", "sentence", "table", "points", "code"]

_FORMS: tuple[tuple[Form, str], ...] = (
    ("sentence", r"\b(?:in|with) (?:one|a single|a|1)(?: short)? sentence\b|\bone[- ](?:sentence|liner)\b"),
    ("table", r"\b(?:as|in|make|draw|give|show|want|with|into|use|create|write)\b.{0,30}\btable\b"),
    ("points", r"\b(?:bullets?|as a list|points|steps|list (?:of )?(?:\d+|three|four|five|the))\b"),
    (
        "code",
        r"\b(?:code|snippet|implement|write (?:an? )?(?:\w+ )?(?:function|script|program)|function to)\b",
    ),
    ("sentence", r"\b(?:briefly|in short|short answer|be brief|terse|concise)\b"),
)
_NUMBER_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5}
_COUNT = re.compile(
    r"\b(\d|two|three|four|five)\b(?: \w+){0,2} (?:bullets?|points?|steps|reasons|facts|things|tips)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A form, and for points how many."""

    form: Form
    count: int | None = None


def wish_of(prompt: str, system: str) -> Wish:
    """What the prompt asks for, else what the system prompt does."""
    for text in (prompt.lower(), system.lower()):
        count = _COUNT.search(text)
        if count is not None:
            word = count[1]
            return Wish(form="points", count=_NUMBER_WORDS.get(word) or int(word))
        for form, pattern in _FORMS:
            if re.search(pattern, text):
                return Wish(form=form)
    return Wish(form="answer")


def shape(topic: Topic, wish: Wish) -> str:
    """The topic in the form that is wished for; its full answer where it lacks that form."""
    if wish.form == "sentence":
        return topic.sentence
    if wish.form == "points":
        return "\n".join(f"{number}. {point}" for number, point in enumerate(topic.points[: wish.count], 1))
    if wish.form == "code" and topic.code:
        return f"{topic.sentence}\n\n{topic.code}"
    if wish.form == "table" and topic.table:
        return f"**{topic.title}**\n\n{topic.table}"
    return f"## {topic.title}\n\n{topic.answer}"
