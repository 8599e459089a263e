"""Conversations in a file: exact, readable, and never at the cost of something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ConfigurationError
from claude_magic.conversation import Conversations, load_forest, save_forest


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


@given(st.lists(st.text(st.characters(codec=None)), max_size=4))
def test_loading_is_exact(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    """Whatever the words, halves of UTF-16 pairs included."""
    path = tmp_path_factory.mktemp("saved") / "talk.json"
    forest = conversations_of(*prompts).forest()

    save_forest(forest, path)

    assert load_forest(path) == forest


def test_the_file_can_be_read_by_a_person(tmp_path: Path) -> None:
    """Indented, with its words in plain sight and nothing escaped that need not be."""
    path = tmp_path / "talk.json"

    save_forest(conversations_of("Größe in μm?").forest(), path)

    text = path.read_text(encoding="utf-8")
    assert '      "prompt": "Größe in μm?"' in text
    assert json.loads(text)["format"] == "claude_magic conversations"


def test_loaded_threads_go_on_and_former_turns_stay(tmp_path: Path) -> None:
    """On a branch of their own; loading twice adds nothing."""
    path = tmp_path / "talk.json"
    save_forest(conversations_of("one", "two").forest(), path)
    conversations = conversations_of("mine")

    for _ in range(2):
        conversations.adopt(load_forest(path))

    (summary,) = conversations.threads()
    assert (summary.turns, summary.head and summary.head.prompt) == (2, "two")
    assert len(conversations.forest().turns) == 3


def test_a_file_of_something_else_is_never_overwritten(tmp_path: Path) -> None:
    """It was named by mistake."""
    path = tmp_path / "results.json"
    path.write_text('{"precious": true}')

    with pytest.raises(ConfigurationError, match="left alone"):
        save_forest(conversations_of("one").forest(), path)

    assert path.read_text() == '{"precious": true}'
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    """And nothing is left behind."""
    with pytest.raises(ConfigurationError, match="cannot be written"):
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
        case "turns are no list":
            document["turns"] = 7
    return document


@pytest.mark.parametrize(
    "change",
    [
        "no JSON",
        "another format",
        "newer",
        "no turns",
        "cycle",
        "no parent",
        "no head",
        "a message that is none",
        "wrong type",
        "turns are no list",
    ],
)
def test_a_damaged_file_is_refused_as_a_whole(tmp_path: Path, change: str) -> None:
    """With what is wrong with it."""
    path = tmp_path / "talk.json"
    save_forest(conversations_of("one", "two").forest(), path)
    document = damaged(json.loads(path.read_text()), change)
    path.write_text(document if isinstance(document, str) else json.dumps(document))

    with pytest.raises(ConfigurationError, match=r"damaged|left alone|version 2"):
        load_forest(path)
