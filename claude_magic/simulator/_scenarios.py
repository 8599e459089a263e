"""Named scenarios, for `!simulate NAME` in a prompt, a request header, or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import _behaviours as behaviours
from ._delivery import Behaviour, deliver


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens to a request, and to its repetitions."""

    name: str
    description: str
    behaviours: tuple[Behaviour, ...]
    """One for each attempt at the same request."""
    recovers: bool = False
    """After the last behaviour an attempt succeeds; otherwise the last one repeats."""


_OVERLOADED = behaviours.status(529)

_ALL = (
    Scenario(
        name="plain",
        description="nothing goes wrong",
        behaviours=(lambda exchange: deliver(exchange, exchange.answer()),),
    ),
    Scenario(
        name="overloaded_once", description="529, then the answer", behaviours=(_OVERLOADED,), recovers=True
    ),
)

_BY_NAME = {scenario.name: scenario for scenario in _ALL}

scenarios: Mapping[str, str] = {name: scenario.description for name, scenario in _BY_NAME.items()}
"""Every scenario's name, with a line that describes it."""


def scenario(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        ValueError: There is none.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(_BY_NAME)
        raise ValueError(f"The simulator knows no scenario {name!r}. It knows: {known}.") from None
