"""The visible content keeps its position when an answer ends, and Stop stays visible."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from notebook_page import NotebookPage
from playwright.sync_api import Locator, expect

from claude_magic.simulator import Behaviour, Gate, Post, Simulator, reply
from claude_magic.simulator._wire import Chunk, HangUp, Hold, Pause, Steps

SPREAD = '''def spread(values: str) -> float:
    """Give the standard deviation."""
    return 1.25'''
SECTION = r"""## Part @

The mean $\bar{x}_@$ of a sample is itself a random quantity. It strays from the mean of the population, the more
the wider the values are spread, and from another sample one would have got another one.

$$\operatorname{Var}(\bar{x}_@) = \frac{\sigma^2}{n}$$

- The values have to be **independent**.
- For large $n$ the mean is nearly normal.

```python
spread = statistics.stdev(values)  # section @
```

"""
SECTIONS = 12
TEXT = (
    "".join(SECTION.replace("@", str(number)) for number in range(1, SECTIONS + 1)) + "That was the last one."
)
FORMULAS = 3 * SECTIONS
SHOWN_LATE = f"Part {SECTIONS - 2}"
"""What has come when a reader scrolls."""
PIECES = [TEXT[start : start + 20] for start in range(0, len(TEXT), 20)]
HELD_AT = TEXT.index(f"Part {SECTIONS - 1}") // 20 + 10

# Scrolls until this heading is near the top, and records its position from then on.
SCROLL = """([index, words]) => {
    const cell = document.querySelectorAll(".jp-Cell")[index];
    const heading = [...cell.querySelectorAll(".jp-Cell-outputArea h2")].find(each => each.textContent === words);
    const box = document.querySelector(".jp-mod-outputsScrolled .jp-Cell-outputArea")
        ?? document.querySelector(".jp-WindowedPanel-outer");
    box.scrollTop += heading.getBoundingClientRect().top - box.getBoundingClientRect().top - 60;
}"""
TOP = """([index, words]) => {
    const cell = document.querySelectorAll(".jp-Cell")[index];
    const heading = [...cell.querySelectorAll(".jp-Cell-outputArea h2")].find(each => each.textContent === words);
    return heading.getBoundingClientRect().top;
}"""
SCROLL_AREAS = """output => [output, ...output.querySelectorAll("*")].filter(each =>
    each.scrollHeight > each.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(each).overflowY)).length"""
# Records the formulas that MathJax typesets, each time.
COUNT_FORMULAS = """cell => {
    window.formulasSet = 0;
    new MutationObserver(changes => {
        for (const { addedNodes } of changes) for (const node of addedNodes)
            if (node.nodeName === "MJX-CONTAINER") window.formulasSet += 1;
    }).observe(cell, { childList: true, subtree: true });
}"""

# Typesetting waits until the test allows it.
BE_BUSY = """() => {
    const typesetter = window.jupyterapp.shell.currentWidget.content.rendermime.latexTypesetter;
    const typeset = typesetter.typeset.bind(typesetter);
    const isIdle = new Promise(done => { window.beIdle = () => { delete typesetter.typeset; done(); }; });
    typesetter.typeset = async element => { await isIdle; await typeset(element); };
}"""
BE_IDLE = "() => window.beIdle()"
RESTART = (
    "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
)


def mostly_sent(gate: Gate) -> Behaviour:
    """Return a stream that waits at the gate after most of its events."""

    def behave(post: Post) -> Steps:
        deltas = 0
        for step in reply(chunks=PIECES)(post):
            is_delta = isinstance(step, Chunk) and step.data.startswith(b"event: content_block_delta")
            deltas += is_delta
            if is_delta and deltas == HELD_AT:
                yield Hold(gate)
            yield step

    return behave


def break_after_gate(gate: Gate) -> Behaviour:
    """Return a stream that breaks off once the gate is open."""

    def behave(post: Post) -> Steps:
        for step in mostly_sent(gate)(post):
            yield step
            if isinstance(step, Hold):
                yield HangUp("reset")
                return

    return behave


def hold_at_end(gate: Gate, behaviour: Behaviour) -> Behaviour:
    """Return a stream like `behaviour` that waits at the gate before its end."""

    def behave(post: Post) -> Steps:
        for step in behaviour(post):
            if isinstance(step, Chunk) and step.data.startswith(b"event: message_delta"):
                yield Hold(gate)
            yield step

    return behave


def stop_of(page: NotebookPage) -> Locator:
    return page.output(1).get_by_role("button", name="Stop")


def scroll_into_growing_answer(
    page: NotebookPage, words: str, *, shows: str = SHOWN_LATE, waits_for_formulas: bool = True
) -> float:
    """Start the cell, wait for most of its answer and for Stop, and scroll into it.

    Return the position of its heading.
    """
    page.start_cell(1)
    stop_of(page).wait_for()
    expect(page.output(1).get_by_text(shows, exact=True).first).to_be_attached()
    if waits_for_formulas:
        page.wait_for("() => !document.querySelector('.claude-magic-live .mathjax_process')")
    page.wait_until_still()
    page.page.evaluate(SCROLL, [1, words])
    page.wait_until_still()
    return float(page.page.evaluate(TOP, [1, words]))


def top_of(page: NotebookPage, words: str) -> float:
    page.wait_until_still()
    return float(page.page.evaluate(TOP, [1, words]))


@pytest.mark.parametrize(
    ("ending", "width"), [("end", 1200), ("end", 700), ("stop", 700), ("interrupt", 1200), ("error", 700)]
)
def test_what_a_reader_looks_at_stays_in_its_place(
    notebook: Callable[..., NotebookPage], sim: Simulator, ending: str, width: int
) -> None:
    """For every way in which an answer can end. The saved file has the one output, and the error if the cell failed."""
    gate = Gate()
    sim.script(break_after_gate(gate) if ending == "error" else mostly_sent(gate))
    page = notebook("%%claude\nExplain the mean.", width=width)

    before = scroll_into_growing_answer(page, "Part 6")
    expect(stop_of(page)).to_be_in_viewport(ratio=1)
    page.screenshot(f"still-{ending}-{width}-before")
    if ending == "stop":
        stop_of(page).click()
    elif ending == "interrupt":
        page.interrupt()
    else:
        gate.open()
    page.wait_for_cell(1)
    expect(stop_of(page)).to_have_count(0)
    after = top_of(page, "Part 6")
    page.screenshot(f"still-{ending}-{width}-after")

    assert abs(after - before) <= 20
    gate.open()
    first, *others = page.saved().cells[1].outputs
    assert set(first.data) == {"text/html", "text/markdown", "text/plain"}
    assert [each.output_type for each in others] == ([] if ending == "end" else ["error"])


def test_a_heading_behind_the_thinking_stays_in_its_place(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """The text begins with it, while it grows and at its end."""
    gate = Gate()
    sim.script(hold_at_end(gate, reply(chunks=PIECES[:30], thinking="What is a mean?")))
    page = notebook("%%claude\nExplain the mean.")
    page.start_cell(1)
    stop_of(page).wait_for()
    expect(page.output(1).get_by_text("Part 1", exact=True)).to_be_attached()
    before = top_of(page, "Part 1")
    gate.open()
    page.wait_for_cell(1)

    assert abs(top_of(page, "Part 1") - before) <= 1


def test_a_cell_with_scrolled_outputs_has_one_scroll_area(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """Stop stays visible there too, and the visible content keeps its position."""
    gate = Gate()
    sim.script(mostly_sent(gate))
    page = notebook("%%claude\nExplain the mean.", theme="Dark", width=700)
    page.page.evaluate(
        "() => { const n = window.jupyterapp.shell.currentWidget.content; n.activeCellIndex = 1; }"
    )
    page.execute("notebook:enable-output-scrolling")
    before = scroll_into_growing_answer(page, "Part 6")
    stop = stop_of(page)
    expect(stop).to_be_in_viewport(ratio=1)
    areas = page.output(1).evaluate(SCROLL_AREAS)
    page.screenshot("still-scrolled-before")
    gate.open()
    page.wait_for_cell(1)
    after = top_of(page, "Part 6")
    page.screenshot("still-scrolled-after")

    assert areas == 1
    assert abs(after - before) <= 20


def test_answers_side_by_side_stay_in_their_place(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """One output replaces them, as with a single answer."""
    gate = Gate()
    sim.script(mostly_sent(gate), mostly_sent(gate))
    page = notebook("%%claude --compare sonnet,opus\nExplain the mean.", width=1600)

    before = scroll_into_growing_answer(page, "Part 6")
    expect(stop_of(page)).to_be_in_viewport(ratio=1)
    page.screenshot("still-compare-before")
    gate.open()
    page.wait_for_cell(1)
    after = top_of(page, "Part 6")
    page.screenshot("still-compare-after")

    assert abs(after - before) <= 20
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}


def test_a_background_answer_stays_in_its_place(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """Its cell has ended long before."""
    gate = Gate()
    sim.script(mostly_sent(gate))
    page = notebook("%%claude --bg\nExplain the mean.")

    before = scroll_into_growing_answer(page, "Part 6")
    expect(stop_of(page)).to_be_in_viewport(ratio=1)
    gate.open()
    expect(page.output(1)).to_contain_text("That was the last one.")
    expect(stop_of(page)).to_have_count(0)
    after = top_of(page, "Part 6")

    assert abs(after - before) <= 20
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}


def test_an_answer_whose_tool_was_allowed_stays_in_its_place(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """When the question appears, when it is decided, and at the end. The final update replaces the buttons as well."""
    asks, gate = Gate(), Gate()
    so_far, rest = TEXT[: TEXT.index("## Part 7")], TEXT[TEXT.index("## Part 7") :]
    call = {"type": "tool_use", "id": "toolu_1", "name": "spread", "input": {"values": "1, 2, 4"}}
    first = reply(content=[{"type": "text", "text": so_far}, call], stop_reason="tool_use")
    sim.script(hold_at_end(asks, first), hold_at_end(gate, reply(rest)))
    page = notebook("%%claude --tools spread\nExplain the mean.", SPREAD, "1 + 1", theme="Dark", width=600)
    page.run_cell(2)

    before = scroll_into_growing_answer(page, "Part 4", shows="Part 6")
    asks.open()
    allow = page.output(1).get_by_role("button", name="Allow", exact=True)
    allow.wait_for()
    places = [top_of(page, "Part 4")]
    page.page.evaluate(SCROLL, [1, "Part 6"])
    place_of_question = top_of(page, "Part 6")
    page.screenshot("still-asked")
    allow.evaluate("button => button.click()")
    expect(page.output(1).get_by_text(SHOWN_LATE, exact=True).first).to_be_attached()
    page.wait_for("() => !document.querySelector('.claude-magic-live .mathjax_process')")
    assert abs(top_of(page, "Part 6") - place_of_question) <= 20
    page.page.evaluate(SCROLL, [1, "Part 4"])
    places.append(top_of(page, "Part 4"))
    gate.open()
    page.wait_for_cell(1)
    places.append(top_of(page, "Part 4"))
    page.screenshot("still-allowed")

    assert max(abs(place - before) for place in places) <= 20
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}


def test_each_formula_is_set_once(notebook: Callable[..., NotebookPage], sim: Simulator) -> None:
    """Not again with each new word, and not for the final output, which takes over the typeset formulas."""
    gate, first = Gate(), Gate()

    def behave(post: Post) -> Steps:
        # The first text, and some time until the widget exists: the count starts then.
        for number, step in enumerate(mostly_sent(gate)(post)):
            if number == 4:
                yield Hold(first)
            yield step
            if number > 4:
                yield Pause(0.002)

    sim.script(behave)
    page = notebook("%%claude\nExplain the mean.")
    page.cell(1).evaluate(COUNT_FORMULAS)

    page.start_cell(1)
    stop_of(page).wait_for()
    first.open()
    page.wait_for(f"() => window.formulasSet > {FORMULAS // 2}")
    gate.open()
    page.wait_for_cell(1)
    page.wait_for(f"() => document.querySelectorAll('mjx-container').length === {FORMULAS}")
    page.wait_until_still()

    assert page.page.evaluate("window.formulasSet") == FORMULAS
    assert "mjx" not in page.saved().cells[1].outputs[0].data["text/html"]


def test_formulas_that_are_set_late_move_nothing(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """A busy page shows their source first, also in the final output.

    The source may be higher or lower than the typeset formula.
    """
    gate = Gate()
    sim.script(mostly_sent(gate))
    page = notebook("%%claude\nExplain the mean.", width=700)
    page.page.evaluate(BE_BUSY)

    before = scroll_into_growing_answer(page, "Part 6", waits_for_formulas=False)
    gate.open()
    page.wait_for_cell(1)
    in_the_end = top_of(page, "Part 6")
    assert page.output(1).locator("mjx-container").count() == 0
    page.page.evaluate(BE_IDLE)
    page.wait_for(f"() => document.querySelectorAll('mjx-container').length === {FORMULAS}")
    after = top_of(page, "Part 6")

    assert abs(in_the_end - before) <= 20
    assert abs(after - before) <= 20


@pytest.mark.parametrize("ending", ["end", "restart"])
def test_a_page_that_is_loaded_again_goes_on_and_keeps_what_has_come(
    notebook: Callable[..., NotebookPage], sim: Simulator, ending: str
) -> None:
    """It receives no display update: the widget gives it the final output or, if the kernel is gone, what has come."""
    gate = Gate()
    sim.script(mostly_sent(gate))
    page = notebook("%%claude --bg\nExplain the mean.")
    page.start_cell(1)
    expect(page.output(1).get_by_text(SHOWN_LATE, exact=True).first).to_be_attached()
    stop_of(page).wait_for()
    page.saved()

    page.open()
    expect(page.output(1).get_by_text(SHOWN_LATE, exact=True).first).to_be_attached()
    expect(page.output(1).locator("mjx-container").first).to_be_attached()
    expect(stop_of(page)).to_be_in_viewport(ratio=1)
    if ending == "end":
        gate.open()
        expect(page.output(1)).to_contain_text("That was the last one.")
        expect(page.output(1)).to_contain_text("tokens in")
        expect(page.output(1).locator("mjx-container")).to_have_count(FORMULAS)
        expect(stop_of(page)).to_have_count(0)
        (output,) = page.saved().cells[1].outputs
        assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
        return
    page.page.evaluate(RESTART)
    expect(page.output(1)).to_contain_text("The kernel was restarted before the answer was complete.")
    page.screenshot("still-kernel-lost", page.cell(1))
    gate.open()

    expect(stop_of(page)).to_have_count(0)
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/plain"}
    assert SHOWN_LATE in output.data["text/html"]
