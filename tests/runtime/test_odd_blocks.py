"""Blocks whose `type` is missing or no text, from compatible servers: all other parts of an answer are read, kept and sent back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from claude_magic.conversation import load_forest, save_forest
from claude_magic.render import render_reply
from claude_magic.runtime import Phase, Question, Reply, Runtime, Where
from claude_magic.simulator import Simulator, stream_events

TIMEOUT = 120.0
MISSING = object()
ODD_TYPES = [{"a": 1}, ["text"], 7, 1.5, None, True, "", MISSING]

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [],
        "usage": {"input_tokens": 9, "output_tokens": 1},
    },
}
END = (
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)


def odd(kind: Any, **fields: Any) -> dict[str, Any]:
    return fields if kind is MISSING else {"type": kind, **fields}


def block(index: int, fields: dict[str, Any], *texts: str) -> list[dict[str, Any]]:
    deltas = [
        {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}
        for text in texts
    ]
    return [
        {"type": "content_block_start", "index": index, "content_block": fields},
        *deltas,
        {"type": "content_block_stop", "index": index},
    ]


def question(prompt: str, *, is_new: bool = False) -> Question:
    return Question(prompt=prompt, where=Where(is_new=is_new))


def ask(runtime: Runtime, sim: Simulator, *blocks: dict[str, Any], **settings: Any) -> Reply:
    """Return the reply with these blocks; it is rendered, and survives pickling."""
    sim.script(stream_events(START, *blocks, *END))
    answer = runtime.start(question("Hello"), **settings).result(TIMEOUT)
    assert answer.phase is Phase.COMPLETE
    copy = pickle.loads(pickle.dumps(answer))
    assert copy.text == answer.text
    for each in (answer, copy):
        assert answer.text in str(render_reply(each.snapshot()).data["text/markdown"])
    return answer


@pytest.mark.parametrize("kind", ODD_TYPES)
@pytest.mark.parametrize("fields", [{}, {"id": "a", "name": "f", "input": {}}, {"tool_use_id": "a"}])
def test_a_block_of_no_type_spoils_no_answer_and_no_conversation(
    runtime: Runtime, sim: Simulator, tmp_path: Path, kind: Any, fields: dict[str, Any]
) -> None:
    """It is in the message as it came, but not in the history, which the API would reject."""
    whole = block(1, {"type": "text", "text": ""}, "The whole ", "answer.")

    for index in (0, 2):  # before it and after it
        answer = ask(runtime, sim, *block(index, odd(kind, **fields)), *whole)
        assert answer.text == "The whole answer."
        assert answer.message is not None
        assert odd(kind, **fields) in answer.message.to_param()["content"]

    path = tmp_path / "conversation.json"
    save_forest(runtime.conversations.forest(), path)
    assert len(load_forest(path).turns) == 2
    runtime.start(question("And now?")).result(TIMEOUT)
    assert sim.requests[-1].status == 200
    sent = [turn["content"] for turn in sim.requests[-1].body["messages"] if turn["role"] == "assistant"]
    assert sent == [[{"type": "text", "text": "The whole answer."}]] * 2


@pytest.mark.parametrize("kind", ODD_TYPES)
def test_an_answer_of_such_a_block_alone_is_empty(runtime: Runtime, sim: Simulator, kind: Any) -> None:
    assert ask(runtime, sim, *block(0, odd(kind))).text == ""

    runtime.start(question("And now?")).result(TIMEOUT)
    assert sim.requests[-1].status == 200


@pytest.mark.parametrize("kind", ODD_TYPES)
@pytest.mark.parametrize(
    ("fields", "texts"), [({"text": ""}, ("Hel", "lo")), ({}, ("Hel", "lo")), ({"text": "Hello"}, ())]
)
def test_a_block_with_a_text_is_a_text(
    runtime: Runtime, sim: Simulator, kind: Any, fields: dict[str, Any], texts: tuple[str, ...]
) -> None:
    """Whether it comes in the block or after it, and also from a cassette."""
    blocks = block(0, odd(kind, **fields), *texts)

    first = ask(runtime, sim, *blocks, replay="auto")
    again = runtime.start(question("Hello", is_new=True), replay="auto").result(TIMEOUT)

    for answer in (first, again):
        assert (answer.text, [each.kind for each in answer.snapshot().blocks]) == ("Hello", ["text"])
    assert len(sim.requests) == 1
