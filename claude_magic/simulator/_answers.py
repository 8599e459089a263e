"""Rule-based answers to questions: a few topics and typical first prompts; anything else gets a fallback.

Only the typed sentence selects the answer. Attachments are described by `_sent` and never searched for an answer.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ._conversation import Conversation, text_of
from ._sent import describe_attachments, explain_error
from ._values import CAPITALS
from ._wire import read_corpus, read_words

FALLBACK = (
    "I don't know that: this is the **simulator**, which answers a few questions by rule, not a model.\n"
    "Ask *what can you do* for those. For a real answer run `%claude login`, or set `ANTHROPIC_API_KEY` where Jupyter starts."
)


def answer_text(conversation: Conversation) -> str:
    """Return a Markdown answer to the last question. The same conversation always gets the same answer."""
    if conversation.asks_for_rest:
        return _continue_answer(conversation) or FALLBACK
    return (
        answer_briefly(conversation)
        or explain_error(conversation.sent)
        or describe_attachments(conversation.sent)
        or _recall(conversation)
        or _answer_with_numbers(conversation.typed)
        or _explain(conversation)
        or FALLBACK
    )


def answer_briefly(conversation: Conversation) -> str | None:
    """Return an answer that needs no thinking (repeated words, a greeting); None if the question needs more."""
    repeated = _repeat_exactly(conversation)
    if repeated is not None or conversation.sent:
        return repeated
    found = find_topic(conversation.typed)
    return found.answer if found is not None and not found.sentence else None


_CONTINUE = re.compile(
    r"\bwas cut off\b.*\bGo on exactly where it stopped\b.*It stopped with:\n\n(.*)\Z", re.DOTALL
)
_CONTINUE_QUOTED = re.compile(r"<question>\n(.*?)\n</question>.*<answer>\n(.*?)\n</answer>", re.DOTALL)


def _continue_answer(conversation: Conversation) -> str | None:
    """Return the rest of an answer that was cut off, or all of an answer that had not started."""
    alone = _CONTINUE_QUOTED.search(conversation.prompt)
    # The prompt has no whitespace at its end, but the answer may have stopped at a line break.
    last = text_of(conversation.fields["messages"][-1]["content"])
    tail = _CONTINUE.search(last) or _CONTINUE.search(conversation.prompt)
    previous = conversation.asking(alone[1]) if alone else conversation.before
    if previous is None:
        return None
    answer = answer_text(previous)
    if alone is None and tail is None:
        return answer
    _, found, rest = answer.rpartition(alone[2] if alone else tail[1] if tail else "")
    return rest or None if found else None


_EXACTLY = re.compile(
    r"(?:^|(?<=[.!?] )|(?<=please ))(?:say|reply|respond|answer|print|output|return|repeat|write)\b(?: with| back)?"
    r"(?P<how>(?: (?:(?:the|this) (?:one |single |exact )?(?:word|words|text|phrase|sentence|line)"
    r"|the following|after me|only|just|exactly|this))+)"
    r"(?P<mark>\s*:)?\s+(?P<text>\S.*)",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
_QUOTED = re.compile(r"[\"“'`](?P<text>.+?)[\"”'`]", re.DOTALL)


def _repeat_exactly(conversation: Conversation) -> str | None:
    """Return the text that the prompt asks to repeat word for word; None if there is none.

    The text must follow a colon, be in quotes, be announced ("the words", "the text"), or be a single word: "write only
    code for a game" does not count. The request itself must be in the typed sentence.
    """
    match = _EXACTLY.search(conversation.prompt)
    if match is None or match["how"] not in conversation.typed:
        return None
    text = match["text"].strip()
    quoted = _QUOTED.match(text)
    if quoted is not None:
        return quoted["text"]
    is_announced = re.search(
        r"after me|word|text|phrase|sentence|line|following", match["how"], re.IGNORECASE
    )
    if not (match["mark"] or is_announced or len(text.split()) == 1):
        return None
    return text if "\n" in text else text.rstrip(" .")


# Topics.
#
# Each file in `corpus/` is one topic in several forms. Its first lines list the phrases that select it and further words
# that belong to it.
_WORD = re.compile(r"%{0,2}[a-z_][a-z0-9_']*")
_SECTION = re.compile(r"^## (In one sentence|Answer|In points|As code|As a table)$", re.MULTILINE)
_AUDIENCE = re.compile(r"(?<=\S) to (?:a|an|my|someone|somebody)\b.*", re.IGNORECASE | re.DOTALL)
_LONGEST_QUESTION = 600
"""Maximum length in characters of a sentence that is matched against topics."""
_COMMON = read_words("common")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A subject with its answers in several forms; a missing form is empty."""

    title: str
    phrases: tuple[tuple[str, ...], ...]
    words: frozenset[str]
    """All words of a question that belong to this topic."""
    answer: str
    """Markdown without a heading."""
    sentence: str = ""
    points: tuple[str, ...] = ()
    code: str = ""
    table: str = ""


def find_topic(sentence: str) -> Topic | None:
    """Return the topic of a sentence; None if no topic fits, or more than one.

    The sentence must contain one of the topic's phrases as whole words, and most of its words must belong to the topic.
    """
    words = _words(_AUDIENCE.sub("", sentence)) if len(sentence) <= _LONGEST_QUESTION else []
    terms = [word for word in words if word not in _COMMON]
    if not terms:
        return next((topic for topic in all_topics() if tuple(words) in topic.phrases), None)
    candidates = {
        topic: {word for word in terms if word in topic.words}
        for topic in all_topics()
        if any(_contains(words, each) or _contains(terms, each) for each in topic.phrases)
    }
    best = max(candidates, key=lambda topic: len(candidates[topic]), default=None)
    if best is None or any(known - candidates[best] for known in candidates.values()):
        return None
    ties = [topic for topic, known in candidates.items() if known == candidates[best]]
    return best if len(ties) == 1 and 2 * sum(word in best.words for word in terms) > len(terms) else None


def _words(text: str) -> list[str]:
    return [
        word.removesuffix("s") if len(word) > 3 and word not in _COMMON and not word.endswith("ss") else word
        for word in _WORD.findall(text.lower().replace("’", "'"))
    ]


def _contains(words: list[str], phrase: tuple[str, ...]) -> bool:
    """Whether the words contain the phrase. Phrases of common words only are never contained; they must match exactly."""
    size = len(phrase)
    return not _COMMON.issuperset(phrase) and any(
        tuple(words[at : at + size]) == phrase for at in range(len(words) - size + 1)
    )


@cache
def all_topics() -> tuple[Topic, ...]:
    """Return all topics and short answers."""
    folder = resources.files(__package__) / "corpus"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".md"))
    topics = [_parse(text) for text in map(read_corpus, names) if text.startswith("# ")]
    titles = ", ".join(f"*{topic.title}*" for topic in topics)
    parts = re.split(r"^## (.*)\n\n", read_corpus("short-answers.txt"), flags=re.MULTILINE)[1:]
    short = [
        Topic(
            phrases=_phrases(names),
            words=frozenset(_words(names)),
            title=names,
            answer=answer.strip("\n").replace("{topics}", titles),
        )
        for names, answer in zip(parts[::2], parts[1::2], strict=True)
    ]
    return (*topics, *short)


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(_words(phrase)) for phrase in text.split(", "))


def _parse(text: str) -> Topic:
    head, *rest = _SECTION.split(text)
    sections = {name: body.strip() for name, body in zip(rest[::2], rest[1::2], strict=True)}
    title, named = head.strip().split("\n\n")
    phrases = named.partition("\n")[0]
    return Topic(
        phrases=_phrases(phrases.removeprefix("phrases: ")),
        words=frozenset(_words(re.sub(r"^\w+: ", "", named, flags=re.MULTILINE))),
        title=title.removeprefix("# "),
        sentence=sections["In one sentence"],
        answer=sections["Answer"],
        points=tuple(point.removeprefix("- ") for point in sections["In points"].splitlines()),
        code=sections.get("As code", ""),
        table=sections.get("As a table", ""),
    )


_NUMBERS: Mapping[str, int] = read_words("numbers")
_NUMBER = rf"(\d{{1,9}}|{'|'.join(_NUMBERS)})"
_FORMS = (
    ("sentence", r"\b(?:in|with) (?:one|a single|a|1)(?: short)? sentence\b|\bone[- ](?:sentence|liner)\b"),
    ("table", r"\b(?:as|in|make|draw|give|show|want|with|into|use|create|write)\b.{0,30}\btable\b"),
    ("points", r"\b(?:bullets?|as a list|points|steps|list (?:of )?(?:\d+|three|four|five|the))\b"),
    ("points", rf"\b{_NUMBER} (?:bullets?|points?|steps|reasons|facts|things|tips)\b"),
    (
        "code",
        r"\b(?:code|snippet|implement|write (?:an? )?(?:\w+ )?(?:function|script|program)|function to)\b",
    ),
    ("sentence", r"\b(?:briefly|in short|short answer|be brief|terse|concise)\b"),
)


def _explain(conversation: Conversation) -> str | None:
    """Return a topic in the form that the question or else the system prompt asks for; None if no topic fits.

    A question that names only a form ("as a table") refers to the previous topic.
    """
    typed = conversation.typed
    asked = (
        (form, re.search(pattern, text, re.IGNORECASE))
        for text in (typed, conversation.system)
        for form, pattern in _FORMS
    )
    form, match = next(((form, match) for form, match in asked if match), ("answer", None))
    topic = find_topic(typed)
    if (
        topic is None
        and (match or re.search(r"\b(?:more|longer|again)\b", typed))
        and _COMMON.issuperset(_words(typed))
    ):
        topic = next(
            (each for each in map(find_topic, reversed(conversation.earlier)) if each and each.sentence), None
        )
    if topic is None:
        return None
    if form == "points" and topic.points:
        count = _to_number(match[1]) if match and match.lastindex else None
        return "\n".join(f"{number}. {point}" for number, point in enumerate(topic.points[:count], 1))
    if form == "code" and topic.code:
        return f"{topic.sentence}\n\n{topic.code}"
    if form == "table" and topic.table:
        return f"**{topic.title}**\n\n{topic.table}"
    if form == "sentence" and topic.sentence:
        return topic.sentence
    return f"## {topic.title}\n\n{topic.answer}" if topic.sentence else topic.answer


def _to_number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS[text.lower()]


# Facts from earlier turns.
_NAME_GIVEN = re.compile(r"\b(?:my name is|call me|i am called)\s+([A-Z][\w'-]*)", re.IGNORECASE)
_NAME_ASKED = re.compile(r"\bwhat(?:'s| is) my name\b|\bwho am i\b", re.IGNORECASE)
_FACT_GIVEN = re.compile(r"\bmy ([\w ]{3,30}?) is ([^.!?\n]+)", re.IGNORECASE)
_FACT_ASKED = re.compile(r"\bwhat(?:'s| is| was) my ([\w ]+)", re.IGNORECASE)
_EARLIER_ASKED = re.compile(
    r"\bwhat did i (?:ask|say)\b|\bmy (first|last|previous|earlier) (?:question|message|prompt)\b",
    re.IGNORECASE,
)
_LONGEST_QUOTE = 200


def _recall(conversation: Conversation) -> str | None:
    """Return what an earlier turn contains, if the last one asks for it; else None."""
    typed, earlier = conversation.typed, conversation.earlier
    if _EARLIER_ASKED.search(typed):
        if not earlier:
            return "This is your first message in this conversation."
        quoted = earlier[0] if "first" in typed.lower() else earlier[-1]
        return "You wrote:\n\n" + "\n".join(f"> {line}" for line in quoted[:_LONGEST_QUOTE].splitlines())
    if _NAME_ASKED.search(typed):
        names = [match[1] for text in earlier if (match := _NAME_GIVEN.search(text))]
        return f"Your name is **{names[-1]}**." if names else "You have not told me your name."
    given = _NAME_GIVEN.search(typed)
    if given is not None and len(typed) < _LONGEST_QUOTE and "?" not in typed:
        return f"Nice to meet you, {given[1]}. I will know it as long as this conversation lasts."
    asked = _FACT_ASKED.search(typed)
    what = asked[1].strip() if asked else ""
    facts = [match for text in earlier for match in _FACT_GIVEN.finditer(text)]
    values = [fact[2].strip() for fact in facts if fact[1].lower() == what.lower()]
    return f"Your {what} is **{values[-1]}**." if values else None


# Numbers and capitals.
_MAX_COUNT = 200
_LONGEST_SUM = 300
_MAX_POWER_BITS = 4096
"""Maximum size of a power; larger results are not computed, because that would block the server."""
_CALCULATION = re.compile(
    r"(?:(?:what(?:'s| is)|calculate|compute|evaluate|solve|how much is|work out)\s+)?(?P<sum>[\d\s().+\-*/]+?)[\s=?.]*",
    re.IGNORECASE,
)
_IN_SYMBOLS = (
    (r"\bto the power of\b|\^", "**"),
    (r"\bplus\b", "+"),
    (r"\bminus\b|−", "-"),
    (r"(?<=\d)\s*[x×]\s*(?=\d)|\btimes\b|\bmultiplied by\b", "*"),
    (r"\bdivided by\b|÷", "/"),
    (r"\bsquared\b", "**2"),
    (r"(\d+(?:\.\d+)?)\s*(?:%|percent) of\b", r"\1/100*"),
    (r"\b(?:the )?square root of (\d+(?:\.\d+)?)", r"\1**0.5"),
    (r"(?<=\d),(?=\d{3}\b)", ""),
)
_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def _answer_with_numbers(typed: str) -> str | None:
    """Answer a calculation or a question for primes, a sequence of numbers or a capital; None for other questions."""
    text = typed.strip()
    rules: tuple[tuple[str, Callable[[re.Match[str]], str | None]], ...] = (
        (rf"(?:name|list|give me|say|what are)(?: the first)? {_NUMBER} primes?(?: numbers?)?", _name_primes),
        (r"is (\d{1,9}) (?:a )?prime(?: number)?", _test_prime),
        (rf"count (?:from {_NUMBER} )?(?:up )?to {_NUMBER}", _count),
        (r"(?:what(?:'s| is)|name) the capital (?:city )?of (?:the )?([a-z ]+)", _name_capital),
    )
    for pattern, answer in rules:
        match = re.fullmatch(pattern, text.rstrip(" .!?"), re.IGNORECASE)
        if match is not None:
            return answer(match)
    return _calculate(text)


def _name_primes(match: re.Match[str]) -> str:
    primes = [2]
    while len(primes) < min(_to_number(match[1]), _MAX_COUNT):
        primes.append(next(n for n in range(primes[-1] + 1, 2 * primes[-1]) if all(n % p for p in primes)))
    return ", ".join(map(str, primes))


def _test_prime(match: re.Match[str]) -> str:
    number = int(match[1])
    divisor = next((each for each in range(2, math.isqrt(number) + 1) if number % each == 0), None)
    if divisor is not None:
        return f"No: {number} = {divisor} × {number // divisor}."
    return f"Yes, {number} is a prime." if number > 1 else "No: primes begin with 2."


def _count(match: re.Match[str]) -> str:
    start = _to_number(match[1] or "1")
    return ", ".join(map(str, range(start, min(_to_number(match[2]), start + _MAX_COUNT) + 1)))


def _name_capital(match: re.Match[str]) -> str | None:
    country = match[1].strip().title()
    capital = next((city for city, where in CAPITALS.items() if where.removeprefix("the ") == country), None)
    return None if capital is None else f"The capital of {CAPITALS[capital]} is **{capital}**."


def _calculate(text: str) -> str | None:
    if len(text) > _LONGEST_SUM or re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    for pattern, symbol in _IN_SYMBOLS:
        text = re.sub(pattern, symbol, text, flags=re.IGNORECASE)
    match = _CALCULATION.fullmatch(text)
    if match is None or not re.search(r"\d\s*[-+*/]+\s*[\d(.-]", match["sum"]):
        return None
    shown = " ".join(re.sub(r"\s*(\*\*|[+*/]|(?<=[\d)])\s*-)\s*", r" \1 ", match["sum"]).split())
    try:
        value = _value(ast.parse(match["sum"].strip(), mode="eval").body)
    except ZeroDivisionError:
        return f"`{shown}` divides by zero, which has no result."
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return f"`{shown}` = **{value:,}**" if isinstance(value, int) else f"`{shown}` = **{value:.10g}**"


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand)
        return -inner if isinstance(node.op, ast.USub) else inner
    if not isinstance(node, ast.BinOp):
        raise ValueError("not arithmetic")
    left, right = _value(node.left), _value(node.right)
    if type(node.op) in _BINARY:
        return _BINARY[type(node.op)](left, right)
    if abs(left) > 1 and math.log2(abs(left)) * right > _MAX_POWER_BITS:
        raise OverflowError("too large")
    result = left**right
    if isinstance(result, complex):
        raise ValueError("not real")
    return float(result) if isinstance(result, float) else int(result)
