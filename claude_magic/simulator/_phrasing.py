"""The small requests that people try first: repeat, count, summarise, rhyme, greet."""

from __future__ import annotations

import re
from collections import Counter

from ._choice import pick
from ._conversation import Conversation
from ._corpus_small import CAPITALS, HAIKU, JOKES, WHAT_TO_TRY, WHO_AM_I

MAX_COUNT = 200
SUMMARY_SENTENCES = 3
LONGEST_GREETING = 40
_QUOTE = r"[\"“'`](?P<quoted>.+?)[\"”'`]"
_EXACTLY = re.compile(
    r"\b(?:say|reply|respond|answer|print|output|return|repeat|write)\b(?: with| back)?"
    r"(?P<how>(?: (?:(?:the|this) (?:one |single |exact )?(?:word|words|text|phrase|sentence|line)"
    r"|the following|after me|only|just|exactly|this))+)"
    r"(?P<mark>\s*:)?\s+(?P<text>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_SUMMARISE = re.compile(r"\b(summar(?:ise|ize|y)|tl;?dr|sum up|main points?|key points?)\b", re.IGNORECASE)
_LETTERS = re.compile(
    r"how many (?:times does )?(?:the )?(?:letter )?[\"'`]?([a-z])[\"'`]?(?:'s|s)?\b"
    r".*?\b(?:in|of)\b(?: the word)? [\"'`“]?([a-z]{2,})",
    re.IGNORECASE,
)
_UNITS = re.compile(r"how many (words|characters|letters|lines|sentences)\b", re.IGNORECASE)
_TRANSLATE = re.compile(r"\btranslat\w*\b.*?(?:\b(?:in)?to (\w+))?$", re.IGNORECASE | re.DOTALL)
_WHO = re.compile(
    r"(who|what) are you|are you (claude|real|an? (ai|model|simulator))|what can you do|help$", re.IGNORECASE
)
_GREETING = re.compile(r"(hi|hello|hey|good (morning|evening|afternoon)|greetings)\b", re.IGNORECASE)
_THANKS = re.compile(r"(thanks|thank you|cheers|great|perfect)\b", re.IGNORECASE)
_RANGE = re.compile(r"\bcount (?:from )?(?P<start>\d+)? ?(?:to|up to) (?P<end>\d+)", re.IGNORECASE)
_TRANSFORM = re.compile(rf"\b(reverse|backwards|upper ?case|lower ?case|sort)\b.*?{_QUOTE}", re.IGNORECASE)
_CAPITAL = re.compile(r"\bcapital (?:city )?of (?:the )?([a-z ]+)", re.IGNORECASE)
_WITH_ARTICLE = ("netherlands", "united kingdom", "united states", "czech republic")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"“])")


def say_exactly(prompt: str) -> str | None:
    """What a prompt asks to be said word for word.

    It must be marked by a colon or quotes, or be announced as words, or be a single word: "write only code for
    a game" is no such request.
    """
    match = _EXACTLY.search(prompt)
    if match is None:
        return None
    text = match["text"].strip()
    quoted = re.match(_QUOTE, text, re.DOTALL)
    if quoted is not None:
        return quoted["quoted"]
    is_announced = re.search(
        r"after me|word|text|phrase|sentence|line|following", match["how"], re.IGNORECASE
    )
    if not (match["mark"] or is_announced or len(text.split()) == 1):
        return None
    return text if "\n" in text else text.rstrip(" .")


def summarise(conversation: Conversation) -> str | None:
    """The sentences of the prompt's text that hold its most frequent words."""
    if not _SUMMARISE.search(conversation.prompt[:200] + conversation.prompt[-100:]):
        return None
    text = "\n".join(conversation.documents) or _text_to_work_on(conversation.prompt)
    sentences = [sentence.strip() for sentence in _SENTENCE.split(" ".join(text.split())) if sentence.strip()]
    if len(sentences) < 2:
        return None
    weights = Counter(word for word in re.findall(r"[a-z]{5,}", text.lower()))
    ranked = sorted(range(len(sentences)), key=lambda at: -_weight(sentences[at], weights))
    kept = sorted(ranked[: min(SUMMARY_SENTENCES, max(1, len(sentences) // 2))])
    points = "\n".join(f"- {sentences[at]}" for at in kept)
    return (
        f"**In short** ({len(sentences)} sentences, {len(text.split())} words):\n\n{points}\n\n"
        "These are the text's own sentences, chosen by their words: the simulator cannot rephrase."
    )


def _weight(sentence: str, weights: Counter[str]) -> float:
    words = re.findall(r"[a-z]{5,}", sentence.lower())
    return sum(weights[word] for word in words) / (4 + len(words))


def _text_to_work_on(prompt: str) -> str:
    """The part of the prompt that is not the request: beyond a line break or a colon."""
    for mark in ("\n\n", "\n", ":"):
        before, _, after = prompt.partition(mark)
        is_request = [_SUMMARISE.search(part) or _UNITS.search(part) for part in (before, after)]
        if is_request[0] and not is_request[1] and after.strip():
            return after
        if is_request[1] and not is_request[0] and mark != ":":
            return before
    return prompt


def count_things(conversation: Conversation) -> str | None:
    """Letters of a word, words of a text, or numbers in a row."""
    prompt = conversation.prompt
    letters = _LETTERS.search(prompt)
    if letters is not None and letters[2].lower() not in ("the", "this", "my"):
        letter, word = letters[1].lower(), letters[2]
        count = word.lower().count(letter)
        spelt = " ".join(f"**{c}**" if c.lower() == letter else c for c in word)
        times = "once" if count == 1 else f"{count} times"
        return f"The letter *{letter}* occurs **{times}** in *{word}*: {spelt}"
    unit = _UNITS.search(prompt)
    if unit is not None:
        return _count_units(unit[1].lower(), "\n".join(conversation.documents) or _text_to_work_on(prompt))
    numbers = _RANGE.search(prompt)
    if numbers is not None:
        start, end = int(numbers["start"] or 1), int(numbers["end"])
        return ", ".join(str(n) for n in range(start, min(end, start + MAX_COUNT) + 1))
    return None


def _count_units(unit: str, text: str) -> str:
    counts = {
        "words": len(text.split()),
        "characters": len(text.strip()),
        "letters": sum(character.isalpha() for character in text),
        "lines": len(text.strip().splitlines()),
        "sentences": len(_SENTENCE.split(text.strip())),
    }
    return f"**{counts[unit]}** {unit if counts[unit] != 1 else unit[:-1]}."


def transform(prompt: str) -> str | None:
    """A quoted text reversed, in capitals, in small letters or sorted."""
    match = _TRANSFORM.search(prompt)
    if match is None:
        return None
    verb, text = match[1].lower(), match["quoted"]
    if verb in ("reverse", "backwards"):
        return text[::-1]
    if verb == "sort":
        return ", ".join(sorted(part.strip() for part in text.split(",")))
    return text.upper() if verb.startswith("upper") else text.lower()


def tell_fact(prompt: str) -> str | None:
    """The capital of a country."""
    match = _CAPITAL.search(prompt)
    if match is None:
        return None
    asked = match[1].strip().lower()
    country = next((name for name in CAPITALS if asked.startswith(name)), None)
    if country is None:
        return None
    article = (
        "the " if country in ("netherlands", "united kingdom", "united states", "czech republic") else ""
    )
    return f"The capital of {article}{country.title()} is **{CAPITALS[country]}**."


def write_verse(prompt: str) -> str | None:
    """A haiku or a joke."""
    lowered = prompt.lower()
    if re.search(r"\b(haiku|poem|verse|limerick|rhyme)\b", lowered):
        theme = next((theme for theme in HAIKU if theme and re.search(rf"\b{theme}", lowered)), "")
        verse = "\n".join(f"> {line}  " for line in HAIKU[theme].splitlines())
        return (
            verse if "haiku" in lowered else f"{verse}\n\nA haiku is the only form that the simulator knows."
        )
    if re.search(r"\b(joke|funny)\b", lowered):
        return pick(prompt, JOKES)
    return None


def decline_translation(prompt: str) -> str | None:
    """A translation is beyond the simulator; it says so and tells what would help."""
    match = re.search(
        r"\btranslat\w*\b.*?(?:\b(?:in)?to (\w+))?$", prompt.strip(" .?!"), re.IGNORECASE | re.DOTALL
    )
    if match is None:
        return None
    language = f" into {match[1].capitalize()}" if match[1] else ""
    return (
        f"I can't translate{language}: this is the **simulator**, which answers by rule and knows one language."
        " With an API key (`%claude login`) the same cell is answered by Claude, which does this well."
    )


def greet(prompt: str) -> str | None:
    """Answers to greetings, thanks and questions about the one who answers."""
    text = prompt.strip(" .!?\n")
    if len(text) > LONGEST_GREETING:
        return None
    if _WHO.match(text):
        return WHO_AM_I
    if _GREETING.match(text):
        return f"Hello! {WHAT_TO_TRY}"
    return "You are welcome." if _THANKS.match(text) else None
