"""What is mapped over what, and where the answers are kept, as it was asked for."""

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
    """What is mapped over what.

    Attributes:
        prompt: The prompt, with values of a row in double braces.
        items: The input.
        names: The user's names, which the prompt may hold, too.
        settings: Options that are settings, by name; None counts as not given.
        journal: Where answers are kept: a file or folder; None and True for the one beside the notebook, False for none on the disk;
            or one that is open. With None and a cassette there is none on the disk: the answers are in the cassette.
        schema: What an answer must fit, or None.
        attachments: What goes in front of the prompt, the same for all rows.
        stop_sequences: Strings at which an answer ends.
        extra: Further fields of the request.
        is_raw: Send what looks like a key or a password.
        repeat: Draws of each row.
        prefix: What the names of the answer columns begin with.
        concurrency: Requests in flight at most; None for as many as the server takes.
        max_cost: USD that the run may cost, or None.
        asks_failed_again: Also ask what was answered with an error before: cut, declined, not fitting the schema.
        max_searches: Web searches that the server may make for each row.
        origin: Who asks, in a word or two.
        outlives_cell: It belongs to no cell.
        keeps_columns: The result holds the columns of the input, so no answer may take the place of one.
        via: "online", or "batch" for half the price and answers within a day.
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
        """Whether it goes by way of batches."""
        return self.via == "batch"

    def check(self) -> None:
        """Refuse what cannot be asked whatever the rows are.

        Raises:
            ConfigurationError: It cannot be asked. Nothing was sent.
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
