"""Conversations as a JSON file that a person can read, and back, exactly."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..client import ConfigurationError, mended
from ._tree import Forest, Thread, Turn

FORMAT = "claude_magic conversations"
VERSION = 1

_TEXT_FIELDS = ("id", "thread", "prompt", "model", "fingerprint", "asked_at")
_OPTIONAL_TEXT_FIELDS = ("parent", "follows", "cell")
_FLAGS = ("is_rebound", "is_partial")


def save_forest(forest: Forest, path: Path) -> int:
    """Write all turns and threads to a file; return the number of bytes.

    The file is written beside its place and then moved there, so that it is whole or not there. A file that holds something
    else is not overwritten.

    Raises:
        ConfigurationError: It cannot be written.
    """
    try:
        path = _whole(path).resolve()  # a link stays one
        has_folder, is_there = path.parent.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{path} cannot be written: {_reason(error)}. Nothing was saved.") from None
    if not has_folder:
        raise ConfigurationError(
            f"{path} cannot be written, because there is no folder {path.parent}. Make it first; nothing was saved."
        )
    if is_there:
        _read_fields(path)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "turns": [_turn_fields(turn) for turn in forest.turns.values()],
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
    # Halves of UTF-16 pairs, which UTF-8 cannot express, stay the escapes that JSON has for them.
    text = json.dumps(document, ensure_ascii=False, indent=2)
    data = _escaped(text).encode("utf-8") + b"\n"
    try:
        _write_whole(path, data)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {_reason(error)}. Nothing was saved.") from None
    return len(data)


def load_forest(path: Path) -> Forest:
    """Read turns and threads from a file that `save_forest` wrote.

    Raises:
        ConfigurationError: It cannot be read, or is something else; the message says where.
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
    return forest


def _turn_fields(turn: Turn) -> dict[str, Any]:
    return {field.name: getattr(turn, field.name) for field in fields(turn)}


def _escaped(text: str) -> str:
    return (
        "".join(f"\\u{ord(char):04x}" if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)
        if any(0xD800 <= ord(char) <= 0xDFFF for char in text)
        else text
    )


def _write_whole(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=".claude-magic."
    )  # short, whatever the name of the file
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, name)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _read_fields(path: Path) -> Mapping[str, Any]:
    try:
        path = _whole(path)
        if path.exists() and not path.is_file():
            raise OSError("that is a folder" if path.is_dir() else "that is a pipe, a socket or a device")
        data = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}.") from None
    try:
        document = mended(json.loads(data))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigurationError(f"{path} holds no conversations of claude_magic, so it was left alone.")
    return document


def _whole(path: Path) -> Path:
    """Return a path from its root, with `~` as the user's folder.

    Raises:
        OSError: It is relative, and the working directory has been deleted.
        RuntimeError: There is no such user.
    """
    path = path.expanduser()
    if path.is_absolute():
        return path
    try:
        return Path.cwd() / path
    except FileNotFoundError:
        raise OSError("the working directory of this kernel has been deleted; name a whole path") from None


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.rstrip(".")


def _read_turn(fields: Mapping[str, Any]) -> Turn:
    for name in _TEXT_FIELDS:
        _require(isinstance(fields[name], str), f"{name} of a turn is no text")
    for name in _OPTIONAL_TEXT_FIELDS:
        _require(
            fields[name] is None or isinstance(fields[name], str), f"{name} of turn {fields['id']} is no text"
        )
    for name in _FLAGS:
        _require(isinstance(fields[name], bool), f"{name} of turn {fields['id']} is neither true nor false")
    messages = tuple(_read_message(message, fields["id"]) for message in fields["messages"])
    _require(
        bool(messages) and messages[0]["role"] == "user", f"turn {fields['id']} does not begin with the user"
    )
    tokens = fields["context_tokens"]
    _require(isinstance(tokens, int), f"context_tokens of turn {fields['id']} is no number")
    usage = fields["usage"]
    _require(usage is None or isinstance(usage, dict), f"usage of turn {fields['id']} is no object")
    known = {name: fields[name] for name in (*_TEXT_FIELDS, *_OPTIONAL_TEXT_FIELDS, *_FLAGS)}
    return Turn(**known, messages=messages, usage=usage, context_tokens=tokens)


def _read_message(message: Any, turn_id: str) -> dict[str, Any]:
    is_right = (
        isinstance(message, dict)
        and message.get("role") in ("user", "assistant")
        and _is_content(message.get("content"))
    )
    _require(is_right, f"turn {turn_id} holds something that is no message")
    return dict(message)


def _is_content(content: Any) -> bool:
    if isinstance(content, list):
        return all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in content)
    return isinstance(content, str)


def _read_thread(fields: Mapping[str, Any]) -> Thread:
    cells, taken_back = fields["cells"], fields["taken_back"]
    turns = (*cells.values(), *taken_back)
    _require(all(isinstance(turn, str) for turn in turns), "cells of a thread are no turns")
    forked_by = fields["forked_by"]
    _require(forked_by is None or isinstance(forked_by, str), "forked_by of a thread is no text")
    return Thread(head=fields["head"], cells=dict(cells), taken_back=set(taken_back), forked_by=forked_by)


def _check_links(forest: Forest) -> None:
    """Check that every turn has its parent, that none is its own ancestor, and that threads end in turns."""
    ids = forest.turns.keys()
    for turn in forest.turns.values():
        _require(turn.parent is None or turn.parent in ids, f"the parent of turn {turn.id} is missing")
    for name, thread in forest.threads.items():
        _require(thread.head is None or thread.head in ids, f"the last turn of thread {name} is missing")
        known = {*thread.cells.values(), *thread.taken_back}
        _require(known <= ids, f"a turn of thread {name} is missing")
    seen: set[str] = set()
    for turn_id in ids:
        path = set()
        for each in _ancestry(forest, turn_id, seen):
            _require(each not in path, f"turn {each} is its own ancestor")
            path.add(each)
        seen |= path


def _ancestry(forest: Forest, turn_id: str | None, seen: set[str]) -> Iterator[str]:
    while turn_id is not None and turn_id not in seen:
        yield turn_id
        turn_id = forest.turns[turn_id].parent


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
