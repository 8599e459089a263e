"""Compares time and memory of `{{ df }}` and `df.describe(include="all")` for a million rows in ten columns."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
from measure import Figure, at_most, note, print_figures

from claude_magic.context import interpolate

ROWS = 1_000_000
ROUNDS = 7
MAX_SECONDS = 0.5
MAX_SHARE = 0.1
"""Peak memory as a share of the frame's size; a copy of the frame would exceed it."""
PEER = 'df.describe(include="all")'


def main() -> None:
    """Measure and print."""
    note(f"making a frame of {ROWS:,} rows")
    frame = make_frame(ROWS)
    size = float(frame.memory_usage(deep=False).sum())

    def ours() -> object:
        return interpolate("Describe {{ df }}.", {"df": frame})

    def peer() -> object:
        return frame.describe(include="all")

    our_seconds, peer_seconds = [], []
    for _ in range(ROUNDS):
        our_seconds.append(seconds_of(ours))
        peer_seconds.append(seconds_of(peer))
    our_peak, peer_peak = peak_of(ours), peak_of(peer)
    print_figures(
        [
            at_most(
                "{{ df }}, 1,000,000 rows x 10 columns (s)",
                statistics.median(our_seconds),
                MAX_SECONDS,
                peer=statistics.median(peer_seconds),
                peer_name=PEER,
            ),
            at_most(
                "the same, peak memory / the frame",
                our_peak / size,
                MAX_SHARE,
                peer=peer_peak / size,
                peer_name=PEER,
            ),
            Figure(
                name="the same, peak memory (MB)",
                ours=our_peak / 1e6,
                peer=peer_peak / 1e6,
                peer_name=PEER,
            ),
        ]
    )


def make_frame(rows: int) -> pd.DataFrame:
    """Return a frame with ten columns of common dtypes."""
    chance = np.random.default_rng(0)
    numbers = np.arange(rows)
    frame = pd.DataFrame(
        {
            "number": numbers,
            "share": chance.normal(size=rows),
            "price": chance.lognormal(size=rows),
            "flag": numbers % 3 == 0,
            "when": pd.date_range("2026-01-01", periods=rows, freq="s"),
            "zoned": pd.date_range("2026-01-01", periods=rows, freq="s", tz="Europe/Oslo"),
            "kind": pd.Categorical.from_codes(numbers % 4, list("abcd")),
            "whole": pd.array(numbers % 11, dtype="Int64"),
            "text": [f"row {number}" for number in numbers],
            "thing": pd.Series([number if number % 2 else str(number) for number in numbers], dtype=object),
        }
    )
    frame.loc[::7, "share"] = np.nan
    return frame


def seconds_of(run: Callable[[], object]) -> float:
    """Return the duration of one run in seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def peak_of(run: Callable[[], object]) -> float:
    """Return the peak memory in bytes that one run allocates."""
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float(peak)


if __name__ == "__main__":
    main()
