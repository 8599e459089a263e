"""What a cell is about to send: the user's words, and what they become for the API."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client import ConfigurationError
from ._names import Scope
from ._options import Options, Request

if TYPE_CHECKING:
    from ..context import Collected
    from ._magics import ClaudeMagics

Block = dict[str, Any]

_MAX_SYSTEM_BYTES = 2**20
"""More than any model's context holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question, ready to be sent.

    Attributes:
        prompt: The user's words, for the screen and the history.
        content: What is sent as the user's turn: text, or content blocks.
        options: The options it was asked with.
        notes: What the reader should know, as sentences: what was cut, what stays as typed.
        redacted: What became `[REDACTED]`, by label, never by value.
        beginning: The answer so far, where the rest of one that was cut is asked for.
        scope: Where it was asked in the user's code; None at the top of the notebook.
    """

    prompt: str
    content: str | list[Block]
    options: Options
    notes: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    beginning: str = ""
    scope: Scope | None = field(default=None, compare=False, repr=False)


def make_draft(request: Request, magics: ClaudeMagics) -> Draft:
    """Return what a cell sends: attachments, cells, and its prompt with the user's values in the place of their names.

    Raises:
        ConfigurationError: Something it names does not exist, or cannot be sent.
    """
    request = dataclasses.replace(request, options=with_system_text(request.options))
    options = request.options
    has_names = "{{" in request.prompt and not options.raw
    if not (has_names or options.attach or options.cells):
        return Draft(
            prompt=request.prompt,
            content=request.prompt,
            options=options,
            notes=options.notes,
            scope=request.scope,
        )
    along = collect_along(options, magics, request.scope)
    return fill_in(request, along, names_seen(magics, request.scope) if has_names else None)


def fill_in(request: Request, along: Sequence[Collected], names: Mapping[str, object] | None) -> Draft:
    """Return what a cell sends with what was collected for it.

    Args:
        request: What was typed.
        along: Attachments and cells, which go in front of the prompt.
        names: What the prompt may speak of; None leaves double braces alone.

    Raises:
        ConfigurationError: The prompt names something that cannot be sent.
    """
    from ..context import Collected, interpolate

    try:
        asked = Collected(parts=(request.prompt,)) if names is None else interpolate(request.prompt, names)
    except ConfigurationError as error:
        error.say(f"{error.message} --raw sends it as typed.")
        raise
    collected = [*along, asked]
    draft = draft_of(request.prompt, [each.parts for each in collected], collected, request.options)
    return dataclasses.replace(draft, scope=request.scope)


def accompany(draft: Draft, magics: ClaudeMagics) -> Draft:
    """Return a subcommand's question with the attachments and cells that its options name, in front of it.

    Raises:
        ConfigurationError: Something they name does not exist, or cannot be sent.
    """
    collected = collect_along(draft.options, magics, draft.scope)
    if not collected:
        return draft
    along = draft_of(draft.prompt, [each.parts for each in collected], collected, draft.options)
    return dataclasses.replace(
        draft,
        content=[*_as_blocks(along.content), *_as_blocks(draft.content)],
        notes=tuple(dict.fromkeys((*along.notes, *draft.notes))),
        redacted=tuple(dict.fromkeys((*along.redacted, *draft.redacted))),
    )


def with_system_text(options: Options) -> Options:
    """Return options whose system prompt is text, where a file was named.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    if options.system is None or not options.system.startswith("@"):
        return options
    from ..context import exposed_in

    system, notes = _read_system(options.system[1:])
    if not system.strip():
        raise ConfigurationError(
            f"The system prompt {options.system[1:]} is a file with nothing in it. Leave -s out to ask without one. Nothing was sent."
        )
    _check_exposure(
        exposed_in(system, f"The system prompt {options.system[1:]}", Path(options.system[1:])), options
    )
    return dataclasses.replace(options, system=system, notes=(*options.notes, *notes))


def draft_of(
    prompt: str,
    sections: Sequence[Sequence[str | Mapping[str, Any]]],
    collected: Sequence[Collected],
    options: Options,
) -> Draft:
    """Return a draft with the notes on what was collected for it.

    Args:
        prompt: The user's words.
        sections: What is sent; see `content_of`.
        collected: What was collected for it.
        options: The options it was asked with.

    Raises:
        ConfigurationError: It holds what looks like credentials, and `--raw` was not given.
    """
    from ..context import content_of, join, notes_on

    _check_exposure(join(collected).exposed, options)
    return Draft(
        prompt=prompt,
        content=content_of(sections),
        options=options,
        notes=(*options.notes, *notes_on(collected)),
        redacted=join(collected).redacted,
    )


def names_seen(magics: ClaudeMagics, scope: Scope | None) -> Mapping[str, object]:
    """Return the user's own names, as they are seen in a place; None is the top of the notebook."""
    return (scope or Scope(magics.shell)).names()


def collect_along(options: Options, magics: ClaudeMagics, scope: Scope | None) -> list[Collected]:
    """Return what goes along with a question: attachments, then cells.

    Raises:
        ConfigurationError: Something they name does not exist, or cannot be sent.
    """
    return list(_collect_along(options, magics, scope))


def _collect_along(options: Options, magics: ClaudeMagics, scope: Scope | None) -> Iterator[Collected]:
    if not (options.attach or options.cells):
        return
    from ..context import attach, collect_cells, parse_cell_range
    from ._cell_history import cells_of

    for spec in options.attach:
        try:
            yield attach(spec, names_seen(magics, scope))
        except ConfigurationError as error:
            error.say(f"-a {error.message}")
            raise
    if options.cells:
        yield collect_cells(cells_of(magics.shell), parse_cell_range(options.cells))


def _check_exposure(exposed: tuple[str, ...], options: Options) -> None:
    """Refuse what looks like credentials, unless it was asked for.

    Raises:
        ConfigurationError: It does.
    """
    if not exposed or options.raw:
        return
    from ..context import refusal

    has_braces = any(each.startswith("{{") for each in exposed)
    named = "-a NAME --raw, where NAME is a variable that holds it" if has_braces else "--raw"
    raise ConfigurationError(refusal(exposed, f"To send it as it is: {named}."))


def _as_blocks(content: str | list[Block]) -> list[Block]:
    if not isinstance(content, str):
        return content
    return [{"type": "text", "text": content}] if content.strip() else []


def _read_system(spec: str) -> tuple[str, tuple[str, ...]]:
    """Read the system prompt from a file, and what of it is a guess."""
    from ..context import decode_file

    path = Path(spec).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise ValueError("that is a folder" if path.is_dir() else "that is a pipe, a socket or a device")
        with path.open("rb") as file:
            data = file.read(_MAX_SYSTEM_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"The system prompt {spec} cannot be read: {reason}. Nothing was sent."
        ) from None
    if len(data) > _MAX_SYSTEM_BYTES:
        raise ConfigurationError(
            f"The system prompt {spec} has more than {_MAX_SYSTEM_BYTES:,} bytes. Nothing was sent; attach it with -a."
        )
    return decode_file(data, spec)
