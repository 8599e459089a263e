"""Jobs: the answers that are on their way, and those of background cells, each with a number to name it by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ._reply import Reply

KEPT_JOBS: Final = 50
"""Background cells whose ended jobs are still listed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One answer under its number.

    Attributes:
        number: Counts from 1, as long as the kernel lives.
        reply: The answer.
    """

    number: int
    reply: Reply


class Jobs:
    """Numbers the answers of a kernel that can be stopped by name. Every method may be called from any thread.

    Args:
        in_flight: Returns the replies that have not ended, oldest first.
    """

    def __init__(self, in_flight: Callable[[], Iterable[Reply]]) -> None:
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._last_number = 0
        self._numbers: dict[Reply, int] = {}
        self._of_cells: dict[Reply, str | None] = {}

    def add(self, reply: Reply, *, cell: str | None) -> None:
        """Give a background cell's reply its number. It is listed also when it has ended.

        Args:
            reply: The reply.
            cell: What tells the cell from others, or None.
        """
        with self._lock:
            self._of_cells[reply] = cell
            self._job(reply)
            ended = [each for each in self._of_cells if each.done()]
            for each in ended[: max(0, len(self._of_cells) - KEPT_JOBS)]:
                del self._of_cells[each]

    def find(self, reply: Reply) -> Job:
        """Return a reply under its number, which it gets now if it has none."""
        with self._lock:
            return self._job(reply)

    def stop_of_cell(self, cell: str | None) -> None:
        """Stop what a cell has on its way. It is run again, and what it draws on has gone."""
        with self._lock:
            replies = [reply for reply, other in self._of_cells.items() if cell is not None and other == cell]
        for reply in replies:
            reply.cancel()

    def all(self) -> tuple[Job, ...]:
        """Return all answers on their way, and the last ones of background cells, by number."""
        in_flight = tuple(self._in_flight())
        with self._lock:
            replies = dict.fromkeys((*self._of_cells, *in_flight))
            self._numbers = {reply: number for reply, number in self._numbers.items() if reply in replies}
            return tuple(sorted((self._job(reply) for reply in replies), key=lambda job: job.number))

    def _job(self, reply: Reply) -> Job:
        if reply not in self._numbers:
            self._last_number += 1
            self._numbers[reply] = self._last_number
        return Job(self._numbers[reply], reply)
