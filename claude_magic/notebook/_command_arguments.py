"""What may follow a subcommand, how it is told from the words of a prompt, and what a slip in it was meant to be."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ._option_values import is_thread_name
from ._suggestion import closest
from ._surroundings import Surroundings

_COUNT = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_AMOUNT = re.compile(r"\$?(\d{1,9}(\.\d*)?|\.\d+)|off", re.ASCII)
_WRITTEN_AMOUNT = re.compile(r"(?:\d[\d_']*)?(?:[.,]\d+)?", re.ASCII)
_FILE = re.compile(
    r"""(?P<quote>["'])(?P<quoted>.+\.json)(?P=quote)|(?P<plain>[^\s"']+\.json)""", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument.

    Attributes:
        key: Under which the function that runs the subcommand finds it.
        usage: How the help writes it; in brackets if it may be left out.
        read: Turns the typed text into the argument; `None` if it is none.
        guess: Returns what a text that is none was probably meant to be, or `None`.
        choices: The words it may be, where they are few and fixed.
    """

    key: str
    usage: str
    read: Callable[[str, Surroundings], str | None]
    guess: Callable[[str, Surroundings], str | None]
    choices: tuple[str, ...] = ()

    @property
    def is_optional(self) -> bool:
        """Whether it may be left out."""
        return self.usage.startswith("[")


def _existing_name(text: str, surroundings: Surroundings) -> str | None:
    from ..context import is_history, root_of  # late: loading the extension must not cost this

    root = root_of(text)
    if root is None:
        return None
    # An output that is not there is no prose: the subcommand says that there is none.
    return text if root in surroundings.names() or is_history(root) else None


def _likely_name(text: str, surroundings: Surroundings) -> str | None:
    from ..context import closest_name

    bare = text.strip(".,;:!?`'\"()")
    if _existing_name(bare, surroundings):
        return bare
    root = re.match(r"\w+", bare)
    guess = None if root is None else closest_name(root[0], surroundings.names())
    return None if guess is None or root is None else guess + bare[root.end() :]


def _existing_thread(text: str, surroundings: Surroundings) -> str | None:
    return text if text in surroundings.threads() else None


def _likely_thread(text: str, surroundings: Surroundings) -> str | None:
    return closest(text, surroundings.threads())


def _new_thread(text: str, _surroundings: Surroundings) -> str | None:
    return text if is_thread_name(text) else None


def _file(text: str, _surroundings: Surroundings) -> str | None:
    match = _FILE.fullmatch(text)
    return None if match is None else match["quoted"] or match["plain"]


def _likely_file(text: str, _surroundings: Surroundings) -> str | None:
    stem = text.strip("\"'“”‘’")
    return (
        f"{stem}.json" if re.fullmatch(r"[\w./~-]*\w", stem) and "." not in stem.rpartition("/")[2] else None
    )


def _likely_amount(text: str, _surroundings: Surroundings) -> str | None:
    """Read `2 USD`, `2,50`, `EUR 3`: the number that stands there, if there is but one."""
    found = [number for number in _WRITTEN_AMOUNT.findall(text) if number]
    if len(found) != 1 or "-" in text:
        return closest(text, ("off",))
    amount = re.sub(r"[_']", "", found[0]).replace(",", ".")
    return amount if _AMOUNT.fullmatch(amount) else None


def _likely_number(text: str, _surroundings: Surroundings) -> str | None:
    found = re.findall(r"(?<![\d-])[1-9]\d{0,5}(?!\d)", text, re.ASCII)
    return found[0] if len(found) == 1 else None


def _likely_job(text: str, surroundings: Surroundings) -> str | None:
    return _likely_number(text, surroundings) or closest(text, ("all",), cutoff=0.6)


def _likely_choice(*choices: str) -> Callable[[str, Surroundings], str | None]:
    return lambda text, _surroundings: closest(text, choices, cutoff=0.6)


def _nothing(_text: str, _surroundings: Surroundings) -> str | None:
    return None


def _spelled_as(pattern: re.Pattern[str]) -> Callable[[str, Surroundings], str | None]:
    return lambda text, _surroundings: text if pattern.fullmatch(text) else None


EXISTING_NAME = Argument(key="name", usage="NAME", read=_existing_name, guess=_likely_name)
EXISTING_THREAD = Argument(key="thread", usage="[THREAD]", read=_existing_thread, guess=_likely_thread)
ANY_THREAD = Argument(key="thread", usage="[THREAD]", read=_new_thread, guess=_nothing)
NEW_THREAD = Argument(key="name", usage="NAME", read=_new_thread, guess=_nothing)
COUNT = Argument(key="n", usage="[N]", read=_spelled_as(_COUNT), guess=_likely_number)
JSON_FILE = Argument(key="file", usage="FILE.json", read=_file, guess=_likely_file)
AMOUNT = Argument(
    key="amount", usage="[AMOUNT|off]", read=_spelled_as(_AMOUNT), guess=_likely_amount, choices=("off",)
)
JOB = Argument(
    key="job",
    usage="[N|all]",
    read=_spelled_as(re.compile(r"[1-9]\d{0,5}|all", re.ASCII)),
    guess=_likely_job,
    choices=("all",),
)
LIVE = Argument(
    key="live",
    usage="[--live]",
    read=_spelled_as(re.compile("--live")),
    guess=_likely_choice("--live"),
    choices=("--live",),
)
SWITCH = Argument(
    key="state",
    usage="on|off",
    read=_spelled_as(re.compile("on|off")),
    guess=_likely_choice("on", "off"),
    choices=("on", "off"),
)
