"""The examples of docs/reference.md, each run verbatim in a real kernel.

`tests/unit/notebook/test_reference_tables.py` checks that the tables are complete and refer to these tests.
"""

import json
import re
from pathlib import Path

import pytest

from claude_magic.simulator import BatchScript, Gate, hold, reply

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"
PRELUDE = """
import pathlib
df = {"port": ["Brest", "Oslo"], "visits": [3, 4]}
countries = ["France", "Norway"]
pathlib.Path("sales.csv").write_text("port,visits\\nBrest,3\\nOslo,4\\n")
pathlib.Path("style.md").write_text("Answer like a lighthouse keeper.")
def weather(city: str) -> str:
    "Tell the weather in a city."
    return f"fog over {city}"
"""


@pytest.fixture
def example():
    """Return the example in docs/reference.md of an option or subcommand, given by its first column."""
    rows = re.findall(
        r"^\| `([^`]+)` \| [^`]*? \| `(.+?)` \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE
    )
    examples = {key.replace("\\|", "|"): code for key, code in rows}
    return lambda key: examples[key]


@pytest.fixture(scope="module")
def kernel(start_kernel):
    """The module's kernel, with the variables of the examples."""
    kernel = start_kernel()
    kernel.run(PRELUDE)
    return kernel


def succeed(kernel, code, **kwargs):
    run = kernel.run(code, **kwargs)
    assert run.status == "ok", (code, run.stderr, run.summary())
    return run


def body_of(sim):
    return [seen for seen in sim.requests if seen.path.startswith("/v1/messages")][-1].body


def text_of(content):
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)


def prompts(sim):
    """Return the user's prompts in the last request, oldest first."""
    return [text_of(each["content"]) for each in body_of(sim)["messages"] if each["role"] == "user"]


def plain(run):
    shown = [output["data"]["text/plain"] for output in run.outputs if "data" in output]
    return "\n".join([run.stdout, *shown])


# Options, in the order of the table


def test_model_chooses_who_answers(kernel, sim, example):
    """A short name means the newest model of its line."""
    succeed(kernel, example("-m, --model MODEL"))

    assert body_of(sim)["model"] == "claude-opus-5-5"


def test_compare_asks_several_models(kernel, sim, example):
    """At the same time; each answer is accessible by the name of its model."""
    succeed(kernel, example("--compare M,N"))

    models = {seen.body["model"] for seen in sim.requests if seen.path == "/v1/messages"}
    assert models == {"claude-sonnet-5-5", "claude-opus-5-5"}
    assert kernel.value("both['opus'].model") == "'claude-opus-5-5'"


def test_system_is_sent_as_text_or_from_a_file(kernel, sim, example):
    """In the field of the request, not in the prompt."""
    succeed(kernel, example("-s, --system TEXT"))
    assert "Answer in one word." in json.dumps(body_of(sim)["system"])

    succeed(kernel, "%claude -s @style.md Is water wet?")
    assert "Answer like a lighthouse keeper." in json.dumps(body_of(sim)["system"])
    assert prompts(sim)[-1] == "Is water wet?"

    kernel.run("open('old.md', 'wb').write('Antworte auf größte Kürze.'.encode('cp1252'))")
    run = succeed(kernel, "%claude -s @old.md Is water wet?")
    assert body_of(sim)["system"] == "Antworte auf größte Kürze."
    assert "old.md is not UTF-8" in run.frames[-1]


def test_max_tokens_bounds_the_answer(kernel, sim, example):
    """In the field of the request."""
    succeed(kernel, example("--max-tokens N"))

    assert body_of(sim)["max_tokens"] == 200


def test_effort_is_sent(kernel, sim, example):
    """In the API's output configuration."""
    succeed(kernel, example("--effort LEVEL"))

    assert body_of(sim)["output_config"]["effort"] == "high"


def test_thinking_can_be_hidden(kernel, sim, example):
    """No summary is requested."""
    succeed(kernel, example("--thinking MODE"))

    assert "summarized" not in json.dumps(body_of(sim).get("thinking"))


def test_thread_goes_on_with_its_own_conversation(kernel, sim, example):
    """Turns of other threads are not sent."""
    succeed(kernel, "%claude Hello, main.")
    succeed(kernel, example("--thread T"))
    succeed(kernel, "%claude --thread ada And then?")

    assert prompts(sim) == ["Who was Ada Lovelace?", "And then?"]


def test_new_starts_a_conversation(kernel, sim, example):
    """No earlier turns are sent."""
    succeed(kernel, "%claude Hello.")
    succeed(kernel, example("--new"))

    assert prompts(sim) == ["Something else now."]


def test_no_history_stands_alone(kernel, sim, example):
    """It neither sends the conversation nor is added to it."""
    succeed(kernel, "%claude --new Hello.")
    succeed(kernel, example("--no-history"))
    assert prompts(sim) == ["What is 2 + 2?"]

    succeed(kernel, "%claude And now?")
    assert prompts(sim) == ["Hello.", "And now?"]


def test_attach_sends_a_file(kernel, sim, example):
    """With its name, before the prompt."""
    succeed(kernel, example("-a, --attach THING"))

    said = prompts(sim)[-1]
    assert "sales.csv" in said
    assert "Brest,3" in said
    assert said.endswith("What stands out?")


def test_cells_sends_cells_with_their_outputs(kernel, sim, example):
    """The last three; the range may begin with a dash."""
    for code in ("6 * 7", "print('second')", "third = 3"):
        succeed(kernel, code)
    succeed(kernel, example("--cells RANGE"))

    said = prompts(sim)[-1]
    for part in ("6 * 7", "42", "second", "third = 3"):
        assert part in said
    assert "lighthouse keeper" not in said


def test_interact_makes_controls_of_variables(kernel, sim, example):
    """A front end with widgets gets a slider; others ask once."""
    kernel.run("n = 3")
    run = succeed(kernel, example("--interact N,M"), allow_stdin=True, cell_id="controls")
    assert "IntSliderModel" in str(run.contents("comm_open"))
    assert prompts(sim)[-1] == "Name 3 primes."

    assert "asked once, with n = 3" in str(succeed(kernel, example("--interact N,M")).outputs)


def test_map_asks_about_each_row(kernel, sim, example):
    """The variable gets the answers, in the order of the rows."""
    succeed(kernel, example("--map TABLE"))

    asked = [text_of(seen.body["messages"][0]["content"]) for seen in sim.requests]
    assert sorted(asked) == ["What is the capital of France?", "What is the capital of Norway?"]
    assert kernel.value("['Paris' in capitals[0], 'Oslo' in capitals[1]]") == "[True, True]"


def test_max_cost_bounds_a_map(kernel, sim, example):
    """A map that could cost more is not started."""
    succeed(kernel, example("--max-cost USD"))

    run = kernel.run("%claude --map countries --max-cost 0.0001 Describe {{ item }}.")
    assert "max_cost is $0.0001. Nothing was sent." in run.error["evalue"]


def test_via_sends_a_map_as_a_batch(kernel, sim, example):
    """One batch, whose answers are bound to the variable."""
    sim.script_batch(BatchScript(seconds=0))

    succeed(kernel, example("--via WAY"))

    [batch] = sim.batches
    assert len(batch.custom_ids) == 2
    assert kernel.value("[bool(sea) for sea in seas]") == "[True, True]"


def test_raw_sends_braces_as_typed(kernel, sim, example):
    """Even if they contain the name of a variable."""
    succeed(kernel, example("--raw"))

    assert prompts(sim)[-1] == "What does {{ df }} mean in Jinja?"


def test_format_decides_how_the_answer_is_shown(kernel, sim, example):
    """Here as JSON."""
    sim.script(reply('{"colours":["red"]}'))

    run = succeed(kernel, example("-f, --format FORMAT"))

    assert '"colours": [' in plain(run)


def test_out_binds_the_reply(kernel, sim, example):
    """To the variable; `NAME <<` does the same."""
    for key in ("-o, --out NAME", "NAME <<"):
        sim.script(reply("Seven."))
        succeed(kernel, example(key))

        assert kernel.value("str(answer)") == "'Seven.'"
        kernel.run("del answer")


def test_schema_binds_an_object(kernel, sim, example):
    """Of the described type."""
    succeed(kernel, example("--schema SCHEMA"))

    assert kernel.value("type(person.name).__name__, type(person.age).__name__") == "('str', 'int')"


def test_code_goes_into_a_new_cell(kernel, sim, example):
    """Once, and it is not run."""
    sim.script(reply("Sure:\n```python\nsquare = 4\n```\n"))

    run = succeed(kernel, example("-x, --code"))

    (payload,) = run.reply["content"]["payload"]
    assert payload["source"] == "set_next_input"
    assert payload["text"].strip() == "square = 4"
    assert payload["replace"] is False
    assert kernel.value("'square' in globals()") == "False"


def test_quiet_shows_nothing(kernel, sim, example):
    """But binds the reply."""
    sim.script(reply("Seven."))

    run = succeed(kernel, example("--quiet"))

    assert run.outputs == []
    assert kernel.value("str(answer)") == "'Seven.'"


def test_bg_goes_on_at_once(kernel, sim, example):
    """The cell ends before its answer, which appears in the cell later."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text="Once upon a time."))

    run = kernel.run(example("--bg"), allow_stdin=True)
    assert run.status == "ok"
    assert kernel.value("answer.done()") == "False"
    gate.open()
    run.until(lambda each: any("upon a time" in frame for frame in each.frames))

    assert kernel.value("str(answer)") == "'Once upon a time.'"


@pytest.mark.parametrize(("typed", "result"), [("y", "fog over Oslo"), ("n", "refused")])
def test_tools_are_called_when_approved(kernel, sim, example, typed, result):
    """Each call needs approval, and its result is sent back."""
    run = kernel.start(example("--tools F,G"), allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=120)
    kernel.client.input(typed)
    run.finish()

    assert run.status == "ok"
    assert [tool["name"] for tool in body_of(sim)["tools"]] == ["weather"]
    assert result in json.dumps(body_of(sim)["messages"][-1]["content"])


def test_approve_never_calls_tools_unasked(kernel, sim, example):
    """For trusted functions."""
    succeed(kernel, example("--approve WHEN"))

    assert "fog over Oslo" in json.dumps(body_of(sim)["messages"][-1]["content"])


def test_web_search_lets_claude_search(kernel, sim, example):
    """With the server's tool."""
    succeed(kernel, example("--web-search"))

    assert [tool["name"] for tool in body_of(sim)["tools"]] == ["web_search"]


def test_stop_ends_the_answer(kernel, sim, example):
    """The option may be repeated."""
    succeed(kernel, example("--stop TEXT"))

    assert body_of(sim)["stop_sequences"] == ["11", "eleven"]


def test_set_sets_any_field(kernel, sim, example):
    """Dots separate nested fields."""
    succeed(kernel, example("--set KEY=VALUE"))

    assert body_of(sim)["metadata"] == {"user_id": "me"}


def test_replay_answers_from_the_cassette(kernel, sim, example):
    """The second run sends nothing, and its output is the same."""
    line = example("--replay MODE").replace("%claude", "%claude --no-history")
    runs = [succeed(kernel, line) for _ in range(2)]

    shown = [run.outputs[-1] for run in runs]
    assert shown[0] == shown[1]
    assert "in the cassette: running it again costs nothing" in shown[0]["data"]["text/html"]
    assert len([seen for seen in sim.requests if seen.path == "/v1/messages"]) == 1


def test_dry_run_sends_nothing(kernel, sim, example):
    """But shows the request."""
    run = succeed(kernel, example("--dry-run"))

    assert "What would this cost?" in plain(run)
    assert [seen.path for seen in sim.requests if seen.path == "/v1/messages"] == []


def test_two_dashes_end_the_options(kernel, sim, example):
    """For a prompt that begins with a dash."""
    succeed(kernel, example("--"))

    assert prompts(sim)[-1] == "-1 is what in binary?"


# Subcommands, in the order of the table


def test_ask_sends_what_looks_like_a_subcommand(kernel, sim, example):
    """Including the words after `ask`."""
    succeed(kernel, example("ask PROMPT"))

    assert prompts(sim)[-1] == "status"


def test_fix_sends_the_last_error(kernel, sim, example):
    """With its cell; the answer's code goes into a new one."""
    kernel.run("ratio = 1 / 0")
    sim.script(reply("Divide by one:\n```python\nratio = 1 / 1\n```"))

    run = succeed(kernel, example("fix"))

    assert "ZeroDivisionError" in prompts(sim)[-1]
    assert "ratio = 1 / 0" in prompts(sim)[-1]
    assert [each["text"].strip() for each in run.reply["content"]["payload"]] == ["ratio = 1 / 1"]


def test_explain_sends_what_a_name_is(kernel, sim, example):
    """If the name exists; otherwise the line is a prompt."""
    succeed(kernel, example("explain NAME"))
    assert "Brest" in prompts(sim)[-1]

    succeed(kernel, "%claude explain why the sky is blue")
    assert prompts(sim)[-1] == "explain why the sky is blue"


def test_continue_asks_for_the_rest(kernel, sim, example):
    """Of an answer that was cut off."""
    sim.script(reply("Once upon a", stop_reason="max_tokens"))
    succeed(kernel, "%claude --new A story, please.")

    succeed(kernel, example("continue"))

    assert "cut off" in prompts(sim)[-1]
    assert "Once upon a" in prompts(sim)[-1]


def test_code_puts_the_last_code_into_a_cell(kernel, sim, example):
    """Without another request; if there is no code, it says so."""
    sim.script(reply("So:\n\n```python\nx = 1\n```"), reply("Words."))
    succeed(kernel, "%claude Code, please.")
    before = len(sim.requests)

    run = succeed(kernel, example("code"))
    succeed(kernel, "%claude Words, please.")
    failed = kernel.run(example("code"))

    (payload,) = run.reply["content"]["payload"]
    assert (payload["source"], payload["text"]) == ("set_next_input", "x = 1")
    assert len(sim.requests) == before + 1
    assert "The last answer has no code" in failed.stderr


def test_history_shows_the_turns(kernel, sim, example):
    """Of all conversations."""
    succeed(kernel, "%claude Remember the lighthouse.")

    assert "Remember the lighthouse." in plain(succeed(kernel, example("history [THREAD]")))


def test_threads_lists_the_conversations(kernel, sim, example):
    """By name."""
    succeed(kernel, "%claude --thread ada Hello.")

    shown = plain(succeed(kernel, example("threads")))

    assert "main" in shown
    assert "ada" in shown


def test_fork_begins_where_the_current_one_is(kernel, sim, example):
    """The current thread is not changed."""
    succeed(kernel, "%claude --new Common ground.")
    succeed(kernel, example("fork NAME"))
    succeed(kernel, "%claude --thread idea Further.")

    assert prompts(sim) == ["Common ground.", "Further."]


def test_undo_takes_back_the_last_turn(kernel, sim, example):
    """It is no longer sent."""
    succeed(kernel, "%claude --new First.")
    succeed(kernel, "%claude Second.")
    succeed(kernel, example("undo [N]"))
    succeed(kernel, "%claude Third.")

    assert prompts(sim) == ["First.", "Third."]


def test_switch_goes_on_from_any_turn(start_kernel, sim, example):
    """By number; later turns are kept."""
    kernel = start_kernel()
    succeed(kernel, "%claude First.")
    succeed(kernel, "%claude Second.")

    assert "main continues from turn 1, “First.”. %claude switch 2 goes back" in plain(
        succeed(kernel, example("switch N"))
    )
    succeed(kernel, "%claude Third.")

    assert prompts(sim) == ["First.", "Third."]
    assert "● Third." in plain(succeed(kernel, "%claude history"))


def test_clear_forgets_a_conversation(kernel, sim, example):
    """Others are kept."""
    succeed(kernel, "%claude --thread ada Hello.")
    succeed(kernel, example("clear [THREAD]"))
    succeed(kernel, "%claude --thread ada Again.")

    assert prompts(sim) == ["Again."]


def test_save_and_load_keep_conversations(start_kernel, sim, example, tmp_path):
    """In a readable file, without loss."""
    for key in ("save FILE.json", "load FILE|notebook"):
        kernel = start_kernel()
        kernel.run(f"%cd -q {tmp_path}")
        if key.startswith("save"):
            succeed(kernel, "%claude Remember the lighthouse.")
        succeed(kernel, example(key))
    succeed(kernel, "%claude Do you?")

    assert "Remember the lighthouse." in (tmp_path / "talk.json").read_text(encoding="utf-8")
    assert prompts(sim) == ["Remember the lighthouse.", "Do you?"]


def test_jobs_and_stop_know_what_is_on_its_way(kernel, sim, example):
    """By number, with the cell that asked."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text="Once upon a time."))
    kernel.run("%claude --bg -o answer A story about a lighthouse.", allow_stdin=True)

    assert "about a lighthouse" in plain(succeed(kernel, example("jobs")))
    assert "Stopped job" in plain(succeed(kernel, example("stop [N|all]")))
    gate.open()

    assert kernel.value("answer.cancel(), answer.error")
    assert "stopped" in plain(succeed(kernel, "%claude jobs"))


def test_journal_lists_the_maps(kernel, sim, example):
    """With their costs, and compares two of them."""
    kernel.run("import shutil; shutil.rmtree('.claude-magic', ignore_errors=True)")
    succeed(kernel, "%claude --map countries -o where Where is {{ item }}?")
    succeed(kernel, "%claude --map countries -o where Where exactly is {{ item }}?")

    listed = plain(succeed(kernel, example("journal [compare A B|prune DAYS]")))
    assert "Where exactly is {{ item }}?" in listed
    assert listed.split()[:3] == ["run", "state", "price"]
    assert listed.count("(simulated)") == 2
    # A relative path, so that a shared notebook does not contain the name of a user's folder.
    assert "\n.claude-magic/journal.sqlite: " in f"\n{listed}"
    assert "0 rows ask the same in both runs." in plain(succeed(kernel, "%claude journal compare 1 2"))
    assert "Deleted: 0 answers" in plain(succeed(kernel, "%claude journal prune 30"))
    assert "Deleted: " in plain(succeed(kernel, "%claude journal prune all"))


def test_batches_lists_cancels_and_forgets(kernel, sim, example):
    """With the map that sent each batch, and its progress."""
    kernel.run("import shutil; shutil.rmtree('.claude-magic', ignore_errors=True)")
    sim.script_batch(BatchScript(seconds=0))
    succeed(kernel, "%claude --map countries --via batch -o seas Name an island near {{ item }}.")

    listed = plain(succeed(kernel, example("batches [cancel ID|forget ID]")))
    [batch] = sim.batches
    assert f"{batch.id}  ended, fetched     2       0     0" in listed
    assert "Name an island near {{ item }}." in listed
    cancelled = kernel.run(f"%claude batches cancel {batch.id}").error
    assert "has ended and cannot be canceled" in cancelled["evalue"]
    assert "has no open batch" in kernel.run(f"%claude batches forget {batch.id}").error["evalue"]


def test_cassette_lists_what_is_recorded(kernel, sim, example):
    """And deletes unused answers, but never all of them."""
    kernel.run("import os; os.path.exists('claude.cassette.jsonl') and os.remove('claude.cassette.jsonl')")
    assert "There is no cassette" in plain(succeed(kernel, example("cassette [prune]")))
    for prompt in ("Name a tree.", "Name a bird."):
        succeed(kernel, f"%claude --no-history --replay auto {prompt}")

    listed = plain(succeed(kernel, example("cassette [prune]")))
    assert "Name a bird." in listed
    assert "claude.cassette.jsonl: 2 answers, " in listed
    assert "not used" not in listed
    assert "Deleted: 0 answers" in plain(succeed(kernel, "%claude cassette prune"))


def test_methods_describes_what_was_asked(kernel, sim, example):
    """With prompts on request, and as data in a file."""
    succeed(kernel, "%claude --no-history Name a prime for the appendix.")

    text = plain(succeed(kernel, example("methods [--cassette] [--appendix] [--manifest FILE.json]")))
    assert re.search(r"Models, as the responses name them: [^.]*claude-sonnet-5-5 \(", text)
    assert "Name a prime for the appendix." in text
    assert "from a simulator, not from a model" in text
    assert "The manifest is in m.json." in plain(succeed(kernel, "%claude methods --manifest m.json"))


def test_panel_shows_a_panel(kernel, sim, example):
    """Its questions belong to the named thread, which may be new."""
    shown = succeed(kernel, example("panel [THREAD]")).contents("display_data")[0]["data"]

    assert "application/vnd.jupyter.widget-view+json" in shown
    kernel.run("from ipywidgets import Widget\nfrom claude_magic import PromptPanel")
    panels = "[each for each in Widget.widgets.values() if isinstance(each, PromptPanel)]"
    succeed(kernel, f"{panels}[-1].ask('Hello.').result();")
    succeed(kernel, "%claude --thread ideas And you?")
    assert prompts(sim) == ["Hello.", "And you?"]


def test_usage_shows_tokens_and_prices(kernel, sim, example):
    """By model and thread."""
    succeed(kernel, "%claude Hello.")

    assert "claude-sonnet-5-5" in plain(succeed(kernel, example("usage")))


def test_budget_refuses_what_could_pass_it(start_kernel, sim, example):
    """Before it is sent."""
    kernel = start_kernel()
    succeed(kernel, example("budget [AMOUNT|off]"))
    assert "$2.00" in plain(succeed(kernel, "%claude budget"))

    refused = kernel.run("%claude -m opus --max-tokens 100000 A novel, please.")

    assert refused.error["ename"] == "BudgetExceededError"
    assert [seen.path for seen in sim.requests if seen.path == "/v1/messages"] == []


def test_limits_shows_the_servers(kernel, sim, example):
    """And the kernel's own limiter. A gauge needs a watched front end, which this kernel does not have."""
    run = succeed(kernel, example("limits [--live]"))

    assert "Limiter of this kernel" in plain(run)
    assert "No live gauge" in run.stdout
    assert "Limiter of this kernel" in plain(succeed(kernel, "%claude limits"))


def test_models_lists_models(kernel, sim, example):
    """With their short names."""
    assert "claude-opus-5-5" in plain(succeed(kernel, example("models")))


def test_status_shows_every_setting(kernel, sim, example):
    """With its source."""
    assert "max_retries" in plain(succeed(kernel, example("status")))


def test_login_and_logout_take_a_key_and_forget_it(start_kernel, sim, example):
    """Typed like a password."""
    kernel = start_kernel(ANTHROPIC_API_KEY="")
    run = kernel.start(example("login"), allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=120)
    kernel.client.input("sk-ant-typed")
    run.finish()
    succeed(kernel, "%claude Hello.")
    assert sim.requests[-1].headers["x-api-key"] == "sk-ant-typed"

    succeed(kernel, example("logout"))

    kernel.run("%claude Hello.")
    assert sim.requests[-1].headers.get("x-api-key") != "sk-ant-typed"


def test_demo_lets_the_simulator_answer(start_kernel, example):
    """If no key is configured."""
    kernel = start_kernel(ANTHROPIC_API_KEY="", ANTHROPIC_BASE_URL="")

    succeed(kernel, example("demo on|off"))

    assert "simulator" in str(succeed(kernel, "%claude Hello.").outputs)


def test_help_shows_all_of_this(kernel, sim, example):
    """Like `%claude?`."""
    assert "--web-search" in plain(succeed(kernel, example("help")))
