"""What may follow a subcommand, and how it is told from the words of a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ._option_values import is_thread_name
from ._surroundings import Surroundings

_DOTTED_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_COUNT = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_AMOUNT = re.compile(r"\$?(\d+(\.\d*)?|\.\d+)|off", re.ASCII)
_FILE = re.compile(
    r"""(?P<quote>["'])(?P<quoted>.+\.json)(?P=quote)|(?P<plain>[^\s"']+\.json)""", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument.

    Attributes:
        key: Under which the function that runs the subcommand finds it.
        usage: How the help writes it; in brackets if it may be left out.
        read: Turns the typed text into the argument; `None` if it is none, and the line then a prompt.
        choices: The words it may be, where they are few and fixed.
    """

    key: str
    usage: str
    read: Callable[[str, Surroundings], str | None]
    choices: tuple[str, ...] = ()

    @property
    def is_optional(self) -> bool:
        """Whether it may be left out."""
        return self.usage.startswith("[")


def _existing_name(text: str, surroundings: Surroundings) -> str | None:
    is_known = _DOTTED_NAME.fullmatch(text) and text.partition(".")[0] in surroundings.names()
    return text if is_known else None


def _existing_thread(text: str, surroundings: Surroundings) -> str | None:
    return text if text in surroundings.threads() else None


def _new_thread(text: str, _surroundings: Surroundings) -> str | None:
    return text if is_thread_name(text) else None


def _file(text: str, _surroundings: Surroundings) -> str | None:
    match = _FILE.fullmatch(text)
    return None if match is None else match["quoted"] or match["plain"]


def _spelled_as(pattern: re.Pattern[str]) -> Callable[[str, Surroundings], str | None]:
    return lambda text, _surroundings: text if pattern.fullmatch(text) else None


EXISTING_NAME = Argument(key="name", usage="NAME", read=_existing_name)
EXISTING_THREAD = Argument(key="thread", usage="[THREAD]", read=_existing_thread)
ANY_THREAD = Argument(key="thread", usage="[THREAD]", read=_new_thread)
NEW_THREAD = Argument(key="name", usage="NAME", read=_new_thread)
COUNT = Argument(key="n", usage="[N]", read=_spelled_as(_COUNT))
JSON_FILE = Argument(key="file", usage="FILE.json", read=_file)
AMOUNT = Argument(key="amount", usage="[AMOUNT|off]", read=_spelled_as(_AMOUNT), choices=("off",))
JOB = Argument(
    key="job", usage="[N|all]", read=_spelled_as(re.compile(r"[1-9]\d{0,5}|all", re.ASCII)), choices=("all",)
)
LIVE = Argument(key="live", usage="[--live]", read=_spelled_as(re.compile("--live")), choices=("--live",))
SWITCH = Argument(key="state", usage="on|off", read=_spelled_as(re.compile("on|off")), choices=("on", "off"))
