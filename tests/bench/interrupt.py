"""Measures the time from an interrupt in mid-stream to an idle kernel, and counts lost interrupts."""

from __future__ import annotations

import random
import statistics
import time

from fresh_kernel import FreshKernel, fresh_kernel, html_of, is_idle
from measure import Figure, at_most, note, print_figures
from simulator_process import simulator_process

INTERRUPTS = 50
MAX_MILLIS = 200
CELL = "%%claude\n!simulate long_answer\nAll about sums of powers, please."
LONGEST_WAIT = 0.3
"""Maximum seconds of streaming before the interrupt, so that interrupts hit every state of a frame."""


def main() -> None:
    """Measure and print."""
    chance = random.Random(7)
    seconds, lost = [], 0
    with simulator_process(chunk_delay=0.01) as url, fresh_kernel(url) as kernel:
        kernel.run("%load_ext claude_magic")
        for _ in range(INTERRUPTS):
            took, is_lost = _interrupt_once(kernel, chance.uniform(0, LONGEST_WAIT))
            seconds.append(took)
            lost += is_lost
    millis = [took * 1e3 for took in seconds]
    p95 = statistics.quantiles(millis, n=20, method="inclusive")[-1]
    note(f"slowest: {sorted(round(took) for took in millis)[-5:]} ms")
    print_figures(
        [
            at_most(f"interrupt to idle kernel, p95 of {INTERRUPTS} (ms)", p95, MAX_MILLIS),
            Figure(name="interrupt to idle kernel, median (ms)", ours=statistics.median(millis)),
            at_most("interrupts lost", lost, 0),
        ]
    )


def _interrupt_once(kernel: FreshKernel, wait: float) -> tuple[float, bool]:
    """Return the seconds from the interrupt to idle, and whether the interrupt was lost."""
    request = kernel.start(CELL)
    kernel.wait_for(request, lambda message: "Sums of powers" in html_of(message))
    # A random delay, so that the interrupt arrives at an arbitrary moment.
    time.sleep(wait)
    pressed = time.monotonic()
    kernel.manager.interrupt_kernel()
    kernel.wait_for(request, is_idle)
    took = time.monotonic() - pressed
    return took, kernel.reply_to(request).get("ename") != "KeyboardInterrupt"


if __name__ == "__main__":
    main()
