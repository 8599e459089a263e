"""A notebook after a kernel restart: the note of the first question, and the conversation restored from the file."""

import json

import pytest

from claude_magic.simulator import reply

KEY = "sk-ant-api03-" + "secret0" * 12


class Notebook:
    """A notebook on disk, run in kernels that get its path, as Jupyter starts them."""

    def __init__(self, start_kernel, path):
        self.path = path
        self.cells = {}
        self._start = start_kernel
        self.restart()

    def restart(self, **env):
        self.kernel = self._start(**({"JPY_SESSION_NAME": str(self.path)} | env))

    def run(self, **sources):
        """Run cells by id, with prompts as `%%claude` cells. Return the last run."""
        for cell_id, source in sources.items():
            source = source if source.startswith(("%", "from", "claude")) else f"%%claude\n{source}"
            run = self.kernel.run(source, cell_id=cell_id)
            self.cells[cell_id] = {
                "id": cell_id,
                "cell_type": "code",
                "source": source.splitlines(keepends=True),
                "metadata": {},
            }
            self.keep(cell_id, run)
        return run

    def keep(self, cell_id, run):
        """Store the current outputs of a run."""
        outputs = [{key: output[key] for key in output if key != "transient"} for output in run.outputs]
        self.cells[cell_id]["outputs"] = outputs

    def save(self, *order):
        cells = [{"cell_type": "markdown", "id": "m", "source": "# Title", "metadata": {}}]
        cells += [self.cells[each] for each in (order or self.cells)]
        document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.path.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture
def notebook(start_kernel, sim, tmp_path):
    return Notebook(start_kernel, tmp_path / "talk.ipynb")


def sent_texts(sim):
    """Return the texts of the last request, oldest first."""
    texts = []
    for message in sim.requests[-1].body["messages"]:
        content = message["content"]
        texts.append(content if isinstance(content, str) else content[-1]["text"])
    return texts


def plain_outputs(run):
    return [output["data"]["text/plain"] for output in run.outputs if "data" in output]


def test_the_first_question_after_a_restart_says_that_the_answers_above_are_not_sent(notebook, sim):
    """In one line, once, with the command that restores the conversation."""
    sim.script(reply("Hello Ada."), reply("1729."), reply("Who?"), reply("Ada."))
    notebook.run(a="My name is Ada", b="A number?")
    notebook.save()
    notebook.restart()

    first = notebook.run(c="What is my name?")
    note = (
        "The 2 answers above are from before this kernel started, and not part of this conversation: "
        "<code>%claude load notebook</code> brings them back."
    )
    assert note in first.frames[-1]
    assert sent_texts(sim) == ["What is my name?"]
    assert "from before this kernel" not in notebook.run(d="%%claude\nAnd now?").frames[-1]

    loaded = plain_outputs(notebook.run(e="%claude load notebook"))
    assert loaded[0].startswith("Loaded from talk.ipynb, as saved at ")
    assert loaded[0].endswith(": 2 turns in main. main continues after “A number?”.")
    assert loaded[1:] == ["main ended at turn 2 before: %claude switch 2 goes back there."]

    notebook.run(c="What is my name?")
    assert sent_texts(sim) == ["My name is Ada", "Hello Ada.", "A number?", "1729.", "What is my name?"]
    notebook.run(b="Another number?")
    assert sent_texts(sim) == ["My name is Ada", "Hello Ada.", "Another number?"], (
        "cells ask in their places again"
    )
    assert all(request.status == 200 for request in sim.requests)


@pytest.mark.parametrize(
    ("cell", "source"),
    [
        ("a", "My name is Ada"),
        ("c", "%%claude --new\nA new start"),
        ("c", "%%claude --no-history\nAlone"),
        ("c", "%%claude --thread other\nElsewhere"),
        ("c", "%%claude --dry-run\nSee"),
    ],
)
def test_a_question_with_no_answers_of_its_conversation_above_says_nothing(notebook, sim, cell, source):
    """Run All from the top, a new conversation, one without history, and another thread."""
    notebook.run(a="My name is Ada", b="A number?")
    notebook.save()
    notebook.restart()

    run = notebook.run(**{cell: source})

    assert "from before this kernel" not in str(run.messages)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"cells": 3}', b'{"cells": [1, {"cell_type": "code", "outputs": 2}]}']
)
def test_whatever_the_file_holds_the_question_is_asked(notebook, sim, content):
    """Reading the file never prevents an answer."""
    notebook.path.write_bytes(content)

    assert notebook.run(a="Hello").status == "ok"


def test_an_unsaved_notebook_is_an_error_in_words(notebook, sim, start_kernel):
    """Without a file, without a path, or with an empty file; a file can be named."""
    run = notebook.run(a="%claude load notebook")
    assert "The kernel cannot find the file of this notebook" in run.error["evalue"]
    notebook.save()
    run = notebook.run(a="%claude load notebook")
    assert "The saved talk.ipynb has no answers that can be brought back." in run.error["evalue"]
    run = notebook.run(a="%claude load nowhere.ipynb")
    assert "There is no file nowhere.ipynb." in run.error["evalue"]

    notebook.run(b="Hello")
    notebook.save()
    other = start_kernel()
    assert "1 turn in main" in plain_outputs(other.run(f"%claude load {notebook.path}"))[0]


def test_a_notebook_that_got_another_name_is_found_by_its_cell(notebook, sim, tmp_path):
    """Among the notebooks in the working directory; never by its name alone."""
    notebook.run(a="Hello", x="%claude history")
    notebook.save()
    renamed = tmp_path / "renamed.ipynb"
    notebook.path.rename(renamed)
    notebook.restart()
    notebook.kernel.run(f"%cd -q {tmp_path}")

    assert "Loaded from renamed.ipynb" in plain_outputs(notebook.run(x="%claude load notebook"))[0]


def test_what_the_user_has_changed_is_taken_as_it_stands_or_left_out(notebook, sim):
    """Reordered, deleted or edited: the saved file determines the conversation, and a note reports what is missing."""
    sim.script(*[reply(f"Answer {letter}.") for letter in "abcde"])
    notebook.run(a="Question a", b="Question b", c="Question c", d="Question d", e="Question e")
    notebook.cells["b"]["source"] = ["%%claude\n", "Question b, edited"]
    notebook.cells["c"]["outputs"] = []
    (output,) = notebook.cells["d"]["outputs"]
    output["data"]["text/plain"] = ["Answer d, ", "as I want it."]
    notebook.save("e", "a", "b", "c", "d")
    notebook.restart()

    loaded = plain_outputs(notebook.run(x="%claude load notebook"))
    notebook.run(f="%claude Go on")

    assert sent_texts(sim) == [
        *(
            "Question e",
            "Answer e.",
            "Question a",
            "Answer a.",
            "Question d",
            "Answer d, as I want it.",
            "Go on",
        ),
    ]
    assert loaded[1:] == [
        "Left out, because their questions were edited since they were answered: “Question b, edited”. Run them again.",
        "1 answer was edited in the file and is used as it is there.",
        "1 cell that asks has no saved answer: “Question c”.",
    ]


def test_threads_forks_and_beginnings_come_back(notebook, sim):
    """Each at its start; an answer without a conversation is in none of them."""
    notebook.run(
        a="One",
        b="%claude fork idea",
        c="%%claude --thread idea\nTwo",
        d="%%claude --no-history\nAlone",
        e="%%claude --new\nThree",
        f="%%claude -f code --thread sea\nFour",
        g="claude.ask('Five', thread='main')",
    )
    notebook.save()
    notebook.restart()
    notebook.run(x="%claude load notebook")

    def asked(**cells):
        notebook.run(**cells)
        return sent_texts(sim)[::2]

    assert asked(y="%%claude --thread idea\nGo on") == ["One", "Two", "Go on"]
    assert asked(z="%%claude --thread sea\nGo on") == ["Four", "Go on"]
    assert asked(w="Go on") == ["Three", "Five", "Go on"]


def test_answers_of_several_models_come_back_beside_each_other(notebook, sim):
    """The conversation continues from the first; `switch` continues from another."""
    notebook.run(a="One", b="%%claude --compare sonnet,opus\nTwo")
    notebook.save()
    notebook.restart()

    assert "3 turns in main" in plain_outputs(notebook.run(x="%claude load notebook"))[0]
    notebook.run(c="%claude switch 3", d="Go on")
    assert sent_texts(sim)[::2] == ["One", "Two", "Go on"]
    assert "claude-opus" in notebook.kernel.value(
        "[*claude.runtime.conversations.forest().turns.values()][2].model"
    )


def test_a_panel_comes_back_from_its_transcript(notebook, sim):
    """Its thread continues in cells. A long answer in several outputs is saved only as HTML and Markdown."""
    long = "Once more.\n\n" + "A paragraph of the *long* answer.\n\n" * 1_000 + "End."
    sim.script(reply("In the panel."), reply(long))
    shown = notebook.run(p="from claude_magic import PromptPanel; panel = PromptPanel(thread='side'); panel")
    for prompt, answer in (("Aside?", "In the panel."), ("And?", "End.")):
        assert notebook.kernel.run(f"reply = panel.ask({prompt!r})\nawait reply", cell_id="q").status == "ok"
        shown.until(lambda run, answer=answer: any(answer in frame for frame in run.frames))
    notebook.keep("p", shown)
    notebook.save()
    saved = notebook.path.read_text(encoding="utf-8")
    has_outputs = "__import__('claude_magic.display').display.FrontEnd(get_ipython()).follows_context"
    # With ipykernel 6, the whole transcript is a single output.
    copies = 1 if notebook.kernel.value(has_outputs) == "True" else 2
    notebook.restart()

    assert saved.count("A paragraph of the *long* answer.") == 1_000 * copies
    assert "2 turns in side" in plain_outputs(notebook.run(x="%claude load notebook"))[0]
    notebook.run(c="%%claude --thread side\nGo on")
    assert sent_texts(sim) == ["Aside?", "In the panel.", "And?", long, "Go on"]


def test_a_new_panel_does_not_go_on_with_the_thread_of_one_that_is_gone(notebook, sim):
    """It gets a new thread, even if the notebook has restored one with the same name."""
    shown = notebook.run(p="from claude_magic import PromptPanel; panel = PromptPanel(); panel")
    assert notebook.kernel.run("reply = panel.ask('Aside?')\nawait reply", cell_id="q").status == "ok"
    shown.until(lambda run: any("Aside?" in frame for frame in run.frames))
    notebook.keep("p", shown)
    notebook.save()
    notebook.restart()

    assert "1 turn in panel-1" in plain_outputs(notebook.run(x="%claude load notebook"))[0]
    notebook.kernel.run("from claude_magic import PromptPanel; await PromptPanel().ask('New')", cell_id="r")
    assert sent_texts(sim) == ["New"]


def test_a_background_answer_comes_back(notebook, sim):
    """It was complete only after its cell had ended."""
    sim.script(reply("From behind."))
    source = "%%claude --bg\nTake your time"
    notebook.run(a=source)
    shown = notebook.kernel.run(source, cell_id="a", allow_stdin=True)
    shown.until(lambda run: any("turn" in each["metadata"].get("claude_magic", {}) for each in run.outputs))
    notebook.keep("a", shown)
    notebook.save()
    notebook.restart()

    notebook.run(x="%claude load notebook", b="Go on")
    assert sent_texts(sim)[0] == "Take your time"


def test_a_partial_answer_comes_back_as_one_that_can_be_continued(notebook, sim):
    """The text of a continued answer is not repeated."""
    sim.script(reply("Half an", stop_reason="max_tokens"), reply(" answer."), reply("Yes."))
    notebook.run(a="Tell me", b="%claude continue", c="Whole?")
    notebook.save()
    notebook.restart()
    notebook.run(x="%claude load notebook", d="Go on")

    assert sent_texts(sim) == ["Tell me", "Half an", "continue", " answer.", "Whole?", "Yes.", "Go on"]


def test_what_is_saved_is_small_and_holds_no_secret(notebook, sim):
    """Neither attachments, nor a key that the user insisted on sending, nor a second copy of the answer."""
    sim.script(reply("word " * 2_000), reply("No."))
    notebook.kernel.run("table = ['privately held'] * 50")
    notebook.run(a="Tell me of {{ table }}", b=f"%%claude --raw\nIs {KEY} a key?")

    saved = [json.dumps(notebook.cells[each]["outputs"][0]["metadata"]["claude_magic"]) for each in "ab"]

    assert len(saved[0]) < 1_500
    assert "privately" not in saved[0]
    assert KEY not in saved[1]
    notebook.save()
    notebook.restart()
    loaded = plain_outputs(notebook.run(x="%claude load notebook"))
    assert loaded[1].startswith("1 question contained more than text (attachments, variables, tool calls)")


def test_loading_twice_or_without_a_restart_changes_nothing(notebook, sim):
    """Existing turns are reused, with everything that the file does not contain."""
    notebook.run(a="One", b="Two")
    notebook.save()
    turns = "[turn.id for turn in claude.runtime.conversations.forest().turns.values()]"
    before = notebook.kernel.value(turns)

    for _ in range(2):
        notebook.run(x="%claude load notebook")
        assert notebook.kernel.value(turns) == before


@pytest.mark.parametrize("is_from_file", [False, True])
def test_after_a_rerun_of_an_earlier_cell_the_loaded_conversation_continues(
    notebook, sim, tmp_path, is_from_file
):
    """The server refuses thinking below a turn that has changed, so it is left out."""
    notebook.run(a="Explain linear regression", b="Explain p-values", c="Explain overfitting")
    if is_from_file:
        talk = tmp_path / "talk.json"
        notebook.kernel.run(f"%claude save {talk}", cell_id="s")
        notebook.restart()
        notebook.kernel.run("%load_ext claude_magic")
        notebook.kernel.run(f"%claude load {talk}", cell_id="s")
    notebook.run(a="Explain tides")
    notebook.save("a", "b", "c")

    notebook.run(x="%claude load notebook")
    notebook.run(d="What is 5+6?")
    notebook.run(e="And 6+7?")

    assert [request.status for request in sim.requests[-2:]] == [200, 200]
    asked = ["Explain tides", "Explain p-values", "Explain overfitting", "What is 5+6?", "And 6+7?"]
    assert sent_texts(sim)[::2] == asked


@pytest.mark.parametrize("source", ["%claude -x pandas groupby", "%claude fix"])
def test_a_run_all_after_a_restart_inserts_no_second_copy(notebook, sim, source):
    """The untouched cell below is recognised in the saved notebook; other code gets a cell of its own."""
    same, other = (reply(f"```python\n{code}\n```") for code in ("one = 1", "two = 2"))
    sim.script(same, same, other)

    def run_all():
        notebook.kernel.run("1 / 0", cell_id="e")
        return [each["text"] for each in notebook.run(a=source).reply["content"]["payload"]]

    assert run_all() == ["one = 1"]
    notebook.cells["b"] = {"id": "b", "cell_type": "code", "source": ["one = 1"], "outputs": []}
    notebook.save()
    for inserted in ([], ["two = 2"]):
        notebook.restart()
        assert run_all() == inserted
