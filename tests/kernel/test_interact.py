"""`--interact`: controls for a prompt, changed by the messages of a front end, in real kernels."""

import time

import pytest

from claude_magic.simulator import Gate, hold, reply

CELL = "%%claude --interact n -o answer\nName {{ n }} lighthouses."
FOREST = "__import__('claude_magic.runtime').runtime.get_runtime().conversations"


@pytest.fixture(scope="module")
def started(start_kernel):
    """The module's kernel."""
    return start_kernel()


@pytest.fixture
def kernel(started):
    """The module's kernel in a new conversation, with the variables of the prompts."""
    started.run("n = 3\ncity = ['Oslo', 'Brest']")
    started.run("%claude --new Hello.")
    return started


@pytest.fixture
def show(kernel, sim, request):
    """Run a cell like a front end with widgets. Return the run, and the comms of its controls by label."""

    sim.clear()
    cell_id = request.node.name

    def run(code=CELL):
        shown = kernel.run(code, allow_stdin=True, cell_id=cell_id)
        return shown, labelled(shown)

    return run


def labelled(run):
    """Return the comms of a run's widgets by their labels."""
    states = [
        (each["comm_id"], each["data"].get("state", {})) for each in run.contents("comm_open", "comm_msg")
    ]
    return {state["description"]: comm for comm, state in states if state.get("description")}


def move(kernel, comm, value):
    data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    kernel.client.shell_channel.send(
        kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data}),
    )


def press(kernel, comm):
    data = {"method": "custom", "content": {"event": "click"}}
    kernel.client.shell_channel.send(
        kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data}),
    )


def asked(sim):
    return [seen.body["messages"][-1]["content"] for seen in sim.requests if seen.path == "/v1/messages"]


def until(condition, timeout=120.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def answer_is(kernel, text):
    """Wait until the variable is the complete answer with this text, as it is once its state is shown."""
    until(lambda: kernel.value(f"answer.done() and answer.text == {text!r}") == "True")


def test_the_cell_asks_for_the_state_it_begins_in(kernel, sim, show):
    """The value of the cell is the answer, and an output next to the controls contains it for use without a kernel."""
    sim.script(reply("Three."))

    run, comms = show()

    assert asked(sim) == ["Name 3 lighthouses."]
    assert set(comms) >= {"n", "Stop", "Ask again"}
    assert kernel.value("_ is answer, answer.text") == "(True, 'Three.')"
    view, transcript = run.contents("display_data")
    assert "application/vnd.jupyter.widget-view+json" in view["data"]
    until(lambda: "Three." in str(_last_of(kernel, run, transcript)))


def _last_of(kernel, run, transcript):
    """Return the current transcript."""
    kernel.run("pass")
    run.messages.extend(kernel.take(run.msg_id))
    display_id = transcript["transient"]["display_id"]
    updates = [
        each["data"]
        for each in run.contents("update_display_data")
        if each["transient"]["display_id"] == display_id
    ]
    return updates[-1] if updates else {}


def test_a_control_that_comes_to_rest_is_one_request(kernel, sim, show):
    """Whatever the number of values in between. The answer replaces the previous one everywhere."""
    run, comms = show()
    sim.script(reply("Seven."))

    for value in (4, 5, 6, 7):
        move(kernel, comms["n"], value)
    answer_is(kernel, "Seven.")

    assert asked(sim) == ["Name 3 lighthouses.", "Name 7 lighthouses."]
    transcript = run.contents("display_data")[1]
    until(lambda: "n = 7\n\nSeven." in str(_last_of(kernel, run, transcript).get("text/plain")))
    assert kernel.value("n") == "3"


def test_a_state_that_was_answered_is_not_asked_again(kernel, sim, show):
    """Unless the user asks for it."""
    sim.script(reply("Three."), reply("Seven."))
    _, comms = show()
    move(kernel, comms["n"], 7)
    answer_is(kernel, "Seven.")

    move(kernel, comms["n"], 3)
    answer_is(kernel, "Three.")
    assert len(asked(sim)) == 2

    sim.script(reply("Three others."))
    press(kernel, comms["Ask again"])
    answer_is(kernel, "Three others.")
    assert asked(sim)[2:] == ["Name 3 lighthouses."]


def test_what_is_sent_decides_not_what_is_seen(kernel, sim, show):
    """A prompt that uses another variable as well is sent again when that variable has changed."""
    kernel.run("place = 'Brest'")
    _, comms = show("%%claude --interact n -o answer\n{{ n }} lighthouses of {{ place }}.")
    sim.script(reply("Seven of Brest."), reply("Three of Oslo."))
    move(kernel, comms["n"], 7)
    answer_is(kernel, "Seven of Brest.")

    kernel.run("place = 'Oslo'")
    move(kernel, comms["n"], 3)
    answer_is(kernel, "Three of Oslo.")

    assert asked(sim)[-1] == "3 lighthouses of Oslo."


def test_moving_on_cancels_what_is_on_its_way(kernel, sim, show):
    """The connection is closed, the partial answer is not remembered, and returning to the state asks again."""
    _, comms = show()
    sim.script(hold(Gate(), after_deltas=1, text="Seven that never come."), reply("Nine."), reply("Seven."))
    move(kernel, comms["n"], 7)
    until(lambda: len(asked(sim)) == 2)
    move(kernel, comms["n"], 9)
    answer_is(kernel, "Nine.")

    assert sim.requests[1].client_gone
    move(kernel, comms["n"], 7)
    answer_is(kernel, "Seven.")


def test_the_cell_goes_on_waiting_when_the_user_has_moved_on(kernel, sim, show):
    """After a change before the first answer, the value of the cell is the answer to the new state."""
    sim.clear()
    if int(kernel.value("__import__('ipykernel').version_info[0]")) < 7:
        pytest.skip("This kernel receives changes of a control after the cell.")
    kernel.run("import ipywidgets\nn = ipywidgets.IntSlider(3)")
    comm = kernel.value("n.model_id").strip("'")
    sim.script(hold(Gate(), after_deltas=1, text="Three that never come."), reply("Five."))

    run = kernel.start(CELL, allow_stdin=True, cell_id="moved")
    until(lambda: len(asked(sim)) == 1)
    move(kernel, comm, 5)
    run.finish()

    assert run.status == "ok"
    assert kernel.value("answer.text, _ is answer") == "('Five.', True)"


def test_several_controls_and_widgets_of_ones_own(kernel, sim, show):
    """A list becomes a dropdown; the user's own widget provides its value."""
    kernel.run("import ipywidgets\nheight = ipywidgets.FloatSlider(1.5)")
    _, comms = show(
        "%%claude --interact n,city --interact height -o answer\n{{ n }}, {{ city }}, {{ height }}"
    )
    sim.script(reply("Changed."))

    kernel.run("height.value = 2.5")
    answer_is(kernel, "Changed.")

    assert asked(sim) == ["3, Oslo, 1.5", "3, Oslo, 2.5"]
    assert {"n", "city"} <= set(comms)


def test_a_cell_that_is_run_again_leaves_its_previous_controls_behind(kernel, sim, show):
    """A widget of the user asks once, not once for each run of the cell."""
    kernel.run("import ipywidgets\nn = ipywidgets.IntSlider(3)")
    show()
    show()
    sim.script(reply("Five."))

    kernel.run("n.value = 5")
    answer_is(kernel, "Five.")
    kernel.run("import time; time.sleep(1)")
    assert asked(sim) == ["Name 3 lighthouses."] * 2 + ["Name 5 lighthouses."]

    show("%%claude -o answer\nNo controls any more.")
    kernel.run("n.value = 6; time.sleep(1)")
    assert len(asked(sim)) == 4


def test_the_conversation_ends_in_the_state_that_is_shown(kernel, sim, show):
    """Including remembered states: the next question continues from the visible answer."""
    sim.script(reply("Three."), reply("Seven."))
    _, comms = show()
    move(kernel, comms["n"], 7)
    answer_is(kernel, "Seven.")
    assert kernel.value(f"{FOREST}.parent_turn({FOREST}.place()).answer_text") == "'Seven.'"

    move(kernel, comms["n"], 3)
    answer_is(kernel, "Three.")
    until(lambda: kernel.value(f"{FOREST}.parent_turn({FOREST}.place()).answer_text") == "'Three.'")
    kernel.run("%claude And then?", cell_id="next")

    said = [message["content"] for message in sim.requests[-1].body["messages"] if message["role"] == "user"]
    assert said == ["Hello.", "Name 3 lighthouses.", "And then?"]


def test_a_conversation_that_has_gone_on_is_left_alone(kernel, sim, show):
    """A control that is changed later asks on a separate branch."""
    sim.script(reply("Three."))
    _, comms = show()
    kernel.run("%claude And then?", cell_id="next")
    sim.script(reply("Seven."))
    move(kernel, comms["n"], 7)
    answer_is(kernel, "Seven.")

    kernel.run("%claude And in the end?", cell_id="last")

    said = [message["content"] for message in sim.requests[-1].body["messages"] if message["role"] == "user"]
    assert said == ["Hello.", "Name 3 lighthouses.", "And then?", "And in the end?"]
    assert (
        kernel.value(f"'Seven.' in [turn.answer_text for turn in {FOREST}.forest().turns.values()]") == "True"
    )


def test_a_question_on_its_way_is_not_taken_out_of_the_conversation(kernel, sim, show):
    """A control that is changed while the next cell streams asks on a separate branch, too."""
    sim.script(reply("Three."))
    _, comms = show()
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text="And then this."), reply("Seven."))
    run = kernel.start("%%claude --bg\nAnd then?", allow_stdin=True, cell_id="next").finish()
    until(lambda: len(asked(sim)) == 2)
    move(kernel, comms["n"], 7)
    until(lambda: kernel.value("len(__import__('claude_magic').claude.in_flight)") == "2")
    gate.open()
    answer_is(kernel, "Seven.")

    kernel.run("%claude And in the end?", cell_id="last")

    assert run.status == "ok"
    said = [message["content"] for message in sim.requests[-1].body["messages"] if message["role"] == "user"]
    assert said == ["Hello.", "Name 3 lighthouses.", "And then?", "And in the end?"]


def test_unloading_the_extension_leaves_controls_without_a_voice(start_kernel, sim):
    """Controls send nothing after the extension was unloaded."""
    kernel = start_kernel()
    kernel.run("import ipywidgets, time\nn = ipywidgets.IntSlider(3)")
    kernel.run(CELL, allow_stdin=True, cell_id="unloaded")

    kernel.run("%unload_ext claude_magic\nn.value = 5\ntime.sleep(1)")

    assert asked(sim) == ["Name 3 lighthouses."]


def test_an_expression_that_fails_is_reported_where_the_controls_are(kernel, sim, show, request):
    """The previous answer stays, and nothing is sent."""
    _, comms = show("%%claude --interact n -o answer\nOne of {{ 12 // n }}.")
    cell = request.node.name
    line = f"get_ipython().magics_manager.registry['ClaudeMagics'].session.views['{cell}']._line.value"

    move(kernel, comms["n"], 0)

    until(lambda: "ZeroDivisionError" in kernel.value(line))
    assert len(asked(sim)) == 1


@pytest.mark.parametrize(
    "cell",
    [
        "%%claude --interact n\nName {{ n.missing }} of {{ n }}.",
        "%%claude --interact n -a missing.csv\nName {{ n }}.",
        "%%claude --interact n -s @missing.md\nName {{ n }}.",
        "%%claude --interact n --set stop_sequences=[1]\nName {{ n }}.",
        "%%claude --interact n --interact sys\nName {{ n }} and {{ sys }}.",
    ],
)
def test_a_first_question_that_fails_leaves_no_widget(kernel, sim, show, cell):
    """Each widget that was created is closed, and the user's own works on."""
    kernel.run("import ipywidgets, sys\nmine = ipywidgets.IntSlider(3)")

    run, _ = show(
        cell.replace("{{ n }}", "{{ n }} {{ mine }}").replace("%%claude", "%%claude --interact mine")
    )

    assert run.status == "error"
    opened, closed = (
        {each["comm_id"] for each in run.contents(kind)} for kind in ("comm_open", "comm_close")
    )
    assert opened == closed
    assert kernel.value("mine.comm is not None") == "True"
    assert asked(sim) == []


def test_where_there_are_no_widgets_it_asks_once_and_says_so(kernel, sim):
    """In a console or with nbclient there is an ordinary answer with a note."""
    sim.clear()
    (output,) = kernel.run(CELL).outputs

    assert asked(sim) == ["Name 3 lighthouses."]
    assert "There are no controls here, so --interact asked once, with n = 3." in output["data"]["text/html"]


def test_an_answer_to_a_schema_is_an_object(kernel, sim, show):
    """For each state."""
    sim.script(reply('{"height": 37}'), reply('{"height": 68}'))
    _, comms = show('%%claude --interact n --schema "height int" -o answer\nNumber {{ n }}.')
    assert kernel.value("answer.height") == "37"

    move(kernel, comms["n"], 7)

    until(lambda: kernel.value("getattr(answer, 'height', None)") == "68")


def test_an_interrupt_ends_the_cell_and_leaves_the_controls(kernel, sim):
    """As in any cell; controls still ask afterwards."""
    sim.clear()
    sim.script(hold(Gate(), after_deltas=1, text="Three that never come."))
    run = kernel.start(CELL, allow_stdin=True, cell_id="interrupted")
    until(lambda: len(asked(sim)) == 1)
    kernel.interrupt()
    run.finish()
    sim.script(reply("Seven."))

    move(kernel, labelled(run)["n"], 7)

    answer_is(kernel, "Seven.")
    assert run.error["ename"] == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("%%claude --interact m\n{{ m }}", "there is no variable m"),
        ("%%claude --interact n\nNo braces.", "{{ n }} is not in the prompt"),
        ("%%claude --interact kernel_info\n{{ kernel_info }}", "There is no control for kernel_info"),
        ("%%claude --interact empty\n{{ empty }}", "it is empty"),
        ("%%claude --interact n\n{{ n }};", "a ; at the end"),
        ("%claude --interact n explain n", "explain n has none"),
        (
            "%%claude --interact n --compare sonnet,opus\n{{ n }}",
            "--interact and --compare cannot be combined",
        ),
        ("%%claude --interact n --bg\n{{ n }}", "--interact and --bg cannot be combined"),
        ("%%claude --interact n --tools print\n{{ n }}", "--interact and --tools cannot be combined"),
    ],
)
def test_what_can_have_no_controls_is_refused_before_anything_is_sent(kernel, sim, code, problem):
    """In one sentence with the reason."""
    sim.clear()
    kernel.run("kernel_info, empty = object(), []")

    run = kernel.run(code, allow_stdin=True, cell_id="refused")

    assert run.status == "error"
    assert problem in " ".join((run.stderr or run.error["evalue"]).split())
    assert asked(sim) == []
    assert run.contents("display_data") == []


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ('[("one", 10), ("two", 20)]', "10"),
        ('{"one": 10}', "10"),
        ("__import__('numpy').bool_(True)", "True"),
        ("__import__('datetime').date(2026, 11, 27)", "2026-11-27"),
    ],
)
def test_what_is_sent_is_the_value_and_not_its_label(kernel, sim, value, sent):
    """Tested without widgets, where the initial state is asked once."""
    kernel.run(f"choice = {value}")

    run = kernel.run("%%claude --interact choice\nSay {{ choice }}.")

    assert run.status == "ok"
    assert sim.requests[-1].body["messages"][-1]["content"] == f"Say {sent}."


def test_controls_stand_for_variables_of_a_function_too(kernel, sim):
    """Like all names in a magic inside a function."""
    kernel.run("def f(size):\n    %claude --new --interact size Size {{ size }}, please.\nf(3)")

    assert sim.requests[-1].body["messages"][-1]["content"] == "Size 3, please."
