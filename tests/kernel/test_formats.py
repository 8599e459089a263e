"""Answers in requested formats: `-f`, `--schema`, `--web-search`, in a real kernel."""

import html
import re

import pytest

from claude_magic.simulator import reply


def shown(run):
    """Return the only output of the cell."""
    (output,) = run.outputs
    return output


def visible(run):
    """Return the visible text of an output."""
    text = html.unescape(re.sub(r"<[^>]*>", "", shown(run)["data"]["text/html"]))
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("answer_format", "text", "is_shown", "plain"),
    [
        ("md", "**bold** $5", "<strong>bold</strong> $5", "**bold** $5"),
        ("text", "**bold** <b> $x$", "**bold** &lt;b&gt; $x$", "**bold** <b> $x$"),
        ("code", "Sure:\n```python\nx\n```\nDone.", ">x</code></pre>", "x"),
        ("json", '```json\n{"a":[1]}\n```', "</span>: [\n", '{\n  "a": [\n    1\n  ]\n}'),
        ("html", '<h2 onclick="x()">Tides</h2><script>x()</script>', "<h2>Tides</h2>", None),
        ("math", "*$5* and $x^2$", r"*$5* and <span", "*$5* and $x^2$"),
    ],
)
def test_an_answer_is_shown_in_its_format(kernel, sim, answer_format, text, is_shown, plain):
    """Each format ends in one output with a footer."""
    sim.script(reply(text))

    run = kernel.run(f"%%claude -f {answer_format}\nTell me.")

    assert run.status == "ok"
    assert is_shown in shown(run)["data"]["text/html"]
    assert "tokens in" in visible(run)
    assert "script" not in shown(run)["data"]["text/html"]
    assert set(shown(run)["data"]) == {"text/html", "text/markdown", "text/plain"}
    assert plain in (None, shown(run)["data"]["text/plain"])


def test_every_frame_of_a_format_is_clean(kernel, sim):
    """While it streams as well: no HTML of the model becomes an element of the page."""
    sim.script(reply("<p>a</p>" + "<script>window.pwned=1</script><img src=x onerror=y>" * 50))

    run = kernel.run("%%claude -f html\nTell me.")

    assert run.frames
    assert not any(re.search(r"<(script|img)", frame) for frame in run.frames)


# Schemas


def test_an_answer_to_a_description_is_an_object(kernel, sim):
    """Requested with structured outputs, bound to the variable, and shown as data."""
    run = kernel.run("%%claude --schema 'name, age int, tags list[str]' -o keeper\nAda Lovelace is 36")
    sent = sim.requests[-1].body["output_config"]["format"]

    assert run.status == "ok"
    assert sent["type"] == "json_schema"
    assert sent["schema"]["properties"]["age"] == {"type": "integer"}
    assert kernel.value("keeper.age") == "36"
    assert kernel.value("keeper").startswith("Answer(name=")
    assert '"age": 36' in visible(run)


def test_an_answer_to_a_class_is_an_instance(kernel, sim):
    """Of a model class defined in the notebook."""
    kernel.run("import dataclasses\n@dataclasses.dataclass\nclass Tide:\n    port: str\n    metres: float\n")

    kernel.run("%%claude --schema Tide -o tide\nBrest 7.2")

    assert kernel.value("isinstance(tide, Tide)") == "True"


def test_an_answer_to_a_list_is_a_list(kernel, sim):
    """The object that the API requires around it is removed."""
    kernel.run("%%claude --schema 'list[happy|sad]' -o moods\nI am happy")

    assert kernel.value("set(moods) <= {'happy', 'sad'}") == "True"


def test_an_answer_that_does_not_fit_fails_and_is_kept(kernel, sim):
    """The text is kept on the screen and in `claude.last`; the error names the field and the reason."""
    sim.script(reply('{"name": "Ada", "age": "old"}'))

    run = kernel.run("%%claude --schema 'name, age int' -o keeper\nAda")

    assert run.status == "error"
    assert run.error["ename"] == "SchemaMismatchError"
    assert "age: Input should be a valid integer" in run.error["evalue"]
    assert kernel.value("__import__('claude_magic').claude.last.text") == repr(
        '{"name": "Ada", "age": "old"}'
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("Keper", "there is no type Keper"),
        ("'age strng'", "Did you mean str?"),
        ("'a dict'", "free keys"),
    ],
)
def test_a_schema_that_cannot_be_is_an_error_before_anything_is_sent(kernel, sim, spec, words):
    """One line with the reason."""
    run = kernel.run(f"%%claude --schema {spec}\nAda")

    assert run.status == "error"
    assert words in run.error["evalue"]
    assert run.error["evalue"].endswith(" Nothing was sent.")
    assert sim.requests == []


# The web


def test_a_search_is_folded_and_its_pages_are_cited(kernel, sim):
    """The search is collapsed, with its results as links; citation numbers are in the text, and sources below it."""
    run = kernel.run("%%claude --web-search\nSearch the web for lighthouse keepers")
    picture = shown(run)["data"]["text/html"]

    assert run.status == "ok"
    assert "searched the web for “" in visible(run)
    assert re.search(r'<sup[^>]*><a href="https://example\.org/', picture)
    assert ">Sources<" in picture
    assert "[\\[1\\]](https://example.org/" in shown(run)["data"]["text/markdown"]
