"""Compares streaming with and without recording (CPU per event, first delta), and times a replay of 20 cells."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fresh_kernel import FreshKernel, fresh_kernel
from loopback_server import loopback_server
from measure import Figure, at_most, interleave, print_figures, ratio_at_most
from simulator_process import simulator_process

from claude_magic.client import ClientConfig, ContentBlockDelta, Credential, HTTPClaudeClient, MessageRequest
from claude_magic.runtime import Settings
from claude_magic.runtime._cassette import Cassette
from claude_magic.runtime._replay import ReplayClient

DELTAS, WRITES = 20_000, 2_000
ROUNDS = 7
FIRST_DELTAS = 200
MAX_RATIO = 1.2
MAX_LATER = 1.0
CELLS = 20
MAX_CELL = 50.0
Reader = Callable[[], Awaitable[float]]


def reader(stack: AsyncExitStack, url: str, folder: Path | None) -> Reader:
    """Return a function that reads one reply and returns the µs from the request to its last delta.

    The reply is recorded in `folder`; None records nothing.
    """
    client = HTTPClaudeClient(
        ClientConfig(base_url=url, rate_limit_rps=1e6), Credential(api_key="sk-ant-bench")
    )
    stack.push_async_callback(client.aclose)
    messages = [{"role": "user", "content": "Why do rivers meander?"}]
    request = MessageRequest(model="claude-sonnet-5-5", max_tokens=1024, messages=messages)

    @asynccontextmanager
    async def lend():
        yield client

    async def read() -> float:
        taken, asked_at = 0, time.monotonic_ns()
        port = client
        if folder is not None:
            cassette = Cassette(folder / f"{time.monotonic_ns()}.jsonl")
            port = ReplayClient(cassette, Settings(replay="auto"), lend, str)
        async with port.stream_message(request) as stream:
            async for event in stream:
                if type(event) is ContentBlockDelta:
                    taken = time.monotonic_ns() - asked_at
        return taken / 1000

    return read


async def measure_recording(server: str, folder: Path) -> list[Figure]:
    """Run both in turn, so that other load on the machine affects both alike."""
    figures = []
    for path, deltas, how in (("burst", DELTAS, "many"), ("paced", WRITES, "one")):
        async with AsyncExitStack() as stack:
            url = f"{server}/{path}/{deltas}"
            runs = {"recorded": reader(stack, url, folder), "not": reader(stack, url, None)}
            for run in runs.values():
                await run()
            costs = await interleave(runs, rounds=ROUNDS)
        recorded, plain = (costs[name].cpu / deltas * 1e6 for name in runs)
        name = f"CPU per event while recording, {how} per read (µs)"
        figures.append(ratio_at_most(name, recorded, plain, MAX_RATIO, peer_name="not recorded"))
    async with AsyncExitStack() as stack:
        runs = {
            name: reader(stack, f"{server}/first/0", at) for name, at in (("recorded", folder), ("not", None))
        }
        micros: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(FIRST_DELTAS):
            for name in list(runs) if number % 2 else reversed(runs):
                micros[name].append(await runs[name]())
        # The fastest tenth: the time is about half a millisecond, and the median on a busy machine measures other processes.
        recorded, plain = (statistics.quantiles(found, n=10)[0] / 1000 for found in micros.values())
    figures.append(
        at_most("added delay of the first delta while recording (ms)", recorded - plain, MAX_LATER)
    )
    return figures


def measure_replay() -> Figure:
    """Run 20 cells twice in a fresh kernel; return the time per cell of the second run, minus that of an empty cell."""
    with simulator_process(chunk_delay=0.0) as url, fresh_kernel(url) as kernel:
        prepare(kernel)
        for number in range(CELLS):
            ask(kernel, number)
        kernel.run("%config ClaudeMagics.replay = 'only'")
        kernel.run("from claude_magic.runtime import get_runtime; get_runtime().conversations.clear()")
        cells = [ask(kernel, number) for number in range(CELLS)]
        empty = [timed(kernel, "pass") for _ in range(CELLS)]
    millis = (statistics.median(cells) - statistics.median(empty)) * 1000
    return at_most(f"replay of {CELLS} cells in one conversation: time per cell (ms)", millis, MAX_CELL)


def prepare(kernel: FreshKernel) -> None:
    """Load the extension and turn on the cassette."""
    for code in ("%load_ext claude_magic", "%config ClaudeMagics.replay = 'auto'"):
        kernel.run(code)


def ask(kernel: FreshKernel, number: int) -> float:
    """Run a `%%claude` cell and return its duration in seconds."""
    return timed(
        kernel, f"%%claude\nExplain the law of large numbers, part {number}. Give a formula and a table."
    )


def timed(kernel: FreshKernel, code: str) -> float:
    """Run a cell and return its duration in seconds."""
    started = time.perf_counter()
    reply = kernel.run(code)
    if reply["status"] != "ok":
        raise RuntimeError(f"A cell failed: {reply}")
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    with loopback_server() as server, tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure_recording(server, Path(folder)))
    print_figures([*figures, measure_replay()])


if __name__ == "__main__":
    main()
