"""From the typed text of an option's value to the value.

Each reader raises `ValueError` with the end of a sentence whose beginning is the value's name ("N is a whole number").
"""

import builtins
import json
import keyword
import re
from collections.abc import Callable, Sequence
from typing import Any

from ._suggestion import closest

EFFORT_LEVELS = ("low", "medium", "high", "xhigh", "max")
THINKING_MODES = ("show", "hide", "off")
FORMATS = ("md", "text", "code", "json", "html", "math")
APPROVALS = ("ask", "never")
MOST_COMPARED = 6

# How `%%ai` and LangChain write a model; a colon alone is no sign of it, as names of local models have one (llama3:8b).
_PROVIDER = re.compile(r"anthropic(-chat)?:(?P<model>.*)", re.DOTALL)
_CELL_RANGE = re.compile(r"all|none|-?\d+(:(-?\d+)?)?|:-?\d+", re.ASCII)
# Names that IPython binds and reads, `_` and the history among them, and those of the interpreter, as `__name__`.
_IPYTHONS = re.compile(
    r"In|Out|get_ipython|exit|quit|display|_+|_\d+|_i+|_i\d+|_[dios]h|_exit_code|__\w+__|__builtin__",
    re.ASCII,
)
_OURS = ("claude", "Err")
_THREAD = re.compile(r"\w[\w.-]*")
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_FIELD = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)

# Fields of a request that have an option of their own, or that are not the reader's to set.
_TAKEN_FIELDS = {
    "model": "is set with --model",
    "max_tokens": "is set with --max-tokens",
    "system": "is set with --system",
    "messages": "is the prompt and its conversation",
    "stream": "is always true: answers are streamed",
}


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a reader that takes these words, and no abbreviations of them."""

    def convert(text: str) -> str:
        if text not in choices:
            guess = closest(text, choices) or ("md" if "md" in choices and text == "markdown" else None)
            raise ValueError(
                f"is one of {', '.join(choices)}" + (f"; did you mean {guess}?" if guess else "")
            )
        return text

    return convert


def positive_integer(text: str) -> int:
    """Read a whole number above 0, of at most nine digits."""
    if not (_NUMBER.fullmatch(text) and int(text) > 0):
        raise ValueError("is a whole number above 0, written in at most nine digits (16000)")
    return int(text)


def variable_name(text: str) -> str:
    """Read a name that can be assigned to, and is not needed by others."""
    if keyword.iskeyword(text):
        raise ValueError("is the name of a variable, and that is a word of Python's own")
    if not text.isidentifier():
        raise ValueError("is the name of a variable: letters, digits and _, no digit first")
    if hasattr(builtins, text) or _IPYTHONS.fullmatch(text) or text in _OURS:
        raise ValueError(f"is a name of your own, and {text} is needed as it is: code after it would break")
    return text


def model_name(text: str) -> str:
    """Read a model's name; parameters in JSON and a provider in front are what other magics take."""
    if text.startswith("{"):
        raise ValueError("is a model's name (-m opus); fields of the request go into --set: --set top_k=5")
    if match := _PROVIDER.fullmatch(text):
        model = match["model"] or "opus"
        raise ValueError(f"stands without a provider in front; did you mean --model {model}?")
    return given(text)


def model_names(text: str) -> tuple[str, ...]:
    """Read names of models with commas between them."""
    names = tuple(model_name(name.strip()) for name in text.split(","))
    if len(names) < 2:
        raise ValueError(
            "are two models or more, with commas and no spaces between them: --compare sonnet,opus"
        )
    if len(names) > MOST_COMPARED:
        raise ValueError(f"are {MOST_COMPARED} models at most, so that the columns can be read")
    if len(set(names)) < len(names):
        raise ValueError("hold the same model twice; each is asked once, and found under its name")
    return names


def given(text: str) -> str:
    """Read any text but none."""
    if not text.strip():
        raise ValueError("is empty")
    return text


def system_prompt(text: str) -> str:
    """Read a system prompt, or the file that holds it."""
    if text == "@":
        raise ValueError("names a file behind the @: --system @style.md")
    return text


def thread_name(text: str) -> str:
    """Read the name of a conversation."""
    if not is_thread_name(text):
        raise ValueError("is one word: letters, digits, _ . and -")
    return text


def is_thread_name(text: str) -> bool:
    """Whether a word can be the name of a conversation."""
    return bool(_THREAD.fullmatch(text))


def cell_range(text: str) -> str:
    """Check the spelling of a range of cells; which cells it means is not decided here."""
    if not _CELL_RANGE.fullmatch(text):
        raise ValueError("is all, none, or a range of cell numbers: -3: is the last three, 2:5 is 2 to 5")
    return text


def looks_like_range(text: str) -> bool:
    """Whether a word is meant as a range of cells: `-3:` is one, `--raw` and `-x` are not."""
    return bool(_CELL_RANGE.fullmatch(text))


def control_names(text: str) -> tuple[str, ...]:
    """Read names of variables with commas between them."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        raise ValueError("are names of variables, with commas and no spaces between them: --interact n,city")
    return names


def join_names(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Put lists of names into one.

    Raises:
        ValueError: A name stands there twice.
    """
    names = tuple(name for each in lists for name in each)
    if len(set(names)) < len(names):
        raise ValueError("names the same variable twice")
    return names


def function_names(text: str) -> tuple[str, ...]:
    """Read names with commas and no spaces between them; each may be dotted."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError("are names of functions, with commas and no spaces between them: --tools f,g")
    if len(set(names)) < len(names):
        raise ValueError("holds the same function twice")
    return names


def setting(text: str) -> tuple[tuple[str, ...], Any]:
    """Read `field.subfield=value`: where it goes, and the value, as JSON if it is that and as text if not."""
    path, equals, written = text.partition("=")
    if not equals or not _FIELD.fullmatch(path):
        raise ValueError("is a field of the request and its value: --set top_k=5, --set metadata.user_id=me")
    if why := _TAKEN_FIELDS.get(path.partition(".")[0]):
        raise ValueError(f"cannot set {path}, which {why}")
    return tuple(path.split(".")), _json_or_text(written)


def merge_settings(settings: Sequence[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Put settings into one mapping, dotted fields into mappings inside it.

    Raises:
        ValueError: Two of them set the same.
    """
    merged: dict[str, Any] = {}
    for path, value in settings:
        place = merged
        for depth, part in enumerate(path[:-1], start=1):
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"sets {'.'.join(path[:depth])} and also {'.'.join(path)}")
        if path[-1] in place:
            raise ValueError(f"sets {'.'.join(path)} twice")
        place[path[-1]] = value
    return merged


def _json_or_text(written: str) -> Any:
    try:
        return json.loads(written, parse_constant=_refuse_constant)
    except ValueError:
        if written[:1] in ("{", "[", '"'):
            raise ValueError(
                'is not valid JSON behind the =; in single quotes it may have spaces: --set \'metadata={"user_id": "me"}\''
            ) from None
        return written


def _refuse_constant(name: str) -> Any:
    # NaN and Infinity are Python's own; a server would refuse them.
    raise ValueError(name)
