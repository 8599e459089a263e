"""`python -m claude_magic.simulator`: the simulator for a terminal, a notebook server or Binder."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Sequence

from ._scenarios import scenarios
from ._simulator import Simulator

DEMO_CHUNK_DELAY = 0.03


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.list_scenarios:
        width = max(map(len, scenarios))
        print("\n".join(f"{name:<{width}}  {description}" for name, description in scenarios.items()))
        return 0
    simulator = Simulator(
        port=options.port,
        chunk_delay=options.chunk_delay,
        api_key=options.api_key,
        scenario=options.scenario,
        requests_per_minute=options.requests_per_minute,
        max_recorded=0,
    )
    try:
        simulator.start()
    except OSError as error:
        print(f"claude_magic.simulator: {error.strerror or error}", file=sys.stderr)
        return 1
    with simulator:
        print(f"The simulator serves the Messages API at {simulator.url}", flush=True)
        print(
            f"Point a client there: export ANTHROPIC_BASE_URL={simulator.url}  (Ctrl-C ends it)", flush=True
        )
        _wait_for_the_end()
    return 0


def _wait_for_the_end() -> None:
    ended = threading.Event()
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
        # In pieces, because on Windows an endless wait hears no Ctrl-C.
        while not ended.wait(1.0):
            pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claude_magic.simulator",
        description="A stand-in for the Claude Messages API on a loopback port. It answers by rule, with no key.",
    )
    parser.add_argument(
        "--port", type=_port, default=8765, help="the port on 127.0.0.1; 0 takes any (%(default)s)"
    )
    parser.add_argument(
        "--chunk-delay",
        type=_seconds,
        default=DEMO_CHUNK_DELAY,
        metavar="SECONDS",
        help="the pause between two pieces of a streamed answer (%(default)s)",
    )
    parser.add_argument(
        "--scenario", choices=sorted(scenarios), metavar="NAME", help="what every request meets"
    )
    parser.add_argument("--list-scenarios", action="store_true", help="list the scenarios and end")
    parser.add_argument(
        "--requests-per-minute", type=_positive, metavar="N", help="refuse more than this with 429"
    )
    parser.add_argument("--api-key", metavar="KEY", help="the only key to accept; by default any will do")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 60:
        raise argparse.ArgumentTypeError("the pause lies between 0 and 60 seconds")
    return seconds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("the number must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
