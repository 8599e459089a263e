"""Small things to say: facts, verses, jokes, explanations of errors."""

from __future__ import annotations

from collections.abc import Mapping

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
