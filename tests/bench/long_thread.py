"""Measures the overhead of a thread of 200 turns per request: place, messages, bindings and JSON."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from measure import Figure, at_most, note, print_figures

from claude_magic.client import MessageRequest
from claude_magic.conversation import Conversations, fingerprint_of
from claude_magic.runtime._requests import History, Question, make_request
from claude_magic.runtime._settings import option_layer, resolve

TURNS = 200
ROUNDS = 50
MAX_SECONDS = 0.005
BINDING = fingerprint_of("Be brief.", [])


def main() -> None:
    """Measure and print."""
    note(
        f"a thread of {TURNS} turns, each with thinking, a question of 400 characters and an answer of 2,000"
    )
    conversations, empty = thread_of(TURNS), Conversations()
    whole = median(lambda: ask(conversations)) - median(lambda: ask(empty))
    way = median(lambda: walk(conversations))
    request = plan(conversations)
    encoding = median(lambda: request.to_json(stream=True))
    print_figures(
        [
            at_most("thread of 200 turns: overhead per request (ms)", whole * 1000, MAX_SECONDS * 1000),
            Figure(name="- place, messages, bindings (ms)", ours=way * 1000),
            Figure(name="- writing the JSON (ms)", ours=encoding * 1000),
        ]
    )


def thread_of(turns: int) -> Conversations:
    """Return conversations with one thread of `turns` turns, each from a cell of its own."""
    conversations = Conversations()
    for number in range(turns):
        place = conversations.place(cell=f"cell-{number}")
        thinking = {"type": "thinking", "thinking": "", "signature": "c2lnbmF0dXJl" * 20}
        answer = {"type": "text", "text": "word " * 400}
        messages = [
            {"role": "user", "content": "question " * 44},
            {"role": "assistant", "content": [thinking, answer]},
        ]
        conversations.add(
            place, prompt="question", messages=messages, model="claude-sonnet-5-5", fingerprint=BINDING
        )
    return conversations


def walk(conversations: Conversations) -> list[dict[str, object]]:
    """Find the place of the next turn, and return the messages on its path."""
    place = conversations.place(cell="the next one")
    conversations.is_rebound(place, BINDING)
    conversations.parent_turn(place)
    return conversations.messages(place)


def plan(conversations: Conversations) -> MessageRequest:
    """Return the request for the next question."""
    settings = resolve([option_layer({"system": "Be brief."})])
    history = History(messages=walk(conversations))
    return make_request(Question(prompt="And?"), settings, history, model=settings.values.model)[0]


def ask(conversations: Conversations) -> bytes:
    """Return the JSON of the request, built from the question on."""
    return plan(conversations).to_json(stream=True)


def median(work: Callable[[], object]) -> float:
    """Return the median duration of a call in seconds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
