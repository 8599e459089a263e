"""What the simulator says."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from ._conversation import Conversation
from ._small_talk import (
    answer_arithmetic,
    count_things,
    decline_translation,
    explain_code,
    explain_traceback,
    greet,
    say_exactly,
    summarise,
    tell_fact,
    transform,
    write_verse,
)

_CUT = re.compile(r"\bwas cut off\b.*\bGo on exactly where it stopped\b", re.DOTALL)
_TAIL = re.compile(r"It stopped with:\n\n(.*)\Z", re.DOTALL)


def find_tail(prompt: str) -> str | None:
    """The end of the answer that a prompt wants continued; None where it wants something else."""
    tail = _TAIL.search(prompt) if _CUT.search(prompt) else None
    return tail[1].strip() if tail else None


def rest_after(answer: str, tail: str) -> str | None:
    """What comes in a whole answer after its cut part; None where the part does not stand in it."""
    before, found, rest = answer.rpartition(tail)
    del before
    return rest.lstrip("\n") or None if found else None


# What the simulator knows something about, and how it finds it.
#
# Each file in `corpus/` is one topic, told in several forms; its headings name them.
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
class FormHint:
    """A form, and for points how many."""

    form: Form
    count: int | None = None


def form_hint_of(prompt: str, system: str) -> FormHint:
    """What the prompt asks for, else what the system prompt does."""
    for text in (prompt.lower(), system.lower()):
        count = _COUNT.search(text)
        if count is not None:
            word = count[1]
            return FormHint(form="points", count=_NUMBER_WORDS.get(word) or int(word))
        for form, pattern in _FORMS:
            if re.search(pattern, text):
                return FormHint(form=form)
    return FormHint(form="answer")


def shape(topic: Topic, hint: FormHint) -> str:
    """The topic in the form that is asked for; its full answer where it lacks that form."""
    if hint.form == "sentence":
        return topic.sentence
    if hint.form == "points":
        return "\n".join(f"{number}. {point}" for number, point in enumerate(topic.points[: hint.count], 1))
    if hint.form == "code" and topic.code:
        return f"{topic.sentence}\n\n{topic.code}"
    if hint.form == "table" and topic.table:
        return f"**{topic.title}**\n\n{topic.table}"
    return f"## {topic.title}\n\n{topic.answer}"


_HEAD = re.compile(r"(?:DataFrame|Table)(?: \(\w+\))?: ([\d,]+) rows × ([\d,]+) columns")
_COLUMN = re.compile(r"^- (.+?): (\w+(?:\[[^\]]*\])?)(?:, ([\d,]+) missing)?", re.MULTILINE)
_NUMBERS = re.compile(r"^(\S.*?)\s+\S+((?:\s+-?[\d.e+]+){7})\s*$", re.MULTILINE)
_COMMON = re.compile(r"^(.+?): [\d,]+ distinct; most common: (.+?) \(([\d,]+)×\)", re.MULTILINE)
_MAX_LINES = 8


def read_table(prompt: str) -> str | None:
    """What a described table holds, as far as the description tells; None where there is none."""
    head = _HEAD.search(prompt)
    if head is None:
        return None
    described = prompt[head.start() :]
    columns = _COLUMN.findall(described)
    lines = [
        f"The table has **{head[1]} rows** and **{head[2]} columns**: {_listed([name for name, *_ in columns])}."
    ]
    facts = [
        *(_say_numbers(name, *figures.split()) for name, figures in _NUMBERS.findall(described)),
        *(f"`{name}`: mostly {value} ({count} times)" for name, value, count in _COMMON.findall(described)),
        *(f"`{name}` lacks {missing} values" for name, _, missing in columns if missing),
    ]
    if facts:
        lines.append("\n".join(f"- {fact}" for fact in facts[:_MAX_LINES]))
    return "\n\n".join(lines)


def _say_numbers(
    name: str, mean: str, _deviation: str, least: str, _q1: str, median: str, _q3: str, most: str
) -> str:
    return f"`{name}` runs from {least} to **{most}**; its mean is {mean}, its median {median}"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_FOLLOW_UP = re.compile(
    r"^(and|now|again|go on|continue|more|tell me more|why|how so|shorter|longer|as an?|in one|in a"
    r"|in \w+ points|make|show|give|turn|put|simpler|explain)\b|\b(it|that|this|same|above|previous)\b",
    re.IGNORECASE,
)
_NAME_TOLD = re.compile(r"\b(?:my name is|call me|i am called)\s+([A-Z][\w'-]*)", re.IGNORECASE)
_NAME_ASKED = re.compile(r"\bwhat(?:'s| is) my name\b|\bwho am i\b|\bmy name\?", re.IGNORECASE)
_FACT_TOLD = re.compile(
    r"\b(?:remember that\s+|note that\s+)?my (?P<what>fav\w+ [\w ]+?|[\w ]{3,30}?) is (?P<value>[^.!?\n]+)",
    re.IGNORECASE,
)
_FACT_ASKED = re.compile(r"\bwhat(?:'s| is| was) my (?P<what>[\w ]+)", re.IGNORECASE)
_EARLIER_ASKED = re.compile(
    r"\b(?:what did i (?:ask|say)|my (?:first|last|previous|earlier) (?:question|message|prompt))\b",
    re.IGNORECASE,
)
SHOWN_CHARACTERS = 200


def answer_text(conversation: Conversation) -> str:
    """A Markdown answer to the last prompt; the same one for the same conversation."""
    prompt = conversation.prompt
    return (
        say_exactly(prompt)
        or _go_on(conversation)
        or _remember(conversation)
        or explain_traceback(prompt)
        or explain_code(prompt)
        or read_table(prompt)
        or summarise(conversation)
        or _describe_attachments(conversation)
        or count_things(conversation)
        or transform(prompt)
        or decline_translation(prompt)
        or answer_arithmetic(prompt)
        or tell_fact(prompt)
        or write_verse(prompt)
        or greet(prompt)
        or _explain(conversation)
        or _own_up(conversation)
    )


def _go_on(conversation: Conversation) -> str | None:
    """The rest of an answer that was cut off."""
    tail = find_tail(conversation.prompt)
    if tail is None or not conversation.earlier_prompts:
        return None
    *before, cut = conversation.earlier_prompts
    previous = dataclasses.replace(
        conversation,
        prompt=cut,
        earlier_prompts=tuple(before),
        earlier_answers=conversation.earlier_answers[: len(before)],
    )
    return rest_after(answer_text(previous), tail)


def _remember(conversation: Conversation) -> str | None:
    """What an earlier turn said, where the last one asks for it."""
    prompt, earlier = conversation.prompt, conversation.earlier_prompts
    if _EARLIER_ASKED.search(prompt):
        if not earlier:
            return "This is your first message in this conversation."
        quoted = earlier[0] if "first" in prompt.lower() else earlier[-1]
        return f"You wrote:\n\n{_quote(quoted)}"
    told = _NAME_TOLD.search(prompt)
    if told is not None and len(prompt) < SHOWN_CHARACTERS and "?" not in prompt:
        return f"Nice to meet you, {told[1]}. I will know it as long as this conversation lasts."
    if _NAME_ASKED.search(prompt):
        names = [match[1] for text in earlier if (match := _NAME_TOLD.search(text))]
        return f"Your name is **{names[-1]}**." if names else "You have not told me your name."
    return _remember_fact(prompt, earlier)


def _remember_fact(prompt: str, earlier: tuple[str, ...]) -> str | None:
    asked = _FACT_ASKED.search(prompt)
    if asked is None:
        return None
    for text in reversed(earlier):
        told = _FACT_TOLD.search(text)
        if told is not None and told["what"].lower().strip() == asked["what"].lower().strip():
            return f"Your {told['what'].strip()} is **{told['value'].strip()}**."
    return None


def _describe_attachments(conversation: Conversation) -> str | None:
    if not conversation.attachments:
        return None
    listed = "\n".join(f"- {attachment}" for attachment in conversation.attachments)
    return f"I received:\n\n{listed}\n\nThe simulator reads size and kind off the data, but it cannot look at what is in it."


def _explain(conversation: Conversation) -> str | None:
    """A topic of the corpus, in the form that is asked for."""
    hint = form_hint_of(conversation.prompt, conversation.system)
    topic = find_topic(conversation.prompt) or _topic_before(conversation)
    return None if topic is None else shape(topic, hint)


def _topic_before(conversation: Conversation) -> Topic | None:
    """The topic of the turn before, for prompts such as "as a table" or "go on"."""
    if not _FOLLOW_UP.search(conversation.prompt):
        return None
    for prompt in reversed(conversation.earlier_prompts):
        topic = find_topic(prompt)
        if topic is not None:
            return topic
    return None


def _own_up(conversation: Conversation) -> str:
    """Say that this is beyond the simulator, in the form that was asked for."""
    hint = form_hint_of(conversation.prompt, conversation.system)
    if hint.form == "sentence":
        return "I don't know that: I am a simulator, which answers by rule, and this has no rule."
    if hint.form == "table":
        return f"{_OWN_UP}\n\n{_topics_table()}"
    if hint.form == "code":
        return f"{_OWN_UP} Here is where it could begin:\n\n{_code_frame(conversation.prompt)}"
    if hint.form == "points":
        return f"{_OWN_UP}\n\n{_points(hint)}"
    return f"{_OWN_UP} You wrote:\n\n{_quote(conversation.prompt)}\n\n{_WHAT_NOW}"


_OWN_UP = "I don't know that: this is the **simulator**, which answers by rule, not a model."
_WHAT_NOW = """What you can do:

1. Ask about something I know, for example *why is the sky blue*, *pandas groupby* or *p-values*; *as a table*,
   *as code* and *in one sentence* work, too.
2. Ask `who are you` to see what I can do.
3. Give an API key with `%claude login`: the same cell is then answered by Claude."""


_STEPS = (
    "Say what the result is to be used for.",
    "Collect what is known.",
    "Try the simplest thing first.",
    "Look at what came out.",
    "Change one thing at a time.",
)
_NOT_IN_NAMES = frozenset(
    (
        "write",
        "function",
        "code",
        "python",
        "please",
        "the",
        "that",
        "for",
        "and",
        "with",
        "script",
        "program",
    )
)
_CODE_FRAME = '''```python
def {name}(value):
    """Say here what goes in and what comes out."""
    return value
```'''


def _quote(text: str) -> str:
    shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS].rstrip() + " ..."
    return "\n".join(f"> {line}" for line in shown.splitlines()) or "> (nothing)"


def _topics_table() -> str:
    rows = [f"| {topic.title} | *{topic.phrases[0]}* |" for topic in all_topics()[:10]]
    return "\n".join(
        ["What I could put into a table instead:", "", "| Topic | Ask for |", "|---|---|", *rows]
    )


def _points(hint: FormHint) -> str:
    listed = "\n".join(f"{number}. {step}" for number, step in enumerate(_STEPS[: hint.count], 1))
    return f"A list that fits nearly everything:\n\n{listed}"


def _code_frame(prompt: str) -> str:
    words = re.findall(r"[a-z]{3,}", prompt.lower())
    name = "_".join([word for word in words if word not in _NOT_IN_NAMES][:3]) or "solve"
    return _CODE_FRAME.format(name=name)
