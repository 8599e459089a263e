"""Shared parts of the benches: figures with targets, and interleaved timing."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured number, with that of a peer if there is one.

    Attributes:
        name: Name of the measured quantity, with its unit.
        ours: Value of claude_magic.
        peer: Value of the peer, or None.
        peer_name: Name of the peer.
        target: The bound as text; empty if there is none.
        reached: Whether the bound holds; None if there is none.
    """

    name: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    target: str = ""
    reached: bool | None = None

    @property
    def ratio(self) -> float | None:
        """`ours` divided by `peer`; None if there is no peer."""
        return self.ours / self.peer if self.peer else None


def at_most(
    name: str, ours: float, bound: float, *, peer: float | None = None, peer_name: str = ""
) -> Figure:
    """Return a figure that must not exceed a bound."""
    return Figure(
        name=name,
        ours=ours,
        peer=peer,
        peer_name=peer_name,
        target=f"≤ {bound:g}",
        reached=ours <= bound,
    )


def at_least(
    name: str, ours: float, bound: float, *, peer: float | None = None, peer_name: str = ""
) -> Figure:
    """Return a figure that must not fall below a bound."""
    return Figure(
        name=name,
        ours=ours,
        peer=peer,
        peer_name=peer_name,
        target=f"≥ {bound:g}",
        reached=ours >= bound,
    )


def ratio_at_most(name: str, ours: float, peer: float, bound: float, *, peer_name: str) -> Figure:
    """Return a figure whose ratio to the peer's must not exceed a bound."""
    return Figure(
        name=name,
        ours=ours,
        peer=peer,
        peer_name=peer_name,
        target=f"ratio ≤ {bound:g}",
        reached=ours / peer <= bound,
    )


def print_figures(figures: list[Figure]) -> None:
    """Print the figures for `run.py`, as the last line of standard output."""
    print(json.dumps([asdict(figure) for figure in figures]))


def note(text: str) -> None:
    """Print progress to standard error."""
    print(f"    {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """Duration of one run in seconds: CPU time and wall clock."""

    cpu: float
    wall: float


async def cost_of(run: Callable[[], Awaitable[object]]) -> Cost:
    """Run something once and return its cost, without the garbage of earlier runs."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await run()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


async def interleave(
    contestants: Mapping[str, Callable[[], Awaitable[object]]], *, rounds: int
) -> dict[str, Cost]:
    """Run all contestants in turn, `rounds` times, in changing order, and return their median costs.

    Other load on the machine affects all of them alike.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            costs[name].append(await cost_of(contestants[name]))
    return {
        name: Cost(
            statistics.median(cost.cpu for cost in found), statistics.median(cost.wall for cost in found)
        )
        for name, found in costs.items()
    }
