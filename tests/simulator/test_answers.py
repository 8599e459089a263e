"""Answers fit their questions and are deterministic; unknown questions get the fallback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from claude_magic.simulator._answers import FALLBACK, all_topics

DETERMINISTIC = "Write a haiku about the sea"
TOPICS = [topic for topic in all_topics() if topic.sentence]
SHORT = [topic for topic in all_topics() if not topic.sentence]


def turns(*prompts):
    """Return a conversation of these questions, with answers to all but the last."""
    *earlier, last = prompts
    messages = []
    for text in earlier:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "I see."}]
    return [*messages, {"role": "user", "content": last}]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What is 17 * 23?", "`17 * 23` = **391**"),
        ("What is 17 × 23?", "**391**"),
        ("2+2", "`2 + 2` = **4**"),
        ("what is 15% of 80?", "= **12**"),
        ("How much is 2 to the power of 10?", "**1,024**"),
        ("what is the square root of 144", "**12**"),
        ("compute 1 / 0", "divides by zero"),
        ("say exactly: pong", "pong"),
        ('Reply with only the word "ready".', "ready"),
        ("Answer with just yes.", "yes"),
        ("Please say exactly: pong", "pong"),
        ("Reply with exactly this text:\nfirst\nsecond", "first\nsecond"),
        ("What is the capital of New Zealand?", "**Wellington**"),
        ("what's the capital of the Netherlands?", "the Netherlands is **Amsterdam**"),
        ("count from 3 to 7", "3, 4, 5, 6, 7"),
        ("Count to twenty.", "18, 19, 20"),
        ("Count to a hundred.", "98, 99, 100"),
        ("Name three primes.", "2, 3, 5"),
        ("Name a prime.", "2"),
        ("Is 2027 a prime?", "Yes, 2027 is a prime."),
        ("Is 91 prime?", "No: 91 = 7 × 13."),
        ("Is water wet?", "Yes."),
        ("Three colours, as a list.", '["red", "green", "blue"]'),
        ("Square two, in Python.", "square = 2**2"),
        ("Who was Ada Lovelace?", "Analytical Engine"),
        ("Write a haiku about the sea", "> Low tide at daybreak:"),
        ("Write a haiku about notebooks", "> Only number seventeen"),
        ("Tell a story.", "Once upon a time"),
        ("who are you?", "not a model"),
        ("What can you do?", "`!simulate overloaded_once`"),
        ("help", "not a model"),
        ("Hello!", "This is the **simulator**"),
        ("Good morning", "This is the **simulator**"),
        ("Thanks a lot.", "You are welcome."),
    ],
)
def test_a_prompt_gets_a_fitting_answer(api, prompt, expected):
    """These are typical first prompts and those of the README."""
    assert expected in api.text(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "Who was Napoleon?",
        "Translate 'good morning' into French",
        "Write a function that parses roman numerals",
        "Explain why my cat sleeps, as a table",
        "What do you mean?",
        "Is the median house price in Berlin rising?",
        "What is my median income?",
        "Planets and their tidal locking",
        "Which sequence is prime real estate?",
        "Tell me a joke",
        "A haiku about tax law",
        "Mean people are a plot hole",
        "Is a skyline blue?",
        "Compare the tides with p-values",
        "In this notebook, does repeat the word show twice?",
        "What happens on 2026-11-27?",
        "2026-11-27",
        "say",
        " ? ",
    ],
)
def test_what_is_unknown_or_unclear_is_owned_up_to_in_two_lines(api, prompt):
    """A single word, part of a phrase or two topics select no topic. The fallback lists the topics and explains how to set a key."""
    assert api.text(prompt) == FALLBACK
    assert len(FALLBACK.splitlines()) == 2
    assert "simulator" in FALLBACK
    assert "%claude login" in FALLBACK
    assert "*what can you do*" in FALLBACK


@pytest.mark.parametrize(
    ("prompt", "marks"),
    [
        ("Why is the sky blue?", ["## Why the sky is blue", "$$", "|---|", "**"]),
        ("explain why the sky is blue", ["## Why the sky is blue"]),
        ("Why is the sky blue? Answer in one sentence.", ["scatters short wavelengths"]),
        ("And why is the sunset red?", ["At sunset"]),
        ("Show me pandas groupby as code", ["```python\nimport pandas"]),
        ("How do I read a CSV with pandas?", ["pd.read_csv"]),
        ("How do I plot a histogram with matplotlib?", ["## Plotting with matplotlib"]),
        ("Write a Python function that computes primes", ["def is_prime"]),
        ("Write a python function for the mean.", ["def mean"]),
        ("What is the difference between mean and median?", ["## Mean, median"]),
        ("Does correlation mean causation?", ["## Correlation and causation"]),
        ("Make a table of the tides", ["| neap tide | at right angles | small |"]),
        ("List three facts about tides", ["1. ", "2. ", "3. "]),
        ("Give me 2 points on the tides", ["1. ", "2. "]),
        ("Explain p-values, as a list", ["1. It is computed", "4. "]),
        (
            "Explain the central limit theorem to someone who knows what a mean is.\nGive the formula.",
            ["## The central limit theorem", r"\mathcal{N}(0, 1)", "```python"],
        ),
    ],
)
def test_a_topic_comes_in_the_form_that_was_asked_for(api, prompt, marks):
    """A prompt can ask for a table, code or one sentence."""
    text = api.text(prompt)

    assert all(mark in text for mark in marks), text
    if "one sentence" in prompt:
        assert "\n" not in text
        assert text.count(". ") == 0


def test_there_are_few_topics(api):
    """A few precise topics are better than many."""
    assert 10 <= len(TOPICS) <= 15


def test_the_system_prompt_can_ask_for_the_form(api):
    """The form does not have to be repeated in each prompt."""
    text = api.text("Why is the sky blue?", system="Always answer in one sentence.")

    assert text.startswith("The sky is blue because")
    assert "\n" not in text


def test_a_conversation_is_remembered(api):
    """A prompt can refer to names, facts, questions and topics of earlier turns."""

    def ask(*prompts):
        return api.text("", messages=turns(*prompts))

    assert "**Ada**" in ask("Hi, my name is Ada.", "What is my name?")
    assert "not told me" in ask("Hi.", "What is my name?")
    assert "**teal**" in ask("My favourite colour is teal.", "Thanks", "What is my favourite colour?")
    assert "> Tell me about tides" in ask("Tell me about tides", "Thanks", "What did I ask first?")
    assert "| neap tide |" in ask("Tell me about tides", "Now as a table")
    assert ask("Tell me about tides", "And then?") == FALLBACK


@pytest.mark.parametrize(
    "last",
    ["import stat", "import statistics", "import statistics\n", "import statistics\n\n", "31, 410]", "The"],
    ids=[
        "in a word",
        "at a line end",
        "at a line start",
        "before a line",
        "at a line end later",
        "in a sentence",
    ],
)
def test_an_answer_that_was_cut_goes_on_where_it_stopped(api, last):
    """This works within a conversation and without one, and loses no space and no line break."""
    whole = api.text("Explain the standard deviation")
    before, _, rest = whole.partition(last)
    beginning = before + last
    go_on = (
        "Your last answer was cut off before its end. Go on exactly where it stopped, in the middle of the word if need be: "
        f"repeat nothing, and add no preamble. It stopped with:\n\n{beginning[-200:]}"
    )
    alone = (
        "I asked you this:\n\n<question>\nExplain the standard deviation\n</question>\n\nYour answer was cut off. This is what arrived:\n\n"
        f"<answer>\n{beginning}\n</answer>\n\nGo on exactly where it stopped, in the middle of the word if need be: repeat nothing."
    )

    assert rest
    assert api.text("", messages=turns("Explain the standard deviation", go_on)) == rest
    assert api.text(alone) == rest
    assert api.text("", messages=turns("Who was Napoleon?", "Hello")) != FALLBACK


def test_the_same_prompt_has_the_same_answer_in_every_process(api):
    """Answers do not depend on the hash seed or the time."""
    code = (
        "from claude_magic.simulator._answers import answer_text\n"
        "from claude_magic.simulator._conversation import read_conversation\n"
        f"print(answer_text(read_conversation({{'messages': [{{'role': 'user', 'content': {DETERMINISTIC!r}}}]}})))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()

    assert api.text(DETERMINISTIC).strip() == elsewhere


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.title)
def test_every_topic_is_complete_and_found_by_its_own_phrases(api, topic):
    """Each has a sentence, an answer, points and balanced fences, and is found by each of its phrases."""
    assert topic.sentence.endswith((".", ".**", "`.", "...", ")."))
    assert len(topic.points) >= 2
    for text in (topic.answer, topic.code):
        assert text.count("```") % 2 == 0
    for phrase in topic.phrases:
        assert topic.answer in api.text(f"Explain {' '.join(phrase)}")


@pytest.mark.parametrize("topic", SHORT, ids=lambda topic: topic.title[:20])
def test_every_short_answer_is_found_by_its_own_phrases(api, topic):
    """Each phrase selects it."""
    for phrase in topic.title.split(", "):
        assert api.text(phrase) == topic.answer


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.code], ids=lambda topic: topic.title)
def test_the_code_of_every_topic_is_valid_python(topic):
    """All code compiles."""
    source = topic.code.removeprefix("```python\n").removesuffix("\n```")

    compile(source, topic.title, "exec")


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 500,
        "what is 9**9**9**9",
        "what is " + "(" * 90 + "1" + ")" * 90,
        "```python\n",
        "```csv\n```",
        "```csv\na,b\n\x00,1\n```",
        f"```csv\n{'a' * 200_000}\n```",
        f"```json\n{'[' * 5000}{']' * 5000}\n```",
        f"```python\n{'+'.join(['1'] * 5000)}\n```",
        "```\n" * 3000,
        "Cells of my notebook:\n" + "\nIn [1]:\n```python\nx = 1\n```\n" * 500,
        "Traceback (most recent call last):",
        "DataFrame: 3 rows × 2 columns",
        "[1, " * 300,
        "{" * 300 + "}" * 300,
        "Traceback",
        "Explain:\n```\n\x00\n```",
        "!simulate",
        "🧪" * 50,
    ],
)
def test_strange_prompts_are_answered_all_the_same(api, prompt):
    """No prompt causes an error in the simulator."""
    assert api.text(prompt)
