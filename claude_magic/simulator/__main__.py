"""Command line of the simulator, `python -m claude_magic.simulator`, for a terminal, a notebook server or Binder."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence

from ._scenarios import scenarios
from ._simulator import Simulator

DEMO_CHUNK_DELAY = 0.03


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted. Return the exit status."""
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # From here, because Ctrl-C may come as soon as the server answers, before its address is printed.
    with contextlib.suppress(KeyboardInterrupt):
        try:
            simulator.start()
        except OSError as error:
            print(f"claude_magic.simulator: {error.strerror or error}", file=sys.stderr)
            return 1
        with simulator:
            print(f"The simulator serves the Messages API at {simulator.url}", flush=True)
            print(
                f"Point a client there: export ANTHROPIC_BASE_URL={simulator.url}  (Ctrl-C stops the simulator)",
                flush=True,
            )
            while True:
                time.sleep(3600)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claude_magic.simulator",
        description="A stand-in for the Claude Messages API on a loopback port. It answers by rules and needs no key.",
    )
    parser.add_argument(
        "--port", type=_port, default=8765, help="port on 127.0.0.1; 0 takes any free port (%(default)s)"
    )
    parser.add_argument(
        "--chunk-delay",
        type=_seconds,
        default=DEMO_CHUNK_DELAY,
        metavar="SECONDS",
        help="pause between two deltas of a streamed answer (%(default)s)",
    )
    parser.add_argument(
        "--scenario", choices=sorted(scenarios), metavar="NAME", help="the default scenario of all requests"
    )
    parser.add_argument("--list-scenarios", action="store_true", help="list the scenarios and exit")
    parser.add_argument(
        "--requests-per-minute", type=_positive, metavar="N", help="more requests per minute get a 429"
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="the only valid API key; by default any key is valid"
    )
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("the port must be between 0 and 65535")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 60:
        raise argparse.ArgumentTypeError("the pause must be between 0 and 60 seconds")
    return seconds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("the number must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
