"""What the simulator says."""

from __future__ import annotations

import dataclasses
import re

from ._arithmetic import answer_arithmetic
from ._code_reading import explain_code, explain_traceback
from ._continuing import find_tail, rest_after
from ._conversation import Conversation
from ._phrasing import (
    count_things,
    decline_translation,
    greet,
    say_exactly,
    summarise,
    tell_fact,
    transform,
    write_verse,
)
from ._table_reading import read_table
from ._topics import Topic, all_topics, find_topic
from ._wishes import Wish, shape, wish_of

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
    former = dataclasses.replace(
        conversation,
        prompt=cut,
        earlier_prompts=tuple(before),
        earlier_answers=conversation.earlier_answers[: len(before)],
    )
    return rest_after(answer_text(former), tail)


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
    """A topic of the corpus, in the form that is wished for."""
    wish = wish_of(conversation.prompt, conversation.system)
    topic = find_topic(conversation.prompt) or _topic_before(conversation)
    return None if topic is None else shape(topic, wish)


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
    wish = wish_of(conversation.prompt, conversation.system)
    if wish.form == "sentence":
        return "I don't know that: I am a simulator, which answers by rule, and this has no rule."
    if wish.form == "table":
        return f"{_OWN_UP}\n\n{_topics_table()}"
    if wish.form == "code":
        return f"{_OWN_UP} Here is where it could begin:\n\n{_code_frame(conversation.prompt)}"
    if wish.form == "points":
        return f"{_OWN_UP}\n\n{_points(wish)}"
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


def _points(wish: Wish) -> str:
    listed = "\n".join(f"{number}. {step}" for number, step in enumerate(_STEPS[: wish.count], 1))
    return f"A list that fits nearly everything:\n\n{listed}"


def _code_frame(prompt: str) -> str:
    words = re.findall(r"[a-z]{3,}", prompt.lower())
    name = "_".join([word for word in words if word not in _NOT_IN_NAMES][:3]) or "solve"
    return _CODE_FRAME.format(name=name)
