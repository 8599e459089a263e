"""The small requests that people try first: repeat, count, summarise, rhyme, greet."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from ._conversation import Conversation
from ._wire import pick

CAPITALS: Mapping[str, str] = {
    "argentina": "Buenos Aires",
    "australia": "Canberra",
    "austria": "Vienna",
    "belgium": "Brussels",
    "brazil": "Brasilia",
    "canada": "Ottawa",
    "chile": "Santiago",
    "china": "Beijing",
    "croatia": "Zagreb",
    "czech republic": "Prague",
    "denmark": "Copenhagen",
    "egypt": "Cairo",
    "estonia": "Tallinn",
    "finland": "Helsinki",
    "france": "Paris",
    "germany": "Berlin",
    "ghana": "Accra",
    "greece": "Athens",
    "hungary": "Budapest",
    "iceland": "Reykjavik",
    "india": "New Delhi",
    "indonesia": "Jakarta",
    "ireland": "Dublin",
    "italy": "Rome",
    "japan": "Tokyo",
    "kenya": "Nairobi",
    "mexico": "Mexico City",
    "morocco": "Rabat",
    "netherlands": "Amsterdam",
    "new zealand": "Wellington",
    "nigeria": "Abuja",
    "norway": "Oslo",
    "peru": "Lima",
    "poland": "Warsaw",
    "portugal": "Lisbon",
    "romania": "Bucharest",
    "south korea": "Seoul",
    "spain": "Madrid",
    "sweden": "Stockholm",
    "switzerland": "Bern",
    "thailand": "Bangkok",
    "turkey": "Ankara",
    "ukraine": "Kyiv",
    "united kingdom": "London",
    "united states": "Washington, D.C.",
    "vietnam": "Hanoi",
}

HAIKU: Mapping[str, str] = {
    "sea": "Low tide at daybreak:\nthe harbour wall is counting\nthe boats it still has.",
    "ocean": "Low tide at daybreak:\nthe harbour wall is counting\nthe boats it still has.",
    "autumn": "One leaf lets go first.\nThe others, looking at it,\nremember the wind.",
    "fall": "One leaf lets go first.\nThe others, looking at it,\nremember the wind.",
    "winter": "Snow on the ladder.\nSomeone left it by the tree\nin another year.",
    "spring": "Before the first bee\nthe plum tree, all in white, waits\nlike someone at church.",
    "code": "The last test turns green.\nOutside it has been morning\nfor an hour or two.",
    "python": "Indented with care,\nthe small snake sleeps in its loop:\nfor dawn in the days.",
    "notebook": "Cell after cell runs.\nOnly number seventeen\nknows what x was then.",
    "data": "Rows upon rows, yet\nthe missing value says more\nthan all of its kin.",
    "night": "The street lamp goes out.\nNow the dark has got as far\nas it ever gets.",
    "coffee": "Steam above the cup:\nthe first thought of the morning\ntakes the shape of it.",
    "cat": "The cat on the keys\nhas written one long letter\nto nobody. Sent.",
    "rain": "Rain on the tin roof.\nEach drop asks the same question\nand accepts the same.",
    "": "Asked for a haiku,\nthe machine counts on fingers\nit does not possess.",
}
"""Seventeen syllables each, by the word that calls for them; the last one for everything else."""

JOKES = (
    "A SQL query walks into a bar, goes up to two tables and asks: *May I join you?*",
    "There are 10 kinds of people: those who read binary and those who do not.",
    "Why do programmers mix up Halloween and Christmas? Because OCT 31 = DEC 25.",
    "*Knock, knock.* - *Race condition.* - *Who's there?*",
    "A statistician drowned crossing a river that was one metre deep on average.",
)

EXPLANATIONS_OF_ERRORS: Mapping[str, tuple[str, str]] = {
    "AttributeError": (
        "an object has no attribute of that name",
        "Check the spelling, and whether the object is what you think: it is often `None` because a function"
        " returned nothing.",
    ),
    "FileNotFoundError": (
        "there is no file at that path",
        "Relative paths start at the working directory; look at `Path.cwd()` and `path.resolve()`.",
    ),
    "ImportError": (
        "the module is there, but not what you want from it",
        "Compare the installed version with the documentation; look for a file of yours of the same name.",
    ),
    "IndexError": (
        "the position is outside the sequence",
        "Positions run from 0 to `len(items) - 1`. Look for an empty list or a loop that goes one too far.",
    ),
    "IndentationError": (
        "the lines do not line up",
        "Use four blanks for each level, and no tabs.",
    ),
    "KeyError": (
        "the dictionary or table has no such key",
        "Print the keys that there are. `d.get(key)` returns `None` instead of raising; in pandas look at"
        " `df.columns` for blanks and capitals.",
    ),
    "ModuleNotFoundError": (
        "the package is not installed in the environment that runs",
        "`%pip install NAME` installs it into the kernel's own environment; then restart the kernel.",
    ),
    "NameError": (
        "nothing of that name is defined yet",
        "Run the cell that defines it, or fix the spelling. After a restart all names are gone.",
    ),
    "RecursionError": (
        "a function calls itself without end",
        "Check the case that should end the recursion, or write a loop.",
    ),
    "SyntaxError": (
        "Python cannot read the line",
        "Look at the caret and at the line *before*: often a bracket, a quote or a colon is missing.",
    ),
    "TypeError": (
        "an operation met a value of the wrong type",
        "Look at `type(...)` of the values in that line; text of digits needs `int` or `float`.",
    ),
    "UnicodeDecodeError": (
        "the bytes are not text in the expected encoding",
        'Name the right one, for example `open(path, encoding="latin-1")`.',
    ),
    "ValueError": (
        "the type is right, but the value is not acceptable",
        "Print the value just before the line; watch for blanks, empty strings and different lengths.",
    ),
    "ZeroDivisionError": (
        "something is divided by zero",
        "Decide what the result should be when there is nothing to divide by, and test for it first.",
    ),
    "CancelledError": (
        "the task was cancelled while it waited",
        "This is how asyncio ends a task; clean up in `finally` and let it pass.",
    ),
    "KeyboardInterrupt": (
        "somebody interrupted the program",
        "Nothing is wrong: this is what the interrupt button does.",
    ),
}
"""For each exception what it means, and what to do."""

WHAT_TO_TRY = """I am the **simulator**: I answer by rule, without a key or a network. Try one of these:

- *Why is the sky blue? In one sentence.*
- *Explain p-values, as a list*
- *Show me pandas groupby as code*
- *What is 17 * 23?*
- *Write a haiku about the sea*
- paste a traceback, or code with the word *explain*"""

WHO_AM_I = """I am the **simulator** that comes with `claude_magic`, not a model. I stand in for Claude so that
notebooks, tests and demonstrations work without a key: I speak its API, answer by rule, and give the same answer to
the same prompt.

| I can | I cannot |
|---|---|
| explain some 50 topics from Python to tides | know anything else |
| calculate, count, summarise, explain tracebacks | translate, reason, be creative |
| call your tools and fill your JSON schemas | judge whether they make sense |
| fail on command: `!simulate overloaded_once` | fail by surprise, I hope |

For real answers give a key with `%claude login`."""


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


MAX_POWER_BITS = 4096
"""Larger results are refused: they would keep everybody waiting."""

_ASKED = re.compile(
    r"\b(what(?:'s| is)|calculate|compute|evaluate|solve|how much is|work out)\b|=\s*\??\s*$", re.IGNORECASE
)
_EXPRESSION = re.compile(r"(?:sqrt\s*)?[(\-]*\s*\d[\d\s().,+\-*/^%]*(?:sqrt[\d\s().,+\-*/^%]*)*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORDS = (
    (r"\bto the power of\b", "**"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"(?<=\d)\s*x\s*(?=\d)|\btimes\b|\bmultiplied by\b", "*"),
    (r"\bdivided by\b|\bover\b", "/"),
    (r"\bsquared\b", "**2"),
    (r"\bcubed\b", "**3"),
    (r"(\d+(?:\.\d+)?)\s*(?:%|percent) of\b", r"\1/100*"),
    (r"\b(?:the )?square root of\b", "sqrt "),
    (r"\^", "**"),
    (r"(?<=\d),(?=\d{3}\b)", ""),
)
_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def answer_arithmetic(prompt: str) -> str | None:
    """The result of the calculation that a prompt asks for; None where it asks for none."""
    text = prompt.strip()
    for pattern, symbol in _WORDS:
        text = re.sub(pattern, symbol, text, flags=re.IGNORECASE)
    is_bare = re.fullmatch(r"[\d\s().,+\-*/%=?sqrt]+", text) is not None
    if not (is_bare or _ASKED.search(prompt)) or _DATE.search(prompt):
        return None
    found = max(_EXPRESSION.findall(text), key=len, default="").strip(" .,=?")
    if not re.search(r"\d\s*[-+*/%]+\s*[\d(s]|sqrt", found):
        return None
    try:
        value = _evaluate(re.sub(r"sqrt\s*\(?\s*(\d+(?:\.\d+)?)\)?", r"(\1)**0.5", found))
    except ZeroDivisionError:
        return f"`{found}` divides by zero, which has no result."
    except (SyntaxError, ValueError, OverflowError):
        return None
    return f"{_pretty(found)} = **{_number(value)}**"


def _evaluate(expression: str) -> float:
    return _value(ast.parse(expression, mode="eval").body)


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _BINARY:
            return _BINARY[type(node.op)](left, right)
    raise ValueError("not arithmetic")


def _power(base: float, exponent: float) -> float:
    if abs(base) > 1 and math.log2(abs(base)) * exponent > MAX_POWER_BITS:
        raise OverflowError("too large")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("not real")
    return float(result) if isinstance(result, float) else int(result)


def _number(value: float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.10g}"


def _pretty(expression: str) -> str:
    text = re.sub(r"\s*\*\*\s*", "^", expression)
    text = re.sub(r"\s*([+*/%]|(?<=[\d)])\s*-)\s*", lambda match: f" {match.group(1).strip()} ", text)
    return "`" + " ".join(text.split()) + "`"


MAX_STATEMENTS = 12
_FENCE = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LAST_LINE = re.compile(
    r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt|Warning|Exit))(?:: ?(.*))?$", re.MULTILINE
)
_PLACE = re.compile(r'(?:File "([^"]+)"|(Cell In\[\d+\])), line (\d+)(?:, in (\S+))?')
_ASKS = re.compile(
    r"\b(explain|what does|describe|walk me through|understand|review|comment)\b", re.IGNORECASE
)


def explain_traceback(prompt: str) -> str | None:
    """What an error in the prompt means and what to do; None where there is none."""
    found = _LAST_LINE.findall(prompt)
    if not found or ("Traceback" not in prompt and not _PLACE.search(prompt) and len(found[-1][1]) == 0):
        return None
    name, message = found[-1]
    meaning, advice = EXPLANATIONS_OF_ERRORS.get(
        name,
        ("the code raised an error of its own kind", "Read its message first, then the line it points at."),
    )
    parts = [f"## {name}", f"**What it means**: {meaning}."]
    if message:
        parts.append(f"**What it says**: `{message.strip()}`")
    places = _PLACE.findall(prompt)
    if places:
        parts.append(f"**Where**: {_place(places[-1])}. The lines above it tell how the program got there.")
    parts.append(f"**What to do**: {advice}")
    if "corrected cell" in prompt and (corrected := _handle(prompt, name)):
        parts.append(f"This cell handles the error; what to do instead is yours to say:\n\n{corrected}")
    return "\n\n".join(parts)


def _handle(prompt: str, error: str) -> str | None:
    """The code of the prompt, with the error handled; None where there is no code that can be read."""
    fenced = _FENCE.search(prompt)
    if fenced is None:
        return None
    try:
        body = ast.parse(fenced[1]).body
    except (SyntaxError, ValueError):
        return None
    source = "\n".join(f"    {line}" for line in ast.unparse(ast.Module(body, [])).splitlines())
    return f'```python\ntry:\n{source}\nexcept {error} as error:\n    print(f"{error}: {{error}}")\n```'


def _place(place: tuple[str, str, str, str]) -> str:
    path, cell, line, function = place
    inside = f", in `{function}`" if function and function != "<module>" else ""
    return f"line {line} of `{path or cell}`{inside}"


def explain_code(prompt: str) -> str | None:
    """What Python code in the prompt does, statement by statement; None where there is none to explain."""
    fenced = _FENCE.search(prompt)
    if not _ASKS.search(_FENCE.sub("", prompt)):
        return None
    source = fenced.group(1) if fenced else _indented_tail(prompt)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    if not tree.body or (not fenced and all(isinstance(node, ast.Expr) for node in tree.body)):
        return None
    lines = [f"{n}. {_describe(node)}" for n, node in enumerate(tree.body[:MAX_STATEMENTS], 1)]
    if len(tree.body) > MAX_STATEMENTS:
        lines.append(f"\n... and {len(tree.body) - MAX_STATEMENTS} more statements.")
    head = f"The code has {len(source.strip().splitlines())} lines. In order:"
    return "\n\n".join(part for part in (head, "\n".join(lines), _notes(tree)) if part)


def _indented_tail(prompt: str) -> str:
    """What follows the first line, which is then the question."""
    return prompt.partition("\n")[2]


def _describe(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _describe_function(node)
    if isinstance(node, ast.ClassDef):
        methods = [f"`{part.name}`" for part in node.body if isinstance(part, ast.FunctionDef)]
        having = f" with the methods {', '.join(methods)}" if methods else ""
        return f"defines the class `{node.name}`{having}"
    if isinstance(node, ast.Import | ast.ImportFrom):
        return f"imports {', '.join(f'`{name.name}`' for name in node.names)}"
    if isinstance(node, ast.For):
        return f"goes through `{ast.unparse(node.iter)}`, calling each item `{ast.unparse(node.target)}`"
    if isinstance(node, ast.While):
        return f"repeats as long as `{ast.unparse(node.test)}` holds"
    if isinstance(node, ast.If):
        return f"decides by `{ast.unparse(node.test)}`" + (", with an alternative" if node.orelse else "")
    if isinstance(node, ast.Assign):
        names = ", ".join(f"`{ast.unparse(target)}`" for target in node.targets)
        return f"sets {names} to `{_short(node.value)}`"
    if isinstance(node, ast.With):
        return f"opens `{_short(node.items[0].context_expr)}` and closes it at the end"
    if isinstance(node, ast.Expr):
        return f"evaluates `{_short(node.value)}`"
    return f"runs `{_short(node)}`"


def _describe_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = [f"`{argument.arg}`" for argument in node.args.args]
    taking = f" of {', '.join(arguments)}" if arguments else " without arguments"
    kind = "coroutine" if isinstance(node, ast.AsyncFunctionDef) else "function"
    documentation = (ast.get_docstring(node) or "").partition("\n")[0]
    saying = f" (“{documentation}”)" if documentation else ""
    returned = [_short(part.value) for part in ast.walk(node) if isinstance(part, ast.Return) and part.value]
    giving = f", which returns `{returned[-1]}`" if returned else ""
    return f"defines the {kind} `{node.name}`{taking}{saying}{giving}"


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _notes(tree: ast.Module) -> str:
    notes = [f"- {note}" for note in _remarks(tree)]
    return "**Worth a look**\n\n" + "\n".join(dict.fromkeys(notes)) if notes else ""


def _remarks(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield "a bare `except:` also catches Ctrl-C; name the exception"
        elif isinstance(node, ast.FunctionDef):
            yield from _remarks_on_function(node)
        elif isinstance(node, ast.Compare) and _is_equality_with_none(node):
            yield "compare with `None` by `is`"


def _remarks_on_function(node: ast.FunctionDef) -> Iterator[str]:
    if any(isinstance(default, ast.List | ast.Dict | ast.Set) for default in node.args.defaults):
        yield f"`{node.name}` has a changeable default, which all its calls share"
    calls = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
    if any(isinstance(called, ast.Name) and called.id == node.name for called in calls):
        yield f"`{node.name}` calls itself; make sure that this ends"


def _is_equality_with_none(node: ast.Compare) -> bool:
    has_none = any(isinstance(part, ast.Constant) and part.value is None for part in node.comparators)
    return has_none and any(isinstance(symbol, ast.Eq | ast.NotEq) for symbol in node.ops)
