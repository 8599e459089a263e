"""Panels in a real kernel, driven by the messages that a front end sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from claude_magic.simulator import Simulator, reply

if TYPE_CHECKING:
    from conftest import Kernel, Run

LONG = "!simulate long_answer\\nAll about sums of powers."
BUSY = """
import time
end = time.time() + {seconds}
while time.time() < end:
    sum(range(10_000))
"""

BUSY_UNTIL_STOPPED = """
import time
end = time.time() + 5
while time.time() < end and not panel.replies[0].done():
    sum(range(10_000))
left = end - time.time()
"""
CLICK = {"method": "custom", "content": {"event": "click"}}


@pytest.fixture(scope="module")
def sim() -> Any:
    """Streams slowly enough to be watched."""
    with Simulator(chunk_delay=0.01) as simulator:
        yield simulator


@pytest.fixture
def panel(kernel: Kernel) -> Run:
    """The run of a cell that shows a fresh panel as its value."""
    kernel.run("from claude_magic import PromptPanel\npanel = PromptPanel()")
    return kernel.run("panel")


def test_a_panel_is_shown_as_the_value_of_a_cell(panel: Run) -> None:
    """Front ends with widgets get the view; others read what it is."""
    shown = panel.contents("display_data")

    assert "application/vnd.jupyter.widget-view+json" in shown[0]["data"]
    assert shown[0]["data"]["text/plain"].startswith("PromptPanel(")
    assert panel.status == "ok"


@pytest.mark.usefixtures("panel")
def test_an_answer_streams_into_its_panel_while_a_cell_computes(kernel: Kernel) -> None:
    """The cell never lets go of the main thread, and the blocks of the answer grow all the same."""
    busy = kernel.run(f"panel.ask('{LONG}')" + BUSY.format(seconds=3))

    states = [content["data"].get("state", {}) for content in busy.contents("comm_msg")]
    drawn = [state["value"] for state in states if "Sums of powers" in str(state.get("value"))]
    kernel.run("panel.stop()")
    assert len(drawn) >= 3
    assert max(map(len, drawn)) > min(map(len, drawn))


def test_the_transcript_goes_to_the_cell_that_shows_the_panel(kernel: Kernel, panel: Run) -> None:
    """An answer that ends while other cells run is kept where its panel is, not where the kernel happens to be."""
    asking = kernel.run("panel.ask('Say exactly: kept for later').result();" + BUSY.format(seconds=1))
    panel.messages.extend(kernel.take(panel.msg_id))

    kept = [html for html in (*panel.frames, *asking.frames) if "kept for later" in html]
    assert len(kept) == 1
    assert "claude-magic-transcript" in kept[0]
    assert not any("claude-magic-transcript" in str(shown) for shown in asking.contents("display_data"))


@pytest.mark.usefixtures("panel")
def test_where_clicks_wait_for_cells_the_panel_says_so(kernel: Kernel, sim: Simulator) -> None:
    """A front end without subshells: the click is handled between cells, and nothing pretends otherwise."""
    sim.script(reply("Here."))
    send(
        kernel,
        comm_of(kernel, "panel._composer._prompt"),
        {"method": "update", "state": {"value": "Hello"}, "buffer_paths": []},
    )
    send(kernel, comm_of(kernel, "panel._composer._send"), CLICK)
    kernel.run("panel.replies[0].result()")

    assert "interrupt the kernel (■)" in kernel.value("panel._status._note.value")
    assert kernel.value("panel._composer.text") == "''"


@pytest.mark.usefixtures("panel")
def test_stop_is_heard_while_a_cell_computes_where_the_kernel_has_subshells(kernel: Kernel) -> None:
    """The click ends the stream in the middle of the cell; what had come stays."""
    subshell = create_subshell(kernel)
    if subshell is None:
        pytest.skip("This kernel has no subshells: clicks wait for the cell.")
    kernel.run(f"panel.ask('{LONG}'); import time; time.sleep(0.5)")
    stop = comm_of(kernel, "panel._composer._stop")

    busy = kernel.start(BUSY_UNTIL_STOPPED)
    send(kernel, stop, CLICK, subshell=subshell)
    busy.finish()

    assert float(kernel.value("left")) > 1.0
    assert kernel.value("panel.replies[0].phase.name") == "'CANCELLED'"
    assert int(kernel.value("len(panel.replies[0])")) > 0


def test_closing_the_runtime_ends_what_a_panel_shows(start_kernel: Callable[..., Kernel]) -> None:
    """Unloading the extension with a panel in mid-stream leaves a panel that tells what happened, and no thread."""
    kernel = start_kernel()
    kernel.run(f"from claude_magic import PromptPanel\npanel = PromptPanel()\npanel.ask('{LONG}')")

    kernel.run("import time; time.sleep(0.5)\n%unload_ext claude_magic\ntime.sleep(0.5)")

    assert kernel.value("panel.replies[0].done()") == "True"
    assert kernel.value("[t.name for t in __import__('threading').enumerate() if 'claude' in t.name]") == "[]"


def comm_of(kernel: Kernel, widget: str) -> str:
    """Return the comm by which a front end reaches a widget."""
    return kernel.value(f"{widget}.model_id").strip("'")


def send(kernel: Kernel, comm: str, data: dict[str, Any], *, subshell: str | None = None) -> None:
    """Send what a front end sends when a person uses a widget."""
    message = kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
    if subshell is not None:
        message["header"]["subshell_id"] = subshell
    kernel.client.shell_channel.send(message)


def create_subshell(kernel: Kernel) -> str | None:
    """Return the id of a new subshell, or None where the kernel knows none."""
    if kernel.value("getattr(get_ipython().kernel, '_supports_kernel_subshells', False)") != "True":
        return None
    request = kernel.client.session.msg("create_subshell_request")
    kernel.client.control_channel.send(request)
    while True:
        answer = kernel.client.get_control_msg(timeout=30)
        if answer["parent_header"].get("msg_id") == request["header"]["msg_id"]:
            return str(answer["content"]["subshell_id"])
