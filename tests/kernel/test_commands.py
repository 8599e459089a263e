"""The subcommands, the settings of `%config`, and help."""

import json

import pytest

from claude_magic.notebook._commands import COMMANDS
from claude_magic.notebook._options import OPTION_SPECS
from claude_magic.simulator import reply

NEW_KEY = "sk-ant-typed-at-a-prompt"


def test_a_bare_line_prints_a_short_help(kernel, sim):
    """`%claude` alone and an empty cell send nothing."""
    for cell in ("%claude", "%%claude", "%%claude\n"):
        run = kernel.run(cell)

        assert run.status == "ok", cell
        assert "%claude [options] prompt" in run.stdout
    assert sim.requests == []


@pytest.mark.parametrize(
    "cell",
    [
        "%%claude -m opus\n  \n",
        "%claude -m opus",
        "%%claude -a ok.png",
        "%claude --cells all",
        "%claude x <<",
        "1\n%claude -s Hi",
        "get_ipython().run_cell_magic('claude', '-a ok.png', '\\n')",
    ],
)
def test_options_without_a_prompt_are_an_error_that_says_so(kernel, sim, cell):
    """Attachments alone are not a question, and the general help would not explain that."""
    run = kernel.run(cell)

    assert run.status == "error"
    assert "There is no prompt" in run.stderr
    assert run.stdout == ""
    assert sim.requests == []


@pytest.mark.parametrize(
    "cell", ["%claude?", "%%claude?", "?%claude", "%claude ?", "%claude help", "%claude -h", "%claude --help"]
)
def test_the_full_help_explains_every_option_and_subcommand(kernel, sim, cell):
    """`?` works like everywhere in IPython."""
    run = kernel.run(cell)

    payload = run.reply["content"]["payload"]
    text = run.stdout + "".join(page["data"]["text/plain"] for page in payload)
    for name in ("NAME <<", *(spec.name for spec in OPTION_SPECS)):
        assert name in text
    for command in COMMANDS:
        assert f"%claude {command.usage}" in text
    assert sim.requests == []


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("status of the four big projects?", "status of the four big projects?"),
        ("help me with pandas", "help me with pandas"),
        ("explain why the sky is blue", "explain why the sky is blue"),
        ("explain nobody", "explain nobody"),
        ("-- status", "status"),
        ("ask status", "status"),
        ("-m opus ask explain _", "explain _"),
    ],
)
def test_a_line_that_only_begins_like_a_subcommand_is_a_prompt(kernel, sim, line, prompt):
    """Only the whole line can be a subcommand, and `ask` escapes it."""
    kernel.run(f"%claude {line}")

    assert sim.requests[-1].body["messages"][-1]["content"] == prompt


@pytest.mark.parametrize("line", ["%claude stop everything", "%%claude stop foo", "%claude help me"])
def test_a_subcommand_with_a_wrong_word_asks_nothing(kernel, sim, line):
    before = len(sim.requests)

    assert "Nothing was sent." in kernel.run(line).stderr
    assert len(sim.requests) == before


def test_the_same_words_are_a_subcommand_once_the_name_exists(kernel, sim):
    """The namespace is read when the line runs, including names that the same cell has defined."""
    kernel.run("%claude explain harbour")
    assert sim.requests[-1].body["messages"][-1]["content"] == "explain harbour"

    kernel.run("harbour = [1, 2, 3]\n%claude explain harbour")
    assert "[1, 2, 3]" in str(sim.requests[-1].body["messages"][-1]["content"])


@pytest.mark.parametrize("cell", ["%claude statsu", "%claude demo", "x = %claude hlep", "%%claude\tfix\n"])
def test_a_slip_is_reported_and_not_sent(kernel, sim, cell):
    """A prompt of one word that is close to a subcommand. The error is wrapped between words, because JupyterLab breaks long lines within them."""
    run = kernel.run(cell)

    assert run.status == "error"
    told = " ".join(run.stderr.split())
    assert "Did you mean %claude" in told
    assert "To send it as a prompt: %claude ask" in told
    assert run.stderr.endswith(" Nothing was sent.\n")
    assert 70 < max(map(len, run.stderr.splitlines())) <= 88
    assert sim.requests == []


def test_a_cell_with_something_above_its_magic_is_told_in_lines_of_words(kernel, sim):
    """Like other usage errors."""
    run = kernel.run("# About tides\n%%claude\nWhy?")

    first, second = run.stderr.splitlines()
    assert first.startswith("UsageError: %%claude must be the first thing in its cell")
    assert len(first) <= 88
    assert second.endswith("Nothing was run or sent.")
    assert sim.requests == []


def test_f1_status_shows_every_setting_and_its_source(start_kernel, sim):
    """F1, O2: HTML and plain text list each setting with its source, and contain no key."""
    kernel = start_kernel(CLAUDE_MAGIC_MAX_RETRIES="2")
    kernel.run("%config ClaudeMagics.effort = 'low'")

    (output,) = kernel.run("%claude  status ").outputs

    assert set(output["data"]) == {"text/html", "text/plain"}
    lines = [line.split() for line in output["data"]["text/plain"].splitlines()]
    sources = {line[0]: " ".join(line[1:]) for line in lines if line}
    assert sources["effort"] == "low %config"
    assert sources["max_retries"].startswith("2 environment")
    assert sources["model"] == "claude-sonnet-5-5 default"
    assert "[REDACTED]" in sources["api_key"]
    assert sim.requests == []


def test_f1_config_is_used_by_magics_and_by_plain_python(start_kernel, sim):
    """F1: options override `%config`, and `%config` overrides the environment; plain Python in the same cell uses
    it."""
    kernel = start_kernel(CLAUDE_MAGIC_MODEL="claude-haiku-5-5")
    kernel.run("%config ClaudeMagics.model = 'claude-opus-5-5'\n%config ClaudeMagics.max_tokens = 321")
    kernel.run("from claude_magic import claude\nclaude.ask('hi')")
    kernel.run("%%claude\nhi")
    kernel.run("%%claude -m claude-sonnet-5-5 --max-tokens 5 --effort high -s 'be brief'\nhi")
    kernel.run("%config ClaudeMagics.model = None")
    kernel.run("%%claude\nhi")

    bodies = [request.body for request in sim.requests]
    assert [body["model"] for body in bodies] == [
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-sonnet-5-5",
        "claude-haiku-5-5",
    ]
    assert [body["max_tokens"] for body in bodies] == [321, 321, 5, 321]
    assert bodies[2]["output_config"]["effort"] == "high"
    assert "be brief" in json.dumps(bodies[2]["system"])


def test_config_refuses_what_cannot_be(start_kernel):
    """An invalid value is rejected when it is set or when it is used; there is no trait for a key."""
    kernel = start_kernel()
    refused = kernel.run("%config ClaudeMagics.thinking = 'loud'")
    assert "show" in refused.stderr
    assert kernel.run("%config ClaudeMagics.thinking").contents("execute_result") == []
    kernel.run("%config ClaudeMagics.max_retries = -1")

    status, cell = kernel.run("%claude status"), kernel.run("%%claude\nhi")

    for run in (status, cell):
        assert run.error["ename"] == "ConfigurationError"
        assert "max_retries" in run.error["evalue"]
        assert len("\n".join(run.error["traceback"]).splitlines()) <= 4
    assert "api_key" not in kernel.run("%config ClaudeMagics").stdout


def answer_prompt(kernel, run, text):
    request = kernel.client.get_stdin_msg(timeout=120)
    kernel.client.input(text)
    return request["content"]


@pytest.mark.parametrize(
    "line", ["budget 2 USD", "login hunter2", "-m opus undo 2", "explain dff", "save talk", "statsu -v"]
)
@pytest.mark.parametrize("form", ["%claude {}", "1\n%claude {}", "r = %claude {}", "%%claude {}"])
def test_what_looks_like_a_subcommand_and_is_none_is_never_sent(kernel, sim, line, form):
    """It is an error of one line, however it is typed."""
    kernel.run("df = 1")

    run = kernel.run(form.format(line))

    assert run.status == "error"
    assert "Did you mean" in run.stderr
    assert "hunter2" not in run.stderr
    assert sim.requests == []


TYPED_KEY = "sk-ant-api03-abcDEF0123456789"


@pytest.mark.parametrize(
    "cell",
    [
        f"%claude login {TYPED_KEY}",
        f"%claude logn {TYPED_KEY}",
        f"%claude ask login {TYPED_KEY}",
        f"%claude my key is {TYPED_KEY}, is it good?",
        f"%%claude\nUse this:\nkey = {TYPED_KEY!r}",
        f"%%claude -- {TYPED_KEY}",
        f"%%claude -s {TYPED_KEY}\nhi",
        f"%%claude --stop {TYPED_KEY}\nhi",
        f"%%claude --set metadata.user_id={TYPED_KEY}\nhi",
        f"%%claude --compare haiku,sonnet\n{TYPED_KEY}",
        f"%%claude --bg\n{TYPED_KEY}",
        f"n = 3\n%claude --interact n {{{{ n }}}} {TYPED_KEY}",
        f"%%claude --dry-run\n{TYPED_KEY}",
        f"from claude_magic import claude\nclaude.ask('my {TYPED_KEY}')",
        f"from claude_magic import claude\nawait claude.ask_async('hi', system='{TYPED_KEY}')",
        f"from claude_magic import claude\nclaude.submit('{TYPED_KEY}')",
        f"from claude_magic import claude\nclaude.panel().ask('{TYPED_KEY}')",
    ],
    ids=lambda cell: " ".join(cell.split()[:4]),
)
def test_a_key_in_a_typed_prompt_is_not_sent(kernel, sim, cell):
    """In no way of asking; the error does not repeat it."""
    run = kernel.run(cell)

    assert run.status == "error"
    assert sim.requests == []
    shown = run.stderr + str(run.contents("error")[0]["evalue"] if run.contents("error") else "")
    assert "key" in shown
    assert TYPED_KEY not in shown


def test_raw_sends_what_looks_like_a_key(kernel, sim):
    """Some prompts are about keys."""
    kernel.run(f"%claude --raw What is {TYPED_KEY}?")
    kernel.run(f"from claude_magic import claude\nclaude.ask('What is {TYPED_KEY}?', raw=True)")

    assert [TYPED_KEY in str(request.body["messages"]) for request in sim.requests] == [True, True]


def test_login_reads_a_key_that_is_never_shown(start_kernel, sim):
    """O2: the key is typed like a password, used from then on, and kept only in memory; logout deletes it."""
    kernel = start_kernel(ANTHROPIC_API_KEY="")

    run = kernel.start("%claude login", allow_stdin=True)
    asked = answer_prompt(kernel, run, NEW_KEY)
    run.finish()
    kernel.run("%%claude\nhi")
    status = kernel.run("%claude status")
    out = kernel.run("%claude logout")
    kernel.run("%%claude\nhi")
    again = kernel.run("%claude logout")

    assert "The entered key is deleted." in out.stdout
    assert "No key was entered with %claude login." in again.stdout
    assert asked["password"] is True
    assert NEW_KEY not in str(run.messages) + str(status.messages) + str(out.messages)
    assert [request.headers.get("x-api-key") == NEW_KEY for request in sim.requests] == [True, False]
    assert kernel.value("any('sk-ant-typed' in str(value) for value in globals().values())") == "False"


def test_login_with_nothing_typed_changes_nothing(kernel):
    """A bare Enter is not a key."""
    run = kernel.start("%claude login", allow_stdin=True)
    answer_prompt(kernel, run, "")

    assert "nothing has changed" in run.finish().stdout


def test_login_where_nobody_can_be_asked_says_what_to_do(kernel):
    """With nbclient, and with front ends without stdin."""
    run = kernel.run("%claude login", allow_stdin=False)

    assert run.status == "error"
    assert "ANTHROPIC_API_KEY" in run.stderr


def test_demo_is_refused_while_there_is_a_key(kernel):
    """A notebook never overrides a credential with the simulator."""
    run = kernel.run("%claude demo on")

    assert run.error["ename"] == "ConfigurationError"
    assert "CLAUDE_MAGIC_DEMO=on" in run.error["evalue"]
    assert len("\n".join(run.error["traceback"]).splitlines()) <= 4


def test_demo_answers_without_a_key_and_says_so(start_kernel):
    """The embedded simulator answers, and the footer marks it."""
    kernel = start_kernel(ANTHROPIC_API_KEY="", ANTHROPIC_BASE_URL="")

    switched = kernel.run("%claude demo on")
    run = kernel.run("%%claude\nhi")

    assert "simulator" in switched.stdout
    assert "simulator" in run.outputs[-1]["data"]["text/html"]
    assert kernel.run("%claude demo off").status == "ok"
    assert kernel.run("%%claude\nhi").error["ename"] == "ConfigurationError"


def test_options_of_the_cell_reach_the_wire(kernel, sim):
    """`--thinking off`, `NAME <<` and the rest."""
    sim.script(reply("bound"))

    kernel.run("%%claude answer << --thinking off --max-tokens 99\nhi")

    assert kernel.value("answer.text") == "'bound'"
    assert sim.requests[0].body["max_tokens"] == 99
    assert sim.requests[0].body["stream"] is True


@pytest.mark.parametrize(
    "cell",
    [
        "%claude -s '   ' hi",
        "%claude -s '' hi",
        "%%claude --system='\u00a0'\nhi",
        "%%claude --compare haiku,sonnet -s ' '\nhi",
        "from claude_magic import claude\nclaude.ask('hi', system='  ')",
        "from claude_magic import claude\nawait claude.panel(system=' \\n').ask('hi')",
        "%config ClaudeMagics.system = ' '\n%claude hi",
    ],
)
def test_a_blank_system_prompt_is_not_sent(kernel, sim, cell):
    """The API would reject it, so the question is sent without one."""
    run = kernel.run(cell)
    kernel.run("%config ClaudeMagics.system = None")

    assert run.status == "ok", run.summary()
    assert all("system" not in (request.body or {}) for request in sim.requests)
    assert sim.requests


def test_a_file_with_nothing_in_it_is_no_system_prompt(kernel, sim):
    """A user who names a file expects it to have content."""
    kernel.run("open('empty.md', 'w').write(' \\n')")

    run = kernel.run("%claude -s @empty.md hi")

    assert "is an empty file" in run.error["evalue"]
    assert sim.requests == []


def test_selectors_out_of_range_are_errors(kernel, sim):
    """Cells, turns and jobs that do not exist; nothing is sent or changed."""
    kernel.run("%claude clear")
    kernel.run("%claude hi")

    for cell, says in (
        ("%claude --cells 9999 hi", "no cell of that range"),
        ("%claude undo 99", "There is only 1 turn to take back"),
        ("%claude stop 9999", "There is no job 9999"),
    ):
        run = kernel.run(cell)
        assert run.status == "error", cell
        assert says in run.stderr + str(run.contents("error")), cell

    assert len(sim.requests) == 1
    assert "taken back" in str(kernel.run("%claude undo 1").outputs)


def test_a_thread_whose_name_is_nearly_that_of_another_says_so(kernel, sim):
    """The thread is created nevertheless, because any name may be intended."""
    kernel.run("%claude --thread research hi")

    run = kernel.run("%claude --thread reserach hi")

    assert "Did you mean research?" in run.frames[-1]
    assert len(sim.requests[-1].body["messages"]) == 1


def test_a_name_that_the_session_needs_is_not_bound(kernel, sim):
    """Afterwards, `print` still prints, and `In` still grows."""
    for name in ("print", "In", "__name__", "get_ipython"):
        assert kernel.run(f"%%claude -o {name}\nhi").status == "error"

    assert kernel.run("print(__name__, len(In) > 1)").stdout == "__main__ True\n"
    assert sim.requests == []
