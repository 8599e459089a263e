"""What goes with a question: files from the user's computer, and variables of the kernel."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython import get_ipython
from ipywidgets import FileUpload, HBox, Text

from ..client import ConfigurationError
from ..context import Collected, attach, content_of, interpolate, join, names_of, notes_on, refusal
from ..live import hear_at_once


@dataclass(frozen=True, slots=True, kw_only=True)
class Sendable:
    """A prompt with what goes along.

    Attributes:
        content: What is sent as the user's turn.
        attached: The names of what goes with the words.
        notes: What the reader should know about it, as sentences.
    """

    content: str | Sequence[Mapping[str, Any]]
    attached: tuple[str, ...]
    notes: tuple[str, ...]


class Attachments(HBox):
    """The folded row in which files are chosen and variables are named."""

    def __init__(self) -> None:
        self._upload = FileUpload(
            multiple=True,
            description="Files",
            tooltip="Choose files to send with the prompt: text, pictures, PDF, notebooks",
        )
        self._variables = Text(
            placeholder="variables to send along: df, figure",
            tooltip="Names of variables to send with the prompt, with commas between",
        )
        self._accepted: tuple[str, ...] = ()
        hear_at_once(self._upload, self._variables)
        super().__init__([self._upload, self._variables], _dom_classes=["claude-magic-attachments"])

    def go_with(self, prompt: str) -> Sendable:
        """Return a prompt with the user's values in place of `{{ names }}`, and all that was attached.

        Raises:
            ConfigurationError: Something that it names does not exist, or cannot be sent.
        """
        names = names_of(get_ipython())
        attached = dict(self._collect(names))
        words = interpolate(prompt, names) if "{{" in prompt else Collected(parts=(prompt,))
        collected = [*attached.values(), words]
        exposed = join(collected).exposed
        if exposed and exposed != self._accepted:
            self._accepted = exposed
            raise ConfigurationError(refusal(exposed, "To send it as it is, send again."))
        return Sendable(
            content=content_of([each.parts for each in collected]),
            attached=tuple(attached),
            notes=notes_on(collected),
        )

    def clear(self) -> None:
        """Empty the row, once it has been sent."""
        self._accepted = ()
        self._upload.value = ()
        self._variables.value = ""

    def _collect(self, names: Mapping[str, object]) -> Iterator[tuple[str, Collected]]:
        for file in self._upload.value:
            name = Path(file["name"]).name
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, name).write_bytes(file["content"])
                yield name, attach(name, {}, directory=Path(folder))
        for name in filter(None, re.split(r"[\s,]+", self._variables.value)):
            yield name, attach(name, names)
