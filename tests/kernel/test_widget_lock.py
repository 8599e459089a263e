"""All code that creates widgets, in a real kernel: they are created and closed only while no page requests them."""

import ipykernel
import pytest

from claude_magic.simulator import Gate, hold, reply

runs_clicks = pytest.mark.skipif(
    int(ipykernel.__version__.split(".")[0]) < 7, reason="ipykernel 6 receives clicks after the cell"
)
CLICK = {"method": "custom", "content": {"event": "click"}}
LONG = "\n\n".join(f"## Part {number}\n\nSome words about it." for number in range(12))
TOOL = 'def tide_table(port: str) -> str:\n    "Give the times of high water."\n    return "06:12"'
# Checks each change of ipywidgets' registry: whether the lock is held, and whether, when it is released, a box has
# children that pages would not receive.
WATCH = """
import ipywidgets.widgets.widget as library
import claude_magic.display.widgets as owner

class Watched(dict):
    def __init__(self, lock):
        self.lock, self.depth, self.changes, self.unheld, self.torn = lock, 0, 0, [], []

    def __enter__(self):
        self.lock.__enter__()
        self.depth += 1

    def __exit__(self, *error):
        if self.depth == 1:
            for widget in list(self.values()):
                inside = getattr(widget, "children", ())
                self.torn += [repr(widget)[:80] for each in inside if each.comm is None]
        self.depth -= 1
        return self.lock.__exit__(*error)

    def note(self, widget):
        self.changes += 1
        if not self.lock._is_owned():
            self.unheld.append(widget)

    def __setitem__(self, model, widget):
        self.note(repr(widget)[:80])
        super().__setitem__(model, widget)

    def pop(self, model, *default):
        self.note(model)
        return super().pop(model, *default)

watched = Watched(owner._lock)
library._instances = owner._lock = watched
"""


@pytest.fixture
def watched(start_kernel):
    """A separate kernel that checks its widgets; at the end, there must be no violations."""
    kernel = start_kernel()
    kernel.run(WATCH)
    yield kernel
    assert kernel.value("watched.unheld") == "[]"
    assert kernel.value("watched.torn") == "[]"
    assert int(kernel.value("watched.changes")) >= 2


def comm_of(run, label):
    """Return the comm of the widget with this label, or None if there is none."""
    for message in run.messages:
        state = message["content"].get("data", {}).get("state", {}) if "comm" in message["msg_type"] else {}
        if state.get("description") == label:
            return message["content"]["comm_id"]
    return None


def send(kernel, comm, data):
    kernel.client.shell_channel.send(
        kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data}),
    )


@runs_clicks
def test_answers_side_by_side(watched, sim):
    """They grow block by block in one view, which is kept at the end."""
    gate = Gate()
    sim.script(*[hold(gate, after_deltas=20, text=LONG)] * 2)
    code = "%%claude --compare sonnet,opus\nName some."

    run = watched.start(code, allow_stdin=True, cell_id="compare", has_page=True)
    run.until(lambda each: each.view)
    gate.open()
    run.finish()

    assert run.status == "ok"
    assert run.ended_views == {run.view}
    assert not run.contents("comm_close")


@runs_clicks
def test_answers_side_by_side_that_are_stopped(watched, sim):
    """Their view is kept, as at a normal end."""
    gate = Gate()
    sim.script(*[hold(gate, after_deltas=20, text=LONG)] * 2)
    code = "%%claude --compare sonnet,opus\nName some."

    run = watched.start(code, allow_stdin=True, cell_id="stopped", has_page=True)
    run.until(lambda each: "Some words" in str(each.contents("comm_msg")))
    watched.interrupt()
    run.finish()
    gate.open()

    assert run.status == "error"


def test_controls_for_a_prompt(watched, sim):
    """They are shown, changed, and closed when their cell runs again; the user's own widget stays."""
    sim.script(reply(LONG), reply("Some."), reply(LONG))
    watched.run("import ipywidgets\nn, mine = 3, ipywidgets.IntSlider(3)")
    code = "%%claude --interact n --interact mine\nName {{ n }} or {{ mine }}."

    run = watched.run(code, allow_stdin=True, cell_id="interact")
    slider = comm_of(run, "n")
    send(watched, slider, {"method": "update", "state": {"value": 4}, "buffer_paths": []})
    again = watched.run(code, allow_stdin=True, cell_id="interact")

    assert (run.status, again.status) == ("ok", "ok")
    assert slider in {each["comm_id"] for each in again.contents("comm_close")}
    assert watched.value("mine.comm is not None") == "True"


@pytest.mark.parametrize(("controls", "prompt"), [("n,broken", "{{ n }} {{ broken }}"), ("n", "{{ n }}")])
def test_controls_that_are_not_shown_are_closed(watched, sim, controls, prompt):
    """If one of them cannot be created, and if the front end shows no widgets."""
    watched.run("n, broken = 3, object()\ncount = len(watched)")

    watched.run(f"%%claude --interact {controls}\nName {prompt}.")

    assert watched.value("len(watched) - count") == "0"


@runs_clicks
@pytest.mark.parametrize("option", ["", "--bg"])
def test_a_stop_button_under_an_answer(watched, sim, option):
    """Under a running cell, and under a cell that has ended."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text=LONG))

    run = watched.start(f"%%claude {option} -o answer\nhi", allow_stdin=True, cell_id="stop", has_page=True)
    run.until(lambda each: each.view)
    watched.tell(run.view, {"do": "stop"})
    run.until(lambda each: each.ended_views).finish()
    gate.open()

    assert run.ended_views == {run.view}


@runs_clicks
def test_buttons_that_let_a_tool_run(watched):
    """They are closed when one is pressed."""
    watched.run(TOOL)
    code = '%%claude --quiet --tools tide_table\nUse tide_table for port "Brest"'

    run = watched.start(code, allow_stdin=True, cell_id="ask")
    run.until(lambda each: "widget-view" in str(each.contents("display_data")))
    send(watched, comm_of(run, "Allow"), CLICK)
    run.finish()

    assert run.status == "ok"
    assert comm_of(run, "Allow") in {each["comm_id"] for each in run.contents("comm_close")}


def test_panels_and_what_is_asked_in_them(watched, sim):
    """Create, ask, retry, clear, approve a tool, and close."""
    watched.run(TOOL)
    watched.run(
        "from claude_magic import PromptPanel\npanel = PromptPanel(tools=[tide_table])\npanel",
        allow_stdin=True,
        cell_id="panel",
    )
    sim.script(reply(LONG), reply("Once more."))
    watched.run("await panel.ask('Name some.')\npanel._on_retry(panel.replies[0])\nawait panel.replies[0]")
    sim.clear()
    watched.run(
        """panel.ask('Use tide_table for port "Brest"')\nbar = panel._exchanges.children[-1].children[2]"""
    )
    while watched.value("len(bar.children)") == "0":
        pass
    send(watched, watched.value("bar.children[1].children[0].model_id").strip("'"), CLICK)
    while watched.value("panel.replies[-1].done()") == "False":
        pass

    assert watched.value("bar.children") == "()"
    closing = watched.run("panel.clear()\npanel.close()")
    assert closing.status == "ok", closing.error


def test_the_gauge(watched):
    """Show it, and close it with all of its widgets."""
    watched.run("count = len(watched)")
    watched.run("%claude limits --live", allow_stdin=True, cell_id="gauge")

    watched.run("from claude_magic.panels import shown_gauge\nshown_gauge().close()")

    assert watched.value("len(watched) - count") == "0"


PAGES = """
import threading, ipywidgets
from ipywidgets import Widget
many = [ipywidgets.HTML() for _ in range(300)]
counts, failed, enough = [], [], threading.Event()

class Page:
    def send(self, data, **buffers):
        counts.append(len(data["states"]))

def open_pages():
    while not enough.is_set():
        Widget._control_comm = Page()
        try:
            Widget._handle_control_comm_msg({"content": {"data": {"method": "request_states"}}})
        except Exception as error:
            failed.append(repr(error))

opening = threading.Thread(target=open_pages, daemon=True)
opening.start()
"""


@pytest.mark.parametrize(
    "code",
    [
        "%%claude --compare sonnet,opus\nName some.",
        "%%claude --interact n\nName {{ n }}.",
        "from claude_magic import PromptPanel\npanel = PromptPanel()\nawait panel.ask('Name some.')\npanel.close()",
    ],
    ids=["side by side", "controls", "panel"],
)
def test_pages_that_open_meanwhile_receive_all_widgets(start_kernel, sim, code):
    """Pages open one after another while answers grow; many other widgets make each request take a while."""
    kernel = start_kernel()
    sim.script(*[reply(LONG)] * 4)
    kernel.run("import ipywidgets\nn = 3\n%reload_ext claude_magic")
    kernel.run(PAGES)

    runs = [kernel.run(code, allow_stdin=True, cell_id="pages") for _ in range(2)]
    kernel.run("enough.set()\nopening.join()")

    assert [run.status for run in runs] == ["ok", "ok"]
    assert kernel.value("failed") == "[]"
    assert kernel.value("len(counts) > 0 and min(counts) >= 300") == "True"
