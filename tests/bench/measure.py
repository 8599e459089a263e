"""What all benches share: a figure, its verdict, and fair timing."""

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
    """One measured number, beside a peer's where there is one.

    Attributes:
        name: What was measured, with its unit.
        ours: Our number.
        peer: The peer's, or None.
        peer_name: Who the peer is.
        target: The bound in words; empty for a number that is only told.
        reached: Whether the bound holds; None without one.
    """

    name: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    target: str = ""
    reached: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
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
    """Hand the figures to `run.py`, as the last line of standard output."""
    print(json.dumps([asdict(figure) for figure in figures]))


def note(text: str) -> None:
    """Print what is being done."""
    print(f"    {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that one run took."""

    cpu: float
    wall: float


async def cost_of(run: Callable[[], Awaitable[object]]) -> Cost:
    """Run something once and return its cost. What others left for the garbage collector is not charged to it."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await run()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


async def interleave(
    contestants: Mapping[str, Callable[[], Awaitable[object]]], *, rounds: int
) -> dict[str, Cost]:
    """Run all contestants in turn, `rounds` times, in changing order, and return their median costs.

    Whatever else the machine does falls on all of them alike.
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
