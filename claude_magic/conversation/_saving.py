"""Saves conversations as readable JSON and loads them without loss; restores them from the answers in a notebook."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

from .._files import replace_file
from ..client import ConfigurationError, counted, excerpt, mended
from ._tree import CUT_SHORT, MAIN_THREAD, Forest, Thread, Turn, split_key, with_thread_names

FORMAT = "claude_magic conversations"
VERSION = 1

_TEXT_FIELDS = ("id", "thread", "prompt", "model", "fingerprint", "asked_at")
_OPTIONAL_TEXT_FIELDS = ("parent", "follows", "cell")
_FLAGS = ("is_rebound", "is_partial")


def save_forest(forest: Forest, path: Path) -> int:
    """Write all turns and threads to a file; return the number of bytes.

    The file is replaced as a whole, and on disk when this returns. A file with other content is not overwritten.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    try:
        path = _absolute(path).resolve()  # a symbolic link is kept
        has_folder, exists = path.parent.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{path} cannot be written: {_reason(error)}. Nothing was saved.") from None
    if not has_folder:
        raise ConfigurationError(
            f"{path} cannot be written, because there is no folder {path.parent}. Create it first. Nothing was saved."
        )
    if exists:
        _read_fields(path)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "turns": [
            {field.name: getattr(turn, field.name) for field in fields(turn)}
            for turn in forest.turns.values()
        ],
        "threads": {
            name: {
                "head": thread.head,
                "forked_by": thread.forked_by,
                "cells": thread.cells,
                "taken_back": sorted(thread.taken_back),
            }
            for name, thread in forest.threads.items()
        },
    }
    text = json.dumps(document, ensure_ascii=False, indent=2)
    # Lone surrogates, which UTF-8 cannot encode, are written as JSON escapes.
    escaped = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    data = escaped.encode("utf-8") + b"\n"
    try:
        replace_file(path, data)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {_reason(error)}. Nothing was saved.") from None
    return len(data)


def load_forest(path: Path) -> Forest:
    """Read turns and threads from a file written by `save_forest`. Threads get the names of `with_thread_names`.

    Raises:
        ConfigurationError: The file is unreadable, damaged or has another format; the message names the place.
    """
    document = _read_fields(path)
    version = document.get("version")
    if version != VERSION:
        raise ConfigurationError(
            f"{path} was saved in version {version} of the format, and this claude_magic reads version {VERSION}. Nothing was "
            "loaded."
        )
    try:
        turns = {turn.id: turn for turn in map(_read_turn, document["turns"])}
        _require(len(turns) == len(document["turns"]), "two turns have the same id")
        threads = {str(name): _read_thread(fields) for name, fields in document["threads"].items()}
        forest = Forest(turns=turns, threads=threads)
        _check_links(forest)
    except KeyError as error:
        raise ConfigurationError(f"{path} is damaged: {error} is missing. Nothing was loaded.") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is damaged: {error}. Nothing was loaded.") from None
    except (TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} is damaged: something in it has the wrong type ({error}). Nothing was loaded."
        ) from None
    return with_thread_names(forest)


def _read_fields(path: Path) -> Mapping[str, Any]:
    document = _read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigurationError(f"{path} contains no conversations of claude_magic, so it was left alone.")
    return document


def _read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it is not JSON.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    typed = path
    try:
        path = _absolute(path)
        if path.exists() and not path.is_file():
            raise OSError("that is a folder" if path.is_dir() else "that is a pipe, a socket or a device")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no file {typed}. A relative path starts at the current folder of the kernel."
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}.") from None
    try:
        return mended(json.loads(data))
    except (ValueError, RecursionError):
        return None


def _absolute(path: Path) -> Path:
    """Return an absolute path, with `~` expanded.

    Raises:
        OSError: The path is relative, and the working directory has been deleted.
        RuntimeError: The home directory is unknown.
    """
    path = path.expanduser()
    if path.is_absolute():
        return path
    try:
        return Path.cwd() / path
    except FileNotFoundError:
        raise OSError(
            "the working directory of this kernel has been deleted; give an absolute path"
        ) from None


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.rstrip(".")


def _read_turn(fields: Mapping[str, Any]) -> Turn:
    for name in _TEXT_FIELDS:
        _require(isinstance(fields[name], str), f"{name} of a turn is not text")
    for name in _OPTIONAL_TEXT_FIELDS:
        _require(
            fields[name] is None or isinstance(fields[name], str),
            f"{name} of turn {fields['id']} is not text",
        )
    for name in _FLAGS:
        _require(isinstance(fields[name], bool), f"{name} of turn {fields['id']} is neither true nor false")
    messages = tuple(_read_message(message, fields["id"]) for message in fields["messages"])
    _require(
        bool(messages) and messages[0]["role"] == "user", f"turn {fields['id']} does not begin with the user"
    )
    tokens = fields["context_tokens"]
    _require(isinstance(tokens, int), f"context_tokens of turn {fields['id']} is not a number")
    usage = fields["usage"]
    _require(usage is None or isinstance(usage, dict), f"usage of turn {fields['id']} is not an object")
    known = {name: fields[name] for name in (*_TEXT_FIELDS, *_OPTIONAL_TEXT_FIELDS, *_FLAGS)}
    return Turn(**known, messages=messages, usage=usage, context_tokens=tokens)


def _read_message(message: Any, turn_id: str) -> dict[str, Any]:
    is_valid = (
        isinstance(message, dict)
        and message.get("role") in ("user", "assistant")
        and _is_content(message.get("content"))
    )
    _require(is_valid, f"turn {turn_id} contains something that is not a message")
    return dict(message)


def _is_content(content: Any) -> bool:
    if isinstance(content, list):
        return all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in content)
    return isinstance(content, str)


def _read_thread(fields: Mapping[str, Any]) -> Thread:
    cells, taken_back = fields["cells"], fields["taken_back"]
    turns = (*cells.values(), *taken_back)
    _require(all(isinstance(turn, str) for turn in turns), "cells of a thread are not turns")
    forked_by = fields["forked_by"]
    _require(forked_by is None or isinstance(forked_by, str), "forked_by of a thread is not text")
    return Thread(head=fields["head"], cells=dict(cells), taken_back=set(taken_back), forked_by=forked_by)


def _check_links(forest: Forest) -> None:
    """Check that all parents exist, that no turn is its own ancestor, and that all turns of threads exist."""
    ids = forest.turns.keys()
    for turn in forest.turns.values():
        _require(turn.parent is None or turn.parent in ids, f"the parent of turn {turn.id} is missing")
    for name, thread in forest.threads.items():
        _require(thread.head is None or thread.head in ids, f"the last turn of thread {name} is missing")
        known = {*thread.cells.values(), *thread.taken_back}
        _require(known <= ids, f"a turn of thread {name} is missing")
    parents = {turn.id: [turn.parent] for turn in forest.turns.values() if turn.parent is not None}
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        raise ValueError(f"turn {error.args[1][0]} is its own ancestor") from None


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


# A notebook stores its answers as outputs, with their prompts and places in the conversation as metadata. So the conversation can
# be restored from the current notebook: in the order of its cells, without deleted answers, and with edited ones.
OUTPUT_KEY: Final = "claude_magic"
"""The key in the metadata of an output."""
_MAX_PROMPT_CHARS: Final = 2_000
"""Characters; a longer prompt is not copied into the metadata, and is only in its cell."""
_EXCERPT_CHARS: Final = 40


def turn_fields(turn: Turn, *, redact: Callable[[str], str], text: str, shown: str) -> dict[str, Any]:
    """Return the fields of a turn for the metadata of its output.

    Args:
        turn: The turn.
        redact: Returns a text with secrets redacted.
        text: The whole answer, of all rounds.
        shown: The plain text of the output; "" if it has none.
    """
    answer = turn.answer_text if len(turn.messages) == 2 else text
    values = {
        "id": turn.id,
        "parent": turn.parent,
        "thread": turn.thread,
        "cell": turn.cell,
        "begins": (turn.parent is None and turn.follows is not None) or None,
        "prompt": redact(turn.prompt) if len(turn.prompt) <= _MAX_PROMPT_CHARS else None,
        "more": None if _is_text_only(turn) else True,
        "shown_sha256": _hash(shown) if shown else None,
        "text": None if answer == shown else answer,
    }
    return {name: value for name, value in values.items() if value is not None}


def in_pieces(fields: Mapping[str, Any], *, start: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a turn whose answer is shown as the Markdown of several outputs.

    Args:
        fields: The fields, from `turn_fields`.
        start: The number of characters before the answer in the first output.

    Returns:
        The fields of the first output, and the metadata of each of the others.
    """
    return {**fields, "start": start}, {"piece_of": fields["id"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedAnswer:
    """An answer in a notebook file.

    Attributes:
        facts: The metadata of its output.
        turn: The metadata of its turn, from `turn_fields`.
        shown: The plain text of its output; for an answer in several outputs, their joined Markdown.
        source: The source of its cell.
        cell: The id of its cell; "" if it has none.
        index: The index of its cell, counted from 0.
        is_side_branch: Whether it is one of several answers to a question, but not the first.
    """

    facts: Mapping[str, Any]
    turn: Mapping[str, Any]
    shown: str
    source: str
    cell: str
    index: int
    is_side_branch: bool

    @property
    def thread(self) -> str:
        """The thread of its question."""
        return _text_in(self.turn, "thread") or MAIN_THREAD

    @property
    def is_in_asking_cell(self) -> bool:
        """Whether its cell is the one that asked."""
        asked = _text_in(self.turn, "cell")
        return bool(asked) and split_key(asked)[0] == self.cell

    @property
    def is_edited(self) -> bool:
        """Whether the text of the output was edited."""
        expected = _text_in(self.turn, "shown_sha256")
        return bool(expected) and _hash(self.shown) != expected

    @property
    def text(self) -> str:
        """The text of the answer; if the output was edited, the text of the output."""
        saved = self.turn.get("text")
        return saved if isinstance(saved, str) and not self.is_edited else self.shown

    @property
    def key(self) -> str | None:
        """The key of the question, by which its cell is recognised when run again; None if it is not known."""
        cell, number = split_key(_text_in(self.turn, "cell"))
        if not self.cell or not cell or cell.startswith(("panel ", "vscode-notebook-cell:")):
            return None
        return f"{self.cell}#{number}" if number else self.cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A conversation restored from a notebook.

    Attributes:
        forest: Turns and threads.
        notes: Sentences on differences from the original conversation.
    """

    forest: Forest
    notes: tuple[str, ...]


def read_notebook(path: Path) -> Mapping[str, Any]:
    """Read a notebook file.

    Raises:
        ConfigurationError: The file cannot be read, or is not a notebook.
    """
    document = _read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise ConfigurationError(f"{path} is not a notebook, so nothing was loaded.")
    return document


def saved_answers(document: Mapping[str, Any]) -> list[SavedAnswer]:
    """Return the answers in a notebook that belong to a conversation, in order, each once."""
    found: dict[str, SavedAnswer] = {}
    for index, cell in enumerate(document["cells"]):
        for answer in _answers_of(cell, index):
            key = _text_in(answer.turn, "id")
            # For a reply that another cell shows again, the output of the asking cell counts.
            if key not in found or (answer.is_in_asking_cell and not found[key].is_in_asking_cell):
                found[key] = answer
    return sorted(found.values(), key=lambda answer: answer.index)


def restore(
    document: Mapping[str, Any],
    *,
    prompt_of: Callable[[str], str | None],
    known: Mapping[str, Turn],
) -> Restored:
    """Return the conversation of the answers in a notebook, in the order of its cells.

    Args:
        document: The notebook.
        prompt_of: Returns the prompt of a cell that is only a question; None for any other cell.
        known: The existing turns, by id. A turn with the same content in the same place is reused.
    """
    turns: dict[str, Turn] = {}
    threads: dict[str, Thread] = {}
    edited_questions: list[str] = []
    edited = more = 0
    place: tuple[str | None, str | None] = (None, None)
    for answer in saved_answers(document):
        written = prompt_of(answer.source)
        prompt = _prompt(answer, written)
        if prompt is None:
            edited_questions.append(_quoted(written or answer.source))
            continue
        if not answer.text.strip():
            continue
        thread = threads.setdefault(answer.thread, Thread())
        if not answer.is_side_branch:
            place = _place(answer, thread, turns)
        turn = _restored(answer, prompt, place)
        is_unchanged = _is_unchanged(known.get(turn.id), turn)
        turns[turn.id] = known[turn.id] if is_unchanged else turn
        edited += answer.is_edited
        more += answer.turn.get("more") is True and not is_unchanged
        if not answer.is_side_branch:
            thread.head = turn.id
            if turn.cell is not None:
                thread.cells[turn.cell] = turn.id
    unanswered = [name for cell in document["cells"] if (name := _unanswered(cell, prompt_of))]
    notes = _notes_on_restored(edited_questions, edited=edited, more=more, unanswered=unanswered)
    forest = with_thread_names(Forest(turns=turns, threads=threads))
    return Restored(forest=forest, notes=tuple(notes))


def _notes_on_restored(
    edited_questions: list[str], *, edited: int, more: int, unanswered: list[str]
) -> Iterator[str]:
    if edited_questions:
        yield f"Left out, because their questions were edited since they were answered: {_listed(edited_questions)}. Run them again."
    if edited:
        are = (
            "answer was edited in the file and is used as it is"
            if edited == 1
            else "answers were edited in the file and are used as they are"
        )
        yield f"{edited} {are} there."
    if more:
        yield f"{counted(more, 'question')} contained more than text (attachments, variables, tool calls), which a notebook does not store: only the text is sent."
    if unanswered:
        cells = "cell that asks has" if len(unanswered) == 1 else "cells that ask have"
        yield f"{len(unanswered)} {cells} no saved answer: {_listed(unanswered)}."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _quoted(text: str) -> str:
    return f"“{excerpt(text, _EXCERPT_CHARS)}”"


def _answers_of(cell: Any, index: int) -> Iterator[SavedAnswer]:
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return
    source, cell_id = _joined(cell.get("source")), _text_in(cell, "id")
    for output, facts in _outputs_of(cell):
        several = facts.get("comparison") or facts.get("exchanges")
        each_of = several if isinstance(several, list) else [facts]
        data = output.get("data")
        shown = "" if several or not isinstance(data, dict) else _joined(data.get("text/plain"))
        for number, each in enumerate(each_of):
            turn = each.get("turn") if isinstance(each, dict) else None
            if isinstance(turn, dict) and _text_in(turn, "id"):
                if isinstance(turn.get("start"), int):
                    shown = _shown_in_pieces(cell, turn)
                is_side_branch = number > 0 and "comparison" in facts
                yield SavedAnswer(
                    facts=each,
                    turn=turn,
                    shown=shown,
                    source=source,
                    cell=cell_id,
                    index=index,
                    is_side_branch=is_side_branch,
                )


def _outputs_of(cell: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the outputs of a cell that are answers, with their metadata."""
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        metadata = output.get("metadata") if isinstance(output, dict) else None
        facts = metadata.get(OUTPUT_KEY) if isinstance(metadata, dict) else None
        if isinstance(facts, dict):
            yield output, facts


def _shown_in_pieces(cell: Mapping[str, Any], turn: Mapping[str, Any]) -> str:
    pieces = [
        _joined(data.get("text/markdown"))
        for output, facts in _outputs_of(cell)
        if facts.get("turn") == turn or facts.get("piece_of") == turn["id"]
        if isinstance(data := output.get("data"), dict)
    ]
    return "".join(pieces)[turn["start"] :]


def _unanswered(cell: Any, prompt_of: Callable[[str], str | None]) -> str:
    """Return the number or the first words of a cell that asks and has no answer; "" for other cells, and if nothing was sent."""
    if not isinstance(cell, dict) or cell.get("cell_type") != "code" or any(_outputs_of(cell)):
        return ""
    prompt = prompt_of(_joined(cell.get("source")))
    if prompt is None or _was_refused(cell):
        return ""
    number = cell.get("execution_count")
    return f"In[{number}]" if isinstance(number, int) else _quoted(prompt)


def _was_refused(cell: Mapping[str, Any]) -> bool:
    """Return whether the outputs of a cell say that nothing was sent, in an error or, as UsageErrors are saved, on stderr."""
    outputs = [each for each in cell.get("outputs") or () if isinstance(each, dict)]
    texts = (
        _text_in(each, "evalue") if each.get("output_type") == "error" else _joined(each.get("text"))
        for each in outputs
        if each.get("output_type") == "error" or each.get("name") == "stderr"
    )
    return any("Nothing was sent." in " ".join(text.split()) for text in texts)


def _prompt(answer: SavedAnswer, written: str | None) -> str | None:
    """Return the prompt of an answer, as written in its cell; None if it was edited or is not known."""
    if written is not None:
        return written if _hash(written) == answer.facts.get("prompt_sha256") else None
    return _text_in(answer.turn, "prompt") or None


def _place(answer: SavedAnswer, thread: Thread, turns: Mapping[str, Turn]) -> tuple[str | None, str | None]:
    """Return the parent of a turn and the turn it follows: the previous one of its thread, or the start of a fork."""
    follows = thread.head
    if follows is None and _text_in(answer.turn, "parent") in turns:
        follows = _text_in(answer.turn, "parent")
    return (None if answer.turn.get("begins") is True else follows), follows


def _restored(answer: SavedAnswer, prompt: str, place: tuple[str | None, str | None]) -> Turn:
    facts, usage = answer.facts, answer.facts.get("usage")
    content = [{"type": "text", "text": answer.text}]
    return Turn(
        id=_text_in(answer.turn, "id"),
        parent=place[0],
        follows=place[1],
        thread=answer.thread,
        cell=answer.key,
        prompt=prompt,
        messages=({"role": "user", "content": prompt}, {"role": "assistant", "content": content}),
        model=_text_in(facts, "model"),
        fingerprint="",
        is_partial="status" in facts or _text_in(facts, "stop_reason") in CUT_SHORT,
        usage=usage if isinstance(usage, dict) else None,
        asked_at=_text_in(facts, "asked_at"),
    )


def _is_unchanged(old: Turn | None, turn: Turn) -> bool:
    if old is None or len(old.messages) != 2:
        return False
    return (old.parent, old.prompt, old.answer_text) == (turn.parent, turn.prompt, turn.answer_text)


def _is_text_only(turn: Turn) -> bool:
    asked = turn.messages[0]["content"]
    return len(turn.messages) == 2 and asked in (turn.prompt, [{"type": "text", "text": turn.prompt}])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _joined(text: Any) -> str:
    """Return a text from a notebook, which may be a list of lines."""
    if isinstance(text, list):
        return "".join(each for each in text if isinstance(each, str))
    return text if isinstance(text, str) else ""


def _text_in(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
