"""Conversations in a file: exact, readable, and without damage to other files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talks import ask, said

from claude_magic.client import ConfigurationError, mended
from claude_magic.conversation import Conversations, Forest, load_forest, save_forest


def conversations_of(*prompts: str) -> Conversations:
    conversations = Conversations()
    for number, prompt in enumerate(prompts):
        place = conversations.place(cell=f"cell-{number}")
        messages = [
            {"role": "user", "content": prompt},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "", "signature": "s"},
                    {"type": "text", "text": "Ja."},
                ],
            },
        ]
        conversations.add(
            place, prompt=prompt, messages=messages, model="m", fingerprint="f", usage={"output_tokens": 3}
        )
    return conversations


@given(st.lists(st.text(st.characters(codec=None)).map(mended), max_size=4))
def test_loading_is_exact(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    """For any text. Lone surrogates are replaced on input, and so they are here."""
    path = tmp_path_factory.mktemp("saved") / "talk.json"
    forest = conversations_of(*prompts).forest()

    save_forest(forest, path)

    assert load_forest(path) == forest


def test_the_file_is_readable(tmp_path: Path) -> None:
    """Indented, with as few escapes as possible."""
    path = tmp_path / "talk.json"

    save_forest(conversations_of("Größe in μm?").forest(), path)

    text = path.read_text(encoding="utf-8")
    assert '      "prompt": "Größe in μm?"' in text
    assert json.loads(text)["format"] == "claude_magic conversations"


def test_loaded_threads_continue_and_existing_turns_are_kept(tmp_path: Path) -> None:
    """On a branch of their own; loading twice adds nothing."""
    path = tmp_path / "talk.json"
    save_forest(conversations_of("one", "two").forest(), path)
    conversations = conversations_of("mine")

    for _ in range(2):
        conversations.adopt(load_forest(path))

    (summary,) = conversations.threads()
    assert (summary.turns, summary.head and summary.head.prompt) == (2, "two")
    assert len(conversations.forest().turns) == 3


def with_odd_names(path: Path, **names: str) -> Forest:
    """Return the forest of a file in which threads have other names, as an earlier version may have saved it."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["threads"] = {names.get(name, name): each for name, each in document["threads"].items()}
    for turn in document["turns"]:
        turn["thread"] = names.get(turn["thread"], turn["thread"])
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_forest(path)


def test_a_thread_with_a_name_that_is_no_longer_possible_is_loaded_under_another(tmp_path: Path) -> None:
    """Earlier versions took any name in Python. Nothing is lost, no thread is replaced, and loading twice adds nothing."""
    path = tmp_path / "talk.json"
    before = Conversations()
    for thread in ("main", "a-b", "spaced", "dotted", "signs"):
        ask(before, f"in {thread}", thread=thread)
    save_forest(before.forest(), path)
    conversations = Conversations()

    for _ in range(2):
        conversations.adopt(with_odd_names(path, spaced="a b", dotted=".main.", signs="?!"))

    assert [(each.name, each.turns) for each in conversations.threads()] == [
        (name, 1) for name in ("main", "a-b", "a-b-2", "main-2", "thread")
    ]
    assert said(conversations, thread="a-b-2") == ["in spaced"]
    assert said(conversations, thread="main-2") == ["in dotted"]
    assert said(conversations, thread="thread") == ["in signs"]
    assert {turn.thread: turn.prompt for turn in conversations.forest().turns.values()}["a-b"] == "in a-b"
    assert len(conversations.forest().turns) == 5
    assert with_odd_names(path).renamed == {"a b": "a-b-2", ".main.": "main-2", "?!": "thread"}


def test_loading_after_undo_restores_the_turns(tmp_path: Path) -> None:
    """The thread ends where it was saved, and its cells continue from there."""
    path = tmp_path / "talk.json"
    conversations = conversations_of("one", "two", "three")
    save_forest(conversations.forest(), path)
    conversations.undo(3)

    conversations.adopt(load_forest(path))

    again = conversations.place(cell="cell-2")
    assert [message["content"] for message in conversations.messages(again)[::2]] == ["one", "two"]


def test_a_turn_that_was_taken_back_and_cleared_is_not_in_the_file(tmp_path: Path) -> None:
    """A fork may go back beyond its beginning, whose thread may then be cleared."""
    path = tmp_path / "talk.json"
    conversations = conversations_of("one", "two")
    conversations.fork("idea")
    conversations.undo(2, thread="idea")
    conversations.clear()

    save_forest(conversations.forest(), path)

    assert load_forest(path) == conversations.forest()


def test_an_edited_file_replaces_no_existing_turn(tmp_path: Path) -> None:
    """Edited turns, and those after them, are loaded beside the originals."""
    path = tmp_path / "talk.json"
    conversations = conversations_of("one", "two", "three")
    previous = conversations.forest()
    save_forest(previous, path)
    document = json.loads(path.read_text())
    document["turns"][1]["messages"][0]["content"] = "two, edited"
    document["turns"].reverse()
    path.write_text(json.dumps(document))

    conversations.adopt(load_forest(path))

    forest = conversations.forest()
    assert [forest.turns[turn_id] for turn_id in previous.turns] == [*previous.turns.values()]
    assert len(forest.turns) == 5
    said = conversations.messages(conversations.place())[::2]
    assert [message["content"] for message in said] == ["one", "two, edited", "three"]
    again = conversations.place(cell="cell-2")
    assert [message["content"] for message in conversations.messages(again)[::2]] == ["one", "two, edited"]


def test_thinking_after_an_edited_turn_is_dropped(tmp_path: Path) -> None:
    """It is bound to the turns before the edit, and the API would refuse every later question."""
    path = tmp_path / "talk.json"
    conversations = Conversations()
    for prompt in ("one", "two", "three"):
        ask(conversations, prompt, prompt, thinks=True)
    save_forest(conversations.forest(), path)
    document = json.loads(path.read_text())
    document["turns"][1]["messages"][0]["content"] = "two, edited"
    path.write_text(json.dumps(document))

    conversations.adopt(load_forest(path))

    forest = conversations.forest()
    path_to_head = list(forest.path(forest.threads["main"].head))
    assert [turn.has_thinking for turn in path_to_head] == [False, False, True]
    assert all(turn.has_thinking for turn in list(forest.turns.values())[:3])


def test_saving_again_replaces_the_whole_file(tmp_path: Path) -> None:
    """Nothing of the previous one is left, and no other file in the folder."""
    path = tmp_path / "talk.json"
    save_forest(conversations_of("a long " * 1000).forest(), path)

    save_forest(conversations_of("short").forest(), path)

    assert [turn.prompt for turn in load_forest(path).turns.values()] == ["short"]
    assert [each.name for each in tmp_path.iterdir()] == ["talk.json"]


def test_links_and_permissions_of_the_file_are_kept(tmp_path: Path) -> None:
    """A new file is private to its owner; a shared one stays shared."""
    path, link = tmp_path / "talk.json", tmp_path / "link.json"
    save_forest(conversations_of("one").forest(), path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o664)
    link.symlink_to(path)

    save_forest(conversations_of("two").forest(), link)

    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o664
    assert [turn.prompt for turn in load_forest(path).turns.values()] == ["two"]


def test_a_failed_save_keeps_the_previous_file(tmp_path: Path) -> None:
    """Here the path is a folder."""
    path = tmp_path / "talk.json"
    path.mkdir()

    with pytest.raises(ConfigurationError, match="cannot be read"):
        save_forest(conversations_of("one").forest(), path)

    assert [each.name for each in tmp_path.iterdir()] == ["talk.json"]


def test_a_file_with_other_content_is_never_overwritten(tmp_path: Path) -> None:
    """It was named by mistake."""
    path = tmp_path / "results.json"
    path.write_text('{"precious": true}')

    with pytest.raises(ConfigurationError, match="left alone"):
        save_forest(conversations_of("one").forest(), path)

    assert path.read_text() == '{"precious": true}'
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """No file is left behind."""
    with pytest.raises(ConfigurationError, match=r"there is no folder .*nowhere"):
        save_forest(Conversations().forest(), tmp_path / "nowhere" / "talk.json")


def damaged(document: dict[str, Any], change: str) -> Any:
    turns = document["turns"]
    match change:
        case "no JSON":
            return "{"
        case "another format":
            return {**document, "format": "x"}
        case "newer":
            return {**document, "version": 2}
        case "no turns":
            return {key: value for key, value in document.items() if key != "turns"}
        case "cycle":
            turns[0]["parent"] = turns[1]["id"]
        case "no parent":
            turns[0]["parent"] = "nobody"
        case "no head":
            document["threads"]["main"]["head"] = "nobody"
        case "a message that is none":
            turns[0]["messages"][0] = {"role": "system", "content": "x"}
        case "wrong type":
            turns[0]["prompt"] = 5
        case "the same id twice":
            turns[1]["id"] = turns[0]["id"]
            document["threads"]["main"] = {"head": turns[0]["id"], "cells": {}}
        case "no model":
            del turns[0]["model"]
        case "a block that is none":
            turns[0]["messages"][1]["content"].append("words")
        case "its own parent":
            turns[1]["parent"] = turns[1]["id"]
        case "turns are no list":
            document["turns"] = 7
    return document


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("no JSON", "contains no conversations"),
        ("another format", "contains no conversations"),
        ("newer", "version 2"),
        ("no turns", "'turns' is missing"),
        ("cycle", "its own ancestor"),
        ("its own parent", "its own ancestor"),
        ("no parent", "the parent of turn .* is missing"),
        ("no head", "the last turn of thread main is missing"),
        ("no model", "'model' is missing"),
        ("the same id twice", "two turns have the same id"),
        ("a message that is none", "contains something that is not a message"),
        ("a block that is none", "contains something that is not a message"),
        ("wrong type", "prompt of a turn is not text"),
        ("turns are no list", "has the wrong type"),
    ],
)
def test_a_damaged_file_is_refused_as_a_whole(tmp_path: Path, change: str, complaint: str) -> None:
    """With the reason."""
    path = tmp_path / "talk.json"
    save_forest(conversations_of("one", "two").forest(), path)
    document = damaged(json.loads(path.read_text()), change)
    path.write_text(document if isinstance(document, str) else json.dumps(document))

    with pytest.raises(ConfigurationError, match=complaint):
        load_forest(path)


def test_in_a_deleted_directory_only_absolute_paths_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are an error of one line."""
    forest = conversations_of("One").forest()
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    for act in (lambda: save_forest(forest, Path("talk.json")), lambda: load_forest(Path("talk.json"))):
        with pytest.raises(ConfigurationError, match="the working directory of this kernel has been deleted"):
            act()
    save_forest(forest, tmp_path / "talk.json")
    assert load_forest(tmp_path / "talk.json") == forest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder", "a folder"),
        ("pipe", "a pipe, a socket or a device"),
        ("/dev/null", "a pipe, a socket or a device"),
        ("x" * 300, "(?i)name too long"),
        ("folder/" + "x" * 300 + "/y", "(?i)name too long"),
        ("a\0b", "null"),
        ("~nobody-of-this-name/talk.json", "home directory"),
        ("loop", "(?i)symbolic link|symlink"),
        ("file/talk.json", "folder|(?i:not a directory)"),
    ],
)
def test_an_impossible_path_is_an_error_of_one_line(tmp_path: Path, name: str, says: str) -> None:
    """For saving and for loading, without waiting."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = Path(name) if name.startswith("~") else tmp_path / name

    for act in (lambda: save_forest(conversations_of("One").forest(), path), lambda: load_forest(path)):
        with pytest.raises(ConfigurationError, match=says) as caught:
            act()
        assert "\n" not in str(caught.value)


def test_a_file_name_of_maximum_length_works(tmp_path: Path) -> None:
    """The temporary file has a short name of its own."""
    path = tmp_path / ("x" * 250 + ".json")
    forest = conversations_of("One").forest()

    save_forest(forest, path)

    assert load_forest(path) == forest
