"""Measures the kernel's CPU time from the start of the first `%%claude` cell to its first frame, including imports."""

from __future__ import annotations

import statistics

from fresh_kernel import FreshKernel, fresh_kernel
from measure import Figure, at_most, note, print_figures
from simulator_process import simulator_process

ROUNDS = 11
MAX_MILLIS = 300
PROBE = """
import time
def _probe(shell=get_ipython()):
    publish, cpu = shell.display_pub.publish, {}
    def noted(*args, **kwargs):
        result = publish(*args, **kwargs)
        html = kwargs.get("data", args[0] if args else {}).get("text/html")
        if html:
            cpu.setdefault("frame", time.process_time())
        if html and "silt" in html:
            cpu.setdefault("answer", time.process_time())
        return result
    shell.display_pub.publish = noted
    shell.events.register("pre_run_cell", lambda info: "%%claude" in info.raw_cell and cpu.setdefault("start", time.process_time()))
    return cpu
_cpu = _probe()
"""
CELL = "%%claude\nRepeat after me: silt."


def main() -> None:
    """Measure and print."""
    found = []
    with simulator_process(chunk_delay=0.01) as url:
        for number in range(ROUNDS):
            with fresh_kernel(url) as kernel:
                found.append(_cpu_to_frames(kernel))
            note(f"kernel {number + 1}: {found[-1]}")
    frame, answer, end = (statistics.median(column) * 1e3 for column in zip(*found, strict=True))
    print_figures(
        [
            at_most("first %%claude: CPU to the first frame (ms)", frame, MAX_MILLIS),
            at_most("first %%claude: CPU to the first frame with text (ms)", answer, MAX_MILLIS),
            Figure(name="first %%claude: CPU to its end (ms)", ours=end),
        ]
    )


def _cpu_to_frames(kernel: FreshKernel) -> tuple[float, float, float]:
    for code in ("%load_ext claude_magic", PROBE, CELL):
        reply = kernel.run(code)
        if reply["status"] != "ok":
            raise RuntimeError(f"A cell failed: {reply}")
    start, *later = (
        float(kernel.value(expression))
        for expression in ("_cpu['start']", "_cpu['frame']", "_cpu['answer']", "time.process_time()")
    )
    return tuple(moment - start for moment in later)  # type: ignore[return-value]


if __name__ == "__main__":
    main()
