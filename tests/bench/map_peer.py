"""Maps many rows with one library, in a process and an environment of its own, and prints the duration in seconds.

    python map_peer.py NAME ROWS        # sends to ANTHROPIC_BASE_URL; run it in an empty folder

Each library sends one request per row, 64 at once, with its cache or journal on if it has one, and without any other limit. A first
map of 50 other rows is not counted, which excludes the cost of imports. Each library builds the request of a row in its own way.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

IN_FLIGHT = 64
MODEL = "claude-sonnet-4-5"
NO_LIMIT = 10**9
ANSWER = "silt"
"""The text that each answer of the server, `{"label": "silt"}`, contains."""

Answers = list[object]
Map = Callable[[list[str]], Answers]
WARM_UP = 50


def use_tokenizer_of_litellm() -> None:
    """Point tiktoken to the tokenizer that litellm ships, so that it downloads none."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


def claude_magic() -> Map:
    from claude_magic import claude

    options = {"max_tokens": 1024, "concurrency": IN_FLIGHT, "max_cost": 1e6}
    return lambda rows: list(claude.map("Classify: {{ item }}", rows, model=MODEL, **options))


def accrue() -> Map:
    """Caches each row in SQLite."""
    from accrue import EnrichmentConfig, LLMStep, Pipeline
    from accrue.providers import AnthropicClient

    config = EnrichmentConfig(max_workers=IN_FLIGHT, enable_progress_bar=False)

    def run(rows: list[str]) -> Answers:
        # The client is bound to the event loop of one run.
        step = LLMStep(
            "classify", fields={"label": "Classify the text."}, model=MODEL, client=AnthropicClient()
        )
        return [each["label"] for each in Pipeline([step]).run([{"text": row} for row in rows], config).data]

    return run


def chatlas() -> Map:
    """Stores nothing: only its batches have a file."""
    from chatlas import ChatAnthropic, parallel_chat

    chat = ChatAnthropic(model=MODEL, max_tokens=1024)

    def run(rows: list[str]) -> Answers:
        prompts = [f"Classify: {row}" for row in rows]
        work = parallel_chat(chat, prompts, max_active=IN_FLIGHT, rpm=NO_LIMIT, on_error="stop")
        return [each.get_last_turn().text for each in asyncio.run(work)]

    return run


def inspect_ai() -> Map:
    """Caches responses, and writes a log."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.solver import generate

    options = {"max_connections": IN_FLIGHT, "max_samples": IN_FLIGHT, "max_tokens": 1024}

    def run(rows: list[str]) -> Answers:
        task = Task(dataset=[Sample(input=f"Classify: {row}") for row in rows], solver=generate(cache=True))
        (log,) = eval(task, model=f"anthropic/{MODEL}", display="none", log_dir="logs", **options)
        return [sample.output.completion for sample in log.samples or ()]

    return run


def curator() -> Map:
    """Writes responses as JSONL."""
    use_tokenizer_of_litellm()
    from bespokelabs import curator as library

    class Classifier(library.LLM):
        def prompt(self, row: dict[str, str]) -> str:
            return f"Classify: {row['text']}"

        def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
            return {"label": response}

    limits = {
        "max_requests_per_minute": NO_LIMIT,
        "max_input_tokens_per_minute": NO_LIMIT,
        "max_output_tokens_per_minute": NO_LIMIT,
        "max_concurrent_requests": IN_FLIGHT,
        "base_url": f"{os.environ['ANTHROPIC_BASE_URL']}/v1",
    }
    model = Classifier(model_name=MODEL, backend="anthropic", backend_params=limits)
    return lambda rows: [each["label"] for each in model([{"text": row} for row in rows]).dataset]


LIBRARIES = (claude_magic, accrue, chatlas, inspect_ai, curator)


def main() -> None:
    """Map, check that all rows have an answer, and print the duration in seconds."""
    name, count = sys.argv[1], int(sys.argv[2])
    (library,) = (each for each in LIBRARIES if each.__name__ == name)
    rows = [f"The parcel came late, box {number} was torn." for number in range(count + WARM_UP)]
    run = library()
    run(rows[count:])
    started = time.perf_counter()
    answers = run(rows[:count])
    seconds = time.perf_counter() - started
    if len(answers) != count or not all(ANSWER in str(answer) for answer in answers):
        raise SystemExit(f"{name}: {len(answers)} answers to {count} rows, such as {answers[:1]}")
    print(seconds)


if __name__ == "__main__":
    main()
