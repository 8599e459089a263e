"""The arguments of a map: prompt, rows, options, and where answers are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from ..client import ConfigurationError
from ..context import Collected
from ..schema import OutputSchema
from ._journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of one map.

    Attributes:
        prompt: Prompt template; `{{ expression }}` inserts values of a row.
        items: The rows: a table, column, list, dict or generator.
        names: Variables of the notebook that the prompt may use.
        settings: Options that override settings, by name; None means not given.
        journal: Where answers are kept: a file, a folder, or an open journal. None and True mean the journal beside the notebook, False
            means memory only. With a cassette, None also means memory only, since the cassette has the answers.
        schema: Schema that each answer must fit, or None.
        attachments: Content before the prompt, the same for all rows.
        stop_sequences: Strings at which an answer ends.
        extra: Additional fields of the request.
        is_raw: Send text that looks like a key or a password.
        repeat: Number of answers (draws) for each row.
        prefix: Prefix of the names of the answer columns.
        concurrency: Maximum number of requests in flight; None adapts it to the server, up to 200.
        max_cost: Maximum cost of the run in USD, or None.
        asks_failed_again: Also ask requests whose earlier answer was truncated, declined, or did not fit the schema.
        max_searches: Maximum number of web searches for each row.
        origin: Short label of the caller, shown in lists of running requests.
        outlives_cell: Run in the background, independent of the cell.
        keeps_columns: The result includes the columns of the input, so no answer may replace one of them.
        via: "online", or "batch" for half the price and answers within 24 hours.
    """

    prompt: str
    items: Any
    names: Mapping[str, object]
    settings: Mapping[str, object]
    journal: Journal | str | Path | bool | None = None
    schema: OutputSchema | None = None
    attachments: Sequence[Collected] = ()
    stop_sequences: Sequence[str] | None = None
    extra: Mapping[str, Any] | None = None
    is_raw: bool = False
    repeat: int = 1
    prefix: str = ""
    concurrency: int | None = None
    max_cost: float | None = None
    asks_failed_again: bool = False
    max_searches: int = 0
    origin: str = "Python"
    outlives_cell: bool = False
    keeps_columns: bool = True
    via: str = "online"

    @property
    def is_batch(self) -> bool:
        """Whether the map uses message batches."""
        return self.via == "batch"

    def check(self) -> None:
        """Validate the arguments that do not depend on the rows.

        Raises:
            ConfigurationError: An argument is invalid. Nothing was sent.
        """
        if not isinstance(self.prompt, str):
            are_swapped = isinstance(self.items, str)
            found = f"The prompt of a map is a text, not {type(self.prompt).__name__}."
            raise ConfigurationError(
                f"{found} {'The arguments are swapped: the' if are_swapped else 'The'} prompt comes first, then the rows: "
                'claude.map("Classify: {{ text }}", df). Nothing was sent.'
            )
        if isinstance(self.repeat, bool) or not isinstance(self.repeat, int) or self.repeat < 1:
            raise ConfigurationError(
                f"repeat is a whole number from 1, not {self.repeat!r}. Nothing was sent."
            )
        concurrency = self.concurrency
        is_number = isinstance(concurrency, int) and not isinstance(concurrency, bool)
        if concurrency is not None and not (is_number and concurrency >= 1):
            raise ConfigurationError(
                f"concurrency is a whole number from 1, not {concurrency!r}. Nothing was sent."
            )
        if self.via not in ("online", "batch"):
            raise ConfigurationError(f"via is 'online' or 'batch', not {self.via!r}. Nothing was sent.")
        if not isinstance(self.prefix, str):
            raise ConfigurationError(
                f"prefix is a text that the names of the answer columns begin with, not {self.prefix!r}. Nothing was sent."
            )
        if self.max_cost is not None and not (isinstance(self.max_cost, Real) and self.max_cost >= 0):
            raise ConfigurationError(
                f"max_cost is an amount in USD, such as 2.50, not {self.max_cost!r}. Nothing was sent."
            )
