"""The content that a cell sends with its prompt: values, files, cells and errors, from a real kernel to the server."""

from __future__ import annotations

import importlib.metadata

import pytest

from claude_magic.simulator import reply


def sent(sim):
    """Return the last user turn as text, with images and documents by their type."""
    content = sim.requests[-1].body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text") or f"<{block['type']}>" for block in content)


@pytest.fixture(autouse=True)
def _new_conversation(kernel):
    """Start a new conversation for each test."""
    kernel.run("%config ClaudeMagics.thinking = 'hide'")


def test_values_stand_in_the_place_of_their_names(kernel, sim):
    """Values of the user's variables are inserted; other text in braces is sent as typed, with one note."""
    kernel.run("name = 'Ada'; rows = [1, 2]")

    run = kernel.run("%%claude\n{{ name }} has {{ rows }}, {{ nobody }} has {x} and {{ len(rows) }}.")

    assert sent(sim) == "Ada has [1, 2], {{ nobody }} has {x} and {{ len(rows) }}."
    (note,) = [line for line in run.frames[-1].split("<div") if "as typed" in line]
    assert "nobody" in note


def test_raw_leaves_double_braces_alone(kernel, sim):
    """Even if they contain names of the user's variables."""
    kernel.run("name = 'Ada'")

    kernel.run("%%claude --raw\n{{ name }}")

    assert sent(sim) == "{{ name }}"


def test_values_are_not_looked_into_again(kernel, sim):
    """There is one pass, so braces in a value are sent as they are."""
    kernel.run("template = '{{ name }}'; name = 'Ada'")

    kernel.run("%%claude\nWhat is {{ template }}?")

    assert sent(sim) == "What is {{ name }}?"


def test_an_expression_that_fails_sends_nothing(kernel, sim):
    """The error names the expression and the reason; the cell keeps the prompt."""
    kernel.run("rows = [1, 2]")

    run = kernel.run("%%claude\n{{ rows[5] }}")

    assert run.status == "error"
    assert "IndexError" in run.error["evalue"]
    assert sim.requests == []


def test_a_table_and_a_figure_become_what_claude_can_read(kernel, sim):
    """A description and an image."""
    kernel.run(
        "import pandas as pd, matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\n"
        "df = pd.DataFrame({'month': ['Jan', 'Feb'], 'sales': [3, 4]})\n"
        "figure, axes = plt.subplots(); axes.plot(df.sales); plt.close(figure)"
    )

    kernel.run("%%claude\nCompare {{ df }} with {{ figure }}, please.")

    blocks = sim.requests[-1].body["messages"][-1]["content"]
    assert [block["type"] for block in blocks] == ["text", "image", "text"]
    assert "2 rows" in blocks[0]["text"]
    assert "sales" in blocks[0]["text"]
    assert blocks[1]["source"]["media_type"] == "image/png"
    assert sim.requests[-1].status == 200


def test_figures_in_a_container_go_as_pictures_in_their_places(kernel, sim):
    """With both magics and as attachments. Objects that can be read only once are refused, and not read."""
    kernel.run(
        "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\n"
        "figure, axes = plt.subplots(); plt.close(figure)\npair = ('Loss', figure); rows = (n for n in [1, 2])"
    )

    kernel.run("%%claude --new\nCompare {{ pair }} and {{ {'a': [axes]} }}.")
    blocks = sim.requests[-1].body["messages"][-1]["content"]
    kernel.run("%claude --new -a pair What is this?")
    attached = sim.requests[-1].body["messages"][-1]["content"]
    refused = kernel.run("%%claude --new\nSum up {{ rows }}.")

    assert [block["type"] for block in blocks] == ["text", "image", "text", "image", "text"]
    assert blocks[0]["text"] == "Compare ('Loss', "
    assert "image" in [block["type"] for block in attached]
    assert refused.status == "error"
    assert "list(rows)" in refused.error["evalue"]
    assert kernel.value("list(rows)") == "[1, 2]"
    assert len(sim.requests) == 2


def test_a_damaged_picture_sends_nothing(kernel, sim):
    """A truncated download, in a file and in a variable."""
    kernel.run(
        "import io\nfrom PIL import Image\nbuffer = io.BytesIO(); Image.effect_noise((64, 64), 50).save(buffer, 'PNG')\n"
        "half = buffer.getvalue()[:2_000]; open('half.png', 'wb').write(half)"
    )

    for cell in ("%%claude -a half.png\nWhat is this?", "%%claude\nWhat is {{ half }}?"):
        run = kernel.run(cell)
        assert run.status == "error"
        assert "is damaged" in run.error["evalue"]
    assert sim.requests == []


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("-a .env", "Why?"),
        ("-a text", "Why?"),
        ("-s @.env", "Why?"),
        ("", "Why {{ text }}?"),
        ("--compare sonnet,opus -a .env", "Why?"),
        ("--bg -a .env", "Why?"),
        ("--interact n -a .env", "Why {{ n }}?"),
        ("--map rows -a .env", "Why {{ item }}?"),
        ("--map rows --dry-run -a text", "Why {{ item }}?"),
        ("--map rows -s @.env", "Why {{ item }}?"),
        ("-a .env", "explain text"),
    ],
)
def test_what_looks_like_credentials_is_not_sent_without_being_asked_for(kernel, sim, line, prompt):
    """The user named the value, but may not know its content. The error does not contain it."""
    kernel.run("text = 'SMTP_PASS=hunter2hunter2'; open('.env', 'w').write(text); n, rows = 3, ['a', 'b']")

    run = kernel.run(f"%%claude {line}\n{prompt}" if "explain" not in prompt else f"%claude {line} {prompt}")

    assert run.status == "error"
    assert "looks like credentials" in run.error["evalue"]
    assert "--raw" in run.error["evalue"]
    assert "hunter2" not in str(run.error)
    assert sim.requests == []


def test_raw_sends_what_looks_like_credentials_as_it_is(kernel, sim):
    """In a file or text that the user names."""
    kernel.run("text = 'SMTP_PASS=hunter2hunter2'; open('.env', 'w').write(text);")

    kernel.run("%%claude --raw -a .env -a text\nWhy?")

    assert str(sent(sim)).count("hunter2hunter2") == 2


def test_files_of_a_folder_that_was_deleted(start_kernel, sim):
    """One line, no traceback."""
    kernel = start_kernel()
    kernel.run("import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')")

    for line in ("-a notes.txt Why?", "save talk.json", "load talk.json"):
        run = kernel.run(f"%claude {line}")
        assert run.status == "error"
        assert "working directory of this kernel has been deleted" in run.error["evalue"]
        assert len("\n".join(run.error["traceback"]).splitlines()) < 3


def test_classes_of_ones_own_say_what_they_become(kernel, sim):
    """With a method, without importing this package."""
    kernel.run(
        "class Reactor:\n    def _repr_claude_(self):\n        return 'a reactor at 300 K'\nreactor = Reactor()"
    )

    kernel.run("%%claude\nIs {{ reactor }} safe?")

    assert sent(sim) == "Is a reactor at 300 K safe?"


def test_secrets_in_what_is_collected_stay_here(start_kernel, sim):
    """In a dict, a cell and a traceback; the footer lists what was redacted. Typed text is sent as it is."""
    kernel = start_kernel(MY_SECRET_TOKEN="hunter2hunter2")
    kernel.run("settings = {'token': 'hunter2hunter2', 'other': 'sk-ant-abcdefghijklmnop'}")

    run = kernel.run("%%claude\nI typed hunter2hunter2. What is in {{ settings }}?")

    assert sent(sim).count("hunter2hunter2") == 1
    assert "sk-ant-" not in sent(sim)
    assert "environment variable MY_SECRET_TOKEN" in run.frames[-1]


def test_files_and_variables_are_attached_in_order(kernel, sim):
    """Before the prompt, each under its name."""
    kernel.run("open('notes.txt', 'w').write('high water'); rows = [1, 2]")

    run = kernel.run("%%claude -a notes.txt -a rows\nSummarise.")

    assert run.status == "ok"
    assert sent(sim).index("high water") < sent(sim).index("[1, 2]") < sent(sim).index("Summarise.")


def test_an_attachment_that_does_not_exist_sends_nothing(kernel, sim):
    """With what was probably meant."""
    kernel.run("open('notes.txt', 'w').write('high water')")

    run = kernel.run("%%claude -a nots.txt\nSummarise.")

    assert run.status == "error"
    assert "notes.txt" in run.error["evalue"]
    assert sim.requests == []


def test_attachments_too_large_together_send_nothing(kernel, sim):
    """Each of them could be sent alone; the next question works."""
    kernel.run(
        "for name in ('one.pdf', 'two.pdf'):\n    open(name, 'wb').write(b'%PDF-1.7' + bytes(13 * 2**20))"
    )

    run = kernel.run("%%claude --new -a one.pdf -a two.pdf\nCompare.")

    assert run.status == "error"
    assert "the API takes 32" in run.error["evalue"]
    assert sim.requests == []
    assert kernel.run("%%claude\nHello").status == "ok"
    assert "Compare." not in str(sim.requests[-1].body["messages"])


def test_cells_are_sent_with_what_they_showed(start_kernel, sim):
    """Only the requested cells, without questions to Claude."""
    kernel = start_kernel()
    kernel.run("first = 1")
    kernel.run("6 * 7")
    kernel.run("%%claude\nHello")
    kernel.run("1 / 0")

    kernel.run("%%claude --cells -2:\nWhat did I do?")

    text = sent(sim)
    assert "6 * 7" in text
    assert "42" in text
    assert "1 / 0" in text
    assert "first" not in text
    assert "Hello" not in text
    kernel.run("%%claude --cells none\nAnd now?")
    assert sent(sim) == "And now?"


def test_fix_sends_the_failure_and_puts_the_corrected_cell_below(start_kernel, sim):
    """With the values of the failing line; the new cell is not run."""
    kernel = start_kernel()
    kernel.run("def ratio(kept, rows):\n    return kept / rows")
    kernel.run("ratio(3, 0)")

    run = kernel.run("%claude fix")

    text = sent(sim)
    for part in (
        "ratio(3, 0)",
        "return kept / rows",
        "ZeroDivisionError",
        "kept = 3",
        "rows = 0",
        "Cell In[",
    ):
        assert part in text
    (payload,) = run.reply["content"]["payload"]
    assert (payload["source"], payload["replace"]) == ("set_next_input", False)
    assert "ratio(3, 0)" in payload["text"]


def test_what_cells_printed_is_sent_as_far_as_ipython_remembers(start_kernel, sim):
    """IPython 8 keeps only the values of last lines, which a note reports. A value whose repr fails is not an error."""
    kernel = start_kernel()
    kernel.run("print('\\x1b[31mhigh water\\x1b[0m')\n6 * 7")
    kernel.run(
        "class Mute:\n    def __repr__(self):\n        raise ValueError('no words')\nmute = Mute()\nmute"
    )

    run = kernel.run("%%claude --cells all\nWhat did I do?")

    assert run.status == "ok"
    assert "```\n42\n```" in sent(sim)
    if int(importlib.metadata.version("ipython").split(".")[0]) >= 9:
        assert "```\nhigh water\n```" in sent(sim)
    else:
        assert "only since version 9" in run.frames[-1]


def test_fix_sends_whole_what_is_spread_over_cells(start_kernel, sim):
    """The function that failed is in another cell; causes name their cells as well; secrets are redacted."""
    kernel = start_kernel()
    kernel.run(
        "def ratio(kept, rows):\n    password = 'correct-horse-9'\n    rows = 0\n    return kept / rows"
    )
    kernel.run(
        "try:\n    ratio(3, 4)\nexcept ZeroDivisionError as error:\n    raise ValueError('no rows') from error"
    )

    kernel.run("%claude fix")

    text = sent(sim)
    assert "which failed in line 4" in text
    assert "\n    rows = 0\n" in text
    assert "ipykernel_" not in text
    assert "correct-horse-9" not in text


def test_fix_knows_what_is_no_python_at_all(start_kernel, sim):
    """A cell with a syntax error has no frame, but a line number."""
    kernel = start_kernel()
    kernel.run("rows = [1,\ndef f(:\n    pass")

    kernel.run("%claude fix")

    assert "SyntaxError" in sent(sim)
    assert "which failed in line" in sent(sim)
    assert "def f(:" in sent(sim)


def test_options_before_a_subcommand_do_what_they_do_before_a_prompt(start_kernel, sim):
    """Files, cells and a system prompt from a file are sent with `fix` and `explain`, too."""
    kernel = start_kernel()
    kernel.run("open('notes.txt', 'w').write('high water'); open('tone.txt', 'w').write('Be brief.')")
    kernel.run("1 / 0")

    for command in ("fix", "explain tide"):
        kernel.run("tide = [1, 2]")
        kernel.run(f"%claude -s @tone.txt -a notes.txt --cells -1: {command}")

        assert sim.requests[-1].body["system"] == "Be brief."
        assert "high water" in sent(sim)
        assert "In [" in sent(sim)

    assert sent(sim).index("high water") < sent(sim).index("Explain `tide`")


def test_fix_without_a_failure_says_so(start_kernel, sim):
    """Nothing is sent. An error of the extension is not one of the user's code."""
    kernel = start_kernel()
    run = kernel.run("%claude fix")

    assert run.status == "error"
    why = "No cell has failed with an error of your code, so there is nothing to fix. Nothing was sent."
    assert " ".join(run.error["evalue"].split()) == why

    kernel.run("%claude -a missing.csv hi")
    run = kernel.run("%claude fix")

    assert "The ConfigurationError that was shown last does not come from the code of a cell." in " ".join(
        run.error["evalue"].split()
    )
    assert sim.requests == []


def test_errors_of_ours_and_interrupts_are_no_errors_of_the_users(start_kernel, sim):
    """`Err` contains only errors of the user's cells."""
    kernel = start_kernel()
    kernel.run("{}['harbour']")
    kernel.run("%%claude\n!simulate bad_request\nhi")
    kernel.run("%claude --nonsense")
    kernel.run("raise KeyboardInterrupt")
    sim.clear()

    kernel.run("%%claude\nWhat was {{ Err[-1] }}? And how many: {{ Err.__len__() }}")

    assert "KeyError: 'harbour'" in sent(sim)
    assert sent(sim).endswith("And how many: 1")


def test_explain_sends_the_source_of_a_name(kernel, sim):
    """If the name exists; otherwise the line is a prompt."""
    kernel.run("def tide(port):\n    return len(port)")

    kernel.run("%claude explain tide")
    assert "def tide(port):" in sent(sim)

    kernel.run("%claude explain why the sky is blue")
    assert sent(sim) == "explain why the sky is blue"


def test_code_goes_into_a_cell_below(kernel, sim):
    """It is not run, and stays in the answer for front ends that cannot insert cells."""
    run = kernel.run("%%claude -x --new\nWrite a python function that tests for primes")

    (payload,) = run.reply["content"]["payload"]
    assert (payload["source"], payload["replace"]) == ("set_next_input", False)
    assert payload["text"].splitlines()[0] in run.outputs[-1]["data"]["text/plain"]


@pytest.mark.parametrize("command", ["%claude -x Write a check", "%claude fix"])
def test_an_answer_without_code_makes_no_cell_and_a_line_says_so(kernel, sim, command):
    sim.script(reply("There is nothing to write."))
    kernel.run("1 / 0")

    run = kernel.run(command)

    assert run.reply["content"]["payload"] == []
    shown = [output["data"]["text/plain"] for output in run.outputs if "data" in output]
    assert shown[1:] == ["The answer has no code, so there is no new cell."]


@pytest.mark.parametrize("command", ["%%claude -x --new", "%%claude -x -f code --new"])
def test_hidden_characters_of_code_stand_as_escapes_in_the_new_cell(kernel, sim, command):
    """Bidirectional controls could make code look different from what it does; a line reports the change."""
    sim.script(reply("```python\nif user != 'root\u202e \u2066':  # \u200bcheck\n    pass\n```"))

    run = kernel.run(f"{command}\nWrite a check")

    (payload,) = run.reply["content"]["payload"]
    assert payload["text"] == "if user != 'root\\u202e \\u2066':  # \\u200bcheck\n    pass"
    shown = [output["data"] for output in run.outputs if "data" in output]
    assert "written as escapes" in shown[-1]["text/plain"]
    assert not any(
        sign in value for data in shown for value in data.values() for sign in "\u202e\u2066\u200b"
    )
    assert any("U+202E, U+2066, U+200B" in data.get("text/html", "") for data in shown)
