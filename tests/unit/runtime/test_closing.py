"""Closing of turns: the history is always valid for the API."""

from __future__ import annotations

import time
from typing import Any

import pytest

from claude_magic.client import Message
from claude_magic.client._messages import parse_block
from claude_magic.runtime._turn import call_ids, closed_reply, closed_turn, returned, with_distinct_calls

ASK = {"role": "user", "content": "How high is the tide?"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {"port": "Brest"}}
THINKING = {"type": "thinking", "thinking": "", "signature": "c2ln"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "tide"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def assistant_turn(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def test_a_whole_turn_is_kept_as_it_is() -> None:
    """Thinking with its signature included."""
    turn = [ASK, assistant_turn(THINKING, text("Twelve metres."))]

    assert closed_turn(turn, "cut") == turn


def test_a_question_without_an_answer_is_not_kept() -> None:
    """A question with a blank answer is not kept either: the API rejects both."""
    assert closed_turn([ASK], "cut") is None
    assert closed_turn([ASK, assistant_turn()], "cut") is None
    assert closed_turn([ASK, assistant_turn(THINKING)], "cut") is None


def test_calls_that_nobody_answered_are_answered_with_an_error() -> None:
    """All of them, because one missing result makes the whole history invalid."""
    second = {**CALL, "id": "toolu_2"}

    kept = closed_turn([ASK, assistant_turn(text("Let me see."), CALL, second)], "never run")

    assert kept is not None
    assert kept[-1] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": each, "content": "never run", "is_error": True}
            for each in ("toolu_1", "toolu_2")
        ],
    }


def test_results_stay_though_the_answer_to_them_never_came() -> None:
    """The next question follows them; the API merges consecutive user messages."""
    results = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 m"}],
    }
    turn = [ASK, assistant_turn(CALL), results]

    assert closed_turn(turn, "cut") == turn
    assert closed_turn([*turn, assistant_turn(THINKING)], "cut") == turn


def test_a_search_that_the_server_never_ended_is_left_out() -> None:
    """Its result would have come with the next part of a paused answer."""
    kept = closed_turn([ASK, assistant_turn(text("Searching."), SEARCH)], "cut")

    assert kept == [ASK, assistant_turn(text("Searching."))]


def test_a_search_whose_result_came_after_a_pause_is_kept() -> None:
    """It is sent back unchanged, like every reply that is not the last."""
    turn = [ASK, assistant_turn(SEARCH), assistant_turn(FOUND, text("Twelve."))]

    assert closed_turn(turn, "cut") == turn


def test_blank_text_does_not_go_back() -> None:
    """The server may send it, but does not accept it."""
    message = Message(content=[text(""), CALL, text(" \n")])

    assert returned(message) == assistant_turn(CALL)


def test_of_a_reply_that_broke_off_goes_back_what_came_whole() -> None:
    """Partial text is kept; an incomplete call and trailing thinking are not."""
    half = parse_block(CALL, is_complete=False)
    message = Message(content=[THINKING, text("It is"), THINKING, half])

    assert closed_reply(message) == assistant_turn(THINKING, text("It is"))
    assert closed_reply(Message(content=[half])) is None


def call_ids_of(*ids: str, taken: frozenset[str] = frozenset()) -> list[str]:
    """Return the ids that calls with these ids get in a reply."""
    blocks = [parse_block({**CALL, "id": each}) for each in ids]
    message = with_distinct_calls(
        Message(content=[parse_block(text("Well.")), *blocks, parse_block(SEARCH)]), taken
    )
    return [call.id for call in message.tool_uses]


def test_calls_of_one_id_get_ids_of_their_own() -> None:
    """Also if the server gives no id, repeats one of an earlier reply, or has already used the generated one."""
    assert call_ids_of("a", "b") == ["a", "b"]
    assert call_ids_of("a", "a", "a") == ["a", "a_2", "a_3"]
    assert call_ids_of("a", "a_2", "a") == ["a", "a_2", "a_3"]
    assert call_ids_of("a", "a", "a_2") == ["a", "a_2", "a_2_2"]
    assert call_ids_of("", "") == ["toolu_1", "toolu_2"]
    assert call_ids_of("a", taken=frozenset({"a", "a_2"})) == ["a_3"]


@pytest.mark.parametrize("repeated", ["a", "", "a_2"])
def test_many_calls_of_one_id_take_no_longer_each(repeated: str) -> None:
    """They are renamed on the bridge, where all other answers wait: half a minute if each searched from the first number."""
    block = parse_block({**CALL, "id": repeated})
    message, started = Message(content=[block] * 20_000), time.perf_counter()

    named = with_distinct_calls(message, set()).tool_uses

    assert len({call.id for call in named}) == 20_000
    assert time.perf_counter() - started < 5


def test_a_call_without_an_id_gets_one_and_one_without_a_name_is_no_call() -> None:
    """Neither makes the turn fail, or the conversation one that the API rejects."""
    nameless = {"type": "tool_use", "id": "a", "input": {}}
    missing = {name: value for name, value in CALL.items() if name != "id"}

    message = with_distinct_calls(Message(content=[{**CALL, "id": None}, missing, nameless]), set())

    first, second = ({**CALL, "id": name} for name in ("toolu_1", "toolu_2"))
    assert returned(message) == assistant_turn(first, second)
    closed = closed_turn([ASK, returned(message)], "cut")
    assert closed is not None
    assert [result["tool_use_id"] for result in closed[-1]["content"]] == ["toolu_1", "toolu_2"]


def test_the_ids_of_earlier_calls_are_read_from_the_history() -> None:
    """Server tool calls do not count, because the client does not answer them."""
    assert call_ids([ASK, assistant_turn(text("Well."), CALL, SEARCH), assistant_turn(CALL)]) == {"toolu_1"}


def test_arguments_that_are_no_json_stay_with_a_call_that_gets_another_id() -> None:
    """Its `is_complete` is kept, too."""
    block = parse_block({**CALL, "input": {}}, raw_input='{"port', is_complete=False)

    (call,) = with_distinct_calls(Message(content=[block]), {"toolu_1"}).tool_uses

    assert (call.id, call.raw_input, call.is_complete) == ("toolu_1_2", '{"port', False)
