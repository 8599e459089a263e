"""The embedded simulator behind demo mode: answers without a key, a network or a bill."""

from __future__ import annotations

import importlib
import os
from typing import Protocol, cast

_CHUNK_DELAY = 0.03
"""Seconds between two deltas, so that an answer streams at a pace a person can watch."""


class _Simulator(Protocol):
    @property
    def url(self) -> str: ...

    def start(self) -> object: ...

    def close(self) -> None: ...


class EmbeddedSimulator:
    """A simulator in a thread of this process, started when its address is first asked for."""

    def __init__(self) -> None:
        self._simulator: _Simulator | None = None
        self._pid = os.getpid()

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not closed."""
        return self._simulator is not None

    def url(self) -> str:
        """Its base URL. Starts it where it does not run, as in a forked child."""
        if self._simulator is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._simulator = _start()
        return self._simulator.url

    def close(self) -> None:
        """End it; it starts again when it is needed again."""
        simulator, self._simulator = self._simulator, None
        if simulator is not None and self._pid == os.getpid():
            simulator.close()


def _start() -> _Simulator:
    # By name, because this is the only line of the package that knows the simulator, and few people come through it.
    module = importlib.import_module("claude_magic.simulator")
    simulator = cast(_Simulator, module.Simulator(chunk_delay=_CHUNK_DELAY, max_recorded=0))
    simulator.start()
    return simulator
