"""Answers fit their prompts, are the same every time, and are honest about the rest."""

from __future__ import annotations

import subprocess
import sys

import pandas
import polars
import pyarrow
import pytest

from claude_magic.context import describe
from claude_magic.simulator._answers import all_topics

DETERMINISTIC = "tell me a joke"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What is 17 * 23?", "`17 * 23` = **391**"),
        ("2+2", "`2 + 2` = **4**"),
        ("what is 15% of 80?", "= **12**"),
        ("How much is 2 to the power of 10?", "**1,024**"),
        ("what is the square root of 144", "**12**"),
        ("compute 1 / 0", "divides by zero"),
        ("say exactly: pong", "pong"),
        ('Reply with only the word "ready".', "ready"),
        ("Answer with just yes.", "yes"),
        ("Write just a haiku about rain", "> Rain on the tin roof."),
        ("Reply with exactly this text:\nfirst\nsecond", "first\nsecond"),
        ("What is the capital of New Zealand?", "**Wellington**"),
        ("How many r's are in strawberry?", "**3 times**"),
        ("count from 3 to 7", "3, 4, 5, 6, 7"),
        ("How many words are in this text: one two three four", "**4** words."),
        ("reverse 'stressed'", "desserts"),
        ("Write a haiku about the sea", "> Low tide at daybreak:"),
        ("Translate 'good morning' into French", "can't translate into French"),
        ("who are you?", "not a model"),
        ("Hello!", "Hello! I am the **simulator**"),
        ("Who was Napoleon?", "I don't know that"),
        ("Write a function that parses roman numerals", "def parses_roman_numerals(value):"),
        ("Explain why my cat sleeps, as a table", "| Topic | Ask for |"),
        (" ? ", "I don't know that"),
    ],
)
def test_a_prompt_gets_a_fitting_answer(api, prompt, expected):
    """What newcomers type first is answered; the rest is owned up to."""
    assert expected in api.text(prompt)


@pytest.mark.parametrize(
    ("prompt", "marks"),
    [
        ("Why is the sky blue?", ["## Why the sky is blue", "$$", "|---|", "**"]),
        ("Why is the sky blue? Answer in one sentence.", ["scatters short wavelengths"]),
        ("Show me pandas groupby as code", ["```python\nimport pandas"]),
        ("Make a table of the planets", ["| Neptune | 30.1 |"]),
        ("List three facts about black holes", ["1. ", "2. ", "3. "]),
        ("Give me 2 reasons for the tides", ["1. ", "2. "]),
    ],
)
def test_a_topic_comes_in_the_form_that_was_asked_for(api, prompt, marks):
    """A table for a table, code for code, one sentence for one sentence."""
    text = api.text(prompt)

    assert all(mark in text for mark in marks)
    if "one sentence" in prompt:
        assert "\n" not in text
        assert text.count(". ") == 0


def test_the_system_prompt_can_ask_for_the_form(api):
    """What holds for all answers need not be repeated in each prompt."""
    text = api.text("Why is the sky blue?", system="Always answer in one sentence.")

    assert text.startswith("The sky is blue because")
    assert "\n" not in text


def test_a_traceback_is_explained(api):
    """What it means, where it happened, what to do."""
    prompt = (
        "Why?\nTraceback (most recent call last):\n"
        "  File \"tides.py\", line 7, in height\n    return table[port]\nKeyError: 'Oban'"
    )

    text = api.text(prompt)

    assert "## KeyError" in text
    assert "line 7 of `tides.py`, in `height`" in text
    assert "d.get(key)" in text


def test_code_is_explained_statement_by_statement(api):
    """Structure is told, and what looks wrong is pointed out."""
    code = "import math\n\ndef area(r, seen=[]):\n    return math.pi * r ** 2\n\nfor r in range(3):\n    print(area(r))"

    text = api.text(f"Explain this code:\n```python\n{code}\n```")

    assert "1. imports `math`" in text
    assert "defines the function `area` of `r`, `seen`, which returns `math.pi * r ** 2`" in text
    assert "changeable default" in text


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame, pyarrow.table])
def test_a_table_is_told_by_what_its_description_says(api, make):
    """Whichever library it is of."""
    table = make({"city": ["Oslo", "Oslo", "Rome"], "price": [1.5, None, 4.5]})

    answer = api.text(f"What stands out? {describe(table).text}")

    assert "**3 rows** and **2 columns**: `city`, `price`" in answer
    assert "`price` runs from 1.5 to **4.5**; its mean is 3, its median 3" in answer
    assert "`city`: mostly Oslo (2 times)" in answer


def test_a_text_is_summarised_in_its_own_sentences(api):
    """No more than half of them, and it says how it chose."""
    text = "Tides follow the moon. The moon pulls the water of the tides. Boats wait for high tides. My aunt likes tea."

    answer = api.text(f"Summarise this:\n\n{text}")
    other_way_round = api.text(f"{text}\n\nSummarise that, please.")

    assert answer == other_way_round
    assert "The moon pulls the water of the tides." in answer
    assert "aunt" not in answer


def test_a_conversation_is_remembered(api):
    """Names, facts, questions and topics of earlier turns can be referred to."""

    def ask(prompt, *earlier):
        messages = []
        for text in earlier:
            messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "I see."}]
        return api.text("", messages=[*messages, {"role": "user", "content": prompt}])

    assert "**Ada**" in ask("What is my name?", "Hi, my name is Ada.")
    assert "**teal**" in ask("What is my favourite colour?", "My favourite colour is teal.", "Thanks")
    assert "> Tell me about tides" in ask("What did I ask first?", "Tell me about tides", "Thanks")
    assert "| neap tide |" in ask("Now as a table", "Tell me about tides")


def test_the_same_prompt_has_the_same_answer_in_every_process(api):
    """Nothing depends on the hash seed or the time."""
    code = (
        "from claude_magic.simulator._answers import answer_text\n"
        "from claude_magic.simulator._conversation import read_conversation\n"
        f"print(answer_text(read_conversation({{'messages': [{{'role': 'user', 'content': {DETERMINISTIC!r}}}]}})))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    ).stdout.strip()

    assert api.text(DETERMINISTIC) == elsewhere == api.text(DETERMINISTIC)


@pytest.mark.parametrize("topic", all_topics(), ids=lambda topic: topic.title)
def test_every_topic_is_complete_and_found_by_its_own_phrases(api, topic):
    """Each has a sentence, an answer and points, and balanced fences; its first phrase leads to it."""
    assert topic.sentence.endswith((".", ".**", "`.", "...", ")."))
    assert len(topic.points) >= 2
    for text in (topic.answer, topic.code):
        assert text.count("```") % 2 == 0
    assert topic.answer in api.text(f"Explain {topic.phrases[0]}")


@pytest.mark.parametrize(
    "topic", [topic for topic in all_topics() if topic.code], ids=lambda topic: topic.title
)
def test_the_code_of_every_topic_is_valid_python(topic):
    """What a reader copies runs, as far as the compiler can tell (magics and top-level await apart)."""
    source = topic.code.removeprefix("```python\n").removesuffix("\n```")
    if "%" in source.split("\n")[0] and source.startswith("%"):
        return

    compile(source, topic.title, "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 500,
        "what is 9**9**9**9",
        "```python\n",
        "Traceback",
        "Explain:\n```\n\x00\n```",
        "!simulate",
        "🧪" * 50,
    ],
)
def test_strange_prompts_are_answered_all_the_same(api, prompt):
    """No prompt breaks the simulator."""
    assert api.text(prompt)
