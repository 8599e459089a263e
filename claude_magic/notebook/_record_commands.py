"""The subcommands about recorded questions: `journal`, `batches`, `cassette` and `methods`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from IPython.core.error import UsageError

from ..client import counted, excerpt
from ..render import Bundle, describe_methods, file_size, render_rows
from ..runtime import Cassette, Recording

if TYPE_CHECKING:
    from ._cell import Cell

_MOST_SHOWN: Final = 50
_EXCERPT_CHARS: Final = 60
_COLUMNS: Final = ("recorded", "model", "prompt", "characters", "in this kernel")


def journal(cell: Cell, arguments: Mapping[str, str]) -> None:
    """List the runs in the journal of this folder, compare two of them (`compare 1 2`), or prune it (`prune 30`).

    Raises:
        JournalError: The journal cannot be read, or has no such run.
    """
    from ..bulk import Journal, Runs, describe_pruning, journal_path, render_difference, render_runs

    words = arguments.get("what", "").split()
    if not journal_path().exists():
        cell.front_end.say("No map has run in this folder yet: there is no journal.")
        return
    opened = Journal(journal_path())
    try:
        if words[:1] == ["prune"]:
            pruned = Runs(opened).prune(None if words[1] == "all" else float(words[1]))
            cell.front_end.say(describe_pruning(*pruned))
        elif words:
            cell.front_end.show(render_difference(Runs(opened).compare(int(words[1]), int(words[2]))))
        else:
            cell.front_end.show(render_runs(opened))
    finally:
        opened.close()


def batches(cell: Cell, arguments: Mapping[str, str]) -> None:
    """List the batches of the key's workspace, cancel one (`cancel ID`), or forget a lost one (`forget ID`).

    Raises:
        ClaudeError: The server did not list the batches, or there is no such batch.
    """
    from ..bulk import BatchDesk

    desk = BatchDesk(cell.runtime)
    action, _, name = arguments.get("what", "").partition(" ")
    if action == "cancel":
        batch = desk.cancel(name)
        cell.front_end.say(
            f"{batch.id} is being cancelled. Requests completed by then are billed; the line of its map fetches their answers."
        )
    elif action == "forget":
        rows = desk.forget(name)
        cell.front_end.say(
            f"{name} is forgotten: the line of its map asks {counted(rows, 'row')} again. If the server has the batch, it is billed as well."
        )
    else:
        cell.front_end.show(desk.list().render())


def cassette(cell: Cell, arguments: Mapping[str, str]) -> None:
    """List the answers in the cassette, or delete those that this kernel has not used (`prune`).

    Raises:
        CassetteError: The cassette cannot be read or written.
        UsageError: None of its answers was used, so all would be deleted.
    """
    opened = cell.runtime.cassette()
    if not opened.path.exists():
        cell.front_end.say(
            f"There is no cassette {opened.name} yet: --replay auto makes it with its first answer."
        )
        return
    if arguments.get("what") == "prune":
        cell.front_end.say(_prune(opened))
        return
    cell.front_end.show(render_cassette(opened))


def methods(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Show the Methods paragraph for the requests of this kernel, or of the cassette (`--cassette`), and write its manifest.

    Raises:
        ConfigurationError: The manifest cannot be written, or the cassette cannot be read.
    """
    words = arguments.get("what", "").split()
    file = words[words.index("--manifest") + 1] if "--manifest" in words else None
    made = describe_methods(
        cell.runtime, of_cassette="--cassette" in words, has_appendix="--appendix" in words, manifest=file
    )
    cell.front_end.show(Bundle(made._repr_mimebundle_(), {}))
    if file is not None:
        cell.front_end.say(f"The manifest is in {file}.")


def _prune(cassette: Cassette) -> str:
    recordings = cassette.recordings()
    if recordings and not any(map(cassette.is_in_use, recordings)):
        raise UsageError(
            f"No answer of {cassette.name} was used since this kernel started, so pruning would delete all of them. Run the whole notebook "
            "first. Nothing has changed."
        )
    deleted, freed = cassette.prune()
    answers = counted(deleted, "answer")
    return f"Deleted: {answers} that this kernel has not used, {file_size(freed)}. {cassette.name} holds {len(cassette.recordings()):,}."


def render_cassette(cassette: Cassette) -> Bundle:
    """Render a cassette as a table: each prompt, when it was recorded, and whether this kernel has used its answer."""
    recordings = cassette.recordings()
    rows = [_row(each, cassette) for each in recordings[-_MOST_SHOWN:]]
    notes = _notes(cassette, recordings)
    return render_rows([("", rows)] if rows else [], columns=_COLUMNS, numbers=(3,), notes=notes)


def _row(recording: Recording, cassette: Cassette) -> tuple[str, ...]:
    is_used = cassette.is_in_use(recording)
    length = sum(len(text) for text in map(_text_of, recording.answer))
    state = "interrupted" if recording.is_interrupted else "" if recording.error is None else "error"
    return (
        recording.recorded_at[:16].replace("T", " "),
        str(recording.request.get("model", "")),
        excerpt(recording.prompt, _EXCERPT_CHARS),
        state or f"{length:,}",
        "used" if is_used else "not used",
    )


def _text_of(event: Mapping[str, Any]) -> str:
    delta = event.get("delta")
    text = delta.get("text") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""


def _notes(cassette: Cassette, recordings: Sequence[Recording]) -> Iterator[str]:
    count = len(recordings)
    stale = count - sum(map(cassette.is_in_use, recordings))
    hidden = f"; the last {_MOST_SHOWN} are shown" if count > _MOST_SHOWN else ""
    yield f"{cassette.name}: {counted(count, 'answer')}, {file_size(cassette.size())}{hidden}."
    if stale:
        yield f"{stale:,} not used in this kernel. After a whole run, %claude cassette prune deletes them."
    yield from cassette.problems
